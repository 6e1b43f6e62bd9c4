package accounts

import (
	"errors"
	"net/http"
	"time"

	"github.com/gatewire/gatewire/auth"
	"github.com/gatewire/gatewire/password"
	"github.com/gatewire/gatewire/session"
)

// What the client sees. Times are RFC 3339, UTC.

type userJSON struct {
	ID            string    `json:"id"`
	Email         string    `json:"email"`
	EmailVerified bool      `json:"email_verified"`
	Name          string    `json:"name"`
	Picture       string    `json:"picture"`
	CreatedAt     time.Time `json:"created_at"`
}

type sessionJSON struct {
	ID        string    `json:"id"`
	Kind      string    `json:"kind"`
	AuthTime  time.Time `json:"auth_time"`
	ExpiresAt time.Time `json:"expires_at"`
}

type deviceJSON struct {
	ID         string    `json:"id"`
	Current    bool      `json:"current"`
	CreatedAt  time.Time `json:"created_at"`
	LastSeenAt time.Time `json:"last_seen_at"`
	UserAgent  string    `json:"user_agent"`
	IP         string    `json:"ip"`
	Kind       string    `json:"kind"`
}

func viewUser(u User) *userJSON {
	return &userJSON{u.ID, u.Email, u.EmailVerified, u.Name, u.Picture, u.Created.UTC()}
}

const (
	modeCookie = "cookie"
	modeToken  = "token"
)

// modeOf is how the client wants its session; a cookie when it doesn't say.
func modeOf(body map[string]string) (string, error) {
	switch mode, ok := body["mode"]; {
	case !ok:
		return modeCookie, nil
	case mode == modeCookie, mode == modeToken:
		return mode, nil
	}
	return "", malformed(http.StatusBadRequest, `mode must be "cookie" or "token"`)
}

func (s *Service) register(w http.ResponseWriter, r *http.Request) error {
	body, err := readJSON(w, r, "email", "password", "name?", "mode?")
	if err != nil {
		return err
	}
	mode, err := modeOf(body)
	if err != nil {
		return err
	}
	in, err := s.Register(r.Context(), Registration{
		Email: body["email"], Password: password.Password(body["password"]), Name: body["name"], Client: s.client(r),
	})
	if err != nil {
		return err
	}
	return s.begin(w, r, in, mode, http.StatusCreated)
}

func (s *Service) login(w http.ResponseWriter, r *http.Request) error {
	body, err := readJSON(w, r, "email", "password", "mode?")
	if err != nil {
		return err
	}
	mode, err := modeOf(body)
	if err != nil {
		return err
	}
	in, err := s.Login(r.Context(), Credentials{
		Email: body["email"], Password: password.Password(body["password"]), Client: s.client(r),
	})
	if err != nil {
		return err
	}
	return s.begin(w, r, in, mode, http.StatusOK)
}

// begin turns a sign-in into the session the client asked for.
func (s *Service) begin(w http.ResponseWriter, r *http.Request, in *SignIn, mode string, status int) error {
	if mode == modeToken {
		tokens, err := in.Tokens(r.Context())
		if err != nil {
			return err
		}
		body := tokenResponse(tokens.Access)
		body.RefreshToken, body.User = tokens.Refresh.Reveal(), viewUser(in.user)
		return writeJSON(w, status, body)
	}
	if _, err := in.Cookie(w, r); err != nil {
		return err
	}
	return writeJSON(w, status, map[string]any{"user": viewUser(in.user)})
}

func (s *Service) me(w http.ResponseWriter, r *http.Request, who auth.Identity) error {
	u, found, err := s.users.UserByID(r.Context(), who.UserID())
	if err != nil {
		return err
	}
	if !found {
		return ErrNoUser
	}
	sess, err := s.sessions.Session(r.Context(), who.SessionID())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, map[string]any{
		"user":    viewUser(u),
		"session": sessionJSON{sess.SessionID(), string(sess.Kind()), sess.AuthTime().UTC(), sess.ExpiresAt().UTC()},
	})
}

