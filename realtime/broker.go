package realtime

import (
	"context"
	"encoding/json"
	"time"
)

// Broker carries events to every hub attached to it: at most once, in order
// for one channel from one publisher.
type Broker interface {
	// Attach joins a hub. Events of the channels its link is subscribed to are
	// handed to h: those of one channel one after another, in order. It never
	// dials and returns at once.
	Attach(h Handler) (Link, error)

	// Publish hands an event to every link subscribed to its channel.
	Publish(ctx context.Context, channel string, e Event) error
}

// Link is one hub's place at a [Broker].
type Link interface {
	// Subscribe returns once everything published from now on will arrive.
	Subscribe(ctx context.Context, channel string) error
	Unsubscribe(ctx context.Context, channel string) error
	Close() error
}

// Handler takes what a [Broker] brings. Its methods return quickly.
type Handler interface {
	Deliver(channel string, e Event)

	// Gap says that events of these channels may have been lost, as after the
	// broker's connection broke. nil means all channels.
	Gap(channels []string)

	// Control takes what [Control.Broadcast] handed out.
	Control(message []byte)
}

// EventKind says what an [Event] is.
type EventKind uint8

const (
	EventPublication EventKind = iota + 1
	EventJoin
	EventLeave
)

// Event is what happens in a channel.
type Event struct {
	Kind        EventKind
	Publication Publication // EventPublication
	Client      ClientInfo  // EventJoin, EventLeave
}

// Publication is a message in a channel.
type Publication struct {
	Offset uint64          // place in the channel's history, from 1; 0 in a channel without
	Epoch  string          // the history's life; offsets of two epochs don't compare
	Data   json.RawMessage // what was published
	Info   *ClientInfo     // the client that published it; nil for the server
	Time   time.Time
}

// ClientInfo is a connection as others see it.
type ClientInfo struct {
	Client string          `json:"client"` // the connection's id, new for each
	User   string          `json:"user"`
	Info   json.RawMessage `json:"conn_info,omitempty"`
}

// Position is a place in a channel's history.
type Position struct {
	Offset uint64
	Epoch  string
}

// History is a [Broker] that also keeps what was published.
type History interface {
	// Append stores a publication and hands it out, in one step: offsets are
	// dense and arrive in order. It fills Offset and Epoch.
	Append(ctx context.Context, channel string, p Publication, keep Keep) (Position, error)

	// Read returns publications and the top: the position of the newest there
	// ever was.
	Read(ctx context.Context, channel string, f ReadFilter) (pubs []Publication, top Position, err error)
}

// Keep says how much a channel keeps.
type Keep struct {
	Size int
	TTL  time.Duration
}

// ReadFilter selects from a channel's history.
type ReadFilter struct {
	Since   *Position // those after it (Reverse: before it); nil: from the oldest (Reverse: the newest)
	Limit   int       // at most so many; 0: none, the top alone
	Reverse bool      // newest first
	Keep    Keep      // how the channel is kept
}

// Presence is a [Broker] that knows who is in which channel, on all hubs.
type Presence interface {
	// Enter lists a client under a channel for as long as node beats. It counts
	// as a beat.
	Enter(ctx context.Context, node, channel string, c ClientInfo, ttl time.Duration) error
	Leave(ctx context.Context, node, channel, client string) error

	// Beat keeps everything node has entered for ttl from now. Without it, what
	// a node that died had entered is gone after ttl.
	Beat(ctx context.Context, node string, ttl time.Duration) error

	// List returns at most limit clients of a channel.
	List(ctx context.Context, channel string, limit int) ([]ClientInfo, error)
	Stats(ctx context.Context, channel string) (clients, users int, err error)
}

// Control is a [Broker] that also carries what one hub tells all: by it the
// Send, End and Reauthorize methods of [Hub] reach the other nodes.
type Control interface {
	// Broadcast hands a message to every attached link, the sender's too: each
	// at most once, those of one sender in order.
	Broadcast(ctx context.Context, message []byte) error
}
