// Package session keeps server-side sessions.
package session
