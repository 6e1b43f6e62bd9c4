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
	pageStyle = `:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;margin:0;min-height:100vh;display:grid;place-items:center;background:#eef1f5;color:#1c2430}main{box-sizing:border-box;width:min(28rem,94vw);margin:2rem 0;padding:1.75rem;border-radius:14px;background:#fff;box-shadow:0 6px 30px #0002;overflow-wrap:anywhere}h1{font-size:1.3rem;margin:0}p{margin:.75rem 0 0}a{color:#1d4ed8}button{margin-top:1rem;padding:.5rem 1rem;font:inherit;border:0;border-radius:8px;background:#2563eb;color:#fff;cursor:pointer}@media(prefers-color-scheme:dark){body{background:#12161c;color:#e3e8ee}main{background:#1b212a}a{color:#8ab4f8}}`
	pageJS    = `document.forms[0].submit()`
)

// writeErrorPage is the default of Options.ErrorPage. again is a link to try
// once more by, empty for none.
func writeErrorPage(w http.ResponseWriter, status int, title, message, again string) {
	pageHeaders(w)
	w.WriteHeader(status)
	_ = errorPage.Execute(w, map[string]any{"Style": template.CSS(pageStyle), "Title": title, "Message": message, "Again": again})
}

// writeSignedOutPage is the default of Options.SignedOutPage.
func writeSignedOutPage(w http.ResponseWriter, _ *http.Request) {
	privateHeaders(w)
	pageHeaders(w)
	_ = signedOutPage.Execute(w, map[string]any{"Style": template.CSS(pageStyle)})
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
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{{.Title}}</title><style>{{.Style}}</style></head>
<body><main><h1>{{.Title}}</h1><p>{{.Message}}</p><p>{{with .Again}}<a href="{{.}}">Try again</a> or <a href="/">go to the start page</a>.{{else}}<a href="/">Go to the start page</a>{{end}}</p></main></body></html>
`))

var signedOutPage = template.Must(template.New("signed out").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Signed out</title><style>{{.Style}}</style></head>
<body><main><h1>Signed out</h1><p>You have signed out.</p><p><a href="/">Go to the start page</a></p></main></body></html>
`))

var bouncePage = template.Must(template.New("bounce").Parse(`<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Signing in</title><style>{{.Style}}</style></head>
<body><main><h1>Signing you in</h1><form method="post" action="{{.Action}}">{{range $name, $value := .Fields}}<input type="hidden" name="{{$name}}" value="{{$value}}">{{end}}<p>One moment. If nothing happens:</p><button>Continue</button></form></main><script>{{.Script}}</script></body></html>
`))
