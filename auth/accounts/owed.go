package accounts

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"time"

	"github.com/gatewire/gatewire/session"
)

// Accounts and sessions are in two stores, and a call can be lost between them.
// So what a new password or a disabled account owes, the end of the user's
// sessions, is written with it, in the same step, and struck off when the session
// store has confirmed it. Until then every node repeats it.
//
// A repeat must never end a session that began properly meanwhile, on whatever
// node. Nobody begins a session before what is owed is struck off (see mint), and
// whoever ends the sessions
//
//  1. reads the user's epoch,
//  2. writes a mark of their own into the record, while the one they read is there,
//  3. ends the sessions while the epoch is still the same, which raises it,
//  4. strikes the record off, while the mark is still theirs.
//
// Who strikes off wrote the last mark. All others had read the epoch before that
// mark was written, hence before it was raised: their step 3 comes to nothing.
const (
	// inHand is how long others leave an ending to who wrote its mark last.
	inHand = 3 * time.Second
	// clocksApart is how far another node's clock may be ahead of ours. Who wrote
	// a Due that lies further ahead went by a wrong clock, and may be dead.
	clocksApart = time.Minute
	// repeatEvery is the mean time between two looks for what is owed, and
	// repeatAtMost the longest while it can't be done.
	repeatEvery  = time.Second
	repeatAtMost = 10 * time.Second
	repeatBatch  = 100
	// giveUpAfter ends a round in which nothing works.
	giveUpAfter = 3
	// patience is how long a sign-in waits for who has the ending in hand.
	patience = time.Second
)

// ErrEndingOwed: the password is changed, or the account disabled, but its
// sessions could not be ended yet. That is on record and repeated, also after a
// crash, until the session store confirms it. No session is spared then.
var ErrEndingOwed = errors.New("accounts: it is done, but the sessions that are to end have not been ended yet")

// errPerhaps is for a change that was perhaps stored.
var errPerhaps = errors.New("accounts: it is not known whether the password was changed")

func newEnding(reason session.Reason) *Ending {
	now := time.Now().UTC().Truncate(time.Microsecond)
	return &Ending{Mark: rand.Text(), Reason: reason, Since: now, Due: now.Add(inHand)}
}

// again is the same ending under another mark.
func (e Ending) again(due time.Time) *Ending {
	e.Mark, e.Due = rand.Text(), due.UTC().Truncate(time.Microsecond)
	return &e
}

// held reports whether who wrote the ending still has it in hand.
func (e *Ending) held(now time.Time) bool {
	left := e.Due.Sub(now)
	return 0 < left && left <= inHand+clocksApart
}

// endNow ends the user's sessions but one for what has just been put on record,
// and strikes it off. epoch was read before that; between may do what must have
// succeeded before. On any failure nobody is spared.
func (s *Service) endNow(ctx context.Context, userID, keepID string, epoch uint64, owed *Ending, between func() error) error {
	n, err := s.sessions.RevokeOthersAt(ctx, userID, keepID, epoch, owed.Reason)
	if err == nil && between != nil {
		err = between()
	}
	ctx, cancel := detached(ctx)
	defer cancel()
	if err == nil {
		err = s.users.SwapEnding(ctx, userID, owed.Mark, nil)
	}
	if err == nil {
		s.event(ctx, Event{Kind: EventSessionsEnded, UserID: userID, Count: n})
		return nil
	}
	return s.owe(ctx, userID, owed, err)
}

// owe leaves an ending to the next who looks. That it can't be written costs
// inHand: on record it is already.
func (s *Service) owe(ctx context.Context, userID string, owed *Ending, why error) error {
	_ = s.users.SwapEnding(ctx, userID, owed.Mark, owed.again(time.Now()))
	s.log.WarnContext(ctx, "accounts: sessions could not be ended yet; this is repeated", "user", userID, "reason", owed.Reason, "error", why)
	s.event(ctx, Event{Kind: EventEndingOwed, UserID: userID})
	return fmt.Errorf("%w: %w", ErrEndingOwed, why)
}

