package main

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func env(pairs ...string) func(string) string {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return func(name string) string { return m[name] }
}

func TestDefaultsNeedNoConfiguration(t *testing.T) {
	c, err := readConfig(env())
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:8080", c.addr)
	require.True(t, c.loopback)
	require.Equal(t, "app.db", c.sqliteFile)
	require.True(t, c.sealing.IsZero())
	require.Nil(t, c.google)
	require.Nil(t, c.oidc)
}

func TestGoodConfiguration(t *testing.T) {
	key := base64.StdEncoding.EncodeToString(make([]byte, 32))
	c, err := readConfig(env(
		"ADDR", "0.0.0.0:443", "BASE_URL", "https://App.example:443/", "ALLOWED_ORIGINS", "https://a.example, http://localhost:3000",
		"TRUSTED_PROXIES", "10.0.0.0/8,2001:db8::/32", "DATABASE_URL", "sqlite::memory:", "SECRET_KEYS", "k1:"+key,
		"PASSWORD_PEPPERS", "p1:"+key, "GOOGLE_CLIENT_ID", "id", "GOOGLE_CLIENT_SECRET", "secret",
		"OIDC_ISSUER", "http://127.0.0.1:9000/x", "OIDC_CLIENT_ID", "id", "OIDC_CLIENT_SECRET", "secret", "LOG_LEVEL", "debug",
	))
	require.NoError(t, err)
	require.Equal(t, "https://app.example", c.baseURL)
	require.Equal(t, []string{"https://a.example", "http://localhost:3000"}, c.allowedOrigins)
	require.Len(t, c.trustedProxies, 2)
	require.Equal(t, ":memory:", c.sqliteFile)
	require.False(t, c.sealing.IsZero())
	require.Equal(t, "http://127.0.0.1:9000/x", c.oidc.issuer)
}

