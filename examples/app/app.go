package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"

	_ "modernc.org/sqlite" // the driver of DATABASE_URL=sqlite:…

	"github.com/gatewire/gatewire/auth/accounts"
	usersql "github.com/gatewire/gatewire/auth/accounts/sqlstore"
	"github.com/gatewire/gatewire/jwt"
	"github.com/gatewire/gatewire/oidc"
	"github.com/gatewire/gatewire/oidc/oidctest"
	"github.com/gatewire/gatewire/password"
	"github.com/gatewire/gatewire/realtime"
	"github.com/gatewire/gatewire/realtime/client"
	"github.com/gatewire/gatewire/session"
	sessionsql "github.com/gatewire/gatewire/session/sqlstore"
)

// app is everything behind one origin. It is an http.Handler; Close ends it.
type app struct {
	http.Handler
	hub      *realtime.Hub
	draining atomic.Bool
	closers  []io.Closer // closed last to first
}

// devPath is where the development provider is mounted.
const devPath = "/dev/provider"

// newApp wires the library for cfg, whose baseURL is set.
func newApp(ctx context.Context, cfg config, log *slog.Logger) (_ *app, err error) {
	a := &app{}
	defer func() {
		if err != nil {
			a.Close()
		}
	}()

	// Stores: one database for accounts and signing keys; sessions there, or in Redis.
	db, usersDialect, sessionsDialect, err := openDatabase(ctx, cfg)
	if err != nil {
		return nil, err
	}
	a.closers = append(a.closers, db)
	users, err := usersql.New(db, usersDialect)
	if err != nil {
		return nil, err
	}
	if err := users.Migrate(ctx); err != nil {
		return nil, fmt.Errorf("DATABASE_URL: %w", err)
	}
	var sessionStore session.Store
	var broker realtime.Broker // nil: in memory
	if cfg.redis != nil {
		client := cfg.redis.open(log)
		a.closers = append(a.closers, client)
		if sessionStore, broker, err = onRedis(client, log); err != nil {
			return nil, fmt.Errorf("REDIS_URL: %w", err)
		}
	} else if sessionStore, err = inDatabase(ctx, db, sessionsDialect); err != nil {
		return nil, err
	}
	if cfg.sealing.IsZero() { // not before it is clear that there is a database
		if cfg.sealing, err = sealingKeys(cfg.sqliteFile); err != nil {
			return nil, fmt.Errorf("SECRET_KEYS: %w", err)
		}
	}

	// Passwords, sessions, tokens.
	passwords, err := password.New(&password.Options{Peppers: cfg.peppers})
	if err != nil {
		return nil, err
	}
	sessions, err := session.New[struct{}](sessionStore, &session.Options{
		TrustedOrigins: append([]string{cfg.baseURL}, cfg.allowedOrigins...),
		Cookie:         session.Cookie{Insecure: strings.HasPrefix(cfg.baseURL, "http://")},
		Logger:         log,
	})
	if err != nil {
		return nil, err
	}
	a.closers = append(a.closers, sessions)
	ring, err := jwt.NewRing(users, cfg.sealing, &jwt.RingOptions{Logger: log})
	if err != nil {
		return nil, err
	}

	// Accounts, on top of all that.
	mux := http.NewServeMux()
	providers, buttons, err := signInProviders(cfg, mux)
	if err != nil {
		return nil, err
	}
	service, err := accounts.New(sessions, accounts.Config{BaseURL: cfg.baseURL, Users: users, Passwords: passwords, Ring: ring}, &accounts.Options{
		Providers:      providers,
		SealingKeys:    cfg.sealing,
		AllowedOrigins: cfg.allowedOrigins,
		TrustedProxies: cfg.trustedProxies,
		Limiter:        users.Limiter(), // counted in the database, for all nodes together
		Once:           users.Once(),
		Logger:         log,
	})
	if err != nil {
		return nil, err
	}
	a.closers = append(a.closers, service)
	service.Mount(mux)

	// Realtime, behind the same sign-in.
	a.hub, err = realtime.New(cfg.baseURL, realtime.Via(service.Authenticate), sessions, realtime.Rules{
		"room:": inRoom,
		"user:": ownChannel,
	}, &realtime.Options{
		AllowedOrigins: cfg.allowedOrigins,
		Channels:       map[string]realtime.Channel{"room:": {HistorySize: 1000, HistoryTTL: time.Hour}},
		RPC:            map[string]realtime.RPCFunc{"echo": echo},
		Info:           displayName(users),
		Broker:         broker,
		ClientIP:       func(r *http.Request) string { return service.ClientIP(r).String() },
		Logger:         log,
	})
	if err != nil {
		return nil, err
	}
	a.closers = append(a.closers, a.hub)

	mux.Handle("/realtime", a.hub)
	mux.Handle("GET /client/", client.Handler())
	mux.Handle("GET /app/config.json", pageConfig(buttons, service, users))
	web := page(cfg.oidc == nil)
	mux.Handle("GET /{$}", web)
	mux.Handle("GET /web/", web)
	if cfg.local() {
		mux.HandleFunc("GET /dev/mailbox", mailbox)
	}
	a.Handler = a.gate(hardened(oneLoopbackName(cfg.baseURL, withProblems(mux))))
	return a, nil
}

