package sessiontest

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gatewire/gatewire/session"
)

const issuer = "https://issuer.example"

// from stores a record of a sign-in at a provider.
func (r *run) from(o session.Origin) session.Record {
	r.Helper()
	rec := record("u1", now())
	rec.Origin = o
	r.ok(r.store.Create(r.ctx, rec, session.AnyEpoch))
	return rec
}

// endOrigin fails unless exactly want end, and stand in the log.
func (r *run) endOrigin(o session.Origin, want ...session.Record) {
	r.Helper()
	cursor, at := r.cursor(), now()
	ended, err := r.store.EndOrigin(r.ctx, o, session.ReasonProvider, at)
	r.ok(err)
	for _, list := range [][]session.Ended{ended, r.endedSince(cursor, 10)} {
		r.must(len(list) == len(want), "EndOrigin(%+v) ends %d sessions and logs %d, want %d", o, len(ended), len(r.endedSince(cursor, 10)), len(want))
		for _, rec := range want {
			r.must(slices.ContainsFunc(list, func(e session.Ended) bool {
				return e.ID == rec.ID && e.UserID == rec.UserID && e.Reason == session.ReasonProvider && e.At.Equal(at)
			}), "EndOrigin(%+v) returns or logs %+v", o, list)
		}
	}
	for _, rec := range want {
		r.gone(rec)
	}
}

func checkE4(r *run) {
	both := r.from(session.Origin{Issuer: issuer, Subject: "a", SID: "1"})
	otherSID := r.from(session.Origin{Issuer: issuer, Subject: "a", SID: "2"})
	otherSubject := r.from(session.Origin{Issuer: issuer, Subject: "b", SID: "1"})
	noSID := r.from(session.Origin{Issuer: issuer, Subject: "a"})
	noSubject := r.from(session.Origin{Issuer: issuer, SID: "1"})
	stay := []session.Record{
		r.from(session.Origin{}),
		r.from(session.Origin{Issuer: issuer}),
		r.from(session.Origin{Issuer: issuer, Subject: "1", SID: "a"}),
		r.from(session.Origin{Issuer: "https://other.example", Subject: "a", SID: "1"}),
		r.from(session.Origin{Subject: "a", SID: "1"}),
	}
	epoch := mustEpoch(r, "u1")

	cursor := r.cursor()
	for _, o := range []session.Origin{{}, {Issuer: issuer}, {Subject: "a"}, {SID: "1"}, {Subject: "a", SID: "1"}} {
		ended, err := r.store.EndOrigin(r.ctx, o, session.ReasonProvider, now())
		r.must(err != nil && len(ended) == 0, "EndOrigin(%+v) ends %d sessions with the error %v, want an error", o, len(ended), err)
	}
	r.must(len(r.endedSince(cursor, 10)) == 0, "EndOrigin logs sessions and returns an error")
	for _, rec := range []session.Record{both, otherSID, otherSubject, noSID, noSubject} {
		r.same(rec)
	}

	r.endOrigin(session.Origin{Issuer: issuer, Subject: "nobody"})
	r.endOrigin(session.Origin{Issuer: issuer, Subject: "b", SID: "2"})
	r.endOrigin(session.Origin{Issuer: issuer, Subject: "a", SID: "1"}, both)
	r.endOrigin(session.Origin{Issuer: issuer, SID: "1"}, otherSubject, noSubject)
	r.endOrigin(session.Origin{Issuer: issuer, Subject: "a"}, otherSID, noSID)
	r.endOrigin(session.Origin{Issuer: issuer, Subject: "a"})
	for _, rec := range stay {
		r.same(rec)
	}
	r.must(mustEpoch(r, "u1") == epoch, "EndOrigin raises the epoch of a user who may have other sessions")

	checkE4Replace(r)
	checkE4Text(r)
	checkE4Races(r)
}

