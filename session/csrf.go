package session

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// CSRF refuses state-changing requests that come from a foreign origin. It is
// the check that [Manager.Handler] makes, for routes outside of it. It is
// immutable and safe for concurrent use.
type CSRF struct {
	trusted map[string]bool
	fetch   *http.CrossOriginProtection
}

// NewCSRF returns a check that trusts the given origins ("https://app.example",
// as browsers write them). With none, a request's Origin must equal its Host.
func NewCSRF(trustedOrigins ...string) (*CSRF, error) {
	c := &CSRF{trusted: make(map[string]bool), fetch: http.NewCrossOriginProtection()}
	var errs []error
	for _, origin := range trustedOrigins {
		if err := checkOrigin(origin); err != nil {
			errs = append(errs, err)
			continue
		}
		if err := c.fetch.AddTrustedOrigin(origin); err != nil {
			errs = append(errs, fmt.Errorf("session: trusted origin %q: %w", origin, err))
			continue
		}
		c.trusted[origin] = true
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return c, nil
}

// checkOrigin wants an origin spelled the way browsers serialise it (RFC 6454
// section 6.2), since it is compared byte for byte.
func checkOrigin(origin string) error {
	u, err := url.Parse(origin)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Scheme+"://"+u.Host != origin {
		return fmt.Errorf("session: trusted origin %q: want scheme://host or scheme://host:port and nothing more", origin)
	}
	if u.Scheme == "http" && !loopback(u.Hostname()) {
		return fmt.Errorf("session: trusted origin %q: whoever is on the network can write pages of a plain http origin: use https (http is for loopback)", origin)
	}
	if origin != strings.ToLower(origin) {
		return fmt.Errorf("session: trusted origin %q: browsers send it in lower case", origin)
	}
	if u.Scheme == "http" && u.Port() == "80" || u.Scheme == "https" && u.Port() == "443" {
		return fmt.Errorf("session: trusted origin %q: browsers leave out the default port", origin)
	}
	return nil
}

// loopback reports whether host names the machine itself.
func loopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
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