// A malformed variable stops the program with a line that names it and never
// shows what a secret holds.
func TestBadConfiguration(t *testing.T) {
	secret := "c2VjcmV0LXNlY3JldA=="
	for name, tc := range map[string]struct {
		env  []string
		want string
	}{
		"no port":             {[]string{"ADDR", "127.0.0.1"}, "ADDR: want host:port"},
		"odd port":            {[]string{"ADDR", "127.0.0.1:http2x"}, "ADDR: \"http2x\" is not a port"},
		"no base URL":         {[]string{"ADDR", ":8080"}, "BASE_URL: required"},
		"base URL with path":  {[]string{"BASE_URL", "https://a.example/app"}, "BASE_URL: "},
		"base URL with user":  {[]string{"BASE_URL", "https://u:" + secret + "@a.example/x"}, "BASE_URL: "},
		"base URL http":       {[]string{"BASE_URL", "http://a.example"}, "use https"},
		"base URL no scheme":  {[]string{"BASE_URL", "a.example"}, "BASE_URL: "},
		"base URL port":       {[]string{"BASE_URL", "https://a.example:99999"}, "BASE_URL: \"https://a.example:99999\": want a port"},
		"base URL half port":  {[]string{"BASE_URL", "https://a.example:"}, "want a port"},
		"base URL fragment":   {[]string{"BASE_URL", "https://a.example#"}, "want scheme and host alone"},
		"base URL Unicode":    {[]string{"BASE_URL", "https://bücher.example"}, "xn--"},
		"origin wildcard":     {[]string{"ALLOWED_ORIGINS", "https://*.a.example"}, "ALLOWED_ORIGINS: "},
		"proxy mapped":        {[]string{"TRUSTED_PROXIES", "::ffff:10.0.0.0/104"}, "TRUSTED_PROXIES: "},
		"blank pepper":        {[]string{"PASSWORD_PEPPERS", " "}, "PASSWORD_PEPPERS: blank"},
		"origin star":         {[]string{"ALLOWED_ORIGINS", "*"}, "ALLOWED_ORIGINS: "},
		"origin null":         {[]string{"ALLOWED_ORIGINS", "null"}, "ALLOWED_ORIGINS: "},
		"proxy address":       {[]string{"TRUSTED_PROXIES", "10.0.0.1"}, "TRUSTED_PROXIES: \"10.0.0.1\" is not a CIDR"},
		"postgres no keys":    {[]string{"DATABASE_URL", "postgres://u:" + secret + "@h/db"}, "SECRET_KEYS: required with DATABASE_URL=postgres"},
		"postgres no host":    {[]string{"DATABASE_URL", "postgres://"}, "DATABASE_URL: want postgres://user"},
		"postgres odd port":   {[]string{"DATABASE_URL", "postgres://u:" + secret + "@h:x/db"}, "DATABASE_URL: want postgres://user"},
		"postgres password":   {[]string{"DATABASE_URL", "postgres://u:" + secret + "#/@h/db"}, "DATABASE_URL: want postgres://user"},
		"postgres sslmode":    {[]string{"DATABASE_URL", "postgres://u:" + secret + "@h/db?sslmode=maybe"}, "DATABASE_URL: sslmode is invalid"},
		"postgres timeout":    {[]string{"DATABASE_URL", "postgres://h/db?connect_timeout=x&password=" + secret}, "DATABASE_URL: "},
		"mysql":               {[]string{"DATABASE_URL", "mysql://u:" + secret + "@h/db"}, "DATABASE_URL: mysql is not supported yet"},
		"unknown database":    {[]string{"DATABASE_URL", "oracle:" + secret}, "DATABASE_URL: want sqlite:FILE"},
		"no file":             {[]string{"DATABASE_URL", "sqlite:"}, "DATABASE_URL: want sqlite:FILE"},
		"redis no scheme":     {[]string{"REDIS_URL", "127.0.0.1:6379"}, "REDIS_URL: want redis://user"},
		"redis other scheme":  {[]string{"REDIS_URL", "unix://:" + secret + "@/run/redis.sock"}, "REDIS_URL: want redis://user"},
		"redis no host":       {[]string{"REDIS_URL", "redis://"}, "REDIS_URL: want redis://user"},
		"redis odd port":      {[]string{"REDIS_URL", "redis://:" + secret + "@h:x"}, "REDIS_URL: want redis://user"},
		"redis password":      {[]string{"REDIS_URL", "redis://:" + secret + "#/@h"}, "REDIS_URL: want redis://user"},
		"redis database":      {[]string{"REDIS_URL", "redis://:" + secret + "@h/one"}, "REDIS_URL: redis: invalid database number"},
		"redis path":          {[]string{"REDIS_URL", "redis://:" + secret + "@h/1/" + secret}, "REDIS_URL: redis: invalid URL path"},
		"redis option":        {[]string{"REDIS_URL", "redis://:" + secret + "@h?password=" + secret}, "REDIS_URL: redis: unexpected option: password"},
		"redis time":          {[]string{"REDIS_URL", "redis://:" + secret + "@h?read_timeout=soon"}, "REDIS_URL: redis: invalid read_timeout"},
		"redis cluster node":  {[]string{"REDIS_URL", "redis://:" + secret + "@h?addr=h2"}, "REDIS_URL: redis: unable to parse addr param: h2"},
		"redis cluster path":  {[]string{"REDIS_URL", "redis://:" + secret + "@h/1?addr=h2:6379"}, "REDIS_URL: a cluster has no numbered databases"},
		"nats":                {[]string{"NATS_URL", "nats://" + secret}, "NATS_URL: not supported yet"},
		"smtp":                {[]string{"SMTP_URL", "smtp://" + secret}, "SMTP_URL: not supported yet"},
		"short key":           {[]string{"SECRET_KEYS", "k1:" + secret}, "SECRET_KEYS: jwt: sealing keys: key 1"},
		"pepper without id":   {[]string{"PASSWORD_PEPPERS", secret}, "PASSWORD_PEPPERS: "},
		"google half":         {[]string{"GOOGLE_CLIENT_SECRET", secret}, "GOOGLE_CLIENT_ID: required"},
		"google other half":   {[]string{"GOOGLE_CLIENT_ID", "id"}, "GOOGLE_CLIENT_SECRET: required"},
		"oidc without issuer": {[]string{"OIDC_CLIENT_ID", "id", "OIDC_CLIENT_SECRET", secret}, "OIDC_ISSUER: required"},
		"oidc over http":      {[]string{"OIDC_ISSUER", "http://id.example", "OIDC_CLIENT_ID", "id", "OIDC_CLIENT_SECRET", secret}, "OIDC_ISSUER: want https"},
		"oidc no client":      {[]string{"OIDC_ISSUER", "https://id.example"}, "OIDC_CLIENT_ID: required"},
		"log level":           {[]string{"LOG_LEVEL", "loud"}, "LOG_LEVEL: \"loud\""},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := readConfig(env(tc.env...))
			require.ErrorContains(t, err, tc.want)
			require.NotContains(t, err.Error(), secret)
		})
	}
	_, err := readConfig(env("ADDR", "x", "REDIS_URL", "x", "NATS_URL", "x", "LOG_LEVEL", "x"))
	require.Len(t, strings.Split(err.Error(), "\n"), 4, "all mistakes at once, a line each")
}

