package integration_test

import (
	"database/sql"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/auth/accounts"
	"github.com/gatewire/gatewire/jwt"
	"github.com/gatewire/gatewire/password"
)

// atOnce runs f n times at once and returns the errors.
func atOnce(n int, f func(i int) error) []error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	return errs
}

// oneWinner checks that one call succeeded and the others got err.
func oneWinner(t *testing.T, errs []error, err error) {
	t.Helper()
	won := 0
	for _, e := range errs {
		if e == nil {
			won++
			continue
		}
		require.ErrorIs(t, e, err)
	}
	require.Equal(t, 1, won)
}

func TestA15_ParallelSignUpsAcrossHandles(t *testing.T) {
	acrossAccountHandles(t, func(t *testing.T, a, b *sql.DB) {
		s := []interface {
			accounts.Store
			jwt.KeyStore
		}{accountsOn(t, a), accountsOn(t, b)}
		ctx := t.Context()
		oneWinner(t, atOnce(12, func(i int) error {
			u := user(i)
			u.Email = []string{"Ada@example.com", "ada@EXAMPLE.com"}[i%2]
			return s[i%2].CreateUser(ctx, u, nil)
		}), accounts.ErrEmailTaken)

		// The same provider subject comes back in several tabs at once: one
		// account, and no half of another.
		oneWinner(t, atOnce(12, func(i int) error {
			u := user(100 + i)
			u.Email = ""
			return s[i%2].CreateUser(ctx, u, &accounts.ExternalIdentity{Issuer: "https://i.example", Subject: "1", UserID: u.ID})
		}), accounts.ErrIdentityTaken)
		var users, identities int
		require.NoError(t, a.QueryRow(`SELECT COUNT(*) FROM gatewire_users`).Scan(&users))
		require.NoError(t, a.QueryRow(`SELECT COUNT(*) FROM gatewire_identities`).Scan(&identities))
		require.Equal(t, 2, users)
		require.Equal(t, 1, identities)
		u, found, err := s[0].UserByIdentity(ctx, "https://i.example", "1")
		require.NoError(t, err)
		require.True(t, found)
		require.Empty(t, u.Email)
		_, found, err = s[0].UserByEmail(ctx, "")
		require.NoError(t, err)
		require.False(t, found)
	})
}

func TestP9_PasswordCompareAndSwapAcrossHandles(t *testing.T) {
	acrossAccountHandles(t, func(t *testing.T, a, b *sql.DB) {
		s := []accounts.Store{accountsOn(t, a), accountsOn(t, b)}
		ctx := t.Context()
		require.NoError(t, s[0].CreateUser(ctx, user(1), nil))
		hash := password.Hash("hash-0")
		for round := range 5 {
			errs := atOnce(8, func(i int) error {
				return s[i%2].SetPassword(ctx, "user-1", hash, password.Hash(fmt.Sprintf("hash-%d-%d", round, i)), nil)
			})
			oneWinner(t, errs, accounts.ErrConflict)
			for i, err := range errs {
				if err == nil {
					hash = password.Hash(fmt.Sprintf("hash-%d-%d", round, i))
				}
			}
			u, _, err := s[1].UserByID(ctx, "user-1")
			require.NoError(t, err)
			require.Equal(t, string(hash), string(u.Password))
		}
		require.ErrorIs(t, s[0].SetPassword(ctx, "nobody", "", "x", nil), accounts.ErrNoUser)
		require.ErrorIs(t, s[0].SetPassword(ctx, "user-1", "", "x", nil), accounts.ErrConflict)
		require.ErrorIs(t, s[0].SetDisabled(ctx, "nobody", true, nil), accounts.ErrNoUser)
	})
}

func TestCreateUserRefusals(t *testing.T) {
	everyAccountDatabase(t, func(t *testing.T, dsn string) {
		s := accountsOn(t, openDSN(t, dsn))
		ctx := t.Context()
		id := func(subject, userID string) *accounts.ExternalIdentity {
			return &accounts.ExternalIdentity{Issuer: "https://i.example", Subject: subject, UserID: userID}
		}
		require.NoError(t, s.CreateUser(ctx, user(1), id("1", "user-1")))

		// Both are known: the error is the one a sign-in can go on from.
		again := user(1)
		again.ID = "user-2"
		require.ErrorIs(t, s.CreateUser(ctx, again, id("1", "user-2")), accounts.ErrIdentityTaken)
		require.ErrorIs(t, s.CreateUser(ctx, again, id("2", "user-2")), accounts.ErrEmailTaken)
		require.ErrorIs(t, s.CreateUser(ctx, user(2), id("1", "user-2")), accounts.ErrIdentityTaken)
		require.ErrorContains(t, s.CreateUser(ctx, user(3), id("3", "user-1")), "names another user")
		for _, who := range []string{"user-2", "user-3"} {
			_, found, err := s.UserByID(ctx, who)
			require.NoError(t, err)
			require.False(t, found)
		}
		// An id is never given to a second account.
		taken := user(4)
		taken.ID = "user-1"
		err := s.CreateUser(ctx, taken, nil)
		couldNotTell(t, false, err)
		require.ErrorContains(t, err, "a user with this id exists")
	})
}

