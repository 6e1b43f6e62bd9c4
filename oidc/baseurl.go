package oidc

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"

	"github.com/gatewire/gatewire/internal/origin"
)

// parse checks the URL and returns it without a trailing slash.
func (b BaseURL) parse() (*url.URL, error) {
	u, err := parseEndpoint(strings.TrimSuffix(string(b), "/"))
	switch {
	case err != nil:
		return nil, fmt.Errorf("base URL: %w", err)
	case u.RawQuery != "" || u.ForceQuery:
		return nil, errors.New("base URL: must not have a query")
	case u.Path != "" && path.Clean(u.Path) != u.Path || strings.HasSuffix(u.Path, "/") || strings.ContainsAny(string(b), "%{}"):
		return nil, errors.New("base URL: the path must be clean, without '.', '..', '//', escapes or braces")
	}
	return u, nil
}

// originOf is what browsers send as the Origin of u's pages.
func originOf(u *url.URL) string {
	s, err := origin.Parse(u.Scheme + "://" + u.Host)
	if err != nil {
		return u.Scheme + "://" + u.Host
	}
	return s
}

// parseEndpoint accepts https URLs, and http ones on loopback, where nobody
// else listens on the wire.
func parseEndpoint(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, errors.New("not a URL")
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, errors.New("must begin with https://")
	case u.Host == "" || u.Hostname() == "" || u.Opaque != "":
		return nil, errors.New("has no host")
	case !isHost(u.Hostname()) || strings.HasSuffix(u.Host, ":"):
		return nil, errors.New("has an odd host: write it in ASCII, an international name as xn--…")
	case u.User != nil:
		return nil, errors.New("must not have a user name or password in it")
	case u.Fragment != "" || strings.Contains(s, "#"):
		return nil, errors.New("must not have a fragment")
	case u.Scheme == "http" && !origin.Loopback(u.Hostname()):
		return nil, errors.New("must be https: http is for loopback hosts alone")
	}
	return u, nil
}

// isHost is for names and addresses that everybody writes in the same way.
func isHost(s string) bool {
	return strings.Trim(strings.ToLower(s), "abcdefghijklmnopqrstuvwxyz0123456789-._:") == ""
}
