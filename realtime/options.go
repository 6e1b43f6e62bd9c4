package realtime

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"time"
)

// Options of a [Hub]. The zero value is safe for production on one node.
type Options struct {
	// AllowedOrigins are browser origins allowed besides the hub's own, as
	// "https://admin.example". A handshake from another origin gets 403.
	AllowedOrigins []string

	// Channels says how channels are kept, by prefix as in [Rules]. A channel
	// that fits none has no history.
	Channels map[string]Channel

	// Subscribe names the channels every connection of this user is in without
	// asking (server-side subscriptions). Their rules are asked all the same, and
	// a channel they refuse is left out; while they can't tell, connecting is
	// refused (100, 3004). As SDKs never subscribe to these by themselves, a gap
	// in one closes the connection with 3010, to come back.
	Subscribe func(who Identity) []string

	// OnConnect is asked about a connection whose session lives. Its data, JSON
	// or nil, is in the connect reply; what [Conn.Send] sends arrives right after.
	// [Hub.SendUser] doesn't reach the connection yet. An error refuses as that of
	// an [RPCFunc], and closes with 3507, or 3004 if it is temporary.
	OnConnect func(ctx context.Context, c *Conn) (data json.RawMessage, err error)

	// RPC are the methods clients may call: see [Reply].
	RPC map[string]RPCFunc

	// OnMessage takes send commands: see [Receive] and [Dispatch]. Without it they
	// are ignored.
	OnMessage MessageFunc

	// OnClose is told once of every connection OnConnect has let in, whatever
	// ends it; code 1006 is without a close. Of one connection OnConnect,
	// OnMessage and RPC run one after another, OnClose last. [Hub.Close] waits
	// for it.
	OnClose func(c *Conn, code int, reason string)

	// Info is shown to others in presence, join and leave, and with each
	// publication of a client, as conn_info: a name, a picture. JSON, or nil.
	Info func(who Identity) json.RawMessage

	// ClientIP returns the address a connection counts for. Behind a proxy it
	// must be given. Defaults to the peer's address; IPv6 counts by /64.
	ClientIP func(*http.Request) string

	// Broker carries publications. Defaults to a [MemoryBroker] of its own.
	// History and presence are there when it is a [History] and a [Presence].
	Broker Broker

	// Logger takes what operators should know: of what clients can cause, a line
	// a second of each kind. Defaults to slog.Default().
	Logger *slog.Logger

	Metrics Metrics // defaults to nil: none

	// Limits. A negative value lifts one that says so.

	MaxPerUser     int // connections of one user; beyond: 3504. Defaults to 256. -1 disables.
	MaxPerAddress  int // connections from one address; beyond: 429 or 3504. Defaults to 16,384. -1 disables.
	MaxChannels    int // channels of one connection; beyond: 3505. Defaults to 128.
	MaxMessage     int // bytes of one message from a client; beyond: 1009. Defaults to 65,536.
	MaxQueue       int // bytes waiting for one connection; beyond: the channel's Overflow. Published data may be half of it. Defaults to 1 MiB.
	MaxHistory     int // publications one history or recovery may return. Defaults to 1,000.
	CommandsPerSec int // commands of one connection, with bursts of twice as many; beyond: error 111. Defaults to 1,000.

	// Times. Zero means the default.

	ConnectTimeout time.Duration // until the connect command must have come; beyond: 3502. Defaults to 10 s.
	PingInterval   time.Duration // between pings to a client, whole seconds. Defaults to 25 s.
	PongTimeout    time.Duration // for the answer to one; beyond: 3012. Defaults to 10 s.
	WriteTimeout   time.Duration // for a socket to take anything at all; beyond: 3008. Defaults to 10 s.
	CommandTimeout time.Duration // for one command, as its context sees it. Defaults to 10 s.
	RefreshGrace   time.Duration // after a token's end until 3005. Defaults to 5 s.
	DrainWindow    time.Duration // over which Drain spreads its closes. Defaults to 5 s.
	LeaveGrace     time.Duration // a client whose connection broke stays in presence for so long, so that a user who is back by then was never away: the new connection joins before the old one leaves. One that says goodbye, or is told not to come back, leaves at once. Defaults to 2 s; negative: none.
	UnknownAfter   time.Duration // without an answer from Sessions until 3004. Defaults to 30 s.
	WatchInterval  time.Duration // between questions which sessions ended. Defaults to 500 ms; at most 1 s.
}
