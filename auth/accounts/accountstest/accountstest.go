// Package accountstest holds the contracts of package accounts as tests, for
// whoever writes a store of users, a limiter or a memory of what happened once. One subtest is one rule, named
// by its id.
//
//	func TestStore(t *testing.T) {
//		accountstest.Run(t, func(t *testing.T) accounts.Store { return newMyStore(t) })
//	}
package accountstest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/gatewire/gatewire/auth/accounts"
	"github.com/gatewire/gatewire/password"
	"github.com/gatewire/gatewire/session"
)

// Run tests the rules of [accounts.Store]. newStore returns an empty store.
func Run(t *testing.T, newStore func(t *testing.T) accounts.Store) {
	t.Helper()
	for _, rule := range []struct {
		name string
		f    func(*testing.T, accounts.Store)
	}{
		{"U1 all or nothing", createsAllOrNothing},
		{"U1 one account an email", oneAccountAnEmail},
		{"U1 one account an identity", oneAccountAnIdentity},
		{"U1 no email is no email", noEmail},
		{"U2 what was stored", returnsWhatWasStored},
		{"U2 what is not there", findsNothing},
		{"U3 compare and swap", swapsPasswords},
		{"U3 one of many wins", oneSwapWins},
		{"U3 with what is owed", swapsPasswordsOwing},
		{"U4 disabled", disables},
		{"U4 with what is owed", disablesOwing},
		{"U5 compare and swap", swapsEndings},
		{"U5 one of many wins", oneEndingWins},
		{"U6 who owes", listsOwing},
		{"U7 scopes and roles", setsGrants},
	} {
		t.Run(rule.name, func(t *testing.T) { rule.f(t, newStore(t)) })
	}
}

// Somebody is a complete user for tests. n makes the difference.
func Somebody(n int) accounts.User {
	return accounts.User{
		ID: fmt.Sprintf("user-%d", n), Email: fmt.Sprintf("Some.Body+%d@Example.com", n), EmailVerified: true,
		Name: "Zoë 'Z' 🎈", Picture: "https://pictures.example/z?s=1", Created: time.Date(2026, 11, 22, 21, 20, 19, 123456000, time.UTC),
		Password: "$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$dGFn", Scopes: []string{"read", "write"}, Roles: []string{"admin"},
	}
}

func identity(u accounts.User, subject string) *accounts.ExternalIdentity {
	return &accounts.ExternalIdentity{Issuer: "https://issuer.example", Subject: subject, UserID: u.ID, Email: u.Email, Created: u.Created}
}

func createsAllOrNothing(t *testing.T, s accounts.Store) {
	ctx := t.Context()
	one, two := Somebody(1), Somebody(2)
	must(t, s.CreateUser(ctx, one, identity(one, "1")))

	same := two
	same.Email = "SOME.BODY+1@example.COM"
	wants(t, s.CreateUser(ctx, same, identity(same, "2")), accounts.ErrEmailTaken)
	absent(t, "the identity of a user who was refused")(s.UserByIdentity(ctx, "https://issuer.example", "2"))
	absent(t, "a user whose email was taken")(s.UserByID(ctx, same.ID))

	wants(t, s.CreateUser(ctx, two, identity(two, "1")), accounts.ErrIdentityTaken)
	absent(t, "a user whose identity was taken")(s.UserByID(ctx, two.ID))
	absent(t, "a user whose identity was taken")(s.UserByEmail(ctx, two.Email))
	must(t, s.CreateUser(ctx, two, identity(two, "2")))
}

func oneAccountAnEmail(t *testing.T, s accounts.Store) {
	created := race(20, func(i int) error {
		u := Somebody(i)
		u.Email = []string{"same@example.com", "SAME@Example.com"}[i%2]
		return s.CreateUser(context.WithoutCancel(t.Context()), u, nil)
	})
	oneWinner(t, created, accounts.ErrEmailTaken)
}

func oneAccountAnIdentity(t *testing.T, s accounts.Store) {
	created := race(20, func(i int) error {
		u := Somebody(i)
		return s.CreateUser(context.WithoutCancel(t.Context()), u, identity(u, "same"))
	})
	oneWinner(t, created, accounts.ErrIdentityTaken)
}

