package main

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// send makes a request with headers ("Name", "value") and a raw body.
func send(t *testing.T, c *http.Client, method, url, body string, headers ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
			continue
		}
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := c.Do(req)
	require.NoError(t, err)
	t.Cleanup(func() { res.Body.Close() })
	return res
}

// noRedirect is c, told to stay where it is.
func noRedirect(c *http.Client) *http.Client {
	d := *c
	d.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &d
}

func TestContractOverHTTP(t *testing.T) {
	p := start(t, "ALLOWED_ORIGINS=http://127.0.0.1:9999")

	t.Run("sign-up, devices, sign-out", func(t *testing.T) {
		phone, laptop := browser(t), browser(t)
		out := signUp(t, phone, p.url, "ada@example.org")
		user := out["user"].(object)
		for _, field := range []string{"id", "email", "email_verified", "name", "picture", "created_at"} {
			require.Contains(t, user, field)
		}
		status, _ := call(t, laptop, "POST", p.url+"/auth/login", object{"email": "ADA@example.org ", "password": goodPassword})
		require.Equal(t, http.StatusOK, status)
		status, out = call(t, laptop, "GET", p.url+"/auth/sessions", nil)
		require.Equal(t, http.StatusOK, status)
		sessions := out["sessions"].([]any)
		require.Len(t, sessions, 2)
		var other string
		for _, s := range sessions {
			if s := s.(object); s["current"] == false {
				other = s["id"].(string)
			}
		}
		status, _ = call(t, laptop, "DELETE", p.url+"/auth/sessions/"+other, nil)
		require.Equal(t, http.StatusNoContent, status)
		status, _ = call(t, laptop, "DELETE", p.url+"/auth/sessions/"+other, nil)
		require.Equal(t, http.StatusNotFound, status)
		res := send(t, phone, "GET", p.url+"/auth/me", "")
		require.Equal(t, http.StatusUnauthorized, res.StatusCode)
		require.Contains(t, res.Header.Get("WWW-Authenticate"), "Bearer")
		require.Equal(t, "application/problem+json", strings.Split(res.Header.Get("Content-Type"), ";")[0])
		status, _ = call(t, laptop, "POST", p.url+"/auth/logout", nil)
		require.Equal(t, http.StatusNoContent, status)
		status, _ = call(t, laptop, "POST", p.url+"/auth/logout", nil)
		require.Equal(t, http.StatusNoContent, status, "also without a session")
	})

	t.Run("tokens", func(t *testing.T) {
		c := browser(t)
		signUp(t, c, p.url, "tok@example.org")
		api := &http.Client{}
		status, pair := call(t, api, "POST", p.url+"/auth/login", object{"email": "tok@example.org", "password": goodPassword, "mode": "token"})
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, "Bearer", pair["token_type"])
		form := func(path string, values ...string) (int, *http.Response) {
			v := url.Values{}
			for i := 0; i < len(values); i += 2 {
				v.Set(values[i], values[i+1])
			}
			res := send(t, api, "POST", p.url+path, v.Encode(), "Content-Type", "application/x-www-form-urlencoded")
			return res.StatusCode, res
		}
		me := func(token string) int {
			return send(t, api, "GET", p.url+"/auth/me", "", "Authorization", "Bearer "+token).StatusCode
		}
		require.Equal(t, http.StatusOK, me(pair["access_token"].(string)))
		status, res := form("/auth/token", "grant_type", "refresh_token", "refresh_token", pair["refresh_token"].(string))
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, "no-store", res.Header.Get("Cache-Control"))
		status, _ = form("/auth/token", "grant_type", "password")
		require.Equal(t, http.StatusBadRequest, status)
		status, _ = form("/auth/revoke")
		require.Equal(t, http.StatusBadRequest, status)
		status, _ = form("/auth/revoke", "token", "unknown")
		require.Equal(t, http.StatusOK, status)
		status, _ = form("/auth/revoke", "token", pair["refresh_token"].(string))
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, http.StatusUnauthorized, me(pair["access_token"].(string)), "signed out is 401 at once")

		status, _ = call(t, c, "POST", p.url+"/auth/session/token", nil)
		require.Equal(t, http.StatusOK, status)
		res = send(t, api, "GET", p.url+"/.well-known/jwks.json", "")
		require.NotEmpty(t, res.Header.Get("ETag"))
		require.Contains(t, res.Header.Get("Cache-Control"), "max-age")
	})

	t.Run("bad input is a 4xx problem", func(t *testing.T) {
		for name, body := range map[string]string{
			"not JSON":        `{`,
			"two objects":     `{"email":"a@example.org","password":"x"}{}`,
			"duplicate":       `{"email":"a@example.org","email":"b@example.org","password":"` + goodPassword + `"}`,
			"array":           `[]`,
			"wrong type":      `{"email":1,"password":"x"}`,
			"two ats":         `{"email":"a@b@example.org","password":"` + goodPassword + `"}`,
			"newline":         `{"email":"a@example.org\n","password":"` + goodPassword + `x","name":"x\u0000"}`,
			"common password": `{"email":"a@example.org","password":"password123"}`,
			"too large":       `{"email":"a@example.org","name":"` + strings.Repeat("x", 70<<10) + `"}`,
		} {
			res := send(t, browser(t), "POST", p.url+"/auth/register", body, "Content-Type", "application/json")
			require.GreaterOrEqual(t, res.StatusCode, 400, name)
			require.Less(t, res.StatusCode, 500, name)
			require.Contains(t, res.Header.Get("Content-Type"), "application/problem+json", name)
			require.Empty(t, res.Header.Values("Set-Cookie"), name)
		}
		status, _ := call(t, browser(t), "POST", p.url+"/auth/login", object{"email": "a@example.org", "password": goodPassword})
		require.Equal(t, http.StatusUnauthorized, status, "nothing was stored")
	})

	t.Run("origins", func(t *testing.T) {
		body := `{"email":"nobody@example.org","password":"x"}`
		for origin, want := range map[string]int{
			p.url:                   http.StatusUnauthorized,
			"http://127.0.0.1:9999": http.StatusUnauthorized,
			"https://evil.example":  http.StatusForbidden,
			"null":                  http.StatusForbidden,
		} {
			res := send(t, browser(t), "POST", p.url+"/auth/login", body, "Content-Type", "application/json", "Origin", origin)
			require.Equal(t, want, res.StatusCode, origin)
			if origin == "http://127.0.0.1:9999" {
				require.Equal(t, origin, res.Header.Get("Access-Control-Allow-Origin"))
				require.Equal(t, "true", res.Header.Get("Access-Control-Allow-Credentials"))
			} else {
				require.Empty(t, res.Header.Get("Access-Control-Allow-Origin"), origin)
			}
		}
		res := send(t, browser(t), "POST", p.url+"/auth/login", body, "Content-Type", "application/json", "Origin", "http://evil.example", "Host", "evil.example")
		require.Equal(t, http.StatusForbidden, res.StatusCode, "an Origin that merely equals Host is not enough")
		res = send(t, browser(t), "OPTIONS", p.url+"/auth/login", "", "Origin", "http://127.0.0.1:9999", "Access-Control-Request-Method", "POST")
		require.Equal(t, http.StatusNoContent, res.StatusCode)
		require.Contains(t, res.Header.Get("Access-Control-Allow-Headers"), "Content-Type")
		res = send(t, browser(t), "OPTIONS", p.url+"/auth/login", "", "Origin", "https://evil.example", "Access-Control-Request-Method", "POST")
		require.Empty(t, res.Header.Get("Access-Control-Allow-Origin"))
	})

	t.Run("the page and its names", func(t *testing.T) {
		c := noRedirect(browser(t))
		res := send(t, c, "GET", p.url+"/", "", "Accept", "text/html")
		require.Equal(t, http.StatusOK, res.StatusCode)
		require.Contains(t, res.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'")
		port := p.url[strings.LastIndex(p.url, ":"):]
		res = send(t, c, "GET", p.url+"/?x=1", "", "Accept", "text/html", "Host", "localhost"+port)
		require.Equal(t, http.StatusTemporaryRedirect, res.StatusCode)
		require.Equal(t, p.url+"/?x=1", res.Header.Get("Location"))
		res = send(t, c, "GET", p.url+"/", "", "Accept", "text/html", "Host", "evil.example")
		require.Equal(t, http.StatusOK, res.StatusCode, "another host is not ours to redirect")
	})

	t.Run("provider dev", func(t *testing.T) {
		c := noRedirect(browser(t))
		res := send(t, c, "GET", p.url+"/auth/dev/login?return_to=//evil.example", "")
		require.Equal(t, http.StatusFound, res.StatusCode)
		to, err := url.Parse(res.Header.Get("Location"))
		require.NoError(t, err)
		require.Equal(t, "S256", to.Query().Get("code_challenge_method"))
		require.Equal(t, p.url+"/auth/dev/callback", to.Query().Get("redirect_uri"))
		res = send(t, c, "GET", p.url+"/auth/dev/callback?code=x&state=forged", "")
		require.Equal(t, http.StatusBadRequest, res.StatusCode)
	})
}
