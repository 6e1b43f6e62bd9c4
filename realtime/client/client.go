// Package client carries the browser's side of package realtime: realtime.js, one ES module without dependencies or a build
// step, which speaks the JSON protocol of the hub and does what a page otherwise forgets (reconnection with backoff and jitter, resubscription with
// recovery, token refresh, giving up when the session has ended). Centrifuge's official SDKs connect as well; this one is for pages that want a small file.
//
// A host serves it beside its hub:
//
//	mux.Handle("GET /client/", client.Handler())
//
// and a page uses it:
//
//	import { Client } from '/client/realtime.js';
//	const client = new Client('/realtime');
//	client.on('closed', ({ code, reason }) => showSignIn(reason));
//	client.subscribe('room:lobby').on('publication', ({ data }) => show(data));
//	client.connect();
//
// README.md says how to use it; realtime.d.ts has its types, with what each option and event means. A bundler can take both from FS.
package client

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"net/http"
	"strings"
	"time"
)

// Names of the files in [FS].
const (
	Name  = "realtime.js"   // the module
	Types = "realtime.d.ts" // its types, for TypeScript and editors
)

// FS holds the module and its types.
//
//go:embed realtime.js realtime.d.ts
var FS embed.FS

// Handler serves the module, to GET and HEAD, under whatever path it is mounted at, and its types under paths that end in ".d.ts".
// Answers carry a strong ETag of the content and "Cache-Control: no-cache", so that a browser asks again each time, is
// told 304 while nothing changed, and never runs an old client against a new server. It is safe for concurrent use.
func Handler() http.Handler {
	module, types := load(Name, "text/javascript; charset=utf-8"), load(Types, "text/plain; charset=utf-8")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		f := module
		if strings.HasSuffix(r.URL.Path, ".d.ts") {
			f = types
		}
		h := w.Header()
		h.Set("Content-Type", f.mediaType)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-cache")
		h.Set("ETag", f.etag)
		http.ServeContent(w, r, f.name, time.Time{}, bytes.NewReader(f.content))
	})
}

type file struct {
	name, mediaType, etag string
	content               []byte
}

func load(name, mediaType string) file {
	content, err := FS.ReadFile(name)
	if err != nil {
		panic("client: " + err.Error()) // the file is part of the binary
	}
	sum := sha256.Sum256(content)
	return file{name, mediaType, `"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`, content}
}
