package main

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/gatewire/gatewire/internal/origin"
	"github.com/gatewire/gatewire/jwt"
	"github.com/gatewire/gatewire/password"
)

// config is the environment, read and checked. What depends on the address
// really listened on (baseURL) is filled in by listen.
type config struct {
	addr           string
	loopback       bool
	baseURL        string // scheme://host[:port], no path
	allowedOrigins []string
	trustedProxies []netip.Prefix

	sqliteFile string           // ":memory:" keeps everything in RAM
	postgres   *pgx.ConnConfig  // instead of SQLite
	redis      *redisServer     // nil: sessions in the database, rooms of this process alone
	sealing    jwt.SealingKeys  // zero: generated beside the SQLite file
	peppers    password.Peppers // zero: none

	google   *oidcClient
	oidc     *oidcClient
	logLevel slog.Level
}

// oidcClient is what a provider gave this app.
type oidcClient struct{ issuer, id, secret string }

// readConfig reads every variable and reports all mistakes at once, a line
// each, naming the variable and never what a secret holds.
func readConfig(getenv func(string) string) (config, error) {
	var c config
	var errs []error
	fail := func(name, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", name, fmt.Sprintf(format, args...)))
	}

	c.addr = cmp.Or(getenv("ADDR"), "127.0.0.1:8080")
	host, port, err := net.SplitHostPort(c.addr)
	if err != nil {
		fail("ADDR", "want host:port, as 127.0.0.1:8080")
	} else if _, err := net.LookupPort("tcp", port); err != nil || port == "" {
		fail("ADDR", "%q is not a port", port)
	}
	c.loopback = origin.Loopback(host)

	if s := getenv("BASE_URL"); s != "" {
		base, err := origin.Parse(s)
		if err != nil {
			fail("BASE_URL", "%v", err)
		}
		c.baseURL = base
	} else if !c.loopback && err == nil {
		fail("BASE_URL", "required when ADDR is not loopback: the public origin, as https://app.example")
	}
	for s := range fields(getenv("ALLOWED_ORIGINS")) {
		allowed, err := origin.Parse(s)
		if err != nil {
			fail("ALLOWED_ORIGINS", "%v", err)
			continue
		}
		c.allowedOrigins = append(c.allowedOrigins, allowed)
	}
	for s := range fields(getenv("TRUSTED_PROXIES")) {
		prefix, err := netip.ParsePrefix(s)
		if err != nil {
			fail("TRUSTED_PROXIES", "%q is not a CIDR, as 10.0.0.0/8", s)
			continue
		}
		if prefix.Addr().Is4In6() { // would match nothing: addresses are compared as IPv4
			fail("TRUSTED_PROXIES", "%q: write IPv4 as IPv4, as 10.0.0.0/8", s)
			continue
		}
		c.trustedProxies = append(c.trustedProxies, prefix.Masked())
	}

	switch s := cmp.Or(getenv("DATABASE_URL"), "sqlite:app.db"); {
	case strings.HasPrefix(s, "sqlite:") && len(s) > len("sqlite:"):
		c.sqliteFile = strings.TrimPrefix(s, "sqlite:")
		if strings.ContainsAny(c.sqliteFile, "?#\x00") {
			fail("DATABASE_URL", "a file name without '?' and '#' is wanted after sqlite:")
		}
	case strings.HasPrefix(s, "postgres://"), strings.HasPrefix(s, "postgresql://"):
		if c.postgres, err = parsePostgres(s); err != nil {
			fail("DATABASE_URL", "%v", err)
		}
		if getenv("SECRET_KEYS") == "" {
			fail("SECRET_KEYS", "required with DATABASE_URL=postgres://…, the same on every node: id:base64 of 32 random bytes")
		}
	case strings.HasPrefix(s, "mysql://"):
		fail("DATABASE_URL", "mysql is not supported yet; use sqlite:FILE or postgres://…")
	default:
		fail("DATABASE_URL", "want sqlite:FILE, sqlite::memory: or postgres://user:password@host/name")
	}
	if s := getenv("REDIS_URL"); s != "" {
		if c.redis, err = parseRedis(s); err != nil {
			fail("REDIS_URL", "%v", err)
		}
	}
	for _, name := range []string{"NATS_URL", "SMTP_URL"} {
		if getenv(name) != "" {
			fail(name, "not supported yet; unset it")
		}
	}

	if s := getenv("SECRET_KEYS"); s != "" {
		if c.sealing, err = jwt.ParseSealingKeys(s); err != nil {
			fail("SECRET_KEYS", "%v", err)
		}
	}
	if s := getenv("PASSWORD_PEPPERS"); s != "" {
		if c.peppers, err = password.ParsePeppers(s); err != nil {
			fail("PASSWORD_PEPPERS", "%v", err)
		} else if c.peppers.IsZero() {
			fail("PASSWORD_PEPPERS", "blank: want id:base64, or unset it")
		}
	}

	if id, secret := getenv("GOOGLE_CLIENT_ID"), getenv("GOOGLE_CLIENT_SECRET"); id != "" && secret != "" {
		c.google = &oidcClient{id: id, secret: secret}
	} else if id != "" {
		fail("GOOGLE_CLIENT_SECRET", "required with GOOGLE_CLIENT_ID")
	} else if secret != "" {
		fail("GOOGLE_CLIENT_ID", "required with GOOGLE_CLIENT_SECRET")
	}
	c.oidc = readOIDC(getenv, fail)

	if s := getenv("LOG_LEVEL"); s != "" {
		if err := c.logLevel.UnmarshalText([]byte(s)); err != nil {
			fail("LOG_LEVEL", "%q is not debug, info, warn or error", s)
		}
	}
	return c, errors.Join(errs...)
}

func readOIDC(getenv func(string) string, fail func(name, format string, args ...any)) *oidcClient {
	c := oidcClient{getenv("OIDC_ISSUER"), getenv("OIDC_CLIENT_ID"), getenv("OIDC_CLIENT_SECRET")}
	if c == (oidcClient{}) {
		return nil
	}
	if c.issuer == "" {
		fail("OIDC_ISSUER", "required with OIDC_CLIENT_ID and OIDC_CLIENT_SECRET")
	} else if u, err := url.Parse(c.issuer); err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		fail("OIDC_ISSUER", "want an https URL without user, query and fragment")
	} else if u.Scheme != "https" && (u.Scheme != "http" || !origin.Loopback(u.Hostname())) {
		fail("OIDC_ISSUER", "want https; http is for loopback only")
	}
	if c.id == "" {
		fail("OIDC_CLIENT_ID", "required with OIDC_ISSUER")
	}
	if c.secret == "" {
		fail("OIDC_CLIENT_SECRET", "required with OIDC_ISSUER")
	}
	return &c
}

// local reports whether this app serves this machine alone. A public BASE_URL
// before a loopback ADDR is a reverse proxy: what is for development only must
// not be served through it.
func (c config) local() bool {
	base, err := url.Parse(c.baseURL)
	return err == nil && c.loopback && origin.Loopback(base.Hostname())
}

// fields yields the comma-separated parts of s that are not blank.
func fields(s string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for part := range strings.SplitSeq(s, ",") {
			if part = strings.TrimSpace(part); part != "" && !yield(part) {
				return
			}
		}
	}
}
