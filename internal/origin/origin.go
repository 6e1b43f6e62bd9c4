// Package origin reads configured web origins. What they are compared with
// comes from browsers, so there is one spelling of each: the serialised form
// of RFC 6454 section 6.2.
package origin

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// Parse returns the origin of s as browsers write it. s must be nothing but an
// origin; a trailing slash is forgiven. Plain http is for loopback alone:
// elsewhere whoever is on the network can write that origin's pages. Errors
// never show a password in s.
func Parse(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" {
		return "", errors.New("want an origin, as https://app.example")
	}
	if u.Scheme != "https" && u.Scheme != "http" {
		return "", fmt.Errorf("%q: want https or http", u.Redacted())
	}
	if u.User != nil || strings.ContainsAny(s, "?#") || (u.Path != "" && u.Path != "/") {
		return "", fmt.Errorf("%q: want scheme and host alone, as https://app.example", u.Redacted())
	}
	host := strings.ToLower(u.Hostname())
	if ip, err := netip.ParseAddr(host); err == nil && ip.Is6() && ip.Zone() == "" {
		host = "[" + ip.String() + "]"
	} else if strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789-._") != "" {
		return "", fmt.Errorf("%q: the host has characters that browsers don't send; write xn--… for others than ASCII", u.Redacted())
	}
	if u.Scheme == "http" && !Loopback(u.Hostname()) {
		return "", fmt.Errorf("%q: plain http is for loopback only, use https", u.Redacted())
	}
	if !strings.HasSuffix(u.Host, ":") && u.Port() == "" {
		return u.Scheme + "://" + host, nil
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	switch {
	case err != nil || port == 0:
		return "", fmt.Errorf("%q: want a port of 1 to 65535, or none", u.Redacted())
	case u.Scheme == "https" && port == 443, u.Scheme == "http" && port == 80:
		return u.Scheme + "://" + host, nil
	}
	return fmt.Sprintf("%s://%s:%d", u.Scheme, host, port), nil
}

// Loopback reports whether a host name or address, without a port, names the
// machine itself.
func Loopback(host string) bool {
	host = strings.ToLower(host)
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
