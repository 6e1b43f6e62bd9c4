package oidctest

import (
	"crypto/rand"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// requestParams are those of an authorization request that matter here.
var requestParams = [...]string{
	"client_id", "redirect_uri", "response_type", "response_mode", "scope", "state", "nonce",
	"code_challenge", "code_challenge_method", "acr_values", "max_age", "prompt", "login_hint",
}

// serveAuthorize shows the picker, and answers what was picked.
func (p *Provider) serveAuthorize(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	if err := r.ParseForm(); err != nil {
		http.Error(w, "bad form", http.StatusBadRequest)
		return
	}
	form := r.Form
	for name, values := range form {
		if len(values) != 1 {
			http.Error(w, "parameter given twice: "+name, http.StatusBadRequest)
			return
		}
	}
	// Nothing goes back to a redirect URI that isn't the client's.
	if form.Get("client_id") != p.o.ClientID {
		http.Error(w, "unknown client_id", http.StatusBadRequest)
		return
	}
	if !p.allowsRedirect(form.Get("redirect_uri")) {
		http.Error(w, "redirect_uri is not registered: "+strconv.Quote(form.Get("redirect_uri")), http.StatusBadRequest)
		return
	}
	if code, description := checkRequest(form); code != "" {
		p.answer(w, r, form, url.Values{"error": {code}, "error_description": {description}}, "")
		return
	}
	user, picked := p.pick(r, form)
	switch {
	case r.Method == http.MethodPost && form.Get("pick") == "cancel":
		p.answer(w, r, form, url.Values{"error": {"access_denied"}}, "")
	case picked:
		p.grant(w, r, form, user)
	case slices.Contains(strings.Fields(form.Get("prompt")), "none"):
		p.answer(w, r, form, url.Values{"error": {"login_required"}}, "")
	default:
		p.writePicker(w, form)
	}
}

// checkRequest returns the error of RFC 6749 section 4.1.2.1, if any.
func checkRequest(form url.Values) (code, description string) {
	switch {
	case form.Get("response_type") != "code":
		return "unsupported_response_type", "only code"
	case !slices.Contains(strings.Fields(form.Get("scope")), "openid"):
		return "invalid_scope", "openid is missing"
	case form.Get("code_challenge_method") != "S256" || len(form.Get("code_challenge")) != 43:
		return "invalid_request", "PKCE with S256 is required"
	case !slices.Contains([]string{"", "query", "form_post"}, form.Get("response_mode")):
		return "invalid_request", "response_mode is query or form_post"
	}
	return "", ""
}

// pick returns the user that the page, or AutoPick, chose.
func (p *Provider) pick(r *http.Request, form url.Values) (User, bool) {
	if p.o.AutoPick {
		for _, u := range p.o.Users {
			if u.Email == form.Get("login_hint") {
				return u, true
			}
		}
		return p.o.Users[0], true
	}
	if r.Method != http.MethodPost {
		return User{}, false
	}
	if form.Get("pick") == "new" {
		u := User{
			Email: strings.TrimSpace(form.Get("email")), Name: strings.TrimSpace(form.Get("name")),
			EmailUnverified: form.Get("verified") == "",
		}
		local, domain, ok := strings.Cut(u.Email, "@")
		return u, ok && local != "" && domain != "" && len(u.Email) <= 254 && len(u.Name) <= 200
	}
	i, err := strconv.Atoi(form.Get("pick"))
	if err != nil || i < 0 || i >= len(p.o.Users) {
		return User{}, false
	}
	return p.o.Users[i], true
}

// grant makes a code, or one of the faults of the answer.
func (p *Provider) grant(w http.ResponseWriter, r *http.Request, form url.Values, user User) {
	g := &grant{
		user: user, nonce: form.Get("nonce"), challenge: form.Get("code_challenge"), redirect: form.Get("redirect_uri"),
		scopes: strings.Fields(form.Get("scope")), sid: rand.Text(),
		authTime: time.Now(), expires: time.Now().Add(codeLifetime),
	}
	if acr := strings.Fields(form.Get("acr_values")); len(acr) > 0 {
		g.acr = acr[0]
	}
	if f := Fault(form.Get("fault")); slices.Contains(flowFaults(), f) {
		g.fault = f
	}
	for fault, code := range map[Fault]string{
		AccessDenied: "access_denied", ServerError: "server_error", TemporarilyDown: "temporarily_unavailable", ErrorHTML: "invalid_request",
	} {
		if !p.hasFor(g, fault) {
			continue
		}
		values := url.Values{"error": {code}}
		if fault == ErrorHTML {
			values.Set("error_description", `<script>alert(1)</script>"'&`)
		}
		p.answer(w, r, form, values, g.fault)
		return
	}
	code := rand.Text()
	p.mu.Lock()
	if len(p.codes) >= maxGrants {
		clear(p.codes)
	}
	p.codes[code] = g
	p.mu.Unlock()
	p.answer(w, r, form, url.Values{"code": {code}}, g.fault)
}

// answer sends the browser back, in the response mode that was asked for.
func (p *Provider) answer(w http.ResponseWriter, r *http.Request, form, values url.Values, fault Fault) {
	has := func(f Fault) bool { return f == fault || p.has(f) }
	if state := form.Get("state"); state != "" {
		values.Set("state", state)
	}
	values.Set("iss", p.issuer)
	switch {
	case has(AnswerWrongIssuer):
		values.Set("iss", "https://other.example")
	case has(AnswerMissingIssuer):
		values.Del("iss")
	case has(AnswerWrongState):
		values.Set("state", "another-state")
	case has(AnswerMissingState):
		values.Del("state")
	case has(AnswerTwice):
		values.Add("code", "another-code")
	}
	w.Header().Set("Referrer-Policy", "no-referrer")
	if form.Get("response_mode") == "form_post" {
		writeFormPost(w, form.Get("redirect_uri"), values)
		return
	}
	separator := "?"
	if strings.Contains(form.Get("redirect_uri"), "?") {
		separator = "&"
	}
	http.Redirect(w, r, form.Get("redirect_uri")+separator+values.Encode(), http.StatusSeeOther)
}
