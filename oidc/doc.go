// Package oidc is "Log in with …": the whole OpenID Connect relying party as
// one [net/http.Handler].
//
// Begin with [Google] or [Generic], and [Mount]:
//
//	google := oidc.Google(os.Getenv("GOOGLE_CLIENT_ID"), os.Getenv("GOOGLE_CLIENT_SECRET"))
//	signIn := oidc.Then(users.ByIdentity, sessions.Login)
//	err := oidc.Mount(mux, "https://app.example/auth/google", google, signIn)
//	if err != nil {
//		return err
//	}
//	// Register https://app.example/auth/google/callback at Google, and link to
//	// /auth/google/login?return_to=/where/they/were
//
// users.ByIdentity is yours: it returns your user for a [Profile], whose key is
// (Issuer, Subject), making one when there is none. sessions.Login is
// session.Manager.Login, or anything of its shape. [NewLogin] has options, and
// returns the handler itself.
//
// # How it works
//
// The login page makes a fresh state, nonce and PKCE verifier (S256), seals
// them with the return path into one cookie for this flow and redirects to the
// provider. Nothing is kept on the server, so a million visitors who never come
// back cost nothing, and tabs don't disturb one another. The callback page
// finds the flow's cookie by the state, deletes it, sends the code once, checks
// the ID token and calls the [LoginFunc]; then it redirects to the return path.
// Users see refusals as 4xx pages, and a failing provider as 502 (it answers
// nonsense), 503 with Retry-After (it is down) or 504 (it is slow).
//
// No constructor touches the network. Metadata and keys are fetched when they
// are first needed and kept; while a provider is down the last good ones are
// used, a week and a day at most. An unknown signing key makes the key set be
// fetched again, but at most once in 30 seconds without finding it there.
//
// # Logout
//
// [Options] add signing out both ways, for programs that say how their sessions
// end; register the URLs at the provider ([Login.LoggedOutURL],
// [Login.BackchannelURL]):
//
//   - BaseURL/logout, to which a page posts a form, signs out here and then at the
//     provider (OpenID Connect RP-Initiated Logout 1.0), which sends the browser
//     back to BaseURL/logged-out. A provider that has no page for it, or is down,
//     keeps nobody signed in here.
//   - BaseURL/backchannel, to which the provider's server posts a logout token
//     (OpenID Connect Back-Channel Logout 1.0), ends the sessions that the provider
//     has ended. For this a session keeps the [Profile]'s Issuer, Subject and SID.
//
// A logout token can overtake the sign-in it is about: it comes while there is no
// session yet to end. To be sure, note each [ProviderLogout] before ending
// sessions, and end a session that has begun when there is a note since
// [Profile].Received. auth/accounts does.
//
// # Security considerations
//
// Always checked, beyond what go-oidc does: that iss, sub, aud, azp, exp, iat,
// nonce and at_hash of the ID token are right, by exact name and type; that it
// is no other kind of JWT; that its key is meant for signing and for this
// algorithm; acr and auth_time when they were asked for; UserInfo's sub; the
// iss parameter (RFC 9207); that no parameter comes twice. Requests to the
// provider have 10 seconds and 1 MiB, and follow no redirects.
//
// The redirect URI comes from configuration, never from a Host or Forwarded
// header. Return paths are local or they are "/"; see [ReturnPath].
//
// Behind https the flow cookie is __Host-, so that a neighbouring host name
// can't plant one. It is SameSite=Lax: with response_mode=form_post, which is
// another site's post, the callback first answers with a page that posts the
// same form again from here. So the code never stands in a URL, but a CSRF
// middleware around the callback must let that post through; it is guarded by
// the state.
//
// A logout token is checked as an ID token is, and must be nothing else: it has
// the logout event, a jti that was not used before, sub or sid, and no nonce; it
// is at most an hour old. Only success uses it up: when sessions could not be
// ended the answer is 503 and the provider may send it again. No Origin check may
// stand before that page, its signature guards it. The logout page takes a form
// from BaseURL's origin alone.
//
// The ID token that names the user to the provider at the sign-out (id_token_hint)
// rests sealed in a cookie that is sent to the logout page alone; one over 2.9 KB
// is not kept, and client_id has to do.
//
// An email proves less than it seems: see [Profile].EmailAuthoritative. Never
// join a profile to an existing account by email otherwise.
//
// Nodes behind one URL must share [Options].Keys, or a client secret of 16
// bytes or more, from which keys are derived; and [Options].Once, with
// back-channel logout.
//
// # Not included
//
// Front-channel logout, session management by frames, encrypted ID tokens, signed
// UserInfo answers, private_key_jwt, DPoP, PAR, dynamic registration and OAuth 2.0
// providers without OpenID Connect.
package oidc
