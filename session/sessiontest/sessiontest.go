// Package sessiontest checks implementations of [session.Store].
//
//	func TestStore(t *testing.T) {
//		sessiontest.Run(t, func(t *testing.T) session.Store { return openEmptyStore(t) })
//	}
//
// A failure names the rule and prints its sentence from the documentation of
// [session.Store].
package sessiontest

import (
	"context"
	"testing"
	"time"

	"github.com/gatewire/gatewire/session"
)

// Run checks the stores that newStore makes against the rules of
// [session.Store], one subtest a rule, then races of a [session.Manager] on
// such a store. Every subtest gets a fresh, empty store; newStore registers
// its end with t.Cleanup. It runs in real time and takes some seconds.
func Run(t *testing.T, newStore func(t *testing.T) session.Store) {
	t.Helper()
	for _, r := range rules {
		t.Run(r.id, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			r.check(&run{tb: t, ctx: ctx, rule: r.id + ". " + r.sentence, store: newStore(t)})
		})
	}
}

// rule is one rule with its check.
type rule struct {
	id       string
	sentence string
	check    func(r *run)
}

var rules = append(storeRules, raceRules...)

// tb is what a check needs of testing.T, so that the checks can be tried on
// stores that break the rules.
type tb interface {
	Helper()
	Fatalf(format string, args ...any)
}

// run is one check under way.
type run struct {
	tb
	ctx   context.Context
	rule  string
	store session.Store
}

// must fails the check unless ok.
func (r *run) must(ok bool, format string, args ...any) {
	r.Helper()
	if !ok {
		r.Fatalf("rule "+r.rule+"\n"+format, args...)
	}
}

// ok fails the check on an error of the store.
func (r *run) ok(err error) {
	r.Helper()
	r.must(err == nil, "unexpected error: %v", err)
}
