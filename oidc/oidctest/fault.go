package oidctest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Fault is one way to misbehave; see [Provider.Inject]. Unless its comment
// says otherwise, a relying party must not sign anybody in.
type Fault string

// Faults of the ID token.
const (
	WrongIssuer     Fault = "id-token-wrong-iss"
	MissingIssuer   Fault = "id-token-missing-iss"
	MissingSubject  Fault = "id-token-missing-sub"
	EmptySubject    Fault = "id-token-empty-sub"
	NumberSubject   Fault = "id-token-number-sub"
	LongSubject     Fault = "id-token-long-sub" // 256 characters
	WrongAudience   Fault = "id-token-wrong-aud"
	MissingAudience Fault = "id-token-missing-aud"
	ExtraAudience   Fault = "id-token-extra-aud" // with the right azp
	WrongParty      Fault = "id-token-wrong-azp"
	MissingIssuedAt Fault = "id-token-missing-iat"
	FutureIssuedAt  Fault = "id-token-future-iat" // a day ahead
	MissingExpiry   Fault = "id-token-missing-exp"
	TextExpiry      Fault = "id-token-text-exp" // a number in a string
	Expired         Fault = "id-token-expired"  // ten minutes ago
	NotYetValid     Fault = "id-token-future-nbf"
	WrongNonce      Fault = "id-token-wrong-nonce"
	MissingNonce    Fault = "id-token-missing-nonce"
	WrongTokenHash  Fault = "id-token-wrong-at-hash"
	LogoutEvents    Fault = "id-token-logout-events" // a logout token's events claim
	LogoutType      Fault = "id-token-logout-typ"    // typ logout+jwt
	AccessType      Fault = "id-token-access-typ"    // typ at+jwt
	DuplicateClaim  Fault = "id-token-duplicate-claim"
	CriticalHeader  Fault = "id-token-crit"
	StaleAuthTime   Fault = "id-token-stale-auth-time" // a day ago; refused when max_age was asked for
	MissingAuthTime Fault = "id-token-missing-auth-time"
	WrongACR        Fault = "id-token-wrong-acr"              // refused when acr_values was asked for
	TextVerified    Fault = "id-token-text-email-verified"    // to be accepted, as not verified
	MissingVerified Fault = "id-token-missing-email-verified" // to be accepted; UserInfo may say it
	NoIDToken       Fault = "id-token-none-at-all"
)

// Faults of the ID token's signature and of the key set.
const (
	AlgNone         Fault = "signature-alg-none"
	HMACSecret      Fault = "signature-hs256-client-secret"
	HMACPublicKey   Fault = "signature-hs256-public-key"
	BadSignature    Fault = "signature-bad"
	UnknownKey      Fault = "signature-unknown-kid" // a key that is never published
	EncryptionKey   Fault = "signature-use-enc-key" // published, but with use=enc
	OtherAlgKey     Fault = "signature-other-alg-key"
	NoKeyID         Fault = "signature-no-kid"           // to be accepted with one key, may be with several
	UnusableKeys    Fault = "keys-unusable-too"          // secp256k1, X448, oct, junk beside the good one: to be accepted
	RotateAtSigning Fault = "keys-rotate-before-signing" // to be accepted
)

// Faults of the other answers.
const (
	MetadataWrongIssuer Fault = "discovery-wrong-issuer"
	MetadataHTTP        Fault = "discovery-http-endpoint" // a token endpoint in plain text on another host

	AnswerWrongIssuer   Fault = "callback-wrong-iss"
	AnswerMissingIssuer Fault = "callback-missing-iss" // though the metadata promises it
	AnswerWrongState    Fault = "callback-wrong-state"
	AnswerMissingState  Fault = "callback-missing-state"
	AnswerTwice         Fault = "callback-duplicate-code"
	AccessDenied        Fault = "callback-access-denied"
	ErrorHTML           Fault = "callback-error-html" // markup in error_description
	ServerError         Fault = "callback-server-error"
	TemporarilyDown     Fault = "callback-temporarily-unavailable"

	InvalidGrant  Fault = "token-invalid-grant"
	InvalidClient Fault = "token-invalid-client"
	TokenTypeMAC  Fault = "token-type-mac"

	UserInfoWrongSubject   Fault = "userinfo-wrong-sub"
	UserInfoMissingSubject Fault = "userinfo-missing-sub"
	UserInfoOtherEmail     Fault = "userinfo-other-email" // verified, but another address: not to be mixed with the ID token's
)

