package jwt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"
)

// VerifierOptions adjust a [Verifier]. The zero value is right for most
// programs.
type VerifierOptions struct {
	// Skew is how far the issuer's clock and ours may differ, up to 2 minutes.
	// Defaults to 30 seconds. -1 allows no difference.
	Skew time.Duration

	// MaxLifetime is the longest exp − iat that is accepted, up to 24 hours, for
	// issuers other than ours. Defaults to [MaxLifetime], 15 minutes.
	MaxLifetime time.Duration

	// MaxSize is the longest token in bytes, up to 64 KiB. Defaults to 8 KiB.
	MaxSize int

	// OtherAudiences may stand in aud beside the profile's audience, which must
	// always be there. A token for any further audience is refused: whoever else
	// it is for could replay it here. Defaults to none.
	OtherAudiences []string
}

// A Verifier verifies tokens of one profile, issuer and audience. It is
// immutable and safe for concurrent use.
type Verifier[C any] struct {
	profile  Profile
	keys     KeySource
	o        VerifierOptions
	names    nameSet // claims that are read, here or by C
	all      bool    // C is AccessClaims itself
	embedded int     // index of the AccessClaims that C embeds, or -1
}

// NewVerifier returns a verifier of tokens of profile p that one of keys has
// signed. A [Ring] serves as keys; so do [StaticKeys].
//
// C is what [Token.Claims] returns: [AccessClaims], or a struct or map of your
// own into which encoding/json decodes the verified claims. A struct that embeds
// AccessClaims has them filled in too. Names are matched exactly: a claim whose
// name differs from a field's only in case refuses the token. An error of
// decoding refuses it as well.
func NewVerifier[C any](p Profile, keys KeySource, o *VerifierOptions) (*Verifier[C], error) {
	v := &Verifier[C]{profile: p, keys: keys, embedded: -1}
	if o != nil {
		v.o = *o
		v.o.OtherAudiences = slices.Clone(o.OtherAudiences)
	}
	errs := p.check()
	if ring, ok := keys.(*Ring); keys == nil || ok && ring == nil {
		errs = append(errs, errors.New("keys are needed: pass a *Ring or StaticKeys"))
	}
	switch {
	case v.o.Skew == 0:
		v.o.Skew = 30 * time.Second
	case v.o.Skew == -1:
		v.o.Skew = 0
	case v.o.Skew < 0 || v.o.Skew > maxSkew:
		errs = append(errs, fmt.Errorf("the Skew is %v: use up to %v, or -1 for none", v.o.Skew, maxSkew))
	}
	switch {
	case v.o.MaxLifetime == 0:
		v.o.MaxLifetime = MaxLifetime
	case v.o.MaxLifetime < time.Second || v.o.MaxLifetime > 24*time.Hour:
		errs = append(errs, fmt.Errorf("MaxLifetime is %v: use 1s to 24h", v.o.MaxLifetime))
	}
	switch {
	case v.o.MaxSize == 0:
		v.o.MaxSize = maxSize
	case v.o.MaxSize < 0 || v.o.MaxSize > maxSizeLimit:
		errs = append(errs, fmt.Errorf("MaxSize is %d: use up to %d bytes", v.o.MaxSize, maxSizeLimit))
	}
	if slices.Contains(v.o.OtherAudiences, "") {
		errs = append(errs, errors.New("OtherAudiences holds an empty one"))
	}
	errs = append(errs, v.prepare()...)
	if len(errs) > 0 {
		return nil, fmt.Errorf("jwt: NewVerifier: %w", errors.Join(errs...))
	}
	return v, nil
}

const maxSkew = 2 * time.Minute

// prepare looks at C once: its names, and whether it wants AccessClaims.
func (v *Verifier[C]) prepare() []error {
	t := reflect.TypeFor[C]()
	v.names = registered
	if t == accessType {
		v.all = true
		return nil
	}
	if t.Kind() != reflect.Struct && t.Kind() != reflect.Map && !reflect.PointerTo(t).Implements(unmarshalerType) {
		return []error{fmt.Errorf("claims are decoded into a struct or a map, not into %v", t)}
	}
	if t.Kind() == reflect.Struct {
		for i := range t.NumField() {
			if f := t.Field(i); f.Anonymous && f.Type == accessType {
				v.embedded = i
			}
		}
	}
	var errs []error
	v.names, errs = namesOf(t)
	return errs
}

// Verify returns the token in raw. What it returns was decoded from the very
// bytes that were verified. Any error is an [*Error]: an [errors.Is] match of
// ErrMalformed, ErrSignature, ErrExpired and so on, or ErrUnavailable when
// nobody could tell.
func (v *Verifier[C]) Verify(ctx context.Context, raw string) (*Token[C], error) {
	t, e := v.verify(ctx, raw)
	if e != nil {
		return nil, e
	}
	return t, nil
}

