package sessiontest

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gatewire/gatewire/session"
)

// storeRules are the rules of session.Store, in its order and words.
var storeRules = []rule{
	{"C1", "Create stores a record with Rev 1, or returns ErrExists when its Key or ID is taken (also by an ended session still in the log), and changes nothing.", checkC1},
	{"C2", "Create returns ErrEpoch when epoch is not AnyEpoch and differs from Epoch(UserID).", checkC2},
	{"L1", "Load and ByID return exactly what was stored, and found=false for what is not there. Expiry is the caller's business.", checkL1},
	{"U1", "Replace stores rec with Rev ifRev+1 in place of the record under old when its Rev is ifRev; rec.ID and rec.Created are those it had.", checkU1},
	{"U2", "Replace returns ErrConflict for another Rev, ErrNotFound for no record. It never inserts.", checkU2},
	{"U3", "With rec.Key other than old, old finds nothing from then on.", checkU3},
	{"U4", "Replace does not move Seen and IdleExpires backwards past a concurrent Touch.", checkU4},
	{"T1", "Touch moves Seen and IdleExpires forwards, never backwards, IdleExpires never past Expires, and nothing else (not Rev either).", checkT1},
	{"T2", "Touch of what is not there is a no-op without an error.", checkT2},
	{"E1", "End, EndUser, EndUserAt and EndOrigin remove records and append them to the log in one step; what they removed never comes back.", checkE1},
	{"E2", "EndUser ends all sessions of the user but exceptID (empty: none is spared) and raises the user's epoch even when there are none. Those that nobody has signed in to are no user's.", checkE2},
	{"E3", "A user's Epoch never returns to a value it had while a sign-in could still hold it (an hour).", checkE3},
	{"E4", "EndOrigin ends every session whose Origin has o.Issuer and, of o.Subject and o.SID, those that are not empty, in O(those); without an issuer or with neither of the two it is an error and ends nothing.", checkE4},
	{"E5", "EndUserAt is EndUser while epoch is the user's Epoch, compared and raised in one step; otherwise ErrEpoch, and nothing changes. Of many with one epoch one ends.", checkE5},
	{"I1", "ListUser returns the user's records, in O(those), newest first, and none for the empty user.", checkI1},
	{"W1", "EndedSince(\"\") returns no sessions and the cursor of now. Any later cursor returns what ended after it, oldest first, each once, at most limit; nothing that ended is skipped, whatever ended concurrently.", checkW1},
	{"W2", "A cursor older than the log is ErrCursorLost, and so is a text that is no cursor of this store. The log reaches back at least 15 minutes and survives a restart where records do.", checkW2},
	{"R1", "Reap ends at most limit records whose IdleExpires or Expires is not after now, with ReasonExpired, and forgets what the log no longer needs to keep.", checkR1},
}

func checkC1(r *run) {
	rec := record("u1", now())
	rec.Rev = 7
	r.ok(r.store.Create(r.ctx, rec, session.AnyEpoch))
	rec.Rev = 1
	r.same(rec)

	refused := func(other session.Record, what string) {
		r.Helper()
		other.Data = []byte("other")
		err := r.store.Create(r.ctx, other, session.AnyEpoch)
		r.must(errors.Is(err, session.ErrExists), "Create with the %s returns %v, want ErrExists", what, err)
	}
	sameKey, sameID := record("u1", now()), record("u1", now())
	sameKey.Key, sameID.ID = rec.Key, rec.ID
	refused(sameKey, "key of another record")
	refused(sameID, "id of another record")
	r.same(rec)
	r.gone(session.Record{Key: sameID.Key, ID: sameKey.ID, UserID: "u1"})

	_, err := r.store.End(r.ctx, rec.ID, session.ReasonSignedOut, now())
	r.ok(err)
	refused(sameID, "id of an ended record")
	refused(sameKey, "key of an ended record")
	r.gone(rec)
}

