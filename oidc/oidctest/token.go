package oidctest

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

func (p *Provider) serveToken(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	if !p.authenticates(r) || p.has(InvalidClient) {
		writeJSON(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client"})
		return
	}
	form := r.PostForm
	if form.Get("grant_type") != "authorization_code" {
		writeJSON(w, http.StatusBadRequest, map[string]any{"error": "unsupported_grant_type"})
		return
	}
	g := p.redeem(form)
	switch {
	case g == nil || p.has(InvalidGrant) || g.fault == InvalidGrant:
		writeJSON(w, http.StatusBadRequest, map[string]any{"error": "invalid_grant", "error_description": "no such code, or not yours"})
		return
	case g.fault == InvalidClient:
		writeJSON(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client"})
		return
	}
	access := rand.Text()
	p.mu.Lock()
	if len(p.tokens) >= maxGrants {
		clear(p.tokens)
	}
	kept := *g
	kept.expires = time.Now().Add(tokenLifetime)
	p.tokens[access] = &kept
	p.mu.Unlock()
	answer := map[string]any{
		"access_token": access, "token_type": "Bearer",
		"expires_in": int(tokenLifetime / time.Second), "scope": strings.Join(g.scopes, " "),
	}
	if p.hasFor(g, TokenTypeMAC) {
		answer["token_type"] = "mac"
	}
	if !p.hasFor(g, NoIDToken) {
		raw, err := p.idToken(g, access)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		answer["id_token"] = raw
	}
	writeJSON(w, http.StatusOK, answer)
}

func (p *Provider) hasFor(g *grant, f Fault) bool { return g.fault == f || p.has(f) }

// authenticates accepts the registered method alone.
func (p *Provider) authenticates(r *http.Request) bool {
	id, secret, basic := r.BasicAuth()
	if basic { // RFC 6749 section 2.3.1: both are form-encoded first
		var err1, err2 error
		id, err1 = url.QueryUnescape(id)
		secret, err2 = url.QueryUnescape(secret)
		if err1 != nil || err2 != nil {
			return false
		}
	} else {
		id, secret = r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	}
	return basic == (p.o.TokenAuth == "client_secret_basic") && id == p.o.ClientID &&
		subtle.ConstantTimeCompare([]byte(secret), []byte(p.o.ClientSecret)) == 1
}

// redeem uses up the code and returns its grant, if the verifier and redirect
// URI are those of its authorization request.
func (p *Provider) redeem(form url.Values) *grant {
	p.mu.Lock()
	g := p.codes[form.Get("code")]
	delete(p.codes, form.Get("code"))
	p.mu.Unlock()
	if g == nil || time.Now().After(g.expires) || form.Get("redirect_uri") != g.redirect {
		return nil
	}
	sum := sha256.Sum256([]byte(form.Get("code_verifier")))
	if subtle.ConstantTimeCompare([]byte(b64(sum[:])), []byte(g.challenge)) != 1 {
		return nil
	}
	return g
}

// draft is an ID token before it is signed.
type draft struct {
	header map[string]any
	claims map[string]any
	extra  string // JSON members appended as they are
}

// tokenFaults change the draft. Those that change the signature have none.
var tokenFaults = map[Fault]func(d *draft){
	WrongIssuer:     func(d *draft) { d.claims["iss"] = "https://other.example" },
	MissingIssuer:   func(d *draft) { delete(d.claims, "iss") },
	MissingSubject:  func(d *draft) { delete(d.claims, "sub") },
	EmptySubject:    func(d *draft) { d.claims["sub"] = "" },
	NumberSubject:   func(d *draft) { d.claims["sub"] = 12345 },
	LongSubject:     func(d *draft) { d.claims["sub"] = strings.Repeat("x", 256) },
	WrongAudience:   func(d *draft) { d.claims["aud"] = "another-app" },
	MissingAudience: func(d *draft) { delete(d.claims, "aud") },
	ExtraAudience: func(d *draft) {
		d.claims["azp"] = d.claims["aud"]
		d.claims["aud"] = []any{d.claims["aud"], "another-app"}
	},
	WrongParty:      func(d *draft) { d.claims["azp"] = "another-app" },
	MissingIssuedAt: func(d *draft) { delete(d.claims, "iat") },
	FutureIssuedAt:  func(d *draft) { d.claims["iat"] = time.Now().Add(24 * time.Hour).Unix() },
	MissingExpiry:   func(d *draft) { delete(d.claims, "exp") },
	TextExpiry:      func(d *draft) { d.claims["exp"] = "99999999999" },
	Expired:         func(d *draft) { d.claims["exp"] = time.Now().Add(-10 * time.Minute).Unix() },
	NotYetValid:     func(d *draft) { d.claims["nbf"] = time.Now().Add(4 * time.Minute).Unix() },
	WrongNonce:      func(d *draft) { d.claims["nonce"] = "another-nonce" },
	MissingNonce:    func(d *draft) { delete(d.claims, "nonce") },
	WrongTokenHash:  func(d *draft) { d.claims["at_hash"] = tokenHash("ES256", "another token") },
	LogoutEvents: func(d *draft) {
		d.claims["events"] = map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}
	},
	LogoutType:      func(d *draft) { d.header["typ"] = "logout+jwt" },
	AccessType:      func(d *draft) { d.header["typ"] = "at+jwt" },
	DuplicateClaim:  func(d *draft) { d.extra = `,"sub":"somebody-else"` },
	CriticalHeader:  func(d *draft) { d.header["crit"] = []string{"exp"}; d.header["exp"] = 1 },
	StaleAuthTime:   func(d *draft) { d.claims["auth_time"] = time.Now().Add(-24 * time.Hour).Unix() },
	MissingAuthTime: func(d *draft) { delete(d.claims, "auth_time") },
	WrongACR:        func(d *draft) { d.claims["acr"] = "0" },
	TextVerified:    func(d *draft) { d.claims["email_verified"] = "true" },
	MissingVerified: func(d *draft) { delete(d.claims, "email_verified") },
	NoKeyID:         func(d *draft) { delete(d.header, "kid") },

	AlgNone: nil, HMACSecret: nil, HMACPublicKey: nil, BadSignature: nil, UnknownKey: nil, EncryptionKey: nil, OtherAlgKey: nil,
}

func (p *Provider) idToken(g *grant, access string) (string, error) {
	if p.has(RotateAtSigning) {
		p.Rotate()
	}
	key := p.signer()
	now := time.Now()
	d := &draft{
		header: map[string]any{"alg": key.alg, "kid": key.kid, "typ": "JWT"},
		claims: map[string]any{
			"iss": p.issuer, "sub": g.user.subject(), "aud": p.o.ClientID,
			"iat": now.Unix(), "exp": now.Add(tokenLifetime).Unix(), "auth_time": g.authTime.Unix(),
			"sid": g.sid, "at_hash": tokenHash(key.alg, access),
		},
	}
	if g.nonce != "" {
		d.claims["nonce"] = g.nonce
	}
	if g.acr != "" {
		d.claims["acr"] = g.acr
	}
	if !p.o.UserInfoOnly {
		maps.Copy(d.claims, g.user.claims(g.scopes))
	}
	signFault := g.fault
	for f, change := range tokenFaults {
		if !p.hasFor(g, f) {
			continue
		}
		if change != nil {
			change(d)
		} else {
			signFault = f
		}
	}
	raw, err := p.sign(signFault, key, d)
	if err == nil {
		p.remember(g, raw)
	}
	return raw, err
}

func (u User) subject() string {
	if u.Subject != "" {
		return u.Subject
	}
	sum := sha256.Sum256([]byte(strings.ToLower(u.Email)))
	return "user-" + b64(sum[:9])
}

// claims are those about the user that the scopes ask for.
func (u User) claims(scopes []string) map[string]any {
	c := map[string]any{}
	if slices.Contains(scopes, "email") && u.Email != "" {
		c["email"], c["email_verified"] = u.Email, !u.EmailUnverified
	}
	if slices.Contains(scopes, "profile") {
		if u.Name != "" {
			c["name"] = u.Name
		}
		if u.Picture != "" {
			c["picture"] = u.Picture
		}
	}
	maps.Copy(c, u.Claims)
	return c
}

func (p *Provider) serveUserInfo(w http.ResponseWriter, r *http.Request) {
	// RFC 6750 section 2.1 alone: never from a query.
	access, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	p.mu.Lock()
	g := p.tokens[access]
	p.mu.Unlock()
	if !ok || g == nil || time.Now().After(g.expires) {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		writeJSON(w, http.StatusUnauthorized, map[string]any{"error": "invalid_token"})
		return
	}
	c := g.user.claims(g.scopes)
	if _, set := c["sub"]; !set {
		c["sub"] = g.user.subject()
	}
	if p.hasFor(g, UserInfoWrongSubject) {
		c["sub"] = "somebody-else"
	}
	if p.hasFor(g, UserInfoMissingSubject) {
		delete(c, "sub")
	}
	if p.hasFor(g, UserInfoOtherEmail) {
		c["email"], c["email_verified"] = "somebody-else@example.com", true
	}
	writeJSON(w, http.StatusOK, c)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}
