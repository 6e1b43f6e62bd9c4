package redisbroker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatewire/gatewire/realtime"
)

var (
	_ realtime.Broker   = (*Broker)(nil)
	_ realtime.History  = (*Broker)(nil)
	_ realtime.Presence = (*Broker)(nil)
	_ realtime.Control  = (*Broker)(nil)
)

// Options of a [Broker]. Zero means the default.
type Options struct {
	// Prefix begins the name of every key and channel in Redis. All nodes of an
	// application have the same, and no other application. It has no braces.
	// Defaults to "gatewire:".
	Prefix string

	Logger *slog.Logger // of lost connections. Defaults to slog.Default().
}

// Broker is a [realtime.Broker], [realtime.History], [realtime.Presence] and
// [realtime.Control] on Redis. It is safe for concurrent use, and needs no
// closing: what ends is the links, and the client, which is the caller's.
type Broker struct {
	client    redis.UniversalClient
	cluster   *redis.ClusterClient // nil on a single server
	prefix    string
	log       *slog.Logger
	publishes string

	seq   atomic.Int64 // of Enter and Leave
	debts debts
}

// New makes a broker on a client, which it doesn't dial and doesn't close. It
// takes a [redis.Client], also one of Sentinel, and a [redis.ClusterClient], with
// ContextTimeoutEnabled set: a call that outlived its context could change
// something behind the back of who had given it up. nil options are the defaults.
func New(client redis.UniversalClient, o *Options) (*Broker, error) {
	if o == nil {
		o = &Options{}
	}
	b := &Broker{client: client, prefix: o.Prefix, log: o.Logger, publishes: "PUBLISH"}
	if b.prefix == "" {
		b.prefix = "gatewire:"
	}
	if b.log == nil {
		b.log = slog.Default()
	}
	b.seq.Store(time.Now().UnixMicro())
	deadlines := true
	var errs []error
	switch c := client.(type) {
	case *redis.Client:
		if c == nil {
			errs = append(errs, errors.New("redisbroker: the client is nil"))
			break
		}
		deadlines = c.Options().ContextTimeoutEnabled
	case *redis.ClusterClient:
		if c == nil {
			errs = append(errs, errors.New("redisbroker: the client is nil"))
			break
		}
		b.cluster, b.publishes = c, "SPUBLISH"
		deadlines = c.Options().ContextTimeoutEnabled
		if c.Options().ReadOnly {
			errs = append(errs, errors.New("redisbroker: a cluster client that reads from replicas can miss events: turn off ReadOnly, RouteByLatency and RouteRandomly"))
		}
	default:
		errs = append(errs, fmt.Errorf("redisbroker: client is %T: pass a *redis.Client or a *redis.ClusterClient", client))
	}
	if !deadlines {
		errs = append(errs, errors.New("redisbroker: the client does not keep to the deadline of a context: set ContextTimeoutEnabled in its options"))
	}
	if strings.ContainsAny(b.prefix, "{}") {
		errs = append(errs, errors.New("redisbroker: Options.Prefix has a brace, which would decide about the hash slot"))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return b, nil
}

// Publish hands an event to every hub subscribed to the channel.
func (b *Broker) Publish(ctx context.Context, channel string, e realtime.Event) error {
	return b.publish(ctx, b.channel(channel), encode(e))
}

// Broadcast hands a message to every hub.
func (b *Broker) Broadcast(ctx context.Context, message []byte) error {
	return b.publish(ctx, b.control(), string(message))
}

func (b *Broker) publish(ctx context.Context, name, message string) error {
	cmd := redis.NewCmd(ctx, b.publishes, name, message)
	cmd.SetFirstKeyPos(1) // a sharded channel has a slot, like a key
	return fail(ctx, b.send(ctx, cmd))
}

// send sends a command that changes something.
func (b *Broker) send(ctx context.Context, cmd *redis.Cmd) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return b.client.Process(ctx, once{cmd})
}

// once is a command that go-redis doesn't send again when the answer is late:
// Redis may have done it.
type once struct{ *redis.Cmd }

// NoRetry forbids a second try.
func (once) NoRetry() bool { return true }

// script is Lua that Redis keeps under its hash.
type script struct {
	*redis.Script
	source string
}

func newScript(source string) script { return script{redis.NewScript(source), source} }

// run runs a script, sent along when Redis doesn't have it (any more).
func (b *Broker) run(ctx context.Context, s script, keys []string, args ...any) (any, error) {
	cmd := evaluation(ctx, "EVALSHA", s.Hash(), keys, args)
	err := b.send(ctx, cmd)
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		cmd = evaluation(ctx, "EVAL", s.source, keys, args)
		err = b.send(ctx, cmd)
	}
	if err = fail(ctx, err); err != nil {
		return nil, err
	}
	return cmd.Val(), nil
}

func evaluation(ctx context.Context, name, what string, keys []string, args []any) *redis.Cmd {
	words := make([]any, 0, 3+len(keys)+len(args))
	words = append(words, name, what, len(keys))
	for _, k := range keys {
		words = append(words, k)
	}
	cmd := redis.NewCmd(ctx, append(words, args...)...)
	cmd.SetFirstKeyPos(3)
	return cmd
}

func fail(ctx context.Context, err error) error {
	if err == nil || errors.Is(err, redis.Nil) {
		return nil
	}
	// A socket says "i/o timeout", perhaps before the context does.
	if at, ok := ctx.Deadline(); ok && !time.Now().Before(at) && !errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("%w: %w", context.DeadlineExceeded, err)
	}
	return fmt.Errorf("redisbroker: %w", err)
}

// errReply means that Redis answered what our scripts don't.
var errReply = errors.New("redisbroker: Redis holds something else under our names")

func randomID() string { return rand.Text() }