func noEmail(t *testing.T, s accounts.Store) {
	for i := range 3 {
		u := Somebody(i)
		u.Email = ""
		must(t, s.CreateUser(t.Context(), u, identity(u, u.ID)))
	}
	absent(t, "a user without an email, by an empty email")(s.UserByEmail(t.Context(), ""))
}

func returnsWhatWasStored(t *testing.T, s accounts.Store) {
	ctx := t.Context()
	full := Somebody(1)
	bare := accounts.User{ID: "bare", Email: "bare@example.com", Created: full.Created}
	must(t, s.CreateUser(ctx, full, identity(full, "Sub")))
	must(t, s.CreateUser(ctx, bare, nil))
	same(t, full)(s.UserByID(ctx, full.ID))
	same(t, full)(s.UserByEmail(ctx, "some.body+1@EXAMPLE.com"))
	same(t, full)(s.UserByIdentity(ctx, "https://issuer.example", "Sub"))
	same(t, bare)(s.UserByID(ctx, "bare"))
}

func findsNothing(t *testing.T, s accounts.Store) {
	ctx := t.Context()
	u := Somebody(1)
	must(t, s.CreateUser(ctx, u, identity(u, "Sub")))
	for _, id := range []string{"", "nobody", "USER-1", "user-1 ", "user-1\x00", "%", "user-_"} {
		absent(t, fmt.Sprintf("user %q", id))(s.UserByID(ctx, id))
	}
	for _, email := range []string{"", "nobody@example.com", "some.body+1@example.com ", "%@example.com", "\u017fome.body+1@example.com"} {
		absent(t, fmt.Sprintf("email %q", email))(s.UserByEmail(ctx, email))
	}
	for _, id := range [][2]string{{"https://issuer.example", "sub"}, {"https://issuer.example/", "Sub"}, {"https://ISSUER.example", "Sub"}, {"", "Sub"}, {"https://issuer.example", "Sub "}, {"https://issuer.example", ""}} {
		absent(t, fmt.Sprintf("identity %q", id))(s.UserByIdentity(ctx, id[0], id[1]))
	}
}

func swapsPasswords(t *testing.T, s accounts.Store) {
	ctx := t.Context()
	u, other := Somebody(1), Somebody(2)
	must(t, s.CreateUser(ctx, u, nil))
	must(t, s.CreateUser(ctx, other, nil))
	wants(t, s.SetPassword(ctx, u.ID, "wrong", "new", nil), accounts.ErrConflict)
	wants(t, s.SetPassword(ctx, u.ID, "", "new", nil), accounts.ErrConflict)
	same(t, u)(s.UserByID(ctx, u.ID))
	wants(t, s.SetPassword(ctx, "nobody", "", "new", nil), accounts.ErrNoUser)
	must(t, s.SetPassword(ctx, u.ID, u.Password, "new", nil))
	u.Password = "new"
	same(t, u)(s.UserByID(ctx, u.ID))
	same(t, other)(s.UserByID(ctx, other.ID))

	bare := accounts.User{ID: "bare", Email: "bare@example.com", Created: u.Created}
	must(t, s.CreateUser(ctx, bare, nil))
	must(t, s.SetPassword(ctx, bare.ID, "", "first", nil))
	bare.Password = "first"
	same(t, bare)(s.UserByID(ctx, bare.ID))
}

func oneSwapWins(t *testing.T, s accounts.Store) {
	u := Somebody(1)
	must(t, s.CreateUser(t.Context(), u, nil))
	swapped := race(20, func(i int) error {
		return s.SetPassword(context.WithoutCancel(t.Context()), u.ID, u.Password, password.Hash(fmt.Sprint("new", i)), nil)
	})
	oneWinner(t, swapped, accounts.ErrConflict)
}

func disables(t *testing.T, s accounts.Store) {
	ctx := t.Context()
	u := Somebody(1)
	must(t, s.CreateUser(ctx, u, nil))
	wants(t, s.SetDisabled(ctx, "nobody", true, nil), accounts.ErrNoUser)
	for _, disabled := range []bool{true, true, false} {
		must(t, s.SetDisabled(ctx, u.ID, disabled, nil))
		u.Disabled = disabled
		same(t, u)(s.UserByID(ctx, u.ID))
	}
}

