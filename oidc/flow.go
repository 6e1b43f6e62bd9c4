package oidc

import (
	"cmp"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/gatewire/gatewire/internal/seal"
)

const (
	flowLifetime = 10 * time.Minute
	maxFlows     = 8    // begun and not yet ended, in one browser
	maxFlowBytes = 6144 // of cookies, so that requests stay below usual header limits
	maxDropped   = 32   // deletions in one answer
	flowPurpose  = "oidc flow cookie"
	minKeySecret = 16 // bytes of client secret worth deriving a key from
)

// flow is one sign-in on its way. It rests in a sealed cookie of the browser
// that began it; the server remembers nothing.
type flow struct {
	state    string // binds cookie and callback; not in the payload
	Started  time.Time
	Nonce    string
	Verifier string
	ReturnTo string
}

// encode writes one field a line, none of which can hold a newline. JSON could
// make a return path six times as long, too long for a cookie.
func (f *flow) encode() []byte {
	return []byte(strings.Join([]string{strconv.FormatInt(f.Started.UnixNano(), 10), f.Nonce, f.Verifier, f.ReturnTo}, "\n"))
}

func decodeFlow(payload []byte) (*flow, bool) {
	fields := strings.Split(string(payload), "\n")
	if len(fields) != 4 {
		return nil, false
	}
	started, err := strconv.ParseInt(fields[0], 10, 64)
	return &flow{Started: time.Unix(0, started), Nonce: fields[1], Verifier: fields[2], ReturnTo: fields[3]}, err == nil
}

func newFlow(returnTo string) (*flow, error) {
	var random [64]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, err
	}
	now := time.Now()
	// The time in front lets the oldest of several flows be found without
	// opening them; it is no secret.
	return &flow{
		state:    strconv.FormatInt(now.Unix(), 36) + "." + base64.RawURLEncoding.EncodeToString(random[:32]),
		Started:  now,
		Nonce:    base64.RawURLEncoding.EncodeToString(random[32:]),
		Verifier: oauth2.GenerateVerifier(),
		ReturnTo: returnTo,
	}, nil
}

// flows writes and reads the flow cookies of one login.
type flows struct {
	keys    seal.Keys
	secure  bool   // https: Secure and __Host-, so that no neighbouring host can plant one
	binding string // provider, client and redirect URI; a flow of another login doesn't open
}

// flowKeys returns the keys a host gave, or the default of Options.Keys.
func flowKeys(p *Provider, keys SealingKeys) (SealingKeys, error) {
	if !keys.IsZero() {
		return keys, nil
	}
	var secret [seal.KeySize]byte
	if len(p.secret) >= minKeySecret {
		derived, err := hkdf.Key(sha256.New, []byte(p.secret), nil, "gatewire oidc flow v1 "+p.Issuer+" "+p.ClientID, len(secret))
		if err != nil {
			return keys, err
		}
		copy(secret[:], derived)
	} else if _, err := rand.Read(secret[:]); err != nil {
		return keys, err
	}
	return seal.New("default", secret)
}

func (fs *flows) prefix() string {
	if fs.secure {
		return "__Host-oidc-"
	}
	return "oidc-"
}

// cookieName is derived from the state, so that each flow finds its own.
// It reports false for what is no state of ours.
func (fs *flows) cookieName(state string) (string, bool) {
	started, random, ok := strings.Cut(state, ".")
	if _, err := strconv.ParseUint(started, 36, 40); err != nil || !ok || len(random) != 43 {
		return "", false
	}
	sum := sha256.Sum256([]byte(state))
	return fs.prefix() + strings.ToLower(started) + "-" + hex.EncodeToString(sum[:8]), true
}

// begin sets the cookie of a new flow, and drops the oldest ones beyond the limits.
func (fs *flows) begin(w http.ResponseWriter, r *http.Request, f *flow) error {
	sealed, err := fs.keys.Seal(flowPurpose, f.encode(), fs.additional(f.state))
	if err != nil {
		return err
	}
	name, _ := fs.cookieName(f.state)
	c := fs.cookie(name, base64.RawURLEncoding.EncodeToString(sealed), int(flowLifetime/time.Second))
	fs.dropOldest(w, r, len(c.Name)+len(c.Value))
	http.SetCookie(w, c)
	return nil
}

func (fs *flows) dropOldest(w http.ResponseWriter, r *http.Request, size int) {
	type old struct {
		name string
		at   int64
		size int
	}
	var all []old
	for _, c := range r.Cookies() {
		rest, ok := strings.CutPrefix(c.Name, fs.prefix())
		started, _, dash := strings.Cut(rest, "-")
		at, err := strconv.ParseInt(started, 36, 41)
		if ok && dash && err == nil {
			all = append(all, old{c.Name, at, len(c.Name) + len(c.Value)})
		}
	}
	slices.SortFunc(all, func(a, b old) int { return cmp.Compare(b.at, a.at) }) // newest first
	limit := time.Now().Add(-flowLifetime).Unix()
	kept, dropped := 1, 0
	for _, c := range all {
		size += c.size
		if kept < maxFlows && size <= maxFlowBytes && c.at > limit {
			kept++
			continue
		}
		if dropped++; dropped > maxDropped {
			return
		}
		fs.drop(w, c.name)
	}
}

// end deletes the flow's cookie and returns what it held. found is false when
// the browser sent none.
func (fs *flows) end(w http.ResponseWriter, r *http.Request, state string) (f *flow, found bool, err error) {
	name, ok := fs.cookieName(state)
	if !ok {
		return nil, true, badRequest("state is missing or not one of ours")
	}
	cookies := r.CookiesNamed(name)
	if len(cookies) == 0 {
		return nil, false, startOver("no flow cookie for this state: another browser, already used, or expired")
	}
	fs.drop(w, name)
	if len(cookies) > 1 {
		return nil, true, startOver("two flow cookies of one name")
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(cookies[0].Value)
	if err != nil {
		return nil, true, startOver("flow cookie: not base64url")
	}
	payload, err := fs.keys.Open(flowPurpose, sealed, fs.additional(state))
	if err != nil {
		return nil, true, startOver("flow cookie: %w", err)
	}
	f, ok = decodeFlow(payload)
	if !ok {
		return nil, true, startOver("flow cookie: unreadable")
	}
	f.state = state
	if age := time.Since(f.Started); age < -clockSkew || age >= flowLifetime {
		return nil, true, startOver("the flow is older than %v", flowLifetime)
	}
	return f, true, nil
}

func (fs *flows) drop(w http.ResponseWriter, name string) {
	http.SetCookie(w, fs.cookie(name, "", -1))
}

// cookie has the same attributes when set and when deleted. Lax is sent when
// the provider's redirect brings the user back, and not with other sites' posts.
func (fs *flows) cookie(name, value string, maxAge int) *http.Cookie {
	return &http.Cookie{
		Name: name, Value: value, MaxAge: maxAge,
		Path: "/", Secure: fs.secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}
}

func (fs *flows) additional(state string) []byte { return []byte(fs.binding + "\n" + state) }