func checkC2(r *run) {
	epoch, err := r.store.Epoch(r.ctx, "u1")
	r.ok(err)
	r.ok(r.store.Create(r.ctx, record("u1", now()), epoch))
	_, err = r.store.EndUser(r.ctx, "u1", "", session.ReasonRevoked, now())
	r.ok(err)

	late := record("u1", now())
	err = r.store.Create(r.ctx, late, epoch)
	r.must(errors.Is(err, session.ErrEpoch), "Create with an old epoch returns %v, want ErrEpoch", err)
	r.gone(late)
	r.ok(r.store.Create(r.ctx, record("u1", now()), session.AnyEpoch))
	r.ok(r.store.Create(r.ctx, record("u2", now()), mustEpoch(r, "u2")))
	r.ok(r.store.Create(r.ctx, record("u1", now()), mustEpoch(r, "u1")))
}

func mustEpoch(r *run, userID string) uint64 {
	r.Helper()
	epoch, err := r.store.Epoch(r.ctx, userID)
	r.ok(err)
	r.must(epoch != session.AnyEpoch, "Epoch returns AnyEpoch")
	return epoch
}

func checkL1(r *run) {
	r.gone(record("u1", now()))
	r.same(r.create("u1"))

	least := session.Record{ // an anonymous cookie session
		Key: newKey(), ID: "anonymous", Kind: session.KindCookie, Rev: 1,
		Created: now(), Seen: now(), IdleExpires: now().Add(time.Minute), Expires: now().Add(time.Hour),
	}
	r.ok(r.store.Create(r.ctx, least, session.AnyEpoch))
	r.same(least)
	got := r.load(least.Key)
	r.must(got.AuthTime.IsZero() && got.Refresh.RotatedAt.IsZero(), "a zero time reads back as %v, %v", got.AuthTime, got.Refresh.RotatedAt)

	expired := record("u1", now().Add(-24*time.Hour))
	r.ok(r.store.Create(r.ctx, expired, session.AnyEpoch))
	r.same(expired)

	// What was handed out or in is not the store's own.
	shared := r.create("u1")
	want := r.load(shared.Key)
	shared.Data[0], shared.Scopes[0] = 'x', "x"
	again := r.load(shared.Key)
	again.Data[0], again.Scopes[0] = 'y', "y"
	r.same(want)
}

func checkU1(r *run) {
	rec := r.create("")
	next := record("u1", rec.Created.Add(time.Hour)) // another id, another Created
	next.Key = rec.Key
	next.Kind = rec.Kind
	r.ok(r.store.Replace(r.ctx, rec.Key, next, 1))
	next.ID, next.Created, next.Rev = rec.ID, rec.Created, 2
	r.same(next)

	list, err := r.store.ListUser(r.ctx, "u1")
	r.ok(err)
	r.must(len(list) == 1 && list[0].ID == rec.ID, "ListUser does not find a session that became the user's")

	next.Data, next.Scopes, next.Roles = nil, nil, nil
	r.ok(r.store.Replace(r.ctx, rec.Key, next, 2))
	next.Rev = 3
	r.same(next)
}

func checkU2(r *run) {
	rec := r.create("u1")
	changed := rec
	changed.Data = []byte("changed")
	for _, rev := range []uint64{0, 2} {
		err := r.store.Replace(r.ctx, rec.Key, changed, rev)
		r.must(errors.Is(err, session.ErrConflict), "Replace of Rev 1 with ifRev %d returns %v, want ErrConflict", rev, err)
	}
	r.same(rec)

	absent := record("u1", now())
	err := r.store.Replace(r.ctx, absent.Key, absent, 1)
	r.must(errors.Is(err, session.ErrNotFound), "Replace of nothing returns %v, want ErrNotFound", err)
	r.gone(absent)

	_, err = r.store.End(r.ctx, rec.ID, session.ReasonSignedOut, now())
	r.ok(err)
	err = r.store.Replace(r.ctx, rec.Key, changed, 1)
	r.must(errors.Is(err, session.ErrNotFound), "Replace of an ended record returns %v, want ErrNotFound", err)
	r.gone(rec)

	// Of many writers with one revision, one wins.
	rec = r.create("u2")
	won := make(chan error, 16)
	var wg sync.WaitGroup
	for i := range cap(won) {
		wg.Go(func() {
			mine := rec
			mine.Data = fmt.Append(nil, i)
			won <- r.store.Replace(r.ctx, rec.Key, mine, 1)
		})
	}
	wg.Wait()
	close(won)
	n := 0
	for err := range won {
		if err == nil {
			n++
			continue
		}
		r.must(errors.Is(err, session.ErrConflict), "a concurrent Replace returns %v, want ErrConflict", err)
	}
	r.must(n == 1, "%d of %d concurrent Replace calls with one ifRev succeed, want 1", n, cap(won))
	r.must(r.load(rec.Key).Rev == 2, "Rev is %d after one Replace, want 2", r.load(rec.Key).Rev)
}

