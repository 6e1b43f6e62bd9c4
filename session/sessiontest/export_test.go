package sessiontest

import (
	"context"
	"fmt"
	"time"

	"github.com/gatewire/gatewire/session"
)

// Rules are the ids of all rules.
func Rules() (ids []string) {
	for _, r := range rules {
		ids = append(ids, r.id)
	}
	return ids
}

// Sentences are the rules of session.Store by their ids.
func Sentences() map[string]string {
	m := make(map[string]string)
	for _, r := range storeRules {
		m[r.id] = r.sentence
	}
	return m
}

// Try checks one rule on a store and returns its failure, "" for none.
func Try(ctx context.Context, id string, store session.Store) (failure string) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for _, r := range rules {
		if r.id != id {
			continue
		}
		defer func() {
			switch e := recover().(type) {
			case nil:
			case fatal:
				failure = string(e)
			default:
				panic(e)
			}
		}()
		r.check(&run{tb: recording{}, ctx: ctx, rule: r.id + ". " + r.sentence, store: store})
		return ""
	}
	return "no such rule"
}

type fatal string

type recording struct{}

func (recording) Helper() {}

func (recording) Fatalf(format string, args ...any) { panic(fatal(fmt.Sprintf(format, args...))) }
