package password_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/password"
)

func TestP14_NothingPrintsASecret(t *testing.T) {
	const (
		pepper = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE"
		raw    = "AAAAAAAA" // of the pepper, in bytes
		plain  = "hunter2-hunter2"
	)
	ps, err := password.ParsePeppers("a:" + pepper)
	require.NoError(t, err)
	o := password.Options{Peppers: ps}
	h := cheap(t, &o)
	s := hash(t, h, plain)

	type hidden struct {
		p password.Peppers
		h *password.Hasher
	}
	values := map[string]any{
		"password": password.Password(plain), "hash": s, "peppers": ps, "options": o, "options pointer": &o, "hasher": h,
		"struct":     struct{ P password.Password }{plain},
		"slice":      []password.Hash{s},
		"map":        map[string]password.Hash{"k": s},
		"unexported": hidden{ps, h},
	}
	secrets := []string{plain, string(s), string(s[40:]), pepper, raw, "65 65 65 65", "0x41, 0x41", "41414141", fmt.Sprintf("%x", plain), fmt.Sprintf("%X", plain)}
	check := func(what, out string) {
		for _, secret := range secrets {
			require.NotContains(t, out, secret, what)
		}
	}
	for name, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T"} {
			check(name+" "+verb, fmt.Sprintf(verb, v))
		}
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "k", v)
		slog.New(slog.NewTextHandler(&log, nil)).Info("m", "k", v)
		check(name+" slog", log.String())
		if b, err := json.Marshal(v); err == nil {
			check(name+" JSON", string(b))
		}
	}
	for _, v := range []any{password.Password(plain), s, ps} {
		require.Equal(t, "REDACTED", fmt.Sprint(v))
		b, err := json.Marshal(v)
		require.NoError(t, err)
		require.JSONEq(t, `"REDACTED"`, string(b))
	}

	// Every error there is.
	other := cheap(t, nil)
	for _, stored := range []password.Hash{"", s, s + "x", s[:60], "$2b$10$" + s, "{x}" + s, password.Hash("$argon2id$v=19$m=4294967295,t=1,p=1" + s[35:])} {
		_, err := other.Verify(t.Context(), plain, stored)
		require.Error(t, err)
		check("error", fmt.Sprintf("%v %+v %#v", err, err, err))
	}
	check("policy", fmt.Sprintf("%+v", h.Check("hunter2-", "hunter2")))
	_, err = password.ParsePeppers("a:" + pepper + "!")
	check("peppers", fmt.Sprintf("%+v", err))
}

func TestP14_JSONDecodesIntoAPassword(t *testing.T) {
	var body struct{ Password password.Password }
	require.NoError(t, json.Unmarshal([]byte(`{"password":"hunter2-hunter2"}`), &body))
	require.EqualValues(t, "hunter2-hunter2", string(body.Password))
}