func checkU3(r *run) {
	rec := r.create("u1")
	renewed := rec
	renewed.Key = newKey()
	r.ok(r.store.Replace(r.ctx, rec.Key, renewed, 1))
	renewed.Rev = 2
	r.same(renewed)
	_, found, err := r.store.Load(r.ctx, rec.Key)
	r.ok(err)
	r.must(!found, "Load finds the record under its old key")

	for _, rev := range []uint64{1, 2} {
		err = r.store.Replace(r.ctx, rec.Key, rec, rev)
		r.must(errors.Is(err, session.ErrNotFound), "Replace under the old key returns %v, want ErrNotFound", err)
	}
	r.ok(r.store.Touch(r.ctx, rec.Key, now().Add(time.Minute), now().Add(2*time.Hour)))
	r.same(renewed)
}

func checkU4(r *run) {
	rec := r.create("u1")
	stale := r.load(rec.Key)
	seen, idle := rec.Seen.Add(time.Minute), rec.IdleExpires.Add(time.Minute)
	r.ok(r.store.Touch(r.ctx, rec.Key, seen, idle))
	stale.Data = []byte("new")
	r.ok(r.store.Replace(r.ctx, rec.Key, stale, 1))
	got := r.load(rec.Key)
	r.must(got.Seen.Equal(seen), "Seen is %v after Touch and a Replace that read before it, want %v", got.Seen, seen)
	r.must(got.IdleExpires.Equal(idle), "IdleExpires is %v after Touch and a Replace that read before it, want %v", got.IdleExpires, idle)
	r.must(string(got.Data) == "new", "Replace did not store the data")
}

func checkT1(r *run) {
	rec := r.create("u1")
	rec.Seen, rec.IdleExpires = rec.Seen.Add(time.Minute), rec.IdleExpires.Add(time.Minute)
	r.ok(r.store.Touch(r.ctx, rec.Key, rec.Seen, rec.IdleExpires))
	r.same(rec)
	r.ok(r.store.Touch(r.ctx, rec.Key, rec.Seen.Add(-time.Hour), rec.IdleExpires.Add(-time.Hour)))
	r.same(rec)
	rec.Seen = rec.Seen.Add(time.Minute)
	r.ok(r.store.Touch(r.ctx, rec.Key, rec.Seen, rec.IdleExpires.Add(-time.Hour)))
	r.same(rec)
	r.ok(r.store.Touch(r.ctx, rec.Key, rec.Seen, rec.Expires.Add(time.Hour)))
	rec.IdleExpires = rec.Expires
	r.same(rec)
}

func checkT2(r *run) {
	absent := record("u1", now())
	r.ok(r.store.Touch(r.ctx, absent.Key, now(), now().Add(time.Hour)))
	r.gone(absent)
	rec := r.create("u1")
	_, err := r.store.End(r.ctx, rec.ID, session.ReasonSignedOut, now())
	r.ok(err)
	r.ok(r.store.Touch(r.ctx, rec.Key, now(), now().Add(time.Hour)))
	r.gone(rec)
}

