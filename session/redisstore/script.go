package redisstore

import (
	"context"
	"crypto/rand"
	"crypto/sha1"
	"embed"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

//go:embed scripts
var sources embed.FS

// script is one verb. Redis caches it under its SHA-1, until it restarts.
type script struct {
	source, sum string
	// again says that go-redis may run it again when an answer is lost: it
	// changes nothing that a second run would find.
	again bool
}

// grows has a script refused when the server's memory is full. The others run:
// signing out works there too.
const (
	grows      = "#!lua\n"
	mayBeFull  = "#!lua flags=allow-oom\n"
	commonPart = "scripts/common.lua"
)

// No script says no-writes, though some write nothing: such a script would run
// on a replica, which may not know yet what has ended, and on a primary that
// has lost its replicas (min-replicas-to-write).
type scripts struct {
	init, create, load, replace, touch, end, endUser, endOrigin, endedSince, listUser, epoch, reap script
}

func loadScripts() (s scripts, err error) {
	read := func(flags, name string, again bool) script {
		common, err1 := sources.ReadFile(commonPart)
		own, err2 := sources.ReadFile("scripts/" + name + ".lua")
		err = errors.Join(err, err1, err2)
		source := flags + string(common) + string(own)
		sum := sha1.Sum([]byte(source))
		return script{source: source, sum: hex.EncodeToString(sum[:]), again: again}
	}
	s = scripts{
		init:       read(mayBeFull, "init", true),
		create:     read(grows, "create", false),
		load:       read(mayBeFull, "load", true),
		replace:    read(grows, "replace", false),
		touch:      read(mayBeFull, "touch", true),
		end:        read(mayBeFull, "end", false),
		endUser:    read(mayBeFull, "enduser", false),
		endOrigin:  read(mayBeFull, "endorigin", false),
		endedSince: read(mayBeFull, "endedsince", true),
		listUser:   read(mayBeFull, "listuser", true),
		epoch:      read(mayBeFull, "epoch", true),
		reap:       read(mayBeFull, "reap", false),
	}
	return s, err
}

// once is a command that is not sent a second time when its answer is lost: the
// second run of Create would find the first one's record.
type once struct{ *redis.Cmd }

func (once) NoRetry() bool { return true }

// tries is how often a store is made anew within one call before it counts as
// one that Redis evicts as fast as it is made.
const tries = 3

// run runs one verb, in one round trip but for the first time on a server.
func (s *Store) run(ctx context.Context, op string, sc *script, args ...any) (any, error) {
	for range tries {
		reply, err := s.eval(ctx, sc, args)
		if err != nil {
			return nil, wrap(ctx, op, err)
		}
		switch reply {
		case "new":
			if _, err := s.eval(ctx, &s.scripts.init, identity()); err != nil {
				return nil, wrap(ctx, op, err)
			}
		case "version":
			return nil, wrap(ctx, op, errors.New("the sessions in Redis are of a later version of this package"))
		default:
			return reply, nil
		}
	}
	return nil, wrap(ctx, op, errors.New("the sessions are evicted as fast as they are made: give Redis more memory and maxmemory-policy noeviction"))
}

// identity names a new log of ended sessions, and the number that epochs count
// from. Neither was ever used, so no cursor and no sign-in from before fits.
func identity() []any {
	var b [8]byte
	rand.Read(b[:])
	return []any{rand.Text(), binary.BigEndian.Uint64(b[:]) >> 12} // with what is added to it, exact in Lua
}

func (s *Store) eval(ctx context.Context, sc *script, args []any) (any, error) {
	reply, err := s.send(ctx, sc.again, "evalsha", sc.sum, args)
	if err != nil && strings.HasPrefix(err.Error(), "NOSCRIPT") {
		return s.send(ctx, sc.again, "eval", sc.source, args)
	}
	return reply, err
}

func (s *Store) send(ctx context.Context, again bool, command, script string, args []any) (any, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	words := make([]any, 0, 3+len(s.keys)+len(args))
	words = append(words, command, script, len(s.keys))
	for _, key := range s.keys {
		words = append(words, key)
	}
	cmd := redis.NewCmd(ctx, append(words, args...)...)
	cmd.SetFirstKeyPos(3)
	var err error
	if again {
		err = s.client.Process(ctx, cmd)
	} else {
		err = s.client.Process(ctx, once{cmd})
	}
	if err != nil {
		return nil, err
	}
	return cmd.Val(), nil
}

// wrap names the call. An error at the end of the context's time is the
// context's too.
func wrap(ctx context.Context, op string, err error) error {
	end := ctx.Err()
	if deadline, ok := ctx.Deadline(); ok && end == nil && !time.Now().Before(deadline) {
		end = context.DeadlineExceeded // a socket's timer may be faster than the context's
	}
	if end != nil && !errors.Is(err, end) {
		return fmt.Errorf("session/redisstore: %s: %w (%v)", op, end, err)
	}
	return fmt.Errorf("session/redisstore: %s: %w", op, err)
}

// list checks that a reply is an array of texts; a nil among them is nil.
func list(reply any) ([][]byte, error) {
	elements, ok := reply.([]any)
	if !ok {
		return nil, fmt.Errorf("an answer of type %T", reply)
	}
	texts := make([][]byte, len(elements))
	for i, e := range elements {
		switch e := e.(type) {
		case string:
			texts[i] = []byte(e)
		case nil:
		default:
			return nil, fmt.Errorf("an answer of type %T in an array", e)
		}
	}
	return texts, nil
}
