package auth

import "net/http"

// Load is a middleware that tells the handlers behind it, by [From], who is
// calling. A request without credentials passes, as nobody's, and so does one
// whose credentials are refused: a browser whose session has ended still brings
// its cookie, and must reach the page where its user signs in. Require refuses
// it. A request about which a could not tell gets 503. It panics when a is nil.
func Load(a Authenticator) func(http.Handler) http.Handler {
	if a == nil {
		panic("auth: Load: nil Authenticator")
	}
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			who, err := authenticate(a, r)
			if err != nil && ErrorCode(err) == CodeUnavailable {
				Refuse(w, r, err)
				return
			}
			// After an error who is nobody, also when something around this let
			// somebody in.
			next.ServeHTTP(w, r.WithContext(With(r.Context(), who)))
		})
	}
}

// Require is a middleware that lets through signed-in callers whom all of the
// rules admit, and answers the others with [Refuse]. It panics when a or a rule
// is nil.
func Require(a Authenticator, rules ...Rule) func(http.Handler) http.Handler {
	if a == nil {
		panic("auth: Require: nil Authenticator")
	}
	rule := All(rules...)
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			who, err := authenticate(a, r)
			if err != nil {
				Refuse(w, r, err)
				return
			}
			r = r.WithContext(With(r.Context(), who))
			if err := rule.Check(r, who); err != nil {
				Refuse(w, r, err)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// Check applies rules inside of a handler behind [Load] or [Require]. The error
// is for [Refuse]; its code is "none" when nobody is signed in.
func Check(r *http.Request, rules ...Rule) error {
	who, ok := From(r.Context())
	if !ok {
		return errNoIdentity
	}
	return All(rules...).Check(r, who)
}
