package session

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/gatewire/gatewire/internal/origin"
)

// CSRF refuses state-changing requests that come from a foreign origin. It is
// the check that [Manager.Handler] makes, for routes outside of it. It is
// immutable and safe for concurrent use.
type CSRF struct {
	trusted map[string]bool
	fetch   *http.CrossOriginProtection
}

// NewCSRF returns a check that trusts the given origins ("https://app.example";
// plain http is for loopback). With none, a request's Origin must equal its Host.
func NewCSRF(trustedOrigins ...string) (*CSRF, error) {
	c := &CSRF{trusted: make(map[string]bool), fetch: http.NewCrossOriginProtection()}
	var errs []error
	for _, s := range trustedOrigins {
		o, err := origin.Parse(s)
		if err == nil {
			err = c.fetch.AddTrustedOrigin(o)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("session: trusted origin: %w", err))
			continue
		}
		c.trusted[o] = true
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return c, nil
}

// Check returns nil, or an error that is [ErrCrossOrigin]. It lets pass: GET,
// HEAD and OPTIONS, which must not change anything (a WebSocket handshake is a
// GET, so sockets check the Origin themselves); a request whose Origin is
// trusted; one without Origin that Sec-Fetch-Site calls same-origin or
// user-initiated; and one with neither header, which is no current browser.
func (c *CSRF) Check(r *http.Request) error {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return nil
	}
	origins := r.Header["Origin"]
	if len(origins) > 1 {
		return fmt.Errorf("%w: more than one Origin", ErrCrossOrigin)
	}
	// http.CrossOriginProtection accepts Sec-Fetch-Site: same-origin, or an
	// Origin that equals Host, whatever is trusted. Both say only that the
	// page came from the name the request went to. That is not enough where
	// other names (a rebound DNS name, a neighbour's domain) lead here too.
	if len(c.trusted) > 0 && len(origins) == 1 && !c.trusted[origins[0]] {
		return fmt.Errorf("%w: Origin %.100q is not trusted", ErrCrossOrigin, origins[0])
	}
	if err := c.fetch.Check(r); err != nil {
		return fmt.Errorf("%w: %w", ErrCrossOrigin, err)
	}
	return nil
}