func checkE1(r *run) {
	cursor := r.cursor()
	at := now()
	rec := r.create("u1")
	ended, err := r.store.End(r.ctx, rec.ID, session.ReasonRevoked, at)
	r.ok(err)
	r.must(ended, "End of a session reports false")
	r.gone(rec)
	ended, err = r.store.End(r.ctx, rec.ID, session.ReasonSignedOut, at)
	r.ok(err)
	r.must(!ended, "End of an ended session reports true")
	ended, err = r.store.End(r.ctx, "never was", session.ReasonSignedOut, at)
	r.ok(err)
	r.must(!ended, "End of nothing reports true")

	log := r.endedSince(cursor, 10)
	want := session.Ended{ID: rec.ID, UserID: "u1", Reason: session.ReasonRevoked, At: at}
	r.must(len(log) == 1 && log[0].ID == want.ID && log[0].UserID == want.UserID && log[0].Reason == want.Reason && log[0].At.Equal(at),
		"the log has %+v, want %+v alone", log, want)

	// Of concurrent calls one ends it, and it stands in the log once.
	cursor = r.cursor()
	rec = r.create("u1")
	var wg sync.WaitGroup
	results := make(chan bool, 8)
	for range cap(results) {
		wg.Go(func() {
			ended, err := r.store.End(r.ctx, rec.ID, session.ReasonRevoked, at)
			results <- ended && err == nil
		})
	}
	wg.Wait()
	close(results)
	n := 0
	for ended := range results {
		if ended {
			n++
		}
	}
	r.must(n == 1, "%d concurrent End calls report true, want 1", n)
	r.must(len(r.endedSince(cursor, 10)) == 1, "a session ended once is not once in the log")
}

func checkE2(r *run) {
	cursor := r.cursor()
	a, b, keep, other := r.create("u1"), r.create("u1"), r.create("u1"), r.create("u2")
	before, otherBefore := mustEpoch(r, "u1"), mustEpoch(r, "u2")
	at := now()
	ended, err := r.store.EndUser(r.ctx, "u1", keep.ID, session.ReasonPasswordChanged, at)
	r.ok(err)
	r.must(len(ended) == 2, "EndUser returns %d sessions, want 2", len(ended))
	for _, e := range ended {
		r.must((e.ID == a.ID || e.ID == b.ID) && e.UserID == "u1" && e.Reason == session.ReasonPasswordChanged && e.At.Equal(at), "EndUser returns %+v", e)
	}
	r.gone(a)
	r.gone(b)
	r.same(keep)
	r.same(other)
	r.must(mustEpoch(r, "u1") != before, "EndUser does not raise the epoch")
	r.must(mustEpoch(r, "u2") == otherBefore, "EndUser raises another user's epoch")
	r.must(len(r.endedSince(cursor, 10)) == 2, "EndUser does not log what it ended")

	ended, err = r.store.EndUser(r.ctx, "u1", "", session.ReasonRevoked, at)
	r.ok(err)
	r.must(len(ended) == 1, "EndUser that spares none returns %d sessions, want 1", len(ended))
	r.gone(keep)

	before = mustEpoch(r, "nobody")
	ended, err = r.store.EndUser(r.ctx, "nobody", "", session.ReasonRevoked, at)
	r.ok(err)
	r.must(len(ended) == 0, "EndUser of a user without sessions returns %d", len(ended))
	r.must(mustEpoch(r, "nobody") != before, "EndUser of a user without sessions does not raise the epoch")
	anonymous := r.create("")
	for _, user := range []string{"u1", ""} {
		ended, err = r.store.EndUser(r.ctx, user, "", session.ReasonRevoked, at)
		r.ok(err)
		r.must(len(ended) == 0, "EndUser of %q ends an anonymous session", user)
		r.same(anonymous)
	}
}

func checkE3(r *run) {
	seen := map[uint64]bool{mustEpoch(r, "u1"): true}
	for range 5 {
		_, err := r.store.EndUser(r.ctx, "u1", "", session.ReasonRevoked, now())
		r.ok(err)
		_, err = r.store.Reap(r.ctx, now(), 100)
		r.ok(err)
		epoch := mustEpoch(r, "u1")
		r.must(!seen[epoch], "Epoch returns %d again", epoch)
		seen[epoch] = true
	}
}

