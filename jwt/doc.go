// Package jwt issues and verifies access tokens.
package jwt
