package integration_test

import (
	"database/sql"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"
	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/internal/integration/dbtest"
	"github.com/gatewire/gatewire/jwt"
)

const (
	sealingOne = "k1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	sealingTwo = "k2:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
)

// signer is a node that signs and verifies with the keys in the database.
type signer struct {
	ring     *jwt.Ring
	issuer   *jwt.Issuer
	verifier *jwt.Verifier[jwt.AccessClaims]
	lifetime time.Duration
}

func newSigner(t *testing.T, db *sql.DB, keys string) *signer {
	t.Helper()
	sealing, err := jwt.ParseSealingKeys(keys)
	require.NoError(t, err)
	ring, err := jwt.NewRing(accountsOnMigrated(t, db), sealing, &jwt.RingOptions{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	profile := jwt.AccessToken("https://app.example", "https://app.example")
	s := &signer{ring: ring, lifetime: 15 * time.Minute}
	s.issuer, err = jwt.NewIssuer(profile, ring, s.lifetime)
	require.NoError(t, err)
	s.verifier, err = jwt.NewVerifier[jwt.AccessClaims](profile, ring, &jwt.VerifierOptions{Skew: -1})
	require.NoError(t, err)
	return s
}

// outsider verifies by the JWKS as it is served, and asks for it again only
// when its max-age is over: an unknown key is then refused.
type outsider struct {
	keys    jwk.Set
	expires time.Time
}

func (o *outsider) verify(token string, from *signer) error {
	if !time.Now().Before(o.expires) {
		w := httptest.NewRecorder()
		from.ring.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/.well-known/jwks.json", nil))
		var seconds int
		if _, err := fmt.Sscanf(w.Header().Get("Cache-Control"), "public, max-age=%d", &seconds); err != nil || w.Code != 200 {
			return fmt.Errorf("status %d, Cache-Control %q", w.Code, w.Header().Get("Cache-Control"))
		}
		keys, err := jwk.Parse(w.Body.Bytes())
		if err != nil {
			return err
		}
		o.keys, o.expires = keys, time.Now().Add(time.Duration(seconds)*time.Second)
	}
	_, err := jws.Verify([]byte(token), jws.WithKeySet(o.keys, jws.WithRequireKid(true)))
	return err
}

// onDatabase runs f in a bubble of fake time, which stands while the database
// works.
func onDatabase(t *testing.T, dsn string, f func(t *testing.T, open func() *sql.DB)) {
	accountsOn(t, openDSN(t, dsn))
	synctest.Test(t, func(t *testing.T) {
		f(t, func() *sql.DB { return openDSN(t, dsn) })
	})
}

func keysIn(t *testing.T, db *sql.DB) int {
	t.Helper()
	var n int
	require.NoError(t, db.QueryRow(`SELECT COUNT(*) FROM gatewire_signing_keys`).Scan(&n))
	return n
}

// changes are the moments at which the keys in the database do something: are
// due, sign, retire and are gone.
func changes(t *testing.T, db *sql.DB) (at []time.Time) {
	t.Helper()
	rows, err := db.Query(`SELECT published, signs, retires, gone FROM gatewire_signing_keys`)
	require.NoError(t, err)
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var us [4]int64
		require.NoError(t, rows.Scan(&us[0], &us[1], &us[2], &us[3]))
		for _, us := range us {
			at = append(at, time.UnixMicro(us))
		}
		at = append(at, time.UnixMicro(us[2]).Add(-24*time.Hour)) // the next one is due
	}
	require.NoError(t, rows.Err())
	return at
}

// Two nodes with the keys in one database issue for 100 days, one after the
// other being replaced by a new process. Every token verifies at both and
// outside, from the first moment to the last, through three rotations.
func TestJ12_RollingDeploymentOnOneDatabase(t *testing.T) {
	onDatabase(t, dbtest.PostgresDSN(t), func(t *testing.T, open func() *sql.DB) {
		ctx := t.Context()
		pools := [2]*sql.DB{open(), open()}
		var nodes [2]*signer
		for range 10 { // both start at once, on a database without keys
			_, err := pools[0].Exec(`DELETE FROM gatewire_signing_keys`)
			require.NoError(t, err)
			for i := range nodes {
				require.NoError(t, pools[i].Ping())
				nodes[i] = newSigner(t, pools[i], sealingOne)
			}
			for _, err := range atOnce(8, func(i int) error {
				_, err := nodes[i%2].ring.JWKS(ctx)
				return err
			}) {
				require.NoError(t, err)
			}
			require.Equal(t, 1, keysIn(t, pools[0]), "keys of two nodes that start at once")
		}

		outside := [2]*outsider{{}, {}} // one asks each node
		type issued struct {
			token   string
			expires time.Time
		}
		var live []issued
		kids := map[string]bool{}
		start := time.Now()
		rotating := 0
		for round := 0; time.Since(start) < 100*24*time.Hour; round++ {
			for _, n := range nodes {
				token, expires, err := n.issuer.Issue(ctx, jwt.AccessClaims{Subject: "u", ClientID: "app"})
				require.NoError(t, err)
				live = append(live, issued{token, expires})
				m, err := jws.ParseString(token)
				require.NoError(t, err)
				kid, _ := m.Signatures()[0].ProtectedHeaders().KeyID()
				kids[kid] = true
			}
			live = slices.DeleteFunc(live, func(one issued) bool { return !time.Now().Before(one.expires) })
			for _, one := range live {
				age := nodes[0].lifetime - time.Until(one.expires)
				for i, n := range nodes {
					_, err := n.verifier.Verify(ctx, one.token)
					require.NoError(t, err, "%v old, at node %d, on %v", age, i, time.Now())
				}
				for i, o := range outside {
					require.NoError(t, o.verify(one.token, nodes[i]), "%v old, outside, by node %d, on %v", age, i, time.Now())
				}
			}
			if round%7 == 0 { // a deployment: one node is a new process
				i := round / 7 % 2
				nodes[i] = newSigner(t, pools[i], sealingOne)
			}
			// Closely where something changes, in strides else.
			step := 97 * time.Minute
			for _, at := range changes(t, pools[0]) {
				if d := time.Until(at); d > -time.Hour && d <= 2*time.Hour {
					step = 4*time.Minute + 30*time.Second
				}
			}
			if step < time.Hour {
				rotating++
			}
			time.Sleep(step)
		}
		require.GreaterOrEqual(t, len(kids), 4, "keys that signed in 100 days")
		require.Greater(t, rotating, 200, "looks while something changed")
	})
}

// The keys that seal signing keys change in a rolling deployment: first every
// node learns the new one, then it becomes the current one, then the old one
// goes. Nodes before and after each step work side by side.
func TestJ12_SealingKeysChangeInARollingDeployment(t *testing.T) {
	onDatabase(t, dbtest.PostgresDSN(t), func(t *testing.T, open func() *sql.DB) {
		ctx := t.Context()
		pools := [2]*sql.DB{open(), open()}
		configs := []string{sealingOne, sealingOne + "," + sealingTwo, sealingTwo + "," + sealingOne}
		nodes := [2]*signer{newSigner(t, pools[0], configs[0]), newSigner(t, pools[1], configs[0])}
		outside := &outsider{}
		work := func(what string, days int) {
			for range days * 8 {
				for i, n := range nodes {
					token, _, err := n.issuer.Issue(ctx, jwt.AccessClaims{Subject: "u", ClientID: "app"})
					require.NoError(t, err, what)
					for j, other := range nodes {
						_, err := other.verifier.Verify(ctx, token)
						require.NoError(t, err, "%s: a token of node %d at node %d", what, i, j)
					}
					require.NoError(t, outside.verify(token, nodes[1-i]), "%s: outside", what)
				}
				time.Sleep(3 * time.Hour)
			}
		}
		work("both old", 35)
		for step, keys := range configs[1:] {
			for i := range nodes {
				nodes[i] = newSigner(t, pools[i], keys)
				work(fmt.Sprintf("step %d, node %d", step, i), 35) // a rotation in every mixture
			}
		}
		// Keys sealed with the old one are gone after Rotate, Publish and Retire.
		work("both new", 35)
		for i := range nodes {
			nodes[i] = newSigner(t, pools[i], sealingTwo)
			work(fmt.Sprintf("without the old, node %d", i), 2)
		}
	})
}
