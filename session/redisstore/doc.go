// Package redisstore keeps sessions in Redis. [Store] implements
// [session.Store] on a client of github.com/redis/go-redis/v9, on one server or
// on a Redis Cluster. It is a module of its own: go get
// github.com/gatewire/gatewire/session/redisstore.
//
//	client := redis.NewClient(&redis.Options{
//		Addr:                  "redis.internal:6379",
//		ContextTimeoutEnabled: true, // so that a request's deadline counts
//	})
//	store, err := redisstore.New(client, nil)
//	sessions, err := session.New[Data](store, nil)
//
// Every method is one script and one round trip: a request that shows a
// session costs one Load, and about once a minute a Touch besides. A server
// that has restarted or was told SCRIPT FLUSH gets a script again when it says
// that it doesn't know it.
//
// # What Redis needs
//
// Redis 7.0 or later. With the settings it comes with, a crash forgets the last
// second or the last minutes: sign-outs come undone. So set
//
//   - appendonly yes and appendfsync always. What was answered is then on the
//     disk: neither a killed server nor a power cut brings back a session that
//     ended or loses one. A call that was under way is there whole or not at all.
//   - maxmemory-policy noeviction. A full server then refuses new sessions and
//     changes of data with an error; who is signed in goes on, and sign-outs,
//     touches and the log work.
//
// Under any other policy, and after FLUSHALL, the store fails closed. It is
// three keys, and when Redis evicts one the other two are worth nothing: all
// sessions are over, cursors of the log are [session.ErrCursorLost], and a
// sign-in that was under way with an epoch gets [session.ErrEpoch]. Never is
// half of a session seen, nor one found that a sign-out has missed.
//
// # Replicas and failover
//
// Redis replicates after it has answered. A primary that fails takes along what
// its replicas had not received, sign-outs included; nothing here can know
// that. Where it matters, set min-replicas-to-write 1 and a small
// min-replicas-max-lag: a primary that is cut off then soon answers nothing,
// no Load either, which bounds what can be lost to those seconds. WAIT would
// not make a failover safe: a replica that has not the newest may be promoted.
// Replicas are never asked, since they may not know yet who was signed out.
//
// A backup that is restored brings back who signed out after it was made. Delete
// the three keys named below then: everybody signs in again.
//
// # Time limits
//
// A call ends with its context, or else with the client's ReadTimeout (5
// seconds by default); New refuses a client that overlooks a context's
// deadline. Set ReadTimeout to what a request may wait, say 2 seconds, and
// DialTimeout likewise. An answer that got lost is an error, as for every store
// that can't tell: changes are not sent again, reads are, within the client's
// MaxRetries. The same client goes on when the server is back.
//
// # How far it scales
//
// The rules of [session.Store] tie a session's key, id, user and origin, the
// user's epoch and the log together in one atomic step, and none of these tells
// where the others are. So all keys of a store share one hash tag,
// "{gw:sessions}", and on a cluster one node carries the store; [Options].Prefix
// decides which. A cluster adds availability here, no throughput. Measured with
// Redis 7.0 and 100,000 sessions, 32 callers in one process and the server
// sharing two busy cores: 25,000 Load, 24,000 Touch and 7,000 to 17,000 Create
// a second, and about 850 bytes of memory a session (520 for the least one). A script
// takes 10 to 50 millionths of a second of Redis's one thread there. EndUser
// and ListUser take that for every session of the user, Reap for every session
// it ends, while nobody else is answered. With appendfsync always the disk may
// be slower than all of that.
//
// The three keys grow with the sessions. Moving their slot to another node of
// a cluster moves them whole: at a million sessions that stops the node for
// seconds, so do it when few are there. Set lazyfree-lazy-eviction yes where
// you evict all the same.
//
// # Security considerations
//
// Session and refresh tokens are stored as SHA-256 sums, so a copy of the data
// signs in nobody. It does hold user ids, addresses, user agents and the host's
// data in the clear. Who can write can sign in as anybody: use TLS
// (redis.Options.TLSConfig) and a user of its own:
//
//	ACL SETUSER app on >secret resetkeys ~{gw:sessions}:* -@all +evalsha +eval +hello +client +hget +hset +hmget +hdel
//	    +hexists +hincrby +exists +unlink +zadd +zrem +zrangebylex +zrangebyscore +pexpireat +time
//	    (on a cluster also +cluster +command)
//
// # What is in Redis
//
// "{gw:sessions}:all" is a hash of sessions, ids, epochs and the log,
// "{gw:sessions}:index" and "{gw:sessions}:dies" are sorted sets; scripts/common.lua
// and record.go say how. A session stays until [session.Store.Reap] or a
// sign-out ends it and so logs it. Where nobody reaps, each Create takes along
// two that have been over for a week. All three keys expire by themselves weeks
// after the last session would have. What the log and the epochs forget goes by
// the clock of the Redis server; sessions go by the clock of the application.
package redisstore
