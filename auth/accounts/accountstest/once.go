package accountstest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gatewire/gatewire/auth/accounts"
)

// RunOnce tests the rules of [accounts.Once]. newOnce returns an empty one. It
// takes some seconds.
func RunOnce(t *testing.T, newOnce func(t *testing.T) accounts.Once) {
	t.Helper()
	t.Run("O1 first or not", func(t *testing.T) {
		o := newOnce(t)
		keys := []string{"key", "KEY", "key ", " key", "%", "_", `'"\`, "é", "e\u0301", strings.Repeat("x", 255), strings.Repeat("x", 254)}
		for _, key := range keys {
			first(t, o, key, time.Hour)
		}
		for _, key := range keys {
			notFirst(t, o, key, time.Hour)
		}
	})
	t.Run("O1 one of many at once", func(t *testing.T) {
		o := newOnce(t)
		for round := range 5 {
			// The second half of the rounds is about a key that counts no more.
			key := fmt.Sprint("key", round)
			if round > 2 {
				first(t, o, key, time.Millisecond)
				time.Sleep(20 * time.Millisecond)
			}
			won := make([]bool, 30)
			for _, err := range race(len(won), func(i int) (err error) {
				won[i], err = o.Take(context.WithoutCancel(t.Context()), key, time.Hour)
				return err
			}) {
				must(t, err)
			}
			n := 0
			for _, w := range won {
				if w {
					n++
				}
			}
			if n != 1 {
				t.Fatalf("%d of %d calls were first, want 1", n, len(won))
			}
		}
	})
	t.Run("O1 what is no key or no time", func(t *testing.T) {
		o := newOnce(t)
		for _, key := range []string{"", strings.Repeat("x", 256)} {
			if first, err := o.Take(t.Context(), key, time.Hour); err == nil || first {
				t.Fatalf("a key of %d bytes is taken", len(key))
			}
		}
		for _, ttl := range []time.Duration{0, -time.Second} {
			if first, err := o.Take(t.Context(), "key", ttl); err == nil || first {
				t.Fatalf("a key is taken for %v", ttl)
			}
		}
	})
	t.Run("O2 forwards, never backwards", func(t *testing.T) {
		o := newOnce(t)
		before := time.Now()
		first(t, o, "key", 2*time.Second)
		at := taken(t, o, "key")
		between(t, at, before, time.Now())
		before = time.Now()
		notFirst(t, o, "key", time.Hour)
		moved := taken(t, o, "key")
		between(t, moved, before, time.Now())
		notFirst(t, o, "key", time.Millisecond)
		if taken(t, o, "key").Before(moved) {
			t.Fatal("a repeat moved backwards when the key was taken")
		}
		time.Sleep(2100 * time.Millisecond)
		taken(t, o, "key")
		notFirst(t, o, "key", time.Hour)
	})
	t.Run("O3 as new when it counts no more", func(t *testing.T) {
		o := newOnce(t)
		never(t, o, "key")
		first(t, o, "key", 50*time.Millisecond)
		first(t, o, "another key", time.Hour)
		time.Sleep(80 * time.Millisecond)
		never(t, o, "key")
		before := time.Now()
		first(t, o, "key", time.Hour)
		between(t, taken(t, o, "key"), before, time.Now())
		notFirst(t, o, "key", time.Hour)
		notFirst(t, o, "another key", time.Hour)
		never(t, o, "KEY")
		never(t, o, "")
	})
	t.Run("O3 nothing that counts is forgotten", func(t *testing.T) {
		o := newOnce(t)
		for i := range 300 {
			first(t, o, fmt.Sprint("stays", i), time.Hour)
			first(t, o, fmt.Sprint("goes", i), time.Millisecond)
		}
		for i := range 300 {
			notFirst(t, o, fmt.Sprint("stays", i), time.Hour)
		}
	})
}

func first(t *testing.T, o accounts.Once, key string, ttl time.Duration) {
	t.Helper()
	first, err := o.Take(t.Context(), key, ttl)
	must(t, err)
	if !first {
		t.Fatalf("Take(%q) is not the first", key)
	}
}

func notFirst(t *testing.T, o accounts.Once, key string, ttl time.Duration) {
	t.Helper()
	first, err := o.Take(t.Context(), key, ttl)
	must(t, err)
	if first {
		t.Fatalf("Take(%q) is the first again", key)
	}
}

func taken(t *testing.T, o accounts.Once, key string) time.Time {
	t.Helper()
	at, ok, err := o.Taken(t.Context(), key)
	must(t, err)
	if !ok {
		t.Fatalf("Taken(%q) does not know of it", key)
	}
	return at
}

func never(t *testing.T, o accounts.Once, key string) {
	t.Helper()
	_, ok, err := o.Taken(t.Context(), key)
	must(t, err)
	if ok {
		t.Fatalf("Taken(%q) says that it counts", key)
	}
}

// between allows for stores that keep microseconds.
func between(t *testing.T, at, from, to time.Time) {
	t.Helper()
	if at.Before(from.Truncate(time.Microsecond)) || at.After(to) {
		t.Fatalf("Taken says %v, want from %v to %v", at, from, to)
	}
}
