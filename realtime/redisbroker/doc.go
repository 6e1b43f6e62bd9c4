// Package redisbroker carries the events of [realtime] hubs between nodes, and
// keeps their histories and presence, on Redis 7.0 or later: one server, one
// behind Sentinel, or a Redis Cluster.
//
//	client := redis.NewClient(&redis.Options{
//		Addr:                  "127.0.0.1:6379",
//		ContextTimeoutEnabled: true, // so that a deadline counts
//	})
//	broker, err := redisbroker.New(client, nil)
//	if err != nil {
//		return err
//	}
//	hub, err := realtime.New(origin, authenticator, sessions, rules, &realtime.Options{Broker: broker})
//
// Nothing is dialled before it is needed. A connection that breaks is made
// again, with growing pauses of at most 2 s, and the hub is then told of a gap,
// so that clients recover from the history. The connection that brings events is
// probed by events of its own: one that is silently dead, or alive at a server
// that nobody publishes to any more, is found within 5 s and told as a gap.
//
// # Connections
//
// A hub has one connection for what it subscribes to, whatever the number of
// channels; on a Redis Cluster up to 16. Everything else goes through the
// client's pool.
//
// # Redis Cluster
//
// Channels are spread by a hash over 16 groups. The names of a group share a hash
// tag that puts it into its sixteenth of the hash slots, so that one script can
// reach all a channel has, and events go by sharded pub/sub, which stays on the
// servers of one slot. More than 16 masters are of no use.
//
// # What Redis loses
//
// A history whose keys are gone begins again with another epoch, and clients are
// told that they were not recovered. A Redis that forgets the last moments and
// keeps the rest, as after a crash under "appendfsync everysec" or a failover to a
// replica that lags behind, gives some offsets a second time: a client that had
// read the first ones misses the second ones. Where that matters, use
// "appendfsync always", and WAIT-like guarantees of your operator for failovers.
//
// Histories expire on their own. With a maxmemory-policy that evicts, presence
// and histories may vanish before; "noeviction" refuses publications instead.
//
// # Presence
//
// Who was in a channel on a node that died is not listed once ttl is over, and
// cleared away by the living ten ttls after they found it dead. A node that stood
// still for longer than that, and lives again, has lost its entries.
//
// An Enter that failed may have been done, or be done later: Leave behind it wins
// in any case. A Leave that failed is tried again with every Beat of its node.
//
// # Time limits
//
// A call ends with the deadline of its context, or else with the client's
// ReadTimeout; New refuses a client that overlooks a context's deadline. A context
// that is cancelled before is noticed when the answer is there, or overdue.
//
// # Security
//
// Who can write to Redis can send anything to every client. Names are prefixed,
// not separated by the database number: pub/sub has none. Give each application
// its own prefix, and its own Redis user where they don't trust one another.
//
// # Errors
//
// What publishes or stores is never sent twice, whatever MaxRetries of the client.
// When it fails, it may have been done: what is published again after an error can
// arrive twice. While Redis loads its data, or is a replica that is read only,
// calls fail with its words.
package redisbroker
