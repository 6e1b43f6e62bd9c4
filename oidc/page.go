package oidc

import (
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"net/http"
	"net/url"
)

// bouncedParam marks a form that came back from our own page.
const bouncedParam = "gatewire_bounced"

const (
	pageStyle = `body{font:16px/1.5 system-ui,sans-serif;max-width:32rem;margin:15vh auto;padding:0 1rem;color:#222;background:#fff}a,button{font:inherit;color:#0645ad}@media(prefers-color-scheme:dark){body{color:#ddd;background:#111}a{color:#8ab4f8}}`
	pageJS    = `document.forms[0].submit()`
)

// writeErrorPage is the default of Options.ErrorPage.
func writeErrorPage(w http.ResponseWriter, status int, message, again string) {
	pageHeaders(w)
	w.WriteHeader(status)
	_ = errorPage.Execute(w, map[string]any{"Style": template.CSS(pageStyle), "Message": message, "Again": again})
}

// writeBouncePage answers a form that the provider posted through the browser
// (response_mode=form_post). A Lax cookie doesn't come with another site's
// post, so the browser is asked to post the same form again, from our own page:
// now it does. The code stays in a body, out of URLs, logs and Referer.
func writeBouncePage(w http.ResponseWriter, action string, params url.Values) {
	fields := map[string]string{bouncedParam: "1"}
	for _, name := range []string{"state", "code", "iss", "error", "error_description"} {
		if params.Has(name) {
			fields[name] = params.Get(name)
		}
	}
	pageHeaders(w)
	// The URL holds nothing, and no-referrer would turn the form's Origin into
	// "null", which a host's CSRF check refuses.
	w.Header().Set("Referrer-Policy", "same-origin")
	_ = bouncePage.Execute(w, map[string]any{
		"Style": template.CSS(pageStyle), "Script": template.JS(pageJS), "Action": action, "Fields": fields,
	})
}

// pageHeaders allow a page its own style and script, by hash, and nothing else.
// form-action stays open: browsers apply it to the redirects that follow too,
// which lead wherever the host sends its users.
func pageHeaders(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src "+cspHash(pageStyle)+"; script-src "+cspHash(pageJS)+"; base-uri 'none'; frame-ancestors 'none'")
}

func cspHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

var errorPage = template.Must(template.New("error").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Sign-in failed</title><style>{{.Style}}</style></head>
<body><h1>Sign-in failed</h1><p>{{.Message}}</p><p><a href="{{.Again}}">Try again</a> or <a href="/">go to the start page</a>.</p></body></html>
`))

var bouncePage = template.Must(template.New("bounce").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Signing in</title><style>{{.Style}}</style></head>
<body><form method="post" action="{{.Action}}">{{range $name, $value := .Fields}}<input type="hidden" name="{{$name}}" value="{{$value}}">{{end}}<p>Signing you in.</p><button>Continue</button></form><script>{{.Script}}</script></body></html>
`))
