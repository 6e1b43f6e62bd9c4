package accounts

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"time"
)

// ThrottledError means too many tries. 429, with Retry-After.
type ThrottledError struct {
	RetryAfter time.Duration
}

// Error is one sentence.
func (e *ThrottledError) Error() string { return "accounts: too many tries" }

// UserMessage and HTTPStatus are for the page of a provider sign-in.
func (e *ThrottledError) UserMessage() string { return "Too many attempts. Try again later." }

// HTTPStatus is 429.
func (e *ThrottledError) HTTPStatus() int { return http.StatusTooManyRequests }

// limiterKey names what is counted without saying who it is.
func limiterKey(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		_, _ = h.Write([]byte(p)) // a hash never fails
		_, _ = h.Write([]byte{0})
	}
	return parts[0] + ":" + hex.EncodeToString(h.Sum(nil)[:16])
}

// tries are those taken for one attempt, to be given back if it was none.
type tries struct {
	s     *Service
	taken []taking
}

type taking struct {
	key   string
	limit Limit
}

func (t *tries) take(ctx context.Context, l Limit, parts ...string) (time.Duration, error) {
	key := limiterKey(parts...)
	wait, err := t.s.limiter.Take(ctx, key, l)
	if err == nil && wait == 0 {
		t.taken = append(t.taken, taking{key, l})
	}
	return wait, err
}

// takeAccount takes from what all networks share, and from what each has left
// when that is used up: a network must wait when both are.
func (t *tries) takeAccount(ctx context.Context, account, network string) (time.Duration, error) {
	own, err := t.take(ctx, t.s.limits.PerAccountSlow, "account-slow", account, network)
	if err != nil {
		return 0, err
	}
	all, err := t.take(ctx, t.s.limits.PerAccount, "account", account)
	return min(own, all), err
}

// giveBack is for an attempt that was no guess. It goes on when the client went
// away; failing costs a try.
func (t *tries) giveBack(ctx context.Context) {
	ctx, cancel := detached(ctx)
	defer cancel()
	for _, one := range t.taken {
		if err := t.s.limiter.Give(ctx, one.key, one.limit); err != nil {
			t.s.log.WarnContext(ctx, "accounts: a try could not be given back", "error", err)
		}
	}
	t.taken = nil
}

// guess takes a try at an account's password before it is verified, so that
// parallel guesses count. account is the same for known and unknown ones.
func (s *Service) guess(ctx context.Context, account string, c Client) (*tries, error) {
	t := &tries{s: s}
	network := networkOf(c.IP)
	wait, err := t.take(ctx, s.limits.PerAccountNetwork, "account-network", account, network)
	if err == nil && wait == 0 {
		wait, err = t.take(ctx, s.limits.PerNetwork, "network", network)
	}
	if err == nil && wait == 0 {
		wait, err = t.takeAccount(ctx, account, network)
	}
	if err == nil && wait == 0 {
		return t, nil
	}
	t.giveBack(ctx)
	if err != nil {
		return nil, err
	}
	s.event(ctx, Event{Kind: EventThrottled, IP: c.IP})
	return nil, &ThrottledError{RetryAfter: wait}
}

// signUp takes a try at making an account.
func (s *Service) signUp(ctx context.Context, c Client) error {
	t := &tries{s: s}
	wait, err := t.take(ctx, s.limits.SignUps, "sign-up", networkOf(c.IP))
	if err != nil {
		return err
	}
	if wait > 0 {
		s.event(ctx, Event{Kind: EventThrottled, IP: c.IP})
		return &ThrottledError{RetryAfter: wait}
	}
	return nil
}
