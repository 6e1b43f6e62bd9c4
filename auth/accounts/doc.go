// Package accounts is an account system: sign-up, sign-in, sessions, tokens.
package accounts
