// Package auth says who is calling and what they may do. It joins whatever
// authenticates requests (a session manager, a token verifier, your own code)
// to middleware and rules, without any of them importing another. It imports
// the standard library alone.
//
// Begin with [Via] and [Require]:
//
//	caller := auth.OneOf(auth.Via(sessions.Authenticate), auth.Via(verifier.Authenticate))
//	signedIn := auth.Require(caller)
//	mux.Handle("GET /orders", signedIn(orders))
//	mux.Handle("POST /orders", auth.Require(caller, auth.Scope("orders:write"))(newOrder))
//	mux.Handle("DELETE /account", auth.Require(caller, auth.Fresh(5*time.Minute))(deleteAccount))
//	mux.Handle("GET /{$}", auth.Load(caller)(home)) // also for visitors
//
//	who, ok := auth.From(r.Context()) // in a handler
//
// A credential that is no longer good makes a caller nobody behind [Load] and is
// 401 behind [Require]: a browser keeps the cookie of a session that has ended.
// [SignInPage] around Require sends such a browser to a page to sign in at, which
// itself must not stand behind Require.
//
// # Security considerations
//
// Everything fails closed. An authenticator's error without a code, such as that
// of a store that is down, is 503: never "not signed in" and never "signed in".
// A request with two credentials passes only when both are good and name the same
// user and session, so that nobody can smuggle a second identity past a check
// of the first. Wiring mistakes (a nil authenticator, a rule that demands
// nothing) panic while the program starts, as in [http.Handle].
//
// Guard each route, or a whole tree that holds nothing public: what no Require
// stands before is public. A rule sees the identity as it was at the start of
// the request; a handler that runs for minutes should ask again.
//
// Not included: cross-site request forgery protection (package session and
// [http.CrossOriginProtection] have it), and rights on single objects, which a
// [RuleFunc] or the handler decides.
package auth
