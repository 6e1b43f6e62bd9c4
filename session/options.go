package session

import (
	"context"
	"log/slog"
	"net/http"
	"time"
)

// Options configures a [Manager]. nil and zero fields mean the defaults named
// below, which are safe for production over https.
type Options struct {
	// Idle ends a cookie session that was not used for so long. Defaults to 30 minutes.
	Idle time.Duration
	// Absolute ends a cookie session so long after sign-in, used or not. Defaults to 12 hours.
	Absolute time.Duration
	// TouchEvery is how often, at most, use of a session is written to the
	// store. Defaults to a tenth of Idle, a minute at most.
	TouchEvery time.Duration

	// Refresh is the lifetime of token sessions. Defaults to 14 days idle
	// (counted from the last refresh) and 90 days absolute.
	Refresh Lifetime
	// Grace is how long a repeat of the last refresh gets the same answer
	// again. Defaults to 10 seconds; at most a minute. -1 disables it.
	Grace time.Duration

	// Cookie is how cookie sessions are presented.
	Cookie Cookie

	// TrustedOrigins are the browser origins ("https://app.example") that may
	// send state-changing requests through Handler. When set, a request that
	// carries any other Origin is refused, also one that equals its Host. When
	// empty, an Origin must equal Host.
	TrustedOrigins []string
	// InsecureSkipCSRF exempts a request from the cross-origin check of
	// Handler. It is for routes with a proof of their own, such as a provider's
	// form_post callback. Prefer mounting such routes outside of Handler.
	InsecureSkipCSRF func(*http.Request) bool

	// MaxData bounds the encoded data of a session. Defaults to 64 KiB.
	MaxData int
	// MaxPerUser bounds the sessions of a user; the longest unused ones beyond
	// it end when another begins. Defaults to 100. -1 disables it.
	MaxPerUser int
	// ReapEvery is how often expired sessions are removed from the store and
	// logged as ended. Defaults to 1 minute. -1 leaves it to another process.
	ReapEvery time.Duration

	// ErrorHandler answers a request that Handler refuses or whose session
	// could not be saved. [StatusOf] has the status. Defaults to a plain text
	// that tells the client nothing internal.
	ErrorHandler func(w http.ResponseWriter, r *http.Request, err error)
	// Events is told what happens to sessions, for an audit log. It is called
	// synchronously; it must not block and must not use the request's session.
	// Defaults to none.
	Events func(context.Context, Event)
	// Logger gets what an operator should know. No secret is logged at any
	// level. Defaults to slog.Default.
	Logger *slog.Logger
}

// Lifetime bounds a session by inactivity and by age.
type Lifetime struct {
	Idle     time.Duration
	Absolute time.Duration
}

// Cookie describes the session cookie. It is always HttpOnly.
type Cookie struct {
	// Name defaults to "__Host-session", or "session" with Insecure.
	Name string
	// Path defaults to "/". A "__Host-" name allows no other.
	Path string
	// Domain defaults to none: this host alone. A "__Host-" name allows no other.
	Domain string
	// SameSite defaults to Lax.
	SameSite http.SameSite
	// Persistent keeps the cookie when the browser closes, until the
	// session's absolute end. Defaults to a cookie that goes with the browser.
	Persistent bool
	// Insecure leaves out the Secure attribute. It is for http on loopback
	// while developing; anywhere else serve https instead.
	Insecure bool
}
