package accounts

import (
	"errors"
	"math"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// tokenJSON is RFC 6749 section 5.1.
type tokenJSON struct {
	AccessToken  string    `json:"access_token"`
	TokenType    string    `json:"token_type"`
	ExpiresIn    int       `json:"expires_in"` // seconds
	RefreshToken string    `json:"refresh_token,omitempty"`
	Scope        string    `json:"scope,omitempty"`
	User         *userJSON `json:"user,omitempty"`
}

func tokenResponse(t AccessToken) tokenJSON {
	return tokenJSON{
		AccessToken: t.Reveal(), TokenType: "Bearer",
		ExpiresIn: max(0, int(math.Ceil(time.Until(t.expires).Seconds()))),
		Scope:     strings.Join(t.scopes, " "),
	}
}

// oauthError is RFC 6749 section 5.2.
type oauthError struct {
	Code        string `json:"error"`
	Description string `json:"error_description,omitempty"`
}

func (e *oauthError) Error() string { return "accounts: " + e.Code + ": " + e.Description }

func (s *Service) failOAuth(w http.ResponseWriter, r *http.Request, err error) {
	w.Header().Set("Pragma", "no-cache")
	var own *oauthError
	var request *requestError
	switch {
	case errors.As(err, &own):
		_ = writeJSON(w, http.StatusBadRequest, own) // two strings
		return
	case errors.As(err, &request):
		_ = writeJSON(w, request.problem.Status, oauthError{"invalid_request", request.problem.Detail})
		return
	}
	p, retryAfter := problemOf(err)
	code := "temporarily_unavailable"
	if p.Status < 500 {
		code = "invalid_request"
	} else {
		s.logFailure(r, err)
	}
	setRetryAfter(w, retryAfter)
	_ = writeJSON(w, p.Status, oauthError{code, p.Title})
}

// readForm reads a form from the body, never from the query. No parameter may
// stand there twice; empty ones count as missing (RFC 6749 section 3.2).
func readForm(w http.ResponseWriter, r *http.Request) (map[string]string, error) {
	body, err := readBody(w, r, "application/x-www-form-urlencoded")
	var unread *requestError
	if errors.As(err, &unread) && unread.problem.Status == http.StatusUnsupportedMediaType {
		return nil, &oauthError{"invalid_request", "the body must be a form"}
	}
	if err != nil {
		return nil, err
	}
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, &oauthError{"invalid_request", "the body is not a form"}
	}
	form := make(map[string]string, len(values))
	for name, all := range values {
		if len(all) > 1 {
			return nil, &oauthError{"invalid_request", "a parameter stands in the form twice"}
		}
		form[name] = all[0]
	}
	return form, nil
}

// token is RFC 6749 section 6.
func (s *Service) token(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r)
	if err != nil {
		return err
	}
	switch form["grant_type"] {
	case "":
		return &oauthError{"invalid_request", "grant_type is missing"}
	case "refresh_token":
	default:
		return &oauthError{"unsupported_grant_type", "grant_type must be refresh_token"}
	}
	if form["refresh_token"] == "" {
		return &oauthError{"invalid_request", "refresh_token is missing"}
	}
	tokens, err := s.Refresh(r.Context(), form["refresh_token"])
	if errors.Is(err, ErrRefreshInvalid) {
		return &oauthError{"invalid_grant", "the refresh token is not valid"}
	}
	if err != nil {
		return err
	}
	w.Header().Set("Pragma", "no-cache")
	body := tokenResponse(tokens.Access)
	body.RefreshToken = tokens.Refresh.Reveal()
	return writeJSON(w, http.StatusOK, body)
}

// revoke is RFC 7009. An access token that is sent here stays good until it
// expires, and is refused here once its session ends.
func (s *Service) revoke(w http.ResponseWriter, r *http.Request) error {
	form, err := readForm(w, r)
	if err != nil {
		return err
	}
	if form["token"] == "" {
		return &oauthError{"invalid_request", "token is missing"}
	}
	if err := s.RevokeToken(r.Context(), form["token"]); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}