// settle ends what is owed of a user, who has none to spare, and returns nil when
// nothing is owed any more. What somebody else has in hand it leaves to them for
// as long as wait; with no wait it returns nil then.
func (s *Service) settle(ctx context.Context, userID string, wait time.Duration) error {
	start, mine := time.Now(), ""
	for try := 1; ; try++ {
		epoch, err := s.sessions.Epoch(ctx, userID)
		if err != nil {
			return err
		}
		u, found, err := s.users.UserByID(ctx, userID)
		if err != nil || !found || u.Ending == nil {
			return err
		}
		owed := u.Ending
		busy := owed.Mark != mine && owed.held(time.Now())
		if busy && wait == 0 {
			return nil
		}
		if !busy || time.Since(start) >= wait {
			claim := owed.again(time.Now().Add(inHand))
			done, err := s.settleAs(ctx, userID, epoch, owed.Mark, claim)
			if done || err != nil {
				return err
			}
			mine = claim.Mark
		}
		if err := rest(ctx, time.Duration(min(try, 10))*10*time.Millisecond); err != nil {
			return err
		}
	}
}

// settleAs is steps 2 to 4. It is not done when somebody came between.
func (s *Service) settleAs(ctx context.Context, userID string, epoch uint64, mark string, claim *Ending) (done bool, err error) {
	between := func(err error) bool {
		return errors.Is(err, ErrConflict) || errors.Is(err, ErrNoUser) || errors.Is(err, session.ErrEpoch)
	}
	err = s.users.SwapEnding(ctx, userID, mark, claim)
	n := 0
	if err == nil {
		n, err = s.sessions.RevokeOthersAt(ctx, userID, "", epoch, claim.Reason)
	}
	if err == nil {
		ctx, cancel := detached(ctx)
		defer cancel()
		err = s.users.SwapEnding(ctx, userID, claim.Mark, nil)
	}
	switch {
	case between(err):
		return false, nil
	case err != nil:
		return false, err
	}
	s.event(ctx, Event{Kind: EventSessionsEndedLate, UserID: userID, Count: n})
	return true, nil
}

// rest waits for about d, at random, so that those who compete don't keep time.
func rest(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d/2 + mathrand.N(d))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// repeat settles what is owed until ctx ends.
func (s *Service) repeat(ctx context.Context) {
	wait := repeatEvery
	for rest(ctx, wait) == nil {
		if err := s.settleDue(ctx); err == nil {
			wait = repeatEvery
		} else if wait = min(2*wait, repeatAtMost); ctx.Err() == nil {
			s.log.WarnContext(ctx, "accounts: sessions that are to end could not be ended; this is repeated", "error", err)
		}
	}
}

// settleDue is one round. Nodes go through the same list, each in an order of its
// own; so also one user whose sessions can't be ended is in nobody's way.
func (s *Service) settleDue(ctx context.Context) error {
	for {
		look, cancel := context.WithTimeout(ctx, storeTimeout)
		now := time.Now()
		owing, err := s.users.Owing(look, now.AddDate(100, 0, 0), repeatBatch) // also by a wrong clock
		cancel()
		if err != nil {
			return err
		}
		all := len(owing) < repeatBatch
		owing = slices.DeleteFunc(owing, func(u User) bool { return u.Ending.held(now) })
		mathrand.Shuffle(len(owing), func(i, j int) { owing[i], owing[j] = owing[j], owing[i] })
		var failed []error
		for _, u := range owing {
			if err := s.settleOne(ctx, u.ID); err != nil {
				failed = append(failed, fmt.Errorf("of user %s, since %s: %w", u.ID, u.Ending.Since.Format(time.RFC3339), err))
			}
			if len(failed) == giveUpAfter || ctx.Err() != nil {
				break
			}
		}
		if len(failed) > 0 || all || len(owing) == 0 || ctx.Err() != nil {
			return errors.Join(failed...)
		}
	}
}

// settleFor settles what is owed of somebody who waits for it.
func (s *Service) settleFor(ctx context.Context, userID string) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	return s.settle(ctx, userID, patience)
}

func (s *Service) settleOne(ctx context.Context, userID string) error {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	return s.settle(ctx, userID, 0)
}

// Close ends the service's goroutine and waits for it, some seconds where a store
// hangs. Its methods still work, but what they leave owed waits for another node,
// for the next start, or for the user's next sign-in. It always returns nil.
func (s *Service) Close() error {
	s.stop()
	s.done.Wait()
	return nil
}
