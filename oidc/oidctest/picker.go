package oidctest

import (
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"net/http"
	"net/url"
)

const (
	style  = `:root{color-scheme:light dark}*{box-sizing:border-box}body{font:16px/1.5 system-ui,sans-serif;margin:0;min-height:100vh;display:grid;place-items:center;background:#eef1f5;color:#1c2430}main{width:min(26rem,94vw);margin:2rem 0;padding:1.75rem;border-radius:14px;background:#fff;box-shadow:0 6px 30px #0002}h1{font-size:1.3rem;margin:0 0 .25rem}p{margin:.25rem 0 1rem;color:#5a6675}.who{display:block;width:100%;text-align:left;padding:.6rem .9rem;margin:.4rem 0;border:1px solid #cfd6df;border-radius:10px;background:none;color:inherit;font:inherit;cursor:pointer}.who:hover,.who:focus-visible{border-color:#2563eb;outline:2px solid #2563eb55}.who small{display:block;color:#5a6675}fieldset{border:0;border-top:1px solid #cfd6df;margin:1.1rem 0 0;padding:1rem 0 0}label{display:block;margin:.5rem 0}input[type=email],input[type=text],select{display:block;width:100%;padding:.5rem .7rem;font:inherit;border:1px solid #cfd6df;border-radius:8px;background:none;color:inherit}.go{padding:.5rem 1rem;font:inherit;border:0;border-radius:8px;background:#2563eb;color:#fff;cursor:pointer}.no{padding:.5rem 1rem;font:inherit;border:0;background:none;color:inherit;text-decoration:underline;cursor:pointer}details{margin-top:1rem}@media(prefers-color-scheme:dark){body{background:#12161c;color:#e3e8ee}main{background:#1b212a}p,.who small{color:#9aa7b6}.who,input[type=email],input[type=text],select,fieldset{border-color:#3a4552}option{background:#1b212a}}`
	script = `document.forms[0].submit()`
)

// writePicker shows the users. Its forms are plain HTML: no script is needed.
func (p *Provider) writePicker(w http.ResponseWriter, form url.Values) {
	hidden := map[string]string{}
	for _, name := range requestParams {
		if form.Has(name) {
			hidden[name] = form.Get(name)
		}
	}
	pageHeaders(w)
	_ = picker.Execute(w, map[string]any{
		"Style": template.CSS(style), "Action": p.issuer + "/authorize", "Hidden": hidden,
		"Users": p.o.Users, "Faults": flowFaults(), "Hint": form.Get("login_hint"), "Client": p.o.ClientID,
	})
}

// writeFormPost is response_mode=form_post: a form that posts itself.
func writeFormPost(w http.ResponseWriter, action string, values url.Values) {
	pageHeaders(w)
	_ = formPost.Execute(w, map[string]any{"Style": template.CSS(style), "Script": template.JS(script), "Action": action, "Values": values})
}

func writeMessage(w http.ResponseWriter, title, text string) {
	pageHeaders(w)
	_ = message.Execute(w, map[string]any{"Style": template.CSS(style), "Title": title, "Text": text})
}

// pageHeaders allow the page its own style and script by hash, in place of any
// policy that a host's middleware has set.
func pageHeaders(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src "+hash(style)+"; script-src "+hash(script)+"; base-uri 'none'; frame-ancestors 'none'")
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

const head = `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><meta name="robots" content="noindex">`

var picker = template.Must(template.New("picker").Parse(`{{define "hidden"}}{{range $name, $value := .}}<input type="hidden" name="{{$name}}" value="{{$value}}">
{{end}}{{end}}` + head + `<title>Sign in · development provider</title><style>{{.Style}}</style></head>
<body><main><h1>Who are you today?</h1>
<p>This is a development provider: no password, no proof. It signs you in to <b>{{.Client}}</b>.</p>
<form method="post" action="{{.Action}}">
{{template "hidden" .Hidden}}{{range $i, $u := .Users}}<button class="who" name="pick" value="{{$i}}">{{or $u.Name $u.Email}}<small>{{$u.Email}}{{if $u.EmailUnverified}} (not verified){{end}}</small></button>
{{end}}<details><summary>Misbehave</summary><label>What the provider does wrong <select name="fault"><option value="">nothing</option>{{range .Faults}}<option>{{.}}</option>{{end}}</select></label></details>
</form>
<form method="post" action="{{.Action}}">
{{template "hidden" .Hidden}}<fieldset>
<label>Somebody new: email <input type="email" name="email" value="{{.Hint}}" required maxlength="254" autocomplete="off" placeholder="dora@example.com"></label>
<label>Name <input type="text" name="name" maxlength="200" autocomplete="off" placeholder="Dora"></label>
<label><input type="checkbox" name="verified" value="1" checked> the email is verified</label>
<button class="go" name="pick" value="new">Continue</button>
<button class="no" name="pick" value="cancel" formnovalidate>Cancel</button>
</fieldset>
</form></main></body></html>
`))

var formPost = template.Must(template.New("form_post").Parse(head + `<title>Signing in</title><style>{{.Style}}</style></head>
<body><main><form method="post" action="{{.Action}}">{{range $name, $all := .Values}}{{range $all}}<input type="hidden" name="{{$name}}" value="{{.}}">{{end}}{{end}}<h1>Signing you in</h1><p>One moment. If nothing happens:</p><button class="go">Continue</button></form></main><script>{{.Script}}</script></body></html>
`))

var message = template.Must(template.New("message").Parse(head + `<title>{{.Title}}</title><style>{{.Style}}</style></head>
<body><main><h1>{{.Title}}</h1><p>{{.Text}}</p></main></body></html>
`))
