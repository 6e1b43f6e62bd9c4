package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatewire/gatewire/realtime"
	"github.com/gatewire/gatewire/realtime/redisbroker"
	"github.com/gatewire/gatewire/session"
	"github.com/gatewire/gatewire/session/redisstore"
)

const (
	redisPatience    = 2 * time.Second // for a connection, and for an answer: one that hangs is as good as none
	redisConnections = 50              // of this process, to each server
)

// redisServer is where REDIS_URL leads: one server, or a cluster.
type redisServer struct {
	one     *redis.Options
	cluster *redis.ClusterOptions
}

// parseRedis checks a URL as go-redis takes it; further nodes, as addr=host:port
// in its query, make it a cluster's. Its errors never repeat any of it but
// settings that are no secret.
func parseRedis(s string) (*redisServer, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "redis" && u.Scheme != "rediss" || u.Host == "" || u.Opaque != "" || u.Fragment != "" {
		return nil, errors.New("want redis://user:password@host:6379/0, with what is special in the password percent-encoded; rediss:// for TLS; &addr=host:port for each further node of a cluster")
	}
	password, _ := u.User.Password()
	if !u.Query().Has("addr") {
		o, err := redis.ParseURL(s)
		if err != nil {
			return nil, errors.New(oneLine(err, password))
		}
		bound(&o.MaxRetries, &o.DialerRetries, &o.PoolSize, &o.DialTimeout, &o.ReadTimeout, &o.WriteTimeout, &o.PoolTimeout)
		o.ContextTimeoutEnabled = true
		return &redisServer{one: o}, nil
	}
	if u.Path != "" && u.Path != "/" {
		return nil, errors.New("a cluster has no numbered databases: want no path")
	}
	o, err := redis.ParseClusterURL(s)
	if err != nil {
		return nil, errors.New(oneLine(err, password))
	}
	bound(&o.MaxRetries, &o.DialerRetries, &o.PoolSize, &o.DialTimeout, &o.ReadTimeout, &o.WriteTimeout, &o.PoolTimeout)
	o.ContextTimeoutEnabled = true
	return &redisServer{cluster: o}, nil
}

// bound fills in what the URL leaves open, so that a server that hangs is an
// error within seconds. A command without an answer is never sent again: it may
// have had its effect, and a message would be there twice.
func bound(retries, dials, connections *int, times ...*time.Duration) {
	*retries, *dials = -1, 1
	if *connections == 0 {
		*connections = redisConnections
	}
	for _, t := range times {
		if *t == 0 {
			*t = redisPatience
		}
	}
}

// open makes a client, which dials when it is first needed: a server that is
// down keeps nobody from starting.
func (r *redisServer) open(log *slog.Logger) redis.UniversalClient {
	redis.SetLogger(redisLog{log}) // the library has one for all its clients
	if r.cluster != nil {
		return redis.NewClusterClient(r.cluster)
	}
	return redis.NewClient(r.one)
}

// onRedis keeps sessions in Redis, and carries rooms by it from node to node.
func onRedis(client redis.UniversalClient, log *slog.Logger) (session.Store, realtime.Broker, error) {
	store, err := redisstore.New(client, nil)
	if err != nil {
		return nil, nil, err
	}
	broker, err := redisbroker.New(client, &redisbroker.Options{Logger: log})
	if err != nil {
		return nil, nil, err
	}
	return store, broker, nil
}

// redisLog is what the Redis library has to say, in our log. What fails is said
// by whoever needed it.
type redisLog struct{ *slog.Logger }

func (l redisLog) Printf(ctx context.Context, format string, v ...any) {
	l.DebugContext(ctx, "redis", "message", fmt.Sprintf(format, v...))
}
