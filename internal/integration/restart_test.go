package integration_test

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/internal/child"
	"github.com/gatewire/gatewire/internal/mysqltest"
	"github.com/gatewire/gatewire/internal/pgtest"
	"github.com/gatewire/gatewire/session"
)

// worker makes and ends sessions for as long as it may, and remembers what it
// was told.
type worker struct {
	name    string
	s       session.Store
	created map[string]bool // acknowledged
	ended   map[string]bool // acknowledged
	maybe   map[string]bool // asked for, with no answer
	failed  int
	wrong   error        // an answer that cannot be true
	done    atomic.Int64 // how many calls were answered
}

func (w *worker) run(stop <-chan struct{}) {
	for i := 0; w.wrong == nil; i++ {
		select {
		case <-stop:
			return
		default:
		}
		w.step(fmt.Sprintf("%s-%d", w.name, i), i)
	}
}

func (w *worker) step(id string, i int) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	user := fmt.Sprintf("%s-user-%d", w.name, i/10)
	if !w.answered(w.s.Create(ctx, record(id, user), session.AnyEpoch)) {
		w.maybe[id] = true
		return
	}
	w.created[id] = true
	switch _, found, err := w.s.Load(ctx, keyOf(id)); {
	case err == nil && !found:
		w.wrong = fmt.Errorf("%s was acknowledged and is not there", id)
	case !w.answered(err):
		return
	}
	if i%2 == 0 {
		return
	}
	ended, err := w.s.End(ctx, id, session.ReasonSignedOut, time.Now())
	if !w.answered(err) {
		w.maybe[id] = true
		return
	}
	if !ended {
		w.wrong = fmt.Errorf("%s is there and End did not find it", id)
	}
	w.ended[id] = true
	switch _, found, err := w.s.Load(ctx, keyOf(id)); {
	case err == nil && found:
		w.wrong = fmt.Errorf("%s has ended and is there", id)
	default:
		w.answered(err)
	}
}

// answered reports whether a call has an answer. An error must mean that the
// store could not tell.
func (w *worker) answered(err error) bool {
	if err == nil {
		w.done.Add(1)
		return true
	}
	for _, answer := range []error{session.ErrExists, session.ErrNotFound, session.ErrConflict, session.ErrEpoch, session.ErrCursorLost} {
		if errors.Is(err, answer) {
			w.wrong = err
		}
	}
	w.failed++
	time.Sleep(5 * time.Millisecond)
	return false
}

func TestS25_PostgresRestartsUnderLoad(t *testing.T) {
	server, err := pgtest.Start()
	child.Require(t, err)
	t.Cleanup(func() { _ = server.Close() })
	restartsUnderLoad(t, server.URL(), server.Run, server.Crash, server.Stop, server.Crash)
}

func TestS25_MySQLRestartsUnderLoad(t *testing.T) {
	server, err := mysqltest.Start()
	child.Require(t, err)
	t.Cleanup(func() { _ = server.Close() })
	restartsUnderLoad(t, server.DSN(), server.Run, server.Kill, server.Stop, server.Kill)
}

// restartsUnderLoad has the server go down in the middle of everything, in order
// and at once, and come back: what has no answer is an error, what was
// acknowledged stays, and the same pool goes on.
func restartsUnderLoad(t *testing.T, dsn string, up func() error, downs ...func() error) {
	db := openDSN(t, dsn)
	s := sessionsOn(t, db)
	ctx := t.Context()
	m := managerOn(t, s)
	cookie := signIn(t, m, "ada")
	start := cursorOf(t, s)

	stop := make(chan struct{})
	var wg sync.WaitGroup
	workers := make([]*worker, 6)
	for i := range workers {
		w := &worker{name: fmt.Sprintf("w%d", i), s: s, created: map[string]bool{}, ended: map[string]bool{}, maybe: map[string]bool{}}
		workers[i] = w
		wg.Go(func() { w.run(stop) })
	}
	var heal time.Duration
	for round, down := range downs {
		time.Sleep(300 * time.Millisecond)
		require.NoError(t, down())
		_, err := m.Authenticate(withCookie(cookie))
		var refusal interface{ AuthError() string }
		require.ErrorAs(t, err, &refusal)
		require.Equal(t, "unavailable", refusal.AuthError(), "neither signed in nor signed out")
		recorder := httptest.NewRecorder()
		require.Error(t, m.Logout(recorder, withCookie(cookie)), "a sign-out that was not stored is reported")
		require.Len(t, recorder.Result().Cookies(), 1)
		require.NoError(t, up())

		since := time.Now()
		var before [6]int64
		for i, w := range workers {
			before[i] = w.done.Load()
		}
		require.Eventually(t, func() bool {
			for i, w := range workers {
				if w.done.Load() == before[i] {
					return false
				}
			}
			return true
		}, 20*time.Second, time.Millisecond, "round %d: not everybody goes on", round)
		heal = max(heal, time.Since(since))
	}
	time.Sleep(100 * time.Millisecond)
	close(stop)
	wg.Wait()

	_, err := m.Authenticate(withCookie(cookie))
	require.NoError(t, err, "who was signed in before still is")
	logged := map[string]int{}
	for cursor := start; ; {
		list, next, err := s.EndedSince(ctx, cursor, 500)
		require.NoError(t, err)
		if len(list) == 0 {
			break
		}
		for _, e := range list {
			logged[e.ID]++
		}
		cursor = next
	}
	created, ended, failed := 0, 0, 0
	for _, w := range workers {
		require.NoError(t, w.wrong)
		created, ended, failed = created+len(w.created), ended+len(w.ended), failed+w.failed
		for id := range w.created {
			_, found, err := s.ByID(ctx, id)
			require.NoError(t, err)
			require.Equal(t, logged[id] == 0, found, "%s is either there or in the log", id)
			if !w.maybe[id] {
				require.Equal(t, w.ended[id], !found, "%s is what was acknowledged", id)
			}
		}
	}
	for id, n := range logged {
		require.Equal(t, 1, n, "%s is in the log once", id)
	}
	require.NotZero(t, failed, "nobody noticed")
	t.Logf("%d sessions made, %d ended, %d calls without an answer, back %v after the server at most", created, ended, failed, heal.Round(time.Millisecond))
}