func setsGrants(t *testing.T, s accounts.Store) {
	ctx := t.Context()
	u, other := Somebody(1), Somebody(2)
	must(t, s.CreateUser(ctx, u, nil))
	must(t, s.CreateUser(ctx, other, nil))
	wants(t, s.SetGrants(ctx, "nobody", nil, nil), accounts.ErrNoUser)
	for _, grants := range [][2][]string{{{"read"}, {"owner", "a \"quote\""}}, {nil, {"owner"}}, {nil, nil}, {{"a", "b"}, nil}, {{"a", "b"}, nil}} {
		must(t, s.SetGrants(ctx, u.ID, grants[0], grants[1]))
		u.Scopes, u.Roles = grants[0], grants[1]
		same(t, u)(s.UserByID(ctx, u.ID))
		same(t, other)(s.UserByID(ctx, other.ID))
	}
}

// ending is one that is due at a minute of an hour long ago.
func ending(mark string, minute int) *accounts.Ending {
	since := time.Date(2026, 11, 22, 21, 0, 0, 123456000, time.UTC)
	return &accounts.Ending{Mark: mark, Reason: session.ReasonPasswordChanged, Since: since, Due: since.Add(time.Duration(minute) * time.Minute)}
}

func swapsPasswordsOwing(t *testing.T, s accounts.Store) {
	ctx := t.Context()
	u, other := Somebody(1), Somebody(2)
	must(t, s.CreateUser(ctx, u, identity(u, "Sub")))
	must(t, s.CreateUser(ctx, other, nil))
	wants(t, s.SetPassword(ctx, u.ID, "wrong", "new", ending("a", 1)), accounts.ErrConflict)
	wants(t, s.SetPassword(ctx, "nobody", "", "new", ending("a", 1)), accounts.ErrNoUser)
	same(t, u)(s.UserByID(ctx, u.ID))
	owed := ending("a", 1)
	must(t, s.SetPassword(ctx, u.ID, u.Password, "new", owed))
	owed.Mark = "changed by the caller afterwards"
	u.Password, u.Ending = "new", ending("a", 1)
	same(t, u)(s.UserByID(ctx, u.ID))
	same(t, u)(s.UserByEmail(ctx, u.Email))
	same(t, u)(s.UserByIdentity(ctx, "https://issuer.example", "Sub"))
	same(t, other)(s.UserByID(ctx, other.ID))

	// A second one would have to know whom the first one spares.
	wants(t, s.SetPassword(ctx, u.ID, "new", "newer", ending("b", 2)), accounts.ErrConflict)
	same(t, u)(s.UserByID(ctx, u.ID))
	must(t, s.SetPassword(ctx, u.ID, "new", "rehashed", nil))
	u.Password = "rehashed"
	same(t, u)(s.UserByID(ctx, u.ID))
}

func disablesOwing(t *testing.T, s accounts.Store) {
	ctx := t.Context()
	u := Somebody(1)
	must(t, s.CreateUser(ctx, u, nil))
	wants(t, s.SetDisabled(ctx, "nobody", true, ending("a", 1)), accounts.ErrNoUser)
	for _, mark := range []string{"a", "b"} {
		must(t, s.SetDisabled(ctx, u.ID, true, ending(mark, 1)))
		u.Disabled, u.Ending = true, ending(mark, 1)
		same(t, u)(s.UserByID(ctx, u.ID))
	}
	must(t, s.SetDisabled(ctx, u.ID, false, nil))
	u.Disabled = false
	same(t, u)(s.UserByID(ctx, u.ID))
}

func swapsEndings(t *testing.T, s accounts.Store) {
	ctx := t.Context()
	u, other := Somebody(1), Somebody(2)
	must(t, s.CreateUser(ctx, u, nil))
	must(t, s.CreateUser(ctx, other, nil))
	wants(t, s.SwapEnding(ctx, u.ID, "", nil), accounts.ErrConflict)
	wants(t, s.SwapEnding(ctx, u.ID, "a", ending("b", 1)), accounts.ErrConflict)
	wants(t, s.SwapEnding(ctx, "nobody", "a", nil), accounts.ErrNoUser)
	same(t, u)(s.UserByID(ctx, u.ID))
	must(t, s.SetDisabled(ctx, u.ID, true, ending("a", 1)))
	must(t, s.SetDisabled(ctx, other.ID, true, ending("a", 1)))
	must(t, s.SwapEnding(ctx, u.ID, "a", ending("b", 2)))
	u.Disabled, u.Ending = true, ending("b", 2)
	wants(t, s.SwapEnding(ctx, u.ID, "a", nil), accounts.ErrConflict)
	wants(t, s.SwapEnding(ctx, u.ID, "a", ending("c", 3)), accounts.ErrConflict)
	wants(t, s.SwapEnding(ctx, u.ID, "B", nil), accounts.ErrConflict)
	same(t, u)(s.UserByID(ctx, u.ID))
	must(t, s.SwapEnding(ctx, u.ID, "b", nil))
	u.Ending = nil
	same(t, u)(s.UserByID(ctx, u.ID))
	wants(t, s.SwapEnding(ctx, u.ID, "b", nil), accounts.ErrConflict)
	other.Disabled, other.Ending = true, ending("a", 1)
	same(t, other)(s.UserByID(ctx, other.ID))
}