func checkE5(r *run) {
	gone, keep, other := r.create("u1"), r.create("u1"), r.create("u2")
	old := mustEpoch(r, "u1")
	cursor, at := r.cursor(), now()
	ended, err := r.store.EndUserAt(r.ctx, "u1", keep.ID, old, session.ReasonPasswordChanged, at)
	r.ok(err)
	r.must(len(ended) == 1 && ended[0].ID == gone.ID && ended[0].UserID == "u1" && ended[0].Reason == session.ReasonPasswordChanged && ended[0].At.Equal(at), "EndUserAt returns %+v", ended)
	r.gone(gone)
	r.same(keep)
	r.same(other)
	r.must(len(r.endedSince(cursor, 10)) == 1, "EndUserAt does not log what it ended")
	epoch := mustEpoch(r, "u1")
	r.must(epoch != old, "EndUserAt does not raise the epoch")

	cursor = r.cursor()
	for _, wrong := range []uint64{old, epoch + 1, session.AnyEpoch} {
		ended, err = r.store.EndUserAt(r.ctx, "u1", "", wrong, session.ReasonRevoked, at)
		r.must(errors.Is(err, session.ErrEpoch) && len(ended) == 0, "EndUserAt with an epoch that is not the user's returns %d sessions and %v, want ErrEpoch", len(ended), err)
	}
	r.same(keep)
	r.must(mustEpoch(r, "u1") == epoch, "EndUserAt that was refused raises the epoch")
	r.must(len(r.endedSince(cursor, 10)) == 0, "EndUserAt that was refused ends something")

	ended, err = r.store.EndUserAt(r.ctx, "nobody", "", mustEpoch(r, "nobody"), session.ReasonRevoked, at)
	r.ok(err)
	r.must(len(ended) == 0, "EndUserAt of a user without sessions returns %d", len(ended))

	results := make(chan error)
	for range 8 {
		go func() {
			_, err := r.store.EndUserAt(r.ctx, "u1", "", epoch, session.ReasonRevoked, at)
			results <- err
		}()
	}
	won := 0
	for range 8 {
		switch err := <-results; {
		case err == nil:
			won++
		case !errors.Is(err, session.ErrEpoch):
			r.ok(err)
		}
	}
	r.must(won == 1, "%d of 8 EndUserAt with one epoch end the user's sessions, want 1", won)
	r.gone(keep)
}

func checkI1(r *run) {
	at := now()
	var want []string
	for i := range 3 {
		rec := record("u1", at.Add(-time.Duration(i)*time.Minute))
		r.ok(r.store.Create(r.ctx, rec, session.AnyEpoch))
		want = append(want, rec.ID)
	}
	r.create("u2")
	r.create("")
	list, err := r.store.ListUser(r.ctx, "u1")
	r.ok(err)
	r.must(len(list) == len(want), "ListUser returns %d records, want %d", len(list), len(want))
	for i, rec := range list {
		r.must(rec.ID == want[i], "ListUser is not newest first")
		d := difference(rec, r.load(rec.Key))
		r.must(d == "", "ListUser: %s differs from what Load returns", d)
	}
	for _, user := range []string{"nobody", ""} {
		list, err = r.store.ListUser(r.ctx, user)
		r.ok(err)
		r.must(len(list) == 0, "ListUser of %q returns %d records", user, len(list))
	}
}