// A Redis that hangs is an error within seconds, and a command without an answer
// is not sent again, whatever the URL says of the rest.
func TestRedisIsBounded(t *testing.T) {
	c, err := readConfig(env("REDIS_URL", "rediss://user:p%40ss@redis.example/2?read_timeout=1s&max_retries=5"))
	require.NoError(t, err)
	o := c.redis.one
	require.Equal(t, "redis.example:6379", o.Addr)
	require.Equal(t, []any{"user", "p@ss", 2}, []any{o.Username, o.Password, o.DB})
	require.Equal(t, "redis.example", o.TLSConfig.ServerName)
	require.Equal(t, []time.Duration{2 * time.Second, time.Second, 2 * time.Second, 2 * time.Second}, []time.Duration{o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout})
	require.Equal(t, -1, o.MaxRetries)
	require.True(t, o.ContextTimeoutEnabled)

	c, err = readConfig(env("REDIS_URL", "redis://:secret@one:7000?addr=two:7001&addr=three:7002"))
	require.NoError(t, err)
	cluster := c.redis.cluster
	require.Equal(t, []string{"one:7000", "two:7001", "three:7002"}, cluster.Addrs)
	require.Equal(t, []any{"secret", -1, 2 * time.Second}, []any{cluster.Password, cluster.MaxRetries, cluster.ReadTimeout})
}

func TestKeyFileIsMadeOnce(t *testing.T) {
	db := filepath.Join(t.TempDir(), "app.db")
	boxes := make([][]byte, 8)
	var wg sync.WaitGroup
	for i := range boxes {
		wg.Go(func() {
			keys, err := sealingKeys(db)
			if err == nil {
				boxes[i], err = keys.Seal("test", []byte("x"), nil)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	keys, err := sealingKeys(db)
	require.NoError(t, err)
	for _, box := range boxes {
		_, err := keys.Open("test", box, nil)
		require.NoError(t, err, "two processes that start at once use one key")
	}
	info, err := os.Stat(db + ".key")
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	left, err := os.ReadDir(filepath.Dir(db))
	require.NoError(t, err)
	require.Len(t, left, 1, "no temporary file stays")

	require.NoError(t, os.Chmod(db+".key", 0o644))
	_, err = sealingKeys(db)
	require.ErrorContains(t, err, "chmod 600")
	require.NoError(t, os.WriteFile(db+".key", []byte("k1:short"), 0o600))
	require.NoError(t, os.Chmod(db+".key", 0o600))
	_, err = sealingKeys(db)
	require.ErrorContains(t, err, "app.db.key: ")
}
