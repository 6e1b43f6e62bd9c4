package redisstore

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Options configures a [Store]. nil and zero mean the defaults.
type Options struct {
	// Prefix begins the names of the store's keys, inside the braces of their
	// hash tag: "{gw:sessions}:all". Two stores on one Redis need two
	// prefixes; on a cluster the prefix decides which node carries the store.
	// 1 to 64 characters of printable ASCII, without spaces and braces.
	// Defaults to "gw:".
	Prefix string

	// LogRetention is how far back the log of ended sessions reaches, by the
	// clock of the server: 15 minutes to 7 days. Every ended session takes
	// about 400 bytes for so long. Defaults to 1 hour.
	LogRetention time.Duration
}

const (
	defaultPrefix    = "gw:"
	defaultRetention = time.Hour
	leastRetention   = 15 * time.Minute
	mostRetention    = 7 * 24 * time.Hour

	// epochRetention is how long a user's epoch is remembered: longer than any
	// sign-in holds the one before it (rule E3: an hour).
	epochRetention = 2 * time.Hour
)

// check returns o with its defaults.
func (o *Options) check() (Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
	var errs []error
	if c.Prefix == "" {
		c.Prefix = defaultPrefix
	}
	plain := func(r rune) bool { return r <= ' ' || r > '~' || r == '{' || r == '}' }
	if len(c.Prefix) > 64 || strings.ContainsFunc(c.Prefix, plain) {
		errs = append(errs, errors.New("session/redisstore: Prefix must be 1 to 64 characters of printable ASCII without spaces and braces"))
	}
	if c.LogRetention == 0 {
		c.LogRetention = defaultRetention
	}
	if c.LogRetention < leastRetention || c.LogRetention > mostRetention {
		errs = append(errs, fmt.Errorf("session/redisstore: LogRetention is %v: it must be %v to %v", c.LogRetention, leastRetention, mostRetention))
	}
	return c, errors.Join(errs...)
}

// checkClient refuses a client on which a promise of the store can't be kept.
// It can't look into a client that somebody else has made.
func checkClient(client redis.UniversalClient) error {
	if v := reflect.ValueOf(client); client == nil || v.Kind() == reflect.Pointer && v.IsNil() {
		return errors.New("session/redisstore: client is nil: pass what redis.NewClient or redis.NewClusterClient returned")
	}
	deadlines := true
	switch c := client.(type) {
	case *redis.Client:
		deadlines = c.Options().ContextTimeoutEnabled
	case *redis.ClusterClient:
		deadlines = c.Options().ContextTimeoutEnabled
	default:
		switch client.(type) {
		case *redis.Ring:
			// A ring asks another server when one is down: what ended on the one
			// is unknown to the other.
			return errors.New("session/redisstore: a redis.Ring can't keep sessions: use redis.NewClient or redis.NewClusterClient")
		case *redis.AutoPipeliner:
			return errors.New("session/redisstore: a redis.AutoPipeliner does not keep to deadlines: pass the client it was made of")
		}
	}
	if !deadlines {
		return errors.New("session/redisstore: the client does not keep to the deadline of a context: set ContextTimeoutEnabled in its options")
	}
	return nil
}