func oneEndingWins(t *testing.T, s accounts.Store) {
	u := Somebody(1)
	must(t, s.CreateUser(t.Context(), u, nil))
	must(t, s.SetDisabled(t.Context(), u.ID, true, ending("a", 1)))
	oneWinner(t, race(20, func(i int) error {
		return s.SwapEnding(context.WithoutCancel(t.Context()), u.ID, "a", ending(fmt.Sprint("b", i), 1))
	}), accounts.ErrConflict)
}

func listsOwing(t *testing.T, s accounts.Store) {
	ctx := t.Context()
	var users []accounts.User
	for i := range 6 {
		u := Somebody(i)
		must(t, s.CreateUser(ctx, u, nil))
		users = append(users, u)
	}
	for _, owed := range []struct{ user, due int }{{1, 30}, {2, 10}, {3, 20}, {4, 40}} { // 0 and 5 owe nothing
		must(t, s.SetDisabled(ctx, users[owed.user].ID, true, ending("m", owed.due)))
		users[owed.user].Disabled, users[owed.user].Ending = true, ending("m", owed.due)
	}
	lists := func(minute, limit int, want ...int) {
		t.Helper()
		got, err := s.Owing(ctx, ending("", minute).Due, limit)
		must(t, err)
		if len(got) != len(want) {
			t.Fatalf("Owing at minute %d returns %d users, want %d", minute, len(got), len(want))
		}
		for i, n := range want {
			same(t, users[n])(got[i], true, nil)
		}
	}
	lists(9, 10)
	lists(30, 10, 2, 3, 1)
	lists(30, 2, 2, 3)
	lists(30, 0)
	lists(60, 10, 2, 3, 1, 4)
	must(t, s.SwapEnding(ctx, users[2].ID, "m", nil))
	users[2].Ending = nil
	must(t, s.SwapEnding(ctx, users[3].ID, "m", ending("n", 50)))
	users[3].Ending = ending("n", 50)
	lists(60, 10, 1, 4, 3)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("unexpected error: %v", err)
	}
}

func wants(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error is %v, want %v", err, want)
	}
}

func absent(t *testing.T, what string) func(accounts.User, bool, error) {
	return func(u accounts.User, found bool, err error) {
		t.Helper()
		must(t, err)
		if found {
			t.Fatalf("found %s: user %q", what, u.ID)
		}
	}
}

// same compares what a store returned. Empty and nil lists are one.
func same(t *testing.T, want accounts.User) func(accounts.User, bool, error) {
	return func(got accounts.User, found bool, err error) {
		t.Helper()
		must(t, err)
		if !found {
			t.Fatalf("user %q is not found", want.ID)
		}
		if !got.Created.Equal(want.Created) || got.Created.Location() != time.UTC {
			t.Fatalf("Created is %v, want %v, in UTC", got.Created, want.Created)
		}
		if got.Password != want.Password {
			t.Fatal("Password is not the one stored")
		}
		want.Created = got.Created
		for _, u := range []*accounts.User{&got, &want} {
			if len(u.Scopes) == 0 {
				u.Scopes = nil
			}
			if len(u.Roles) == 0 {
				u.Roles = nil
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	}
}

// race calls f n times at once.
func race(n int, f func(i int) error) []error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = f(i)
		})
	}
	close(start)
	wg.Wait()
	return errs
}

func oneWinner(t *testing.T, errs []error, losers error) {
	t.Helper()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else if !errors.Is(err, losers) {
			t.Fatalf("a call that lost got %v, want %v", err, losers)
		}
	}
	if won != 1 {
		t.Fatalf("%d calls succeeded, want 1", won)
	}
}
