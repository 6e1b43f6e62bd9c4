package integration_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/internal/integration/dbtest"
	"github.com/gatewire/gatewire/password"
	"github.com/gatewire/gatewire/session"
)

// The test binary is also the other process: with this variable set it plays
// a part on the database given and says on standard output what was acknowledged.
const childEnv = "GATEWIRE_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) == "" {
		os.Exit(dbtest.Run(m))
	}
	// A *testing.T for the helpers; a failure in it fails the process.
	os.Args = append(os.Args[:1], "-test.run=^TestChild$")
	os.Exit(m.Run())
}

// TestChild is what the child processes run; by itself it does nothing.
func TestChild(t *testing.T) {
	part, rest, _ := strings.Cut(os.Getenv(childEnv), " ")
	name, dsn, _ := strings.Cut(rest, " ")
	switch part {
	case "write":
		childWrites(t, name, dsn)
	case "count":
		childCounts(t, name, dsn)
	case "change":
		childChanges(t, name, dsn)
	case "lock":
		childLocks(t, dsn)
	}
}

type childProcess struct {
	cmd   *exec.Cmd
	lines *bufio.Scanner
}

func startChild(t *testing.T, part, name, dsn string) *childProcess {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+part+" "+name+" "+dsn)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return &childProcess{cmd, bufio.NewScanner(out)}
}

// said says that something was acknowledged, in one write.
func said(words ...string) { _, _ = os.Stdout.WriteString("ack " + strings.Join(words, " ") + "\n") }

// next returns the next acknowledgement.
func (c *childProcess) next() (words []string, ok bool) {
	for c.lines.Scan() {
		if line, ok := strings.CutPrefix(c.lines.Text(), "ack "); ok {
			return strings.Fields(line), true
		}
	}
	return nil, false
}

// childWrites makes and ends sessions and accounts until it is killed.
func childWrites(t *testing.T, name, dsn string) {
	db := openDSN(t, dsn)
	s, a := sessionsOn(t, db), accountsOn(t, db)
	ctx := t.Context()
	for i := 0; ; i++ {
		id, owner := fmt.Sprintf("%s-%d", name, i), fmt.Sprintf("%s-user-%d", name, i/10)
		require.NoError(t, s.Create(ctx, record(id, owner), session.AnyEpoch))
		said("created", id)
		if i%3 == 2 {
			gone := fmt.Sprintf("%s-%d", name, i-1)
			ended, err := s.End(ctx, gone, session.ReasonSignedOut, time.Now())
			require.NoError(t, err)
			require.True(t, ended)
			said("ended", gone)
		}
		if i%10 == 9 {
			ended, err := s.EndUser(ctx, owner, id, session.ReasonRevoked, time.Now())
			require.NoError(t, err)
			words := []string{"ended"}
			for _, e := range ended {
				words = append(words, e.ID)
			}
			said(words...)
		}
		if a == nil {
			continue
		}
		u := user(i)
		u.ID, u.Email = id, id+"@example.com"
		require.NoError(t, a.CreateUser(ctx, u, nil))
		said("user", id, "hash-0")
		require.NoError(t, a.SetPassword(ctx, id, "hash-0", "hash-1", nil))
		said("user", id, "hash-1")
	}
}

// A process is killed in the middle of its writes, again and again on one
// database. What it was told is done is done, and the database opens again.
func TestS25_KilledProcessLosesNothing(t *testing.T) {
	everyDatabase(t, func(t *testing.T, dsn string) {
		sessionsOn(t, openDSN(t, dsn))
		for round := range 4 {
			before := cursorOf(t, sessionsOn(t, openDSN(t, dsn)))
			c := startChild(t, "write", fmt.Sprintf("r%d", round), dsn)
			created, ended, hashes := map[string]bool{}, map[string]bool{}, map[string]string{}
			die := 20 + rand.IntN(60)
			for n := 0; ; n++ {
				words, ok := c.next()
				if !ok {
					break
				}
				switch words[0] {
				case "created":
					created[words[1]] = true
				case "ended":
					for _, id := range words[1:] {
						ended[id] = true
					}
				case "user":
					hashes[words[1]] = words[2]
				}
				if n == die {
					require.NoError(t, c.cmd.Process.Kill()) // SIGKILL
				}
			}
			var status *exec.ExitError
			require.ErrorAs(t, c.cmd.Wait(), &status)
			require.False(t, status.Exited(), "it was to be killed, not to fail")
			require.NotEmpty(t, created)

			db := openDSN(t, dsn)
			s, a := sessionsOn(t, db), accountsOn(t, db)
			if !onPostgres(db) && !onMySQL(db) {
				var check string
				require.NoError(t, db.QueryRow(`PRAGMA integrity_check`).Scan(&check))
				require.Equal(t, "ok", check)
			}

			logged := map[string]bool{}
			list, _, err := s.EndedSince(t.Context(), before, 10000)
			require.NoError(t, err)
			for _, e := range list {
				require.False(t, logged[e.ID], "logged twice")
				logged[e.ID] = true
			}
			for id := range ended {
				require.True(t, logged[id], "the end of %s was acknowledged and is lost", id)
			}
			for id := range created {
				_, found, err := s.ByID(t.Context(), id)
				require.NoError(t, err)
				require.Equal(t, !logged[id], found, "%s is either there or in the log", id)
			}
			for id, hash := range hashes {
				u, found, err := a.UserByID(t.Context(), id)
				require.NoError(t, err)
				require.True(t, found, "account %s was acknowledged and is lost", id)
				require.GreaterOrEqual(t, string(u.Password), hash, "an acknowledged password change is lost")
			}
		}
	})
}