// logout ends the session of the cookie and that of the access token, which are
// one. A cookie of no live session is deleted and no error; an access token that
// is refused is one, since nobody could tell which session was meant.
func (s *Service) logout(w http.ResponseWriter, r *http.Request) error {
	token, err := s.verifier.Authenticate(r)
	withToken := err == nil
	if code := auth.ErrorCode(err); !withToken && code != auth.CodeNone {
		return s.refuse(w, r, err)
	}
	if withToken {
		if sess, err := s.sessions.Authenticate(r); err == nil && (sess.SessionID() != token.SessionID() || sess.UserID() != token.UserID()) {
			return s.refuse(w, r, &authError{code: auth.CodeInvalidToken, text: "accounts: the request's credentials name different sessions"})
		}
		if _, err := s.end(r.Context(), token.UserID(), token.SessionID(), session.ReasonSignedOut, EventSignedOut); err != nil {
			s.sessions.ClearCookie(w)
			return err
		}
	}
	if err := s.Logout(w, r); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Service) logoutAll(w http.ResponseWriter, r *http.Request, who auth.Identity) error {
	s.sessions.ClearCookie(w)
	if err := s.LogoutAll(r.Context(), who.UserID()); err != nil {
		return err
	}
	s.forgetHints(w)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Service) listSessions(w http.ResponseWriter, r *http.Request, who auth.Identity) error {
	infos, err := s.Devices(r.Context(), who.UserID())
	if err != nil {
		return err
	}
	devices := make([]deviceJSON, 0, len(infos))
	for _, i := range infos {
		devices = append(devices, deviceJSON{
			i.ID, i.ID == who.SessionID(), i.Created.UTC(), i.Seen.UTC(), i.UserAgent, i.IP, string(i.Kind),
		})
	}
	return writeJSON(w, http.StatusOK, map[string]any{"sessions": devices})
}

func (s *Service) endSession(w http.ResponseWriter, r *http.Request, who auth.Identity) error {
	id := r.PathValue("id")
	ended, err := s.EndSession(r.Context(), who.UserID(), id)
	if err != nil {
		return err
	}
	if !ended {
		auth.Problem{Type: "not-found", Title: "You have no such session", Status: http.StatusNotFound}.Write(w)
		return nil
	}
	if id == who.SessionID() {
		s.sessions.ClearCookie(w)
		s.forgetHints(w)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Service) changePassword(w http.ResponseWriter, r *http.Request, who auth.Identity) error {
	body, err := readJSON(w, r, "current", "new")
	if err != nil {
		return err
	}
	_, cookieErr := s.sessions.Authenticate(r)
	var renew func() error
	if cookieErr == nil {
		renew = func() error { return s.sessions.Renew(w, r) }
	}
	err = s.changePasswordOf(r.Context(), who, password.Password(body["current"]), password.Password(body["new"]), s.client(r), renew)
	switch {
	case errors.Is(err, ErrEndingOwed):
		return s.passwordChangedOnly(w, cookieErr == nil)
	case err != nil:
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// passwordChangedOnly tells that there is a new password and that the sessions end
// in a moment, this one too: an error would have its user try again, with a
// password that is none any more.
func (s *Service) passwordChangedOnly(w http.ResponseWriter, cookie bool) error {
	if cookie {
		s.sessions.ClearCookie(w)
		s.forgetHints(w)
	}
	return writeJSON(w, http.StatusAccepted, map[string]any{
		"password_changed": true, "signed_out": true,
		"detail": "Your password is changed. You are being signed out everywhere; sign in with the new password.",
	})
}

// sessionToken wants the cookie: with an access token alone one could go on for
// as long as the session lives, which is what refresh tokens are checked for.
func (s *Service) sessionToken(w http.ResponseWriter, r *http.Request, _ auth.Identity) error {
	sess, err := s.sessions.Authenticate(r)
	if err != nil {
		return s.refuse(w, r, err)
	}
	access, err := s.issue(r.Context(), sess)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, tokenResponse(access))
}
