package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

const (
	postgresConnections = 20               // of this process; the server's default is 100 for all
	postgresPatience    = 10 * time.Second // for the first connection
)

// parsePostgres checks a connection string. Its errors never repeat any of it
// but settings that are no secret.
func parsePostgres(s string) (*pgx.ConnConfig, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" && !u.Query().Has("host") {
		return nil, errors.New("want postgres://user:password@host:5432/name, with what is special in the password percent-encoded")
	}
	c, err := pgx.ParseConfig(s)
	if err != nil {
		var inner *pgconn.ParseConfigError
		if errors.As(err, &inner) && errors.Unwrap(inner) != nil {
			err = errors.Unwrap(inner)
		}
		password, _ := u.User.Password()
		return nil, errors.New(oneLine(err, password, u.Query().Get("password")))
	}
	return c, nil
}

// openPostgres opens a pool, and makes sure that the server lets us in.
func openPostgres(ctx context.Context, c *pgx.ConnConfig) (*sql.DB, error) {
	db := stdlib.OpenDB(*c)
	db.SetMaxOpenConns(postgresConnections)
	db.SetMaxIdleConns(postgresConnections)
	db.SetConnMaxIdleTime(5 * time.Minute)
	ctx, cancel := context.WithTimeout(ctx, postgresPatience)
	defer cancel()
	if err := db.PingContext(ctx); err != nil {
		_ = db.Close()
		where := net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port)))
		return nil, fmt.Errorf("DATABASE_URL: PostgreSQL at %s: %s", where, oneLine(cause(err), c.Password))
	}
	return db, nil
}

// cause is the part of a connection error that says what is wrong.
func cause(err error) error {
	var refused *pgconn.PgError
	var network *net.OpError
	switch {
	case errors.As(err, &refused):
		return refused
	case errors.As(err, &network):
		return network
	}
	return err
}

// oneLine is the text of err on one line, without the secrets.
func oneLine(err error, secrets ...string) string {
	text := strings.Join(strings.Fields(err.Error()), " ")
	for _, secret := range secrets {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "REDACTED")
		}
	}
	return text
}
