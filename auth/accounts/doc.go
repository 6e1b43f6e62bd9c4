// Package accounts is an account system made of the packages password, session,
// jwt and oidc: sign-up and sign-in with a password or a provider, cookie
// sessions, access and refresh tokens, "your devices", password change, with
// limits against guessing. It joins a program's own mux and stores.
//
// Begin with [New] and [Service.Mount]:
//
//	service, err := accounts.New(sessions, accounts.Config{
//		BaseURL: "https://app.example", Users: users, Passwords: passwords, Ring: ring,
//	}, &accounts.Options{Providers: []*oidc.Provider{oidc.Google(id, secret)}})
//	if err != nil {
//		return err
//	}
//	defer service.Close()
//	service.Mount(mux)
//	signedIn := auth.Require(auth.AuthenticatorFunc(service.Authenticate))
//	mux.Handle("GET /orders", signedIn(orders))
//
// The routes are thin: everything they do is a method, such as
// [Service.Register], [Service.Login] and [Service.LoginWith]. These return a
// [SignIn], somebody who has proved who they are; only [SignIn.Cookie] and
// [SignIn.Tokens] make a session of it, through one private function that asks
// whatever else must hold. There is no way to a session around it.
//
// # Routes
//
// What they take and answer; "?" marks what may be left out:
//
//	POST   /auth/register       {"email", "password", "name"?, "mode"?}   201 {"user"}
//	POST   /auth/login          {"email", "password", "mode"?}            200 {"user"}
//	GET    /auth/me                                                       200 {"user", "session"}
//	POST   /auth/password       {"current", "new"}                        204; 202: changed, and signed out everywhere in a moment
//	GET    /auth/sessions                                                 200 {"sessions": […]}
//	DELETE /auth/sessions/{id}                                            204
//	POST   /auth/logout, /auth/logout/all                                 204
//	POST   /auth/session/token  the cookie                                200 {"access_token", "token_type", "expires_in"}
//	POST   /auth/token          grant_type=refresh_token&refresh_token=…  200 the same and "refresh_token"
//	POST   /auth/revoke         token=…                                   200
//	GET    /auth/{provider}/login?return_to=/path                         a page to link to
//	POST   /auth/{provider}/logout        a form of a page                303 to the provider, or to logged-out
//	GET    /auth/{provider}/logged-out                                    the page one comes back to
//	POST   /auth/{provider}/backchannel   logout_token=…                  200
//
// Register and login set the session's cookie. With the mode "token" they set
// none, and answer the tokens beside the user, for clients that are no browsers.
// Refusals are problem details (RFC 9457) with a "type" to tell them by, such as
// "email-taken"; those of /auth/token and /auth/revoke are as in RFC 6749.
//
// # Logout at a provider
//
// Register BaseURL/auth/NAME/logged-out (post-logout redirect URI) and
// BaseURL/auth/NAME/backchannel (back-channel logout URI) at the provider. A form
// posted to /auth/NAME/logout ends the session here, whatever it began with, and
// then signs out at the provider; with one that has no page for it, or is down, it
// leads to the page logged-out. When the provider ends a session of its own, the
// sessions that began with it end here: cookies, refresh tokens, access tokens and
// sockets, on every node. Nodes must share Options.Once for that, and
// Options.SealingKeys.
//
// A logout that comes during the sign-in it is about, before there is a session to
// end, makes the sign-in fail with [ErrProviderLogout].
//
// # Security considerations
//
// The session is the root of trust: access tokens are refused here as soon as
// their session has ended. Services that verify them by JWKS alone take them
// until they expire. An access token can be exchanged for nothing.
//
// A sign-in reads the user's epoch before it reads what it checks, so a change
// of password, or disabling the account, at any time during it wins.
//
// A new password, or a disabled account, ends the user's sessions also when the
// session store is down or this process dies half-way: what is owed is written in
// the same step, and every node repeats it, some seconds later at most, until the
// session store confirms it; whoever signs in meanwhile settles it first. Then no
// session is spared, also not that of who changed the password, whose cookie could
// not be renewed: POST /auth/password answers 202 and deletes the cookie. See
// [ErrEndingOwed]. For minutes without a node nothing is repeated, and the session
// store lets the old sessions live.
//
// A provider's email address never finds an account; (issuer, subject) does. An
// address that has an account is refused even when the provider vouches for it,
// since whoever made the account may not own the mailbox. [User.EmailVerified]
// says what the provider said; don't give rights for an address without it.
//
// What asks for a recent proof ([auth.Fresh]) goes by the provider's auth_time,
// which a provider need not say unless [oidc.Provider].MaxAge is set. Without it
// the sign-in counts as a proof of just now, also when the provider knew the
// browser and asked nothing. Where that is not enough, set MaxAge, or ask for a
// password before the step; what Google makes of MaxAge is said there.
//
// Unknown addresses and wrong passwords look the same in answer and time. Sign-up
// tells that an address is taken, which only a mailer can hide. Failed sign-ins
// are limited, see [Limits]; nobody can lock another out. Behind a proxy set
// Options.TrustedProxies, or all clients share the limits of one address. With
// several nodes share a [Limiter] and a [Once]: those of the database
// (sqlstore's Store has both) or of your own. With the defaults each node counts
// for itself, and what may happen once may happen once on each.
//
// State-changing requests are taken from Config.BaseURL and
// Options.AllowedOrigins alone, except a provider's form_post callback, which its
// state guards, and its back-channel logout, which its signature guards: don't put
// those behind a check of Origin. Bodies are read
// strictly, so that nothing in front of this program can read them in another way.
// Routes of your own are not checked so: put [session.Manager.Handler] or
// [http.CrossOriginProtection] around those that change state for a cookie.
//
// A store, limiter or hasher that fails is 503. Events and logs hold no secret and
// no address of mail.
//
// # Not included
//
// Mail (verification, password reset), linking a provider to an account, second
// factors, and administration beyond [Service.SetDisabled] and
// [Service.SetGrants].
package accounts
