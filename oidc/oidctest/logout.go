package oidctest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"html/template"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	logoutEvent    = "http://schemas.openid.net/event/backchannel-logout"
	logoutLifetime = 2 * time.Minute
)

// opSession is somebody signed in here.
type opSession struct {
	sid   string
	user  User
	began time.Time
}

// remember notes the session an ID token is about.
func (p *Provider) remember(g *grant, raw string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.sessions) >= maxGrants {
		clear(p.sessions)
		clear(p.issued)
	}
	p.sessions[g.sid] = &opSession{sid: g.sid, user: g.user, began: time.Now()}
	p.issued[sha256.Sum256([]byte(raw))] = g.sid
}

// Logout says what a logout token is about: all sessions of a subject, one
// session, or one session of a subject. What is empty is left out.
type Logout struct {
	Subject string
	SID     string
	// Claims are added to, or replace, the token's claims.
	Claims map[string]any
}

// SendLogoutTo registers the client's backchannel_logout_uri.
func (p *Provider) SendLogoutTo(uri string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.backchannel = uri
}

// LogoutFaults lists every fault of a logout token, sorted.
func LogoutFaults() []Fault {
	all := append(slices.Collect(maps.Keys(logoutFaults)), LogoutReplayed)
	slices.Sort(all)
	return all
}

// logoutFaults change the draft of a logout token. Those that change the
// signature are in logoutSignFaults, by the fault of signFault.
var logoutFaults = map[Fault]func(d *draft){
	LogoutWrongIssuer:     func(d *draft) { d.claims["iss"] = "https://other.example" },
	LogoutWrongAudience:   func(d *draft) { d.claims["aud"] = "another-app" },
	LogoutExtraAudience:   func(d *draft) { d.claims["aud"] = []any{d.claims["aud"], "another-app"} },
	LogoutMissingIssuedAt: func(d *draft) { delete(d.claims, "iat") },
	LogoutFutureIssuedAt:  func(d *draft) { d.claims["iat"] = time.Now().Add(24 * time.Hour).Unix() },
	LogoutOldIssuedAt:     func(d *draft) { d.claims["iat"] = time.Now().Add(-24 * time.Hour).Unix() },
	LogoutMissingExpiry:   func(d *draft) { delete(d.claims, "exp") },
	LogoutExpired:         func(d *draft) { d.claims["exp"] = time.Now().Add(-10 * time.Minute).Unix() },
	LogoutMissingEvents:   func(d *draft) { delete(d.claims, "events") },
	LogoutNoEvent:         func(d *draft) { d.claims["events"] = map[string]any{} },
	LogoutWrongEvent:      func(d *draft) { d.claims["events"] = map[string]any{logoutEvent + "ed": map[string]any{}} },
	LogoutNullEvent:       func(d *draft) { d.claims["events"] = map[string]any{logoutEvent: nil} },
	LogoutTextEvent:       func(d *draft) { d.claims["events"] = map[string]any{logoutEvent: "{}"} },
	LogoutMoreInEvent:     func(d *draft) { d.claims["events"] = map[string]any{logoutEvent: map[string]any{"why": "idle"}} },
	LogoutWithNonce:       func(d *draft) { d.claims["nonce"] = "n" },
	LogoutNobody:          func(d *draft) { delete(d.claims, "sub"); delete(d.claims, "sid") },
	LogoutEmptySubject:    func(d *draft) { d.claims["sub"] = "" },
	LogoutNumberSID:       func(d *draft) { d.claims["sid"] = 5 },
	LogoutLongSID:         func(d *draft) { d.claims["sid"] = strings.Repeat("x", 256) },
	LogoutMissingID:       func(d *draft) { delete(d.claims, "jti") },
	LogoutDuplicateClaim:  func(d *draft) { d.extra = `,"sid":"another"` },
	LogoutCriticalHeader:  func(d *draft) { d.header["crit"] = []string{"exp"}; d.header["exp"] = 1 },
	LogoutAccessType:      func(d *draft) { d.header["typ"] = "at+jwt" },
	LogoutNoType:          func(d *draft) { delete(d.header, "typ") },
	LogoutPlainType:       func(d *draft) { d.header["typ"] = "JWT" },
	LogoutIDTokenInPlace: func(d *draft) {
		d.header["typ"] = "JWT"
		d.claims["auth_time"], d.claims["nonce"] = d.claims["iat"], "n"
		delete(d.claims, "events")
		delete(d.claims, "jti")
	},

	LogoutAlgNone: nil, LogoutHMACSecret: nil, LogoutHMACPublicKey: nil, LogoutBadSignature: nil, LogoutUnknownKey: nil,
}

var logoutSignFaults = map[Fault]Fault{
	LogoutAlgNone: AlgNone, LogoutHMACSecret: HMACSecret, LogoutHMACPublicKey: HMACPublicKey,
	LogoutBadSignature: BadSignature, LogoutUnknownKey: UnknownKey,
}

// LogoutToken returns a logout token (OpenID Connect Back-Channel Logout 1.0
// section 2.4). Faults apply.
func (p *Provider) LogoutToken(l Logout) (string, error) {
	p.mu.Lock()
	last := p.lastLogout
	p.mu.Unlock()
	if p.has(LogoutReplayed) && last != "" {
		return last, nil
	}
	key := p.signer()
	now := time.Now()
	d := &draft{
		header: map[string]any{"alg": key.alg, "kid": key.kid, "typ": "logout+jwt"},
		claims: map[string]any{
			"iss": p.issuer, "aud": p.o.ClientID, "iat": now.Unix(), "exp": now.Add(logoutLifetime).Unix(), "jti": rand.Text(),
			"events": map[string]any{logoutEvent: map[string]any{}},
		},
	}
	if l.Subject != "" {
		d.claims["sub"] = l.Subject
	}
	if l.SID != "" {
		d.claims["sid"] = l.SID
	}
	maps.Copy(d.claims, l.Claims)
	var sign Fault
	for f, change := range logoutFaults {
		switch {
		case !p.has(f):
		case change != nil:
			change(d)
		default:
			sign = logoutSignFaults[f]
		}
	}
	raw, err := p.sign(sign, key, d)
	if err == nil {
		p.mu.Lock()
		p.lastLogout = raw
		p.mu.Unlock()
	}
	return raw, err
}

