package client_test

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/realtime/client"
)

func TestHandler(t *testing.T) {
	h := client.Handler()
	at := "/client/realtime.js"
	ask := func(method string, header http.Header) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, at, nil)
		for name, values := range header {
			r.Header[name] = values
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}

	got := ask(http.MethodGet, nil)
	require.Equal(t, http.StatusOK, got.Code)
	require.Equal(t, "text/javascript; charset=utf-8", got.Header().Get("Content-Type"), "a module needs a JavaScript type")
	require.Equal(t, "nosniff", got.Header().Get("X-Content-Type-Options"))
	require.Equal(t, "no-cache", got.Header().Get("Cache-Control"))
	source, err := client.FS.ReadFile(client.Name)
	require.NoError(t, err)
	require.Equal(t, string(source), got.Body.String())

	etag := got.Header().Get("ETag")
	require.Regexp(t, `^"[A-Za-z0-9_-]{22}"$`, etag)
	again := ask(http.MethodGet, http.Header{"If-None-Match": {etag}})
	require.Equal(t, http.StatusNotModified, again.Code)
	require.Empty(t, again.Body.String())
	require.Equal(t, http.StatusOK, ask(http.MethodGet, http.Header{"If-None-Match": {`"older"`}}).Code)

	head := ask(http.MethodHead, nil)
	require.Equal(t, http.StatusOK, head.Code)
	require.Empty(t, head.Body.String())

	post := ask(http.MethodPost, nil)
	require.Equal(t, http.StatusMethodNotAllowed, post.Code)
	require.Equal(t, "GET, HEAD", post.Header().Get("Allow"))

	at = "/client/realtime.d.ts"
	types := ask(http.MethodGet, nil)
	require.Equal(t, http.StatusOK, types.Code)
	require.Equal(t, "text/plain; charset=utf-8", types.Header().Get("Content-Type"))
	require.Equal(t, "nosniff", types.Header().Get("X-Content-Type-Options"))
	declared, err := client.FS.ReadFile(client.Types)
	require.NoError(t, err)
	require.Equal(t, string(declared), types.Body.String())
	require.NotEqual(t, etag, types.Header().Get("ETag"))
	at = "/anything/else.js"
	require.Equal(t, etag, ask(http.MethodGet, nil).Header().Get("ETag"), "the module has whatever name the host gives it")
}

// A page under "default-src 'self'" can run the module only if it neither evaluates text nor loads anything.
func TestModuleStandsAlone(t *testing.T) {
	source, err := client.FS.ReadFile(client.Name)
	require.NoError(t, err)
	for _, pattern := range []string{`(?m)^\s*import\b`, `\bimport\(`, `\beval\(`, `\bFunction\(`, `innerHTML`, `document\.write`} {
		require.Falsef(t, regexp.MustCompile(pattern).Match(source), "the module has %s", pattern)
	}
}
