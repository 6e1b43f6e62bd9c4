// Package client carries the browser's side of package realtime: realtime.js, one ES module without dependencies or a build
// step, which speaks the JSON protocol of the hub and does what a page otherwise forgets (reconnection with backoff and jitter, resubscription with
// recovery, token refresh, giving up when the session has ended). Centrifuge's official SDKs connect as well; this one is for pages that want a small file.
//
// A host serves it beside its hub:
//
//	mux.Handle("GET /client/realtime.js", client.Handler())
//
// and a page uses it:
//
//	import { Client } from '/client/realtime.js';
//	const client = new Client('/realtime');
//	client.on('closed', ({ code, reason }) => showSignIn(reason));
//	client.subscribe('room:lobby').on('publication', ({ data }) => show(data));
//	client.connect();
//
// The module's own comments document its options and events. A bundler can take the file from FS.
package client

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"net/http"
	"time"
)

// Name is the name of the module's file in [FS].
const Name = "realtime.js"

// FS holds the module, as the file [Name].
//
//go:embed realtime.js
var FS embed.FS

// Handler serves the module under whatever path it is mounted at, to GET and HEAD.
// Answers carry a strong ETag of the content and "Cache-Control: no-cache", so that a browser asks again each time, is
// told 304 while nothing changed, and never runs an old client against a new server. It is safe for concurrent use.
func Handler() http.Handler {
	source, err := FS.ReadFile(Name)
	if err != nil {
		panic("client: " + err.Error()) // the file is part of the binary
	}
	sum := sha256.Sum256(source)
	etag := `"` + base64.RawURLEncoding.EncodeToString(sum[:16]) + `"`
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		h := w.Header()
		h.Set("Content-Type", "text/javascript; charset=utf-8")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-cache")
		h.Set("ETag", etag)
		http.ServeContent(w, r, Name, time.Time{}, bytes.NewReader(source))
	})
}
