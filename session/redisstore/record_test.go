package redisstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/session"
)

func full() session.Record {
	at := time.Date(2026, 2, 3, 4, 5, 6, 789e6, time.UTC)
	return session.Record{
		Key: session.Key{1, 2, 3}, ID: "id", Kind: session.KindToken, Rev: 1<<64 - 1, UserID: "ada\x00\xff",
		Scopes: []string{"a", "", "b"}, Roles: []string{"c"}, AuthTime: at, Created: at, Seen: at.Add(1), IdleExpires: at.Add(time.Hour), Expires: at.Add(time.Hour),
		UserAgent: "agent", IP: "::1", Origin: session.Origin{Issuer: "https://issuer", Subject: "subject", SID: "sid"},
		Refresh: session.Refresh{Secret: [32]byte{4}, Previous: [32]byte{5}, RotatedAt: at, Successor: []byte{6}},
		Data:    []byte("data"),
	}
}

func TestRecordRoundTrip(t *testing.T) {
	for name, rec := range map[string]session.Record{"full": full(), "zero": {}, "ancient": {Created: time.Unix(-1e10, 0).UTC()}} {
		e, err := encode(rec)
		require.NoError(t, err, name)
		got, err := decode(rec.ID, e.header, e.body)
		require.NoError(t, err, name)
		rec.Seen = rec.Seen.Truncate(time.Millisecond)
		require.Equal(t, rec, got, name)
	}
}

func TestTimesOutOfRangeAreRefused(t *testing.T) {
	for _, at := range []time.Time{time.Unix(1<<60, 0), time.Unix(-1<<60, 0), time.Unix(1<<43, 0)} {
		_, err := encode(session.Record{Expires: at})
		require.ErrorContains(t, err, "out of range")
	}
}

// S24: never half a record.
func TestS24_HalfARecordIsAnError(t *testing.T) {
	e, err := encode(full())
	require.NoError(t, err)
	for n := range headerLeast + 3*len(token{}) {
		_, err := decode("id", e.header[:n], e.body)
		require.Error(t, err, "header of %d bytes", n)
	}
	for n := range len(e.body) - len("data") {
		_, err := decode("id", e.header, e.body[:n])
		require.Error(t, err, "body of %d bytes", n)
	}
	for _, part := range [][]byte{e.header, e.body} {
		part[0]++
		_, err := decode("id", e.header, e.body)
		require.ErrorContains(t, err, "later version")
		part[0]--
	}
	for _, bad := range []float64{math.NaN(), math.Inf(1), 1 << 53, 0.5} {
		header := bytes.Clone(e.header)
		binary.BigEndian.PutUint64(header[9:], math.Float64bits(bad))
		_, err := decode("id", header, e.body)
		require.ErrorIs(t, err, errDamaged, "Seen is %v", bad)
	}
	e.body[1] |= 1 << 7
	_, err = decode("id", e.header, e.body)
	require.Error(t, err, "an unknown flag")
}

// Who may choose a text can't make it look like another pair of texts.
func TestTokensAreOfOneMeaning(t *testing.T) {
	seen := make(map[token]bool)
	for _, o := range []session.Origin{{Issuer: "a", Subject: "bc", SID: "bc"}, {Issuer: "ab", Subject: "c", SID: "c"}, {Issuer: "", Subject: "abc", SID: "abc"}, {Issuer: "abc"}} {
		for _, tok := range []token{subjectToken(o), sidToken(o)} {
			require.False(t, seen[tok])
			seen[tok] = true
		}
	}
	require.False(t, seen[userToken("abc")])
}

func TestAfterToken(t *testing.T) {
	all := token([]byte("u" + strings.Repeat("\xff", 16)))
	require.Equal(t, "v", all.after())
	require.Equal(t, "u"+strings.Repeat("\xff", 16), string(all[:]), "the token itself stays")
	one := token([]byte("uabcdefghijklmno\xff"))
	require.Equal(t, "uabcdefghijklmnp", one.after())
}

func TestCursors(t *testing.T) {
	for _, s := range []string{".", ".1", "a", "a.", "a.-1", "a.+1", "a.1.2", "a.9007199254740992", "a.1e3"} {
		_, _, ok := parseCursor(s)
		require.False(t, ok, s)
	}
	log, after, ok := parseCursor("NAME.42")
	require.True(t, ok)
	require.Equal(t, "NAME", log)
	require.EqualValues(t, 42, after)
}

// due is a context whose time is over and whose timer has not noticed yet.
type due struct{ context.Context }

func (due) Deadline() (time.Time, bool) { return time.Now(), true }

// The socket's timer, set to the same moment, may be the first to notice.
func TestTheEndOfTheContextIsNamed(t *testing.T) {
	require.ErrorIs(t, wrap(due{t.Context()}, "load", os.ErrDeadlineExceeded), context.DeadlineExceeded)
	require.NotErrorIs(t, wrap(t.Context(), "load", os.ErrDeadlineExceeded), context.DeadlineExceeded)
}

func FuzzDecode(f *testing.F) {
	e, err := encode(full())
	require.NoError(f, err)
	f.Add(e.header, e.body)
	e, err = encode(session.Record{})
	require.NoError(f, err)
	f.Add(e.header, e.body)
	f.Add([]byte{}, []byte{})
	f.Add(e.header, append(bytes.Clone(e.body[:10]), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1))
	f.Fuzz(func(t *testing.T, header, body []byte) {
		rec, err := decode("id", header, body)
		if err != nil {
			require.Zero(t, rec)
			return
		}
		again, err := encode(rec)
		if err != nil {
			return // a time that is stored and that no caller may pass
		}
		back, err := decode("id", again.header, again.body)
		require.NoError(t, err)
		require.Equal(t, rec, back)
	})
}

func FuzzDecodeEnded(f *testing.F) {
	f.Add(append([]byte{1, 0x42, 0x78, 0, 0, 0, 0, 0, 0, 0x42, 0x78, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1}, strings.Repeat("k", 32)+"rui"...))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, entry []byte) {
		if e, err := decodeEnded(entry); err != nil {
			require.Zero(t, e)
		}
	})
}
