package accounts

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Client is the program a request comes from, for "your devices", events and
// limits.
type Client struct {
	IP        netip.Addr
	UserAgent string
}

func (s *Service) client(r *http.Request) Client {
	return Client{IP: s.ClientIP(r), UserAgent: r.UserAgent()}
}

// ClientIP is the address a request comes from: the peer's, or, when the peer is
// a trusted proxy, the rightmost address in X-Forwarded-For that is not one. What
// stands left of it was written by the client and is not read. The zero Addr
// means that it can't be told, as on a Unix socket.
func (s *Service) ClientIP(r *http.Request) netip.Addr {
	ip := parseIP(r.RemoteAddr)
	if !s.trusted(ip) {
		return ip
	}
	forwarded := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, text := range slices.Backward(forwarded) {
		next := parseIP(strings.TrimSpace(text))
		if !next.IsValid() {
			return ip // a proxy that says nonsense is as far as is known
		}
		if ip = next; !s.trusted(ip) {
			return ip
		}
	}
	return ip
}

func (s *Service) trusted(ip netip.Addr) bool {
	return ip.IsValid() && slices.ContainsFunc(s.proxies, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// parseIP reads an address with or without a port, in its canonical form: an
// IPv4 address mapped into IPv6 is the IPv4 address, zones don't count.
func parseIP(text string) netip.Addr {
	ip, err := netip.ParseAddr(strings.Trim(text, "[]"))
	if err != nil {
		withPort, err := netip.ParseAddrPort(text)
		if err != nil {
			return netip.Addr{}
		}
		ip = withPort.Addr()
	}
	return ip.Unmap().WithZone("")
}

// networkOf is what limits count by: one customer has a /64 of IPv6 at the least.
func networkOf(ip netip.Addr) string {
	if ip.Is6() {
		if p, err := ip.Prefix(64); err == nil {
			return p.String()
		}
	}
	return ip.String() // "invalid IP" for the zero Addr: those share one budget
}
