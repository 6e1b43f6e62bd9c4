package realtime

import (
	"context"
	"errors"
	"strings"
	"time"
)

// Rules says who may do what in which channels: a channel's prefix, as
// "room:", and the rule of the channels that begin with it. The longest prefix
// that fits wins; a channel that fits none is unknown (error 102).
type Rules map[string]Rule

// Rule is the one gate of a channel. It is asked before a live subscription,
// history, recovery, presence, publishing and server-side subscriptions alike,
// and asked again when a connection's credential is refreshed, when its grant
// expires and by [Hub.Reauthorize]. It is called concurrently.
//
// [ErrDenied] refuses (103), [ErrUnknownChannel] says there is no such channel
// (102), an [*Error] is sent as it is. Any other error means that the rule
// could not tell, and refuses for now (100, temporary).
type Rule func(ctx context.Context, who Identity, channel string) (Grant, error)

// Grant is what a [Rule] lets a user do in a channel besides reading what is
// published while subscribed. The zero Grant is that alone.
type Grant struct {
	Publish   bool // publish to it
	Presence  bool // be listed in it, and ask who is
	JoinLeave bool // be announced when entering and leaving, and be told who does, oneself too
	History   bool // read back what the channel keeps
	Recover   bool // be sent, after a lost connection, what was missed

	// Expires is when the rule is to be asked again: within 250 ms of it for a
	// subscription that is live, which gets nothing until the rule has answered.
	// A grant that is over when it is given refuses. Zero means never.
	Expires time.Time
}

// over reports whether the grant's time is up.
func (g *Grant) over(now time.Time) bool { return !g.Expires.IsZero() && !now.Before(g.Expires) }

// Errors: the first two are a [Rule]'s answers.
var (
	ErrDenied         = errors.New("realtime: permission denied")
	ErrUnknownChannel = errors.New("realtime: unknown channel")
	ErrClosed         = errors.New("realtime: closed")     // the connection or the hub
	ErrQueueFull      = errors.New("realtime: queue full") // of a connection, which is closed with 3008
)

// Overflow says what becomes of a channel's messages for a reader that is too
// slow for them.
type Overflow int

const (
	// Close closes the connection with 3008. The client reconnects, and
	// recovers in channels that keep a history.
	Close Overflow = iota

	// DropOldest drops what waits for this channel and tells the client
	// (unsubscribe, 2500), so that it subscribes again and recovers. The
	// connection stays, but not for channels of [Options.Subscribe].
	DropOldest

	// Latest keeps only the newest message waiting, and sends it to who
	// subscribes. For channels whose every message is the whole truth, as a
	// score board.
	Latest
)

// Channel is how channels with one prefix are kept, the same for everyone who
// is in them.
type Channel struct {
	// HistorySize is how many publications the channel keeps, at most 100,000.
	// Defaults to 0: none, and nothing can be recovered.
	HistorySize int

	// HistoryTTL is how long it keeps each. Required with HistorySize.
	HistoryTTL time.Duration

	// Overflow is what happens to a reader that is too slow. Defaults to Close.
	Overflow Overflow
}

// longest returns the entry of m with the longest prefix of channel.
func longest[V any](m map[string]V, channel string) (v V, found bool) {
	best := -1
	for prefix, candidate := range m {
		if len(prefix) > best && strings.HasPrefix(channel, prefix) {
			v, best = candidate, len(prefix)
		}
	}
	return v, best >= 0
}