// openDatabase opens the database of cfg.
func openDatabase(ctx context.Context, cfg config) (*sql.DB, usersql.Dialect, sessionsql.Dialect, error) {
	if cfg.postgres != nil {
		db, err := openPostgres(ctx, cfg.postgres)
		return db, usersql.PostgreSQL, sessionsql.PostgreSQL, err
	}
	db, err := openSQLite(cfg.sqliteFile)
	return db, usersql.SQLite, sessionsql.SQLite, err
}

// inDatabase keeps sessions in db.
func inDatabase(ctx context.Context, db *sql.DB, d sessionsql.Dialect) (session.Store, error) {
	store, err := sessionsql.New(db, d)
	if err != nil {
		return nil, err
	}
	if err := store.Migrate(ctx); err != nil {
		return nil, fmt.Errorf("DATABASE_URL: %w", err)
	}
	return store, nil
}

// openSQLite opens file, made with mode 0600 where it is new, or a database in
// memory, which lives in one connection that is never closed.
func openSQLite(file string) (*sql.DB, error) {
	if file != ":memory:" {
		f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, fmt.Errorf("DATABASE_URL: %w", err)
		}
		if err := f.Close(); err != nil {
			return nil, fmt.Errorf("DATABASE_URL: %w", err)
		}
	}
	db, err := sql.Open("sqlite", sessionsql.SQLiteDSN(file))
	if err != nil {
		return nil, fmt.Errorf("DATABASE_URL: %w", err)
	}
	if file == ":memory:" {
		db.SetMaxOpenConns(1)
		db.SetMaxIdleConns(1)
		db.SetConnMaxIdleTime(0)
		db.SetConnMaxLifetime(0)
	}
	return db, nil
}

// signInProviders returns the configured providers and their buttons. Without
// any, and on loopback alone, it mounts the development provider on mux.
func signInProviders(cfg config, mux *http.ServeMux) (providers []*oidc.Provider, buttons []button, err error) {
	buttons = []button{} // the page wants a list
	add := func(name, label string, p *oidc.Provider) {
		p.Name = name
		providers = append(providers, p)
		buttons = append(buttons, button{Name: name, Label: label})
	}
	if cfg.google != nil {
		add("google", "Google", oidc.Google(cfg.google.id, cfg.google.secret))
	}
	if cfg.oidc != nil {
		add("oidc", "Single sign-on", oidc.Generic(cfg.oidc.issuer, cfg.oidc.id, cfg.oidc.secret))
	}
	if len(providers) == 0 && cfg.local() {
		dev, err := oidctest.New(cfg.baseURL+devPath, &oidctest.Options{
			RedirectURIs:   []string{cfg.baseURL + "/auth/dev/callback", cfg.baseURL + "/auth/dev/logged-out"},
			BackchannelURI: cfg.baseURL + "/auth/dev/backchannel",
		})
		if err != nil {
			return nil, nil, err
		}
		mux.Handle(devPath+"/", dev)
		add("dev", "Development provider", oidc.Generic(dev.Issuer(), dev.ClientID(), dev.ClientSecret()))
	}
	return providers, buttons, nil
}

// inRoom lets every signed-in user into every room.
func inRoom(_ context.Context, _ realtime.Identity, channel string) (realtime.Grant, error) {
	if name := strings.TrimPrefix(channel, "room:"); name == "" || len(name) > 64 {
		return realtime.Grant{}, realtime.ErrUnknownChannel
	}
	return realtime.Grant{Publish: true, Presence: true, JoinLeave: true, History: true, Recover: true}, nil
}

// ownChannel is a user's own: the server publishes, that user alone reads.
func ownChannel(_ context.Context, who realtime.Identity, channel string) (realtime.Grant, error) {
	if channel != "user:"+who.UserID() {
		return realtime.Grant{}, realtime.ErrDenied
	}
	return realtime.Grant{}, nil
}

// echo is an RPC that returns what it was sent.
func echo(_ context.Context, _ *realtime.Conn, data json.RawMessage) (json.RawMessage, error) {
	return data, nil
}

// displayName tells others in a room who somebody is: the name they gave, and
// never their email address.
func displayName(users accounts.Store) func(realtime.Identity) json.RawMessage {
	return func(who realtime.Identity) json.RawMessage {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		name := ""
		if u, found, err := users.UserByID(ctx, who.UserID()); err == nil && found {
			name = u.Name
		}
		if name == "" {
			name = "Guest " + who.UserID()[:min(4, len(who.UserID()))]
		}
		info, err := json.Marshal(map[string]string{"name": name})
		if err != nil {
			return nil
		}
		return info
	}
}

// mailbox shows what a mailer would have sent. Nothing in the accounts sends
// mail yet, so it is empty.
func mailbox(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"messages":[]}`+"\n")
}

// gate answers health checks, and refuses new work while draining.
func (a *app) gate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		draining := a.draining.Load()
		switch {
		case r.URL.Path == "/healthz":
			w.Header().Set("Cache-Control", "no-store")
			if draining {
				w.WriteHeader(http.StatusServiceUnavailable)
				_, _ = io.WriteString(w, "draining\n")
				return
			}
			_, _ = io.WriteString(w, "ok\n")
		case draining:
			w.Header().Set("Connection", "close")
			w.Header().Set("Retry-After", "5")
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, `{"type":"draining","title":"This server is shutting down","status":503}`+"\n")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// Close ends the hub, the accounts, the sessions, the Redis client and the database, in that order.
func (a *app) Close() error {
	var errs []error
	for i := len(a.closers) - 1; i >= 0; i-- {
		errs = append(errs, a.closers[i].Close())
	}
	return errors.Join(errs...)
}
