// Package gatewire is the map of a library for Go services: passwords,
// sessions, tokens, sign-in with a provider, authorization, and WebSocket
// connections that end when the session behind them does. The packages are
// independent; import the one you need.
//
//   - [github.com/gatewire/gatewire/password] hashes and verifies passwords: argon2id, pepper, policy, a memory budget.
//   - [github.com/gatewire/gatewire/session] keeps server-side sessions: cookies and rotating refresh tokens on one record.
//   - [github.com/gatewire/gatewire/jwt] issues and verifies short-lived access tokens.
//   - [github.com/gatewire/gatewire/oidc] is "Log in with Google" as a handler.
//   - [github.com/gatewire/gatewire/realtime] serves authenticated WebSocket connections: channels, presence, history, recovery.
//   - [github.com/gatewire/gatewire/auth] says who is calling and what they may do, whichever of the above told it.
//   - [github.com/gatewire/gatewire/auth/accounts] is the account system made of them, without realtime.
//
// The session is the one root of trust. A cookie, a refresh token, an access
// token and a live socket are presentations of one session record; ending the
// record ends all of them. Only services that check access tokens by JWKS alone
// take them until they expire, minutes later.
//
// The first six never import one another. What one hands another is a value
// with methods of standard-library types, and a function such as auth.Via,
// realtime.Via or oidc.Then joins the two in one line.
//
// This package holds no code. The program in examples/app uses everything.
package gatewire
