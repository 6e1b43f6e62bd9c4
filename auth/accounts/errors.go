package accounts

import (
	"errors"
	"net/http"
)

// Errors of a [Service]. Further ones are *password.PolicyError, password.ErrBusy,
// *[ThrottledError], session.ErrEpoch (the user's sessions were ended meanwhile),
// and [ErrConflict]. Every other error means that it could not tell.
var (
	// ErrCredentials: no account has this address and password. It doesn't say
	// which of the two is wrong.
	ErrCredentials = errors.New("accounts: the email address or the password is wrong")
	// ErrWrongPassword: the current password is not right.
	ErrWrongPassword = errors.New("accounts: the current password is wrong")
	// ErrRefreshInvalid: the refresh token is unknown, expired, used before, of
	// an ended session or of a disabled account.
	ErrRefreshInvalid = errors.New("accounts: the refresh token is not valid")
	// ErrEmail: not an email address that is taken here.
	ErrEmail = errors.New("accounts: not an email address")
	// ErrName: the name is longer than 200 bytes or has control characters.
	ErrName = errors.New("accounts: not a name")

	// ErrDisabled: the account is disabled. Only who proved to own it learns this.
	ErrDisabled error = &pageError{text: "accounts: the account is disabled", status: http.StatusForbidden,
		message: "This account is disabled."}
	// ErrProviderLogout: the provider signed the user out while they signed in here, or
	// their sign-in took so long that nobody can tell.
	ErrProviderLogout error = &pageError{text: "accounts: the provider signed the user out during the sign-in", status: http.StatusForbidden,
		message: "You were signed out at the provider in the meantime. Please sign in again."}
	// ErrSignInOtherwise: a provider's user has the address of an account that
	// they did not make with this provider.
	ErrSignInOtherwise error = &pageError{text: "accounts: an account has this email address and another way to sign in", status: http.StatusConflict,
		message: "There is an account with your email address already. Sign in the way you did before."}
)

// pageError is an error that oidc shows on its page.
type pageError struct {
	text    string
	status  int
	message string
}

func (e *pageError) Error() string       { return e.text }
func (e *pageError) UserMessage() string { return e.message }
func (e *pageError) HTTPStatus() int     { return e.status }

// authError is an error of Authenticate, see auth.ErrorCode.
type authError struct {
	code string
	text string
	err  error
}

func (e *authError) Error() string {
	if e.err != nil {
		return e.text + ": " + e.err.Error()
	}
	return e.text
}

func (e *authError) Unwrap() error     { return e.err }
func (e *authError) AuthError() string { return e.code }