func checkW1(r *run) {
	before := r.create("u1")
	_, err := r.store.End(r.ctx, before.ID, session.ReasonSignedOut, now())
	r.ok(err)
	start := r.cursor()

	var want []string
	for range 5 {
		rec := r.create("u1")
		_, err := r.store.End(r.ctx, rec.ID, session.ReasonSignedOut, now())
		r.ok(err)
		want = append(want, rec.ID)
	}
	for _, limit := range []int{1, 2, 5, 100} {
		log := r.endedSince(start, limit)
		r.must(len(log) == len(want), "with limit %d the log has %d sessions after the cursor, want %d", limit, len(log), len(want))
		for i, e := range log {
			r.must(e.ID == want[i], "with limit %d the log is not oldest first", limit)
		}
	}

	// A reader that follows along misses nothing of what ends concurrently.
	const writers, each = 4, 15
	ids := make(map[string]bool)
	var recs [writers][]session.Record
	for i := range recs {
		for range each {
			rec := r.create(fmt.Sprint("w", i))
			recs[i] = append(recs[i], rec)
			ids[rec.ID] = true
		}
	}
	cursor := r.cursor()
	var wg sync.WaitGroup
	failed := make(chan error, writers*each)
	for i := range recs {
		wg.Go(func() {
			for j, rec := range recs[i] {
				var err error
				if j == each-1 { // the last by the other way
					_, err = r.store.EndUser(r.ctx, rec.UserID, "", session.ReasonRevoked, now())
				} else {
					_, err = r.store.End(r.ctx, rec.ID, session.ReasonRevoked, now())
				}
				if err != nil {
					failed <- err
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	seen := make(map[string]bool)
	read := func() {
		for {
			ended, next, err := r.store.EndedSince(r.ctx, cursor, 7)
			r.ok(err)
			for _, e := range ended {
				r.must(!seen[e.ID], "the log returns a session twice")
				seen[e.ID] = true
			}
			cursor = next
			if len(ended) == 0 {
				return
			}
		}
	}
	for running := true; running; {
		select {
		case <-done:
			running = false
		case <-time.After(time.Millisecond):
		}
		read()
	}
	close(failed)
	for err := range failed {
		r.ok(err)
	}
	for id := range ids {
		r.must(seen[id], "a reader that followed along missed a session (%d of %d seen)", len(seen), len(ids))
	}
}

func checkW2(r *run) {
	for _, cursor := range []string{"no cursor", "-1", "é", "0.0.0", "99999999999999999999999999"} {
		_, _, err := r.store.EndedSince(r.ctx, cursor, 10)
		r.must(errors.Is(err, session.ErrCursorLost), "EndedSince(%q) returns %v, want ErrCursorLost", cursor, err)
	}
	cursor := r.cursor()
	rec := r.create("u1")
	_, err := r.store.End(r.ctx, rec.ID, session.ReasonSignedOut, now())
	r.ok(err)
	// Fourteen minutes later it must still be there.
	_, err = r.store.Reap(r.ctx, now().Add(14*time.Minute), 100)
	r.ok(err)
	r.must(len(r.endedSince(cursor, 10)) == 1, "a session that ended less than 15 minutes ago is not in the log any more")
}

func checkR1(r *run) {
	at := now()
	idle, absolute, edge, live := record("u1", at), record("u1", at), record("u1", at), record("u1", at)
	idle.IdleExpires = at.Add(-time.Second)
	absolute.IdleExpires, absolute.Expires = at.Add(time.Minute), at.Add(-time.Second)
	edge.IdleExpires = at
	live.IdleExpires = at.Add(time.Millisecond)
	for _, rec := range []session.Record{idle, absolute, edge, live} {
		r.ok(r.store.Create(r.ctx, rec, session.AnyEpoch))
	}
	cursor := r.cursor()
	n := 0
	for _, want := range []int{2, 1, 0} {
		ended, err := r.store.Reap(r.ctx, at, 2)
		r.ok(err)
		r.must(len(ended) == want, "Reap with limit 2 returns %d sessions, want %d", len(ended), want)
		for _, e := range ended {
			r.must(e.Reason == session.ReasonExpired && e.UserID == "u1" && e.ID != live.ID, "Reap returns %+v", e)
		}
		n += len(ended)
	}
	r.must(len(r.endedSince(cursor, 10)) == n, "Reap does not log what it ended")
	r.gone(idle)
	r.gone(absolute)
	r.gone(edge)
	r.same(live)
}
