package session

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"
)

// config is Options with its defaults, checked.
type config struct {
	cookie     Lifetime
	refresh    Lifetime
	touchEvery time.Duration
	grace      time.Duration
	reapEvery  time.Duration
	maxData    int
	maxPerUser int
	shape      Cookie
	csrf       *CSRF
	skipCSRF   func(*http.Request) bool
	onError    func(http.ResponseWriter, *http.Request, error)
	logger     *slog.Logger
}

const (
	maxGrace = time.Minute
	// maxDataLimit keeps a mistaken MaxData from being no limit at all.
	maxDataLimit = 16 << 20
)

func newConfig(o Options) (config, error) {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("session: "+format, args...)) }

	c := config{
		skipCSRF: o.InsecureSkipCSRF,
		onError:  o.ErrorHandler,
		logger:   o.Logger,
	}
	duration := func(name string, value, byDefault time.Duration) time.Duration {
		if value < 0 {
			bad("Options.%s is %v; want a positive duration, or 0 for %v", name, value, byDefault)
		}
		if value > 0 && value < time.Millisecond {
			bad("Options.%s is %v; times are kept to the millisecond", name, value)
		}
		if value == 0 {
			return byDefault
		}
		return value
	}
	lifetime := func(idle, absolute string, l, byDefault Lifetime) Lifetime {
		l = Lifetime{Idle: duration(idle, l.Idle, byDefault.Idle), Absolute: duration(absolute, l.Absolute, byDefault.Absolute)}
		if l.Idle > l.Absolute {
			bad("Options.%s (%v) is longer than Options.%s (%v); lower it or raise the other", idle, l.Idle, absolute, l.Absolute)
		}
		return l
	}
	c.cookie = lifetime("Idle", "Absolute", Lifetime{o.Idle, o.Absolute}, Lifetime{30 * time.Minute, 12 * time.Hour})
	c.refresh = lifetime("Refresh.Idle", "Refresh.Absolute", o.Refresh, Lifetime{14 * 24 * time.Hour, 90 * 24 * time.Hour})

	c.touchEvery = duration("TouchEvery", o.TouchEvery, min(time.Minute, c.cookie.Idle/10))
	if c.touchEvery >= c.cookie.Idle {
		bad("Options.TouchEvery (%v) is not shorter than Idle (%v): sessions in use would expire", c.touchEvery, c.cookie.Idle)
	}
	switch {
	case o.Grace == -1:
		c.grace = -1
	case o.Grace > maxGrace:
		bad("Options.Grace is %v; a copied refresh token would work for so long: use at most %v", o.Grace, maxGrace)
	default:
		c.grace = duration("Grace", o.Grace, 10*time.Second)
	}
	if c.reapEvery = o.ReapEvery; o.ReapEvery != -1 {
		c.reapEvery = duration("ReapEvery", o.ReapEvery, time.Minute)
	}
	number := func(name string, value, byDefault int, lowest int) int {
		if value < lowest {
			bad("Options.%s is %d; want a positive number, or 0 for %d", name, value, byDefault)
		}
		if value == 0 {
			return byDefault
		}
		return value
	}
	c.maxData = number("MaxData", o.MaxData, 64<<10, 0)
	if c.maxData > maxDataLimit {
		bad("Options.MaxData is %d; keep what is over %d bytes elsewhere, under the session's or the user's id", c.maxData, maxDataLimit)
	}
	c.maxPerUser = number("MaxPerUser", o.MaxPerUser, 100, -1)

	var err error
	if c.shape, err = checkCookie(o.Cookie); err != nil {
		errs = append(errs, err)
	}
	if c.csrf, err = NewCSRF(o.TrustedOrigins...); err != nil {
		errs = append(errs, err)
	}
	https := func(origin string) bool { return strings.HasPrefix(origin, "https://") }
	if o.Cookie.Insecure && len(o.TrustedOrigins) > 0 && !slices.ContainsFunc(o.TrustedOrigins, func(s string) bool { return !https(s) }) {
		bad("Options.Cookie.Insecure is for http on loopback, and every trusted origin is https: leave it out")
	}
	if c.logger == nil {
		c.logger = slog.Default()
	}
	if c.onError == nil {
		c.onError = writeError
	}
	return c, errors.Join(errs...)
}

// checkCookie fills in the defaults and refuses what browsers would refuse:
// RFC 6265bis section 4.1.3 (name prefixes) and section 5.6 (SameSite).
func checkCookie(c Cookie) (Cookie, error) {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("session: "+format, args...))
	}
	if c.Name == "" {
		c.Name = "__Host-session"
		if c.Insecure {
			c.Name = "session"
		}
	}
	if c.Path == "" {
		c.Path = "/"
	}
	if c.SameSite == 0 || c.SameSite == http.SameSiteDefaultMode {
		c.SameSite = http.SameSiteLaxMode
	}
	// Browsers compare the prefixes without regard to case.
	lower := strings.ToLower(c.Name)
	host, secure := strings.HasPrefix(lower, "__host-"), strings.HasPrefix(lower, "__secure-")
	if host && c.Domain != "" {
		bad("Cookie.Name %q allows no Domain: leave Domain empty, or set Name to \"__Secure-session\"", c.Name)
	}
	if host && c.Path != "/" {
		bad("Cookie.Name %q allows no Path but \"/\": leave Path empty, or set Name to \"__Secure-session\"", c.Name)
	}
	if (host || secure) && c.Insecure {
		bad("Cookie.Name %q needs Secure: serve https, or leave Name empty with Insecure", c.Name)
	}
	if c.SameSite == http.SameSiteNoneMode && c.Insecure {
		bad("Cookie.SameSite None needs Secure: use Lax, or serve https")
	}
	if c.SameSite < http.SameSiteLaxMode || c.SameSite > http.SameSiteNoneMode {
		bad("Cookie.SameSite %d is not one of net/http's", c.SameSite)
	}
	if err := (&http.Cookie{Name: c.Name, Value: "x", Path: c.Path, Domain: c.Domain}).Valid(); err != nil {
		bad("Cookie: %w", err)
	}
	if !strings.HasPrefix(c.Path, "/") {
		bad("Cookie.Path %q does not begin with \"/\": browsers would ignore it", c.Path)
	}
	if n := len(c.Name) + len(c.Path) + len(c.Domain); n > 1024 {
		bad("Cookie: name, path and domain take %d bytes; browsers drop cookies over 4096", n)
	}
	return c, errors.Join(errs...)
}

// checkData refuses a data type that can't be stored and read back.
func checkData[D any]() error {
	if t := reflect.TypeFor[D](); t.Kind() == reflect.Interface {
		return fmt.Errorf("session: data type %v is an interface; use a struct, so that it reads back as what it was", t)
	}
	var zero D
	if _, err := encodeData(zero); err != nil {
		return fmt.Errorf("session: data type %T can't be stored: %w", zero, err)
	}
	return nil
}
