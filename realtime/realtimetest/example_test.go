package realtimetest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/gatewire/gatewire/realtime"
	"github.com/gatewire/gatewire/realtime/realtimetest"
	"github.com/gatewire/gatewire/session"
)

// app is a host: a sign-in, a hub behind it, and a rule.
func app() (http.Handler, *session.Manager[struct{}], *realtime.Hub, error) {
	sessions, err := session.New[struct{}](session.NewMemoryStore(nil), nil)
	if err != nil {
		return nil, nil, nil, err
	}
	staff := func(_ context.Context, who realtime.Identity, channel string) (realtime.Grant, error) {
		if channel == "room:staff" && who.UserID() != "ann" {
			return realtime.Grant{}, realtime.ErrDenied
		}
		return realtime.Grant{Publish: true}, nil
	}
	hub, err := realtime.New("https://app.example", realtime.Via(sessions.Authenticate), sessions, realtime.Rules{"room:": staff}, nil)
	if err != nil {
		return nil, nil, nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/realtime", hub)
	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) {
		if err := sessions.Login(w, r, r.FormValue("user")); err != nil {
			http.Error(w, "try again", session.StatusOf(err))
		}
	})
	return sessions.Handler(mux), sessions, hub, nil
}

// join signs a user in, opens a socket and connects.
func join(ctx context.Context, s *realtimetest.Server, user string) (*realtimetest.Client, error) {
	r, err := s.Client().PostForm("http://app.example/login", url.Values{"user": {user}})
	if err != nil {
		return nil, err
	}
	if err := r.Body.Close(); err != nil {
		return nil, err
	}
	if len(r.Cookies()) == 0 {
		return nil, errors.New(r.Status)
	}
	cookie := r.Cookies()[0]
	c, err := s.Dial(ctx, "/realtime", http.Header{"Cookie": {cookie.Name + "=" + cookie.Value}})
	if err != nil {
		return nil, err
	}
	_, err = c.Connect(ctx, "")
	return c, err
}

// What a host's test does: a rule that denies, and a user who is put out. In a
// test its body stands in synctest.Test, and errors are the test's.
func ExampleServe() {
	handler, sessions, hub, err := app()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sessions.Close()
	server := realtimetest.Serve(handler)
	defer server.Close()
	defer hub.Close()

	ctx := context.Background()
	ann, err := join(ctx, server, "ann")
	if err != nil {
		fmt.Println(err)
		return
	}
	bob, err := join(ctx, server, "bob")
	if err != nil {
		fmt.Println(err)
		return
	}

	// The rule.
	_, err = bob.Subscribe(ctx, "room:staff", nil)
	var refused *realtime.Error
	fmt.Println("bob:", errors.As(err, &refused), err)
	_, err = ann.Subscribe(ctx, "room:staff", nil)
	fmt.Println("ann:", err)
	_ = hub.Publish(ctx, "room:staff", json.RawMessage(`"hello"`))
	push, _ := ann.Next(ctx)
	fmt.Println("ann:", push.Channel, string(push.Publication.Data))

	// Ann's sessions end, wherever she is signed in: her sockets go too.
	_, _ = sessions.RevokeUser(ctx, "ann", session.ReasonDisabled)
	code, reason, _ := ann.Closed(ctx)
	fmt.Println("ann:", code, reason)
	fmt.Println("bob:", bob.Live())
	// Output:
	// bob: true realtime: 103: permission denied
	// ann: <nil>
	// ann: room:staff "hello"
	// ann: 4501 account disabled
	// bob: true
}
