package jwt

import (
	"errors"
	"log/slog"
	"strconv"
)

// What a refused token is refused for. Match with [errors.Is]; what
// [Verifier.Verify] returns is always an [*Error].
var (
	ErrMalformed   = errors.New("jwt: not a well-formed token")            // RFC 7515 section 3.1, RFC 8259
	ErrAlgorithm   = errors.New("jwt: the algorithm is not the key's")     // RFC 8725 section 3.1
	ErrType        = errors.New("jwt: a token of another type")            // RFC 8725 section 3.11
	ErrUnknownKey  = errors.New("jwt: no key has this id")                 // also a missing kid where there are several keys
	ErrSignature   = errors.New("jwt: the signature does not verify")      // RFC 7515 section 5.2
	ErrIssuer      = errors.New("jwt: another issuer")                     // RFC 7519 section 4.1.1
	ErrAudience    = errors.New("jwt: for another audience")               // RFC 7519 section 4.1.3
	ErrExpired     = errors.New("jwt: expired")                            // RFC 7519 section 4.1.4
	ErrNotYetValid = errors.New("jwt: not valid yet")                      // nbf, iat or auth_time in the future
	ErrLifetime    = errors.New("jwt: lives longer than the profile lets") // exp − iat
	ErrClaims      = errors.New("jwt: a claim is missing or wrong")        // any other claim, and one that does not fit the host's type

	ErrNoToken     = errors.New("jwt: the request carries no bearer token")
	ErrRequest     = errors.New("jwt: the Authorization header is malformed") // RFC 6750 section 3.1, invalid_request
	ErrUnavailable = errors.New("jwt: the keys cannot be read now")           // could not tell: 503, never 401
)

// An Error says why a token was not accepted. Its text is one public sentence,
// the same for every refusal, so that answering a client with it tells an
// attacker nothing; the reason is in [Error.Reason], in slog output and
// through [errors.Is]. It never holds bytes of the token except its key id,
// quoted and cut.
type Error struct {
	kind   error  // one of the sentinels
	detail string // for the log
	cause  error  // what stood in the way of telling, if anything
}

func refuse(kind error, detail string) *Error { return &Error{kind: kind, detail: detail} }

func unavailable(cause error) *Error { return &Error{kind: ErrUnavailable, cause: cause} }

// Error returns the public sentence.
func (e *Error) Error() string {
	switch e.kind {
	case ErrNoToken, ErrRequest, ErrUnavailable:
		return e.kind.Error()
	}
	return "jwt: the token is refused"
}

// Reason returns why, for a log. It is one line.
func (e *Error) Reason() string {
	s := e.kind.Error()
	if e.detail != "" {
		s += ": " + e.detail
	}
	if e.cause != nil {
		s += ": " + strconv.Quote(e.cause.Error())
	}
	return s
}

// LogValue is the reason.
func (e *Error) LogValue() slog.Value { return slog.StringValue(e.Reason()) }

// Is reports whether target is what the token was refused for.
func (e *Error) Is(target error) bool { return target == e.kind }

// Unwrap returns what kept the keys from being read, if anything did.
func (e *Error) Unwrap() error { return e.cause }

// AuthError returns "none" when the request has no bearer token, "unavailable"
// when nobody could tell, else the RFC 6750 section 3.1 code: "invalid_request"
// or "invalid_token".
func (e *Error) AuthError() string {
	switch e.kind {
	case ErrNoToken:
		return "none"
	case ErrUnavailable:
		return "unavailable"
	case ErrRequest:
		return "invalid_request"
	}
	return "invalid_token"
}

// Expired reports whether a genuine token, otherwise good, is past its time: its
// holder may fetch a fresh one and go on.
func (e *Error) Expired() bool { return e.kind == ErrExpired }
