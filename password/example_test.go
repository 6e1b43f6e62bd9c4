package password_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/gatewire/gatewire/password"
)

func ExampleNew() {
	peppers, err := password.ParsePeppers("2026:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=") // from the environment
	if err != nil {
		log.Fatal(err)
	}
	h, err := password.New(&password.Options{Peppers: peppers})
	if err != nil {
		log.Fatal(err)
	}
	stored, err := h.Hash(context.Background(), "correct horse battery")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(stored)[:44])
	// Output: $argon2id$v=19$m=19456,t=2,p=1,keyid=MjAyNg$
}

// A sign-in: the same answer and the same time for an unknown user and a wrong
// password, and a new hash where the old one is out of date.
func ExampleHasher_Verify() {
	h, err := password.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	users := map[string]*store{}

	signIn := func(ctx context.Context, name string, pw password.Password) error {
		user, ok := users[name]
		if !ok {
			return h.VerifyMissing(ctx, pw)
		}
		old := user.load()
		rehash, err := h.Verify(ctx, pw, old)
		if err != nil {
			return err // a 401 only if errors.Is(err, password.ErrMismatch)
		}
		if rehash {
			// Compare and swap: a password that was changed meanwhile wins. If it
			// fails, the next sign-in tries again.
			if fresh, err := h.Hash(ctx, pw); err == nil {
				user.swap(old, fresh)
			}
		}
		return nil
	}

	stored, err := h.Hash(context.Background(), "correct horse battery")
	if err != nil {
		log.Fatal(err)
	}
	users["alice"] = &store{hash: stored}
	fmt.Println(signIn(context.Background(), "alice", "correct horse battery"))
	fmt.Println(signIn(context.Background(), "alice", "wrong"))
	fmt.Println(signIn(context.Background(), "nobody", "wrong"))
	// Output:
	// <nil>
	// password: mismatch
	// password: mismatch
}

func ExampleHasher_Check() {
	h, err := password.New(&password.Options{Policy: password.Policy{Words: []string{"Example Shop"}}})
	if err != nil {
		log.Fatal(err)
	}
	for _, pw := range []password.Password{"short", "Password1", "alice1985", "exampleshop", "three green bottles"} {
		err := h.Check(pw, "alice@example.com")
		var refused *password.PolicyError
		if errors.As(err, &refused) {
			fmt.Println(refused.Reason, "-", refused.UserMessage())
			continue
		}
		fmt.Println("fine")
	}
	// Output:
	// too_short - Use at least 8 characters.
	// common - This password is among the first that attackers try. Choose another one.
	// context - This password is too close to your name, your e-mail address or the name of this service. Choose another one.
	// context - This password is too close to your name, your e-mail address or the name of this service. Choose another one.
	// fine
}