// Faults of the logout token. Unless its comment says otherwise, a relying party
// must answer 400 and end nothing.
const (
	LogoutAlgNone         Fault = "logout-alg-none"
	LogoutHMACSecret      Fault = "logout-hs256-client-secret"
	LogoutHMACPublicKey   Fault = "logout-hs256-public-key"
	LogoutBadSignature    Fault = "logout-bad-signature"
	LogoutUnknownKey      Fault = "logout-unknown-kid"
	LogoutWrongIssuer     Fault = "logout-wrong-iss"
	LogoutWrongAudience   Fault = "logout-wrong-aud"
	LogoutExtraAudience   Fault = "logout-extra-aud"
	LogoutMissingIssuedAt Fault = "logout-missing-iat"
	LogoutFutureIssuedAt  Fault = "logout-future-iat" // a day ahead
	LogoutOldIssuedAt     Fault = "logout-old-iat"    // a day ago, and not expired
	LogoutMissingExpiry   Fault = "logout-missing-exp"
	LogoutExpired         Fault = "logout-expired" // ten minutes ago
	LogoutMissingEvents   Fault = "logout-missing-events"
	LogoutNoEvent         Fault = "logout-no-event" // an empty events object
	LogoutWrongEvent      Fault = "logout-wrong-event"
	LogoutNullEvent       Fault = "logout-null-event"
	LogoutTextEvent       Fault = "logout-text-event"
	LogoutWithNonce       Fault = "logout-with-nonce"
	LogoutNobody          Fault = "logout-neither-sub-nor-sid"
	LogoutEmptySubject    Fault = "logout-empty-sub"
	LogoutNumberSID       Fault = "logout-number-sid"
	LogoutLongSID         Fault = "logout-long-sid" // 256 characters
	LogoutMissingID       Fault = "logout-missing-jti"
	LogoutReplayed        Fault = "logout-replayed" // the last logout token once more
	LogoutDuplicateClaim  Fault = "logout-duplicate-claim"
	LogoutCriticalHeader  Fault = "logout-crit"
	LogoutAccessType      Fault = "logout-access-typ"    // typ at+jwt
	LogoutIDTokenInPlace  Fault = "logout-is-id-token"   // an ID token of the same session
	LogoutNoType          Fault = "logout-no-typ"        // to be accepted
	LogoutPlainType       Fault = "logout-plain-typ"     // typ JWT: to be accepted
	LogoutMoreInEvent     Fault = "logout-event-members" // members in the event: to be accepted
)

// Endpoint is one that the relying party's server asks.
type Endpoint string

// The endpoints that can fail as a whole.
const (
	Discovery Endpoint = "discovery"
	Keys      Endpoint = "keys"
	Token     Endpoint = "token"
	UserInfo  Endpoint = "userinfo"
)

// Down makes e answer 503.
func Down(e Endpoint) Fault { return Fault(e) + "-down" }

// Fails makes e answer 500 with an HTML page.
func Fails(e Endpoint) Fault { return Fault(e) + "-fails" }

// Garbage makes e answer 200 with something that isn't JSON.
func Garbage(e Endpoint) Fault { return Fault(e) + "-garbage" }

// Huge makes e answer 200 with 200 MB of JSON.
func Huge(e Endpoint) Fault { return Fault(e) + "-huge" }

// Hangs makes e answer nothing until the request is given up.
func Hangs(e Endpoint) Fault { return Fault(e) + "-hangs" }

// Redirects makes e redirect to a copy of itself, which answers properly: a
// client that follows succeeds, and must not.
func Redirects(e Endpoint) Fault { return Fault(e) + "-redirects" }

// Faults lists every fault of signing in, sorted. Those of signing out are
// [LogoutFaults].
func Faults() []Fault {
	all := slices.Collect(maps.Keys(tokenFaults))
	all = append(all, NoIDToken, UnusableKeys, RotateAtSigning, MetadataWrongIssuer, MetadataHTTP,
		AnswerWrongIssuer, AnswerMissingIssuer, AnswerWrongState, AnswerMissingState, AnswerTwice,
		AccessDenied, ErrorHTML, ServerError, TemporarilyDown, InvalidGrant, InvalidClient, TokenTypeMAC,
		UserInfoWrongSubject, UserInfoMissingSubject, UserInfoOtherEmail)
	for _, e := range []Endpoint{Discovery, Keys, Token, UserInfo} {
		all = append(all, Down(e), Fails(e), Garbage(e), Huge(e), Hangs(e), Redirects(e))
	}
	slices.Sort(all)
	return all
}

// Inject makes the provider misbehave until [Provider.Clear]. It panics on a
// fault that there isn't.
func (p *Provider) Inject(faults ...Fault) {
	known := append(Faults(), LogoutFaults()...)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range faults {
		if !slices.Contains(known, f) {
			panic(fmt.Sprintf("oidctest: no fault %q", f))
		}
		p.faults[f] = true
	}
}

// Clear makes the provider behave again.
func (p *Provider) Clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.faults)
}

func (p *Provider) has(f Fault) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.faults[f]
}

// flowFaults are those that one sign-in can have to itself, by choice on the
// picker's page: all but those of discovery, the key set and whole endpoints.
func flowFaults() []Fault {
	var of []Fault
	for _, f := range Faults() {
		s := string(f)
		if strings.HasPrefix(s, "id-token-") || strings.HasPrefix(s, "signature-") && f != EncryptionKey && f != OtherAlgKey ||
			strings.HasPrefix(s, "callback-") || f == UserInfoWrongSubject || f == UserInfoMissingSubject || f == UserInfoOtherEmail ||
			f == InvalidGrant || f == InvalidClient || f == TokenTypeMAC {
			of = append(of, f)
		}
	}
	return of
}