// verify goes from the cheap to the dear: form, type, key, signature, and only
// then the claims, so that nothing is said about claims that nobody signed.
func (v *Verifier[C]) verify(ctx context.Context, raw string) (*Token[C], *Error) {
	c, e := parseCompact(raw, v.o.MaxSize)
	if e != nil {
		return nil, e
	}
	if !c.hasType(v.profile.typ) {
		return nil, refuse(ErrType, "typ is not "+v.profile.typ)
	}
	key, err := v.keys.Key(ctx, c.kid)
	switch {
	case errors.Is(err, ErrUnknownKey):
		return nil, refuse(ErrUnknownKey, quoteKeyID(c.kid))
	case err != nil:
		return nil, unavailable(err)
	case key.check == nil:
		return nil, unavailable(errors.New("the key source returned a zero Key"))
	case !key.accepts(c.alg):
		return nil, refuse(ErrAlgorithm, quoteKeyID(c.kid)+" is for "+key.alg)
	case !key.check(c.signed, c.signature):
		return nil, refuse(ErrSignature, quoteKeyID(c.kid))
	}
	payload, err := base64url.DecodeString(c.payload)
	if err != nil {
		return nil, refuse(ErrMalformed, "claims: not base64url")
	}
	members, err := scanObject(payload, v.names)
	if err != nil {
		return nil, refuse(ErrMalformed, "claims: "+err.Error())
	}
	claims, e := readClaims(members)
	if e != nil {
		return nil, e
	}
	if e := v.validate(&claims, time.Now()); e != nil {
		return nil, e
	}
	t := &Token[C]{access: claims.AccessClaims}
	if e := v.decode(payload, t); e != nil {
		return nil, e
	}
	return t, nil
}

// validate compares the claims with the profile, RFC 9068 section 4. The time
// comes last: ErrExpired is said only of a token that is good otherwise.
func (v *Verifier[C]) validate(c *verifiedClaims, now time.Time) *Error {
	if c.Issuer != v.profile.issuer {
		return refuse(ErrIssuer, "")
	}
	if !slices.Contains(c.Audience, v.profile.audience) {
		return refuse(ErrAudience, "")
	}
	for _, aud := range c.Audience {
		if aud != v.profile.audience && !slices.Contains(v.o.OtherAudiences, aud) {
			return refuse(ErrAudience, "for another audience too")
		}
	}
	if lifetime := c.Expiry.Sub(c.IssuedAt); lifetime <= 0 || lifetime > v.o.MaxLifetime {
		return refuse(ErrLifetime, "")
	}
	latest := now.Add(v.o.Skew)
	if c.IssuedAt.After(latest) || c.notBefore.After(latest) || c.AuthTime.After(latest) {
		return refuse(ErrNotYetValid, "")
	}
	// RFC 7519 section 4.1.4: "on or after" exp is too late.
	if late := now.Sub(c.Expiry); late >= v.o.Skew {
		return refuse(ErrExpired, late.Truncate(time.Second).String()+" ago")
	}
	return nil
}

// decode fills the host's type. The payload has passed scanObject, so that
// encoding/json finds each name once and in the case that was asked for.
func (v *Verifier[C]) decode(payload []byte, t *Token[C]) *Error {
	if v.all {
		reflect.ValueOf(&t.claims).Elem().Set(reflect.ValueOf(t.Access()))
		return nil
	}
	if err := json.Unmarshal(payload, &t.claims); err != nil {
		// Its text could quote the token.
		return refuse(ErrClaims, "they do not decode into "+reflect.TypeFor[C]().String())
	}
	if v.embedded >= 0 {
		reflect.ValueOf(&t.claims).Elem().Field(v.embedded).Set(reflect.ValueOf(t.Access()))
	}
	return nil
}

// Authenticate verifies the bearer token in the Authorization header (RFC 6750
// section 2.1); nowhere else is a token looked for. No header, or one of
// another scheme, is ErrNoToken; more than one header is ErrRequest.
func (v *Verifier[C]) Authenticate(r *http.Request) (*Token[C], error) {
	raw, e := bearer(r.Header)
	if e != nil {
		return nil, e
	}
	return v.Verify(r.Context(), raw)
}

func bearer(h http.Header) (string, *Error) {
	values := h.Values("Authorization")
	if len(values) > 1 {
		return "", refuse(ErrRequest, "more than one header")
	}
	if len(values) == 0 {
		return "", refuse(ErrNoToken, "")
	}
	end := strings.IndexAny(values[0]+" ", " \t")
	scheme, token := values[0][:end], values[0][end:]
	if !strings.EqualFold(scheme, "Bearer") {
		return "", refuse(ErrNoToken, "")
	}
	token = strings.Trim(token, " ") // RFC 9110 section 11.4: 1*SP
	if token == "" || strings.ContainsAny(token, " \t,") {
		return "", refuse(ErrRequest, "not one token after Bearer")
	}
	return token, nil
}