const (
	countPerChild = 40
	countSession  = "counter"
)

// childCounts adds to the number in one session's data, tries to register an
// address everybody wants, and makes and ends sessions of its own.
func childCounts(t *testing.T, name, dsn string) {
	db := openDSN(t, dsn)
	s, a := sessionsOn(t, db), accountsOn(t, db)
	ctx := t.Context()
	for i := range countPerChild {
		require.NoError(t, addOne(ctx, s))
		id := fmt.Sprintf("%s-%d", name, i)
		require.NoError(t, s.Create(ctx, record(id, "u"), session.AnyEpoch))
		ended, err := s.End(ctx, id, session.ReasonSignedOut, time.Now())
		require.NoError(t, err)
		require.True(t, ended)
		said("ended", id)

		if a == nil {
			continue
		}
		u := user(i) // the same address in every process, another id
		u.ID = id
		if err := a.CreateUser(ctx, u, nil); err == nil {
			said("registered", strconv.Itoa(i))
		}
		if i == 0 {
			continue
		}
		old := password.Hash("hash-" + strconv.Itoa(i-1))
		if err := a.SetPassword(ctx, "shared", old, password.Hash("hash-"+strconv.Itoa(i)), nil); err == nil {
			said("password", strconv.Itoa(i))
		}
	}
}

// addOne raises the number in a session's data, again when another was faster.
func addOne(ctx context.Context, s session.Store) error {
	for {
		rec, found, err := s.ByID(ctx, countSession)
		if err != nil || !found {
			return errors.Join(err, fmt.Errorf("found: %v", found))
		}
		n, err := strconv.Atoi(string(rec.Data))
		if err != nil {
			return err
		}
		rec.Data = []byte(strconv.Itoa(n + 1))
		if err := s.Replace(ctx, rec.Key, rec, rec.Rev); !errors.Is(err, session.ErrConflict) {
			return err
		}
	}
}

func TestS5_ThreeProcessesOnOneDatabase(t *testing.T) {
	everyDatabase(t, func(t *testing.T, dsn string) {
		db := openDSN(t, dsn)
		s, a := sessionsOn(t, db), accountsOn(t, db)
		ctx := t.Context()
		rec := record(countSession, "u")
		rec.Data = []byte("0")
		require.NoError(t, s.Create(ctx, rec, session.AnyEpoch))
		if a != nil {
			shared := user(1000)
			shared.ID = "shared"
			require.NoError(t, a.CreateUser(ctx, shared, nil))
		}
		cursor := cursorOf(t, s)

		const processes = 3
		var children []*childProcess
		for i := range processes {
			children = append(children, startChild(t, "count", fmt.Sprintf("p%d", i), dsn))
		}
		ended, registered, passwords := map[string]bool{}, map[string]int{}, map[string]int{}
		acks := make(chan []string)
		for _, c := range children {
			go func() {
				for words, ok := c.next(); ok; words, ok = c.next() {
					acks <- words
				}
				acks <- nil
			}()
		}
		// The log is read while it is written, in small steps.
		seen := map[string]int{}
		read := func() int {
			list, next, err := s.EndedSince(ctx, cursor, 5)
			require.NoError(t, err)
			cursor = next
			for _, e := range list {
				seen[e.ID]++
			}
			return len(list)
		}
		for running := processes; running > 0; {
			switch words := <-acks; {
			case words == nil:
				running--
			case words[0] == "ended":
				ended[words[1]] = true
			case words[0] == "registered":
				registered[words[1]]++
			case words[0] == "password":
				passwords[words[1]]++
			}
			read()
		}
		for _, c := range children {
			require.NoError(t, c.cmd.Wait())
		}
		for read() > 0 {
		}
		require.Len(t, ended, processes*countPerChild)
		require.Len(t, seen, len(ended))
		for id := range ended {
			require.Equal(t, 1, seen[id], "%s is in the log once", id)
		}
		got, found, err := s.ByID(ctx, countSession)
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, strconv.Itoa(processes*countPerChild), string(got.Data), "no update is lost")
		require.EqualValues(t, 1+processes*countPerChild, got.Rev)

		if a == nil {
			return
		}
		t.Run("A15 one account per address", func(t *testing.T) {
			require.Len(t, registered, countPerChild)
			for i, n := range registered {
				require.Equal(t, 1, n, "address %s", i)
			}
		})
		t.Run("P9 each password is replaced once", func(t *testing.T) {
			require.Len(t, passwords, countPerChild-1)
			for i, n := range passwords {
				require.Equal(t, 1, n, "password %s", i)
			}
		})
	})
}
