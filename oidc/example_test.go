package oidc_test

import (
	"context"
	"net/http"

	"github.com/gatewire/gatewire/oidc"
	"github.com/gatewire/gatewire/session"
)

// A program with sessions of its own takes part in logout both ways: its
// sessions keep which provider's session they began with, so that the provider
// can end them.
func ExampleNewLogin_logout() {
	var (
		mux      *http.ServeMux
		sessions *session.Manager[struct{}]
		find     func(context.Context, oidc.Profile) (userID string, err error)
	)
	signIn := func(w http.ResponseWriter, r *http.Request, p oidc.Profile) error {
		userID, err := find(r.Context(), p)
		if err != nil {
			return err
		}
		_, err = sessions.Begin(w, r, session.Start{
			UserID: userID,
			Origin: session.Origin{Issuer: p.Issuer, Subject: p.Subject, SID: p.SID},
		})
		return err
	}
	endSessions := func(ctx context.Context, l oidc.ProviderLogout) error {
		_, err := sessions.EndOrigin(ctx, session.Origin{Issuer: l.Issuer, Subject: l.Subject, SID: l.SID}, session.ReasonProvider)
		return err
	}
	setUp := func(provider *oidc.Provider) error {
		login, err := oidc.NewLogin(provider, signIn, "https://app.example/auth/oidc", &oidc.Options{
			SignOut:  sessions.Logout,
			OnLogout: endSessions,
		})
		if err != nil {
			return err
		}
		return login.Mount(mux)
	}
	_ = setUp
}
