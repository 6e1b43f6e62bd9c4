// Package password hashes and verifies passwords.
package password