// Logout posts a [Provider.LogoutToken] to the client's backchannel_logout_uri
// and returns the status of the answer.
func (p *Provider) Logout(ctx context.Context, l Logout) (status int, err error) {
	p.mu.Lock()
	to := p.backchannel
	p.mu.Unlock()
	if to == "" {
		return 0, errors.New("oidctest: the client has no backchannel_logout_uri; register one with SendLogoutTo")
	}
	token, err := p.LogoutToken(l)
	if err != nil {
		return 0, err
	}
	body := url.Values{"logout_token": {token}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := p.o.LogoutClient.Do(req)
	if err != nil {
		return 0, err
	}
	_ = resp.Body.Close()
	return resp.StatusCode, nil
}

// end forgets a session and tells the client, when that wants to know.
func (p *Provider) end(ctx context.Context, sid string) error {
	p.mu.Lock()
	s := p.sessions[sid]
	delete(p.sessions, sid)
	tell := p.backchannel != ""
	p.mu.Unlock()
	if s == nil || !tell {
		return nil
	}
	status, err := p.Logout(ctx, Logout{Subject: s.user.subject(), SID: sid})
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("oidctest: the client answered %d to the logout token", status)
	}
	return err
}

// serveEndSession is OpenID Connect RP-Initiated Logout 1.0: it ends the session
// of the hint and sends the browser back where it is allowed to.
func (p *Provider) serveEndSession(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, "bad form", http.StatusBadRequest)
		return
	}
	for name, values := range r.Form {
		if len(values) != 1 {
			http.Error(w, "parameter given twice: "+name, http.StatusBadRequest)
			return
		}
	}
	client, hint, back := r.Form.Get("client_id"), r.Form.Get("id_token_hint"), r.Form.Get("post_logout_redirect_uri")
	p.mu.Lock()
	sid, known := p.issued[sha256.Sum256([]byte(hint))]
	p.mu.Unlock()
	switch {
	case hint != "" && !known:
		http.Error(w, "id_token_hint is no ID token of this provider", http.StatusBadRequest)
		return
	case client != "" && client != p.o.ClientID:
		http.Error(w, "unknown client_id", http.StatusBadRequest)
		return
	case back != "" && hint == "" && client == "":
		http.Error(w, "post_logout_redirect_uri, but no client named", http.StatusBadRequest)
		return
	case back != "" && !p.allowsRedirect(back):
		http.Error(w, "post_logout_redirect_uri is not registered", http.StatusBadRequest)
		return
	}
	if known {
		// The client has signed the user out already; its other sessions of the
		// same sign-in may not know. That it can't be told changes nothing here.
		_ = p.end(r.Context(), sid)
	}
	if back == "" {
		writeMessage(w, "Signed out", "You are signed out of the development provider.")
		return
	}
	if state := r.Form.Get("state"); state != "" {
		separator := "?"
		if strings.Contains(back, "?") {
			separator = "&"
		}
		back += separator + url.Values{"state": {state}}.Encode()
	}
	w.Header().Set("Referrer-Policy", "no-referrer")
	http.Redirect(w, r, back, http.StatusSeeOther)
}

// serveSessions is the page of who is signed in here, with a button for each to
// sign them out, of which the client learns by its back channel.
func (p *Provider) serveSessions(w http.ResponseWriter, r *http.Request) {
	note := ""
	switch r.Method {
	case http.MethodGet:
	case http.MethodPost:
		if http.NewCrossOriginProtection().Check(r) != nil || r.ParseForm() != nil {
			http.Error(w, "refused", http.StatusForbidden)
			return
		}
		note = "Signed out."
		if err := p.end(r.Context(), r.PostForm.Get("sid")); err != nil {
			note = "Signed out here, but the client could not be told: " + err.Error()
		}
	default:
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	type row struct{ SID, Name, Email, Since string }
	var rows []row
	p.mu.Lock()
	all := slices.SortedFunc(maps.Values(p.sessions), func(a, b *opSession) int { return b.began.Compare(a.began) })
	for _, s := range all[:min(len(all), 50)] {
		rows = append(rows, row{s.sid, s.user.Name, s.user.Email, s.began.Format(time.TimeOnly)})
	}
	p.mu.Unlock()
	pageHeaders(w)
	w.Header().Set("Referrer-Policy", "same-origin") // or the form's Origin is null
	_ = sessionsPage.Execute(w, map[string]any{"Style": template.CSS(style), "Action": p.issuer + "/sessions", "Rows": rows, "Note": note})
}

var sessionsPage = template.Must(template.New("sessions").Parse(head + `<title>Sessions · development provider</title><style>{{.Style}}</style></head>
<body><main><h1>Signed in here</h1>
<p>{{with .Note}}<b role="status">{{.}}</b> {{end}}Choose a session to end at this provider. Its application is told by back-channel logout.</p>
{{range .Rows}}<form method="post" action="{{$.Action}}"><input type="hidden" name="sid" value="{{.SID}}"><button class="who">Sign out {{or .Name .Email}}<small>{{.Email}}, since {{.Since}}</small></button></form>
{{else}}<p>Nobody.</p>{{end}}</main></body></html>
`))
