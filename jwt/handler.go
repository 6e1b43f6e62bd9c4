package jwt

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strconv"
	"time"
)

// JWKS returns the public keys as a JSON Web Key Set (RFC 7517): those that
// sign, will sign or have signed. An error matches ErrUnavailable.
func (r *Ring) JWKS(ctx context.Context) ([]byte, error) {
	set, _, err := r.signing(ctx)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	out := []byte(`{"keys":[`)
	for i, k := range set.keys {
		if !now.Before(k.stored.Gone) {
			continue
		}
		if i > 0 && out[len(out)-1] != '[' {
			out = append(out, ',')
		}
		out = append(out, k.jwk...)
	}
	return append(out, "]}"...), nil
}

// Handler serves [Ring.JWKS], usually at /.well-known/jwks.json, with an ETag
// and the MaxAge of [RingOptions]. It answers 503 when there is no key.
func (r *Ring) Handler() http.Handler {
	maxAge := "public, max-age=" + strconv.FormatInt(int64(r.o.MaxAge/time.Second), 10)
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method != http.MethodGet && req.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		body, err := r.JWKS(req.Context())
		if err != nil {
			w.Header().Set("Cache-Control", "no-store")
			w.Header().Set("Retry-After", "5")
			http.Error(w, "the keys can't be read now", http.StatusServiceUnavailable)
			return
		}
		sum := sha256.Sum256(body)
		w.Header().Set("Content-Type", "application/jwk-set+json") // RFC 7517 section 8.5.2
		w.Header().Set("Cache-Control", maxAge)
		w.Header().Set("ETag", `"`+base64.RawURLEncoding.EncodeToString(sum[:16])+`"`)
		// It answers If-None-Match and HEAD.
		http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(body))
	})
}