func TestKeyStore(t *testing.T) {
	acrossAccountHandles(t, func(t *testing.T, a, b *sql.DB) {
		s := []jwt.KeyStore{accountsOn(t, a), accountsOn(t, b)}
		ctx := t.Context()
		base := time.Now().UTC().Truncate(time.Microsecond)
		key := func(id string, published time.Time) jwt.StoredKey {
			return jwt.StoredKey{ID: id, Algorithm: "ES256", Public: []byte(`{"kty":"EC"}`), Sealed: []byte{0, 1},
				Published: published, Signs: published.Add(time.Minute), Retires: published.Add(time.Hour), Gone: published.Add(2 * time.Hour)}
		}
		keys, err := s[0].Keys(ctx)
		require.NoError(t, err)
		require.Empty(t, keys)

		newest := ""
		for round := range 4 { // K2: of the nodes that rotate at once, one adds a key
			published := base.Add(time.Duration(round) * time.Hour)
			errs := atOnce(8, func(i int) error {
				return s[i%2].AddKey(ctx, key(fmt.Sprintf("k%d-%d", round, i), published), newest)
			})
			oneWinner(t, errs, jwt.ErrKeyConflict)
			keys, err = s[1].Keys(ctx)
			require.NoError(t, err)
			require.Len(t, keys, round+1)
			newest = keys[round].ID // K1: oldest first
			require.Equal(t, key(newest, published), keys[round])
		}
		require.ErrorIs(t, s[0].AddKey(ctx, key(newest, base.Add(99*time.Hour)), newest), jwt.ErrKeyConflict, "this id is taken")
		require.ErrorIs(t, s[0].AddKey(ctx, key("x", base), ""), jwt.ErrKeyConflict)
		require.NoError(t, s[0].RemoveKey(ctx, newest)) // K3
		require.NoError(t, s[0].RemoveKey(ctx, newest))
		require.NoError(t, s[1].AddKey(ctx, key("x", base.Add(9*time.Hour)), keys[2].ID))
	})
}

// What is stored comes back exactly, whatever the text.
func TestUsersComeBackExactly(t *testing.T) {
	everyAccountDatabase(t, func(t *testing.T, dsn string) {
		s := accountsOn(t, openDSN(t, dsn))
		ctx := t.Context()
		u := user(1)
		u.Name, u.Picture, u.EmailVerified, u.Disabled = "'; DROP TABLE gatewire_users; --é$1", "https://p.example/?1", true, true
		u.Scopes, u.Roles, u.Created = []string{`"`, "<"}, []string{}, time.Now().In(time.FixedZone("far", 5*3600+1800)).Truncate(time.Microsecond)
		require.NoError(t, s.CreateUser(ctx, u, &accounts.ExternalIdentity{Issuer: "https://i.example/", Subject: "é", UserID: u.ID}))
		u.Created = u.Created.UTC()
		for name, find := range map[string]func() (accounts.User, bool, error){
			"id":       func() (accounts.User, bool, error) { return s.UserByID(ctx, u.ID) },
			"email":    func() (accounts.User, bool, error) { return s.UserByEmail(ctx, "u1@EXAMPLE.com") },
			"identity": func() (accounts.User, bool, error) { return s.UserByIdentity(ctx, "https://i.example/", "é") },
		} {
			got, found, err := find()
			require.NoError(t, err, name)
			require.True(t, found, name)
			require.Equal(t, u, got, name)
		}
		for name, find := range map[string]func() (accounts.User, bool, error){
			"id":       func() (accounts.User, bool, error) { return s.UserByID(ctx, "USER-1") },
			"email":    func() (accounts.User, bool, error) { return s.UserByEmail(ctx, "u1@example.com ") },
			"issuer":   func() (accounts.User, bool, error) { return s.UserByIdentity(ctx, "https://i.example", "é") },
			"identity": func() (accounts.User, bool, error) { return s.UserByIdentity(ctx, "https://i.example/", "e\u0301") },
		} {
			_, found, err := find()
			require.NoError(t, err, name)
			require.False(t, found, name)
		}
	})
}
