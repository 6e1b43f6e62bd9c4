// Package session keeps server-side sessions: a cookie for browsers, a
// rotating refresh token for everything else, both on one record that is ended
// once and is then over for good, whatever request is in flight.
//
// Start with [New], wrap your handlers with [Manager.Handler], sign users in
// with [Manager.Login] and ask who is calling with [Manager.Authenticate]:
//
//	type Data struct{ Cart []string } // what a session carries; struct{} for nothing
//
//	// On http://localhost add Cookie: session.Cookie{Insecure: true}, or clients drop the cookie.
//	sessions, err := session.New[Data](session.NewMemoryStore(nil), &session.Options{TrustedOrigins: []string{"https://app.example"}})
//	if err != nil { … }
//	defer sessions.Close()
//	mux.HandleFunc("POST /login", func(w http.ResponseWriter, r *http.Request) { err := sessions.Login(w, r, userID) … })
//	mux.HandleFunc("GET /me", func(w http.ResponseWriter, r *http.Request) { s, err := sessions.Authenticate(r) … })
//	http.ListenAndServe(addr, sessions.Handler(mux))
//
// README.md helps to choose lifetimes, a store and cookie settings, MOVING.md to
// come from alexedwards/scs or gorilla/sessions.
//
// Clients without cookies get a refresh token from [Manager.BeginToken] and
// exchange it with [Manager.Refresh]. "Your devices" is [Manager.List] with
// [Manager.Revoke] and [Manager.RevokeOthers]. Whatever holds something open
// for a session (a socket) learns of its end from [Manager.OnEnd] at once and
// from [Manager.EndedSince] for sure.
//
// # Security considerations
//
//   - Tokens are 256 bits from crypto/rand. A [Store] sees SHA-256 of them only,
//     so a copy of it signs in nobody. Session ids are public.
//   - Signing in always replaces the token (no fixation), and a token that was
//     replaced can neither read nor write nor be renewed.
//   - No write to a store inserts but a sign-in, and every one is compared with
//     the revision it was based on. A session that ended stays ended.
//   - A store that is down is an error with status 503: never "signed out",
//     never "signed in", and never a page for the wrong person.
//   - Of several cookies with our name exactly one must name a live session,
//     else there is none; their order is under the control of whoever can set
//     cookies for a parent domain. The default "__Host-" name prevents such
//     cookies in current browsers.
//   - Handler checks state-changing requests only. GET must not change state,
//     and a WebSocket handshake, which is a GET, must check its Origin itself.
//   - A sign-in of several steps (reading a password hash, verifying it, asking
//     for a second factor) takes [Manager.Epoch] first and passes it as
//     [Start].Epoch. Otherwise a password change in between doesn't stop it.
//   - With [Cookie].Insecure the cookie crosses the network in the clear. It is
//     for loopback.
//
// # Not included
//
// Checking credentials, limiting guesses, sessions kept wholly in a cookie, and
// binding a session to a device key. The user agent and the address of a
// session are for people to read; they are not compared, since both change in
// honest use and are copied with ease.
package session