// A session is found by the Origin it has now.
func checkE4Replace(r *run) {
	before := session.Origin{Issuer: issuer, Subject: "before", SID: "before"}
	after := session.Origin{Issuer: issuer, Subject: "after", SID: "after"}
	renewed, again, cleared, late := r.from(before), r.from(before), r.from(before), r.from(session.Origin{})
	replace := func(rec *session.Record, o session.Origin) {
		r.Helper()
		old := rec.Key
		rec.Key, rec.Origin = newKey(), o
		r.ok(r.store.Replace(r.ctx, old, *rec, rec.Rev))
		rec.Rev++
	}
	replace(&renewed, before)
	replace(&again, after)
	replace(&cleared, session.Origin{})
	replace(&late, after)
	r.endOrigin(session.Origin{Issuer: issuer, SID: "before"}, renewed)
	r.endOrigin(session.Origin{Issuer: issuer, Subject: "after"}, again, late)
	r.same(cleared)
	for _, rec := range []session.Record{renewed, again} {
		err := r.store.Replace(r.ctx, rec.Key, rec, rec.Rev)
		r.must(errors.Is(err, session.ErrNotFound), "Replace of what EndOrigin ended returns %v, want ErrNotFound", err)
		r.ok(r.store.Touch(r.ctx, rec.Key, now().Add(time.Minute), now().Add(time.Hour)))
		err = r.store.Create(r.ctx, rec, session.AnyEpoch)
		r.must(errors.Is(err, session.ErrExists), "Create of what EndOrigin ended returns %v, want ErrExists", err)
		r.gone(rec)
	}
}

// Names are compared as they are, whatever they are made of.
func checkE4Text(r *run) {
	names := []string{
		"case", "CASE", "space", "space ", " space", "%", "_", "*", `'"\`, "\n", "é", "e\u0301", "0", "00",
		strings.Repeat("😀", 255), strings.Repeat("😀", 254) + "☃", strings.Repeat("x", 1020),
	}
	recs := make(map[string][2]session.Record)
	for _, name := range names {
		recs[name] = [2]session.Record{
			r.from(session.Origin{Issuer: issuer, SID: name}),
			r.from(session.Origin{Issuer: name, Subject: name}),
		}
	}
	for _, name := range names {
		r.endOrigin(session.Origin{Issuer: issuer, SID: name}, recs[name][0])
		r.endOrigin(session.Origin{Issuer: name, Subject: name}, recs[name][1])
	}
}

// Whatever is under way, what was there before EndOrigin began is over after
// it, once.
func checkE4Races(r *run) {
	o := session.Origin{Issuer: issuer, Subject: "raced", SID: "raced"}
	const n = 12
	var recs, renewed, late [n]session.Record
	for i := range n {
		recs[i] = r.from(o)
		renewed[i], late[i] = recs[i], record("u1", now())
		renewed[i].Key, late[i].Origin = newKey(), o
	}
	cursor := r.cursor()
	results := make(chan int, 5*n)
	failed := make(chan error, 10*n)
	one := func(ended bool, err error) {
		failed <- err
		if ended {
			results <- 1
		}
	}
	all := func(o session.Origin) {
		ended, err := r.store.EndOrigin(r.ctx, o, session.ReasonProvider, now())
		failed <- err
		results <- len(ended)
	}
	var wg, ends sync.WaitGroup
	for i := range n {
		wg.Go(func() { failed <- r.store.Touch(r.ctx, recs[i].Key, now().Add(time.Minute), now().Add(time.Hour)) })
		wg.Go(func() {
			if err := r.store.Replace(r.ctx, recs[i].Key, renewed[i], 1); !errors.Is(err, session.ErrNotFound) {
				failed <- err
			}
		})
		wg.Go(func() { failed <- r.store.Create(r.ctx, late[i], session.AnyEpoch) })
		if i%4 == 0 {
			wg.Go(func() { one(r.store.End(r.ctx, recs[i].ID, session.ReasonRevoked, now())) })
		}
	}
	ends.Go(func() { all(session.Origin{Issuer: issuer, SID: "raced"}) })
	ends.Go(func() { all(session.Origin{Issuer: issuer, Subject: "raced"}) })
	ends.Go(func() { all(o) })
	ends.Wait()
	for i := range n { // these were there before; the late ones perhaps not
		for _, rec := range []session.Record{recs[i], renewed[i]} {
			_, found, err := r.store.Load(r.ctx, rec.Key)
			r.ok(err)
			r.must(!found, "a session outlives EndOrigin that raced Replace, Touch and End")
		}
	}
	wg.Wait()
	all(o)
	close(failed)
	close(results)
	for err := range failed {
		r.ok(err)
	}
	total := 0
	for n := range results {
		total += n
	}
	times := make(map[string]int)
	for _, e := range r.endedSince(cursor, 100) {
		times[e.ID]++
	}
	for i := range n {
		for _, rec := range []session.Record{recs[i], renewed[i], late[i]} {
			r.gone(rec)
			r.must(times[rec.ID] == 1, "a session is %d times in the log after EndOrigin, want once", times[rec.ID])
		}
	}
	r.must(total == 2*n, "concurrent calls report %d ended sessions, want %d", total, 2*n)
}
