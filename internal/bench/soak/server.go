package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatewire/gatewire/realtime"
	"github.com/gatewire/gatewire/session"
)

// rooms is how many channels there are besides "room:flood".
const rooms = 20

// server is a host application: sessions, a hub behind them, and a publisher.
type server struct {
	mux       *http.ServeMux
	sessions  *session.Manager[struct{}]
	hub       *realtime.Hub
	stop      context.CancelFunc
	running   sync.WaitGroup
	published atomic.Int64
	failed    atomic.Int64
}

func newServer(origin string, rate int, logger *slog.Logger) (*server, error) {
	sessions, err := session.New[struct{}](session.NewMemoryStore(nil), &session.Options{
		TrustedOrigins: []string{origin}, Cookie: session.Cookie{Insecure: true}, MaxPerUser: -1, Logger: logger,
	})
	if err != nil {
		return nil, err
	}
	may := func(context.Context, realtime.Identity, string) (realtime.Grant, error) {
		return realtime.Grant{Publish: true, Presence: true, JoinLeave: true, History: true, Recover: true}, nil
	}
	hub, err := realtime.New(origin, realtime.Via(sessions.Authenticate), sessions, realtime.Rules{"room:": may}, &realtime.Options{
		Channels:     map[string]realtime.Channel{"room:": {HistorySize: 20_000, HistoryTTL: 5 * time.Minute}},
		MaxQueue:     128 << 10,
		WriteTimeout: time.Second, // slow readers are what this is about
		PingInterval: 5 * time.Second, PongTimeout: 3 * time.Second, LeaveGrace: time.Second,
		Logger: logger,
	})
	if err != nil {
		_ = sessions.Close()
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &server{mux: http.NewServeMux(), sessions: sessions, hub: hub, stop: stop}
	s.mux.Handle("/realtime", hub)
	s.mux.Handle("POST /login", sessions.Handler(http.HandlerFunc(s.login)))
	s.mux.HandleFunc("POST /revoke", s.revoke)
	s.running.Go(func() { s.publish(ctx, rate) })
	return s, nil
}

func (s *server) login(w http.ResponseWriter, r *http.Request) {
	if err := s.sessions.Login(w, r, r.FormValue("user")); err != nil {
		http.Error(w, err.Error(), session.StatusOf(err))
		return
	}
	got, err := s.sessions.Get(r.Context())
	if err != nil {
		http.Error(w, err.Error(), session.StatusOf(err))
		return
	}
	_, _ = io.WriteString(w, got.ID())
}

func (s *server) revoke(w http.ResponseWriter, r *http.Request) {
	done, err := s.sessions.Revoke(r.Context(), r.FormValue("user"), r.FormValue("session"), session.ReasonRevoked)
	if err != nil || !done {
		http.Error(w, fmt.Sprintf("revoked: %v, %v", done, err), http.StatusInternalServerError)
	}
}

// publish publishes rate times a second, each second time to the channel of
// slow readers.
func (s *server) publish(ctx context.Context, rate int) {
	pad := string(bytes.Repeat([]byte("x"), 1000))
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		channel := "room:" + strconv.Itoa(n%rooms)
		size := 100
		if n%2 == 0 {
			channel, size = "room:flood", len(pad)
		}
		if err := s.hub.Publish(ctx, channel, json.RawMessage(fmt.Sprintf(`{"n":%d,"pad":%q}`, n, pad[:size]))); err != nil && ctx.Err() == nil {
			s.failed.Add(1)
		}
		s.published.Add(1)
	}
}

func (s *server) Close() error {
	s.stop()
	s.running.Wait()
	err := errors.Join(s.hub.Close(), s.sessions.Close())
	if n := s.failed.Load(); n > 0 {
		err = errors.Join(err, fmt.Errorf("%d publications failed", n))
	}
	return err
}

// sample is what the process is like at a moment.
type sample struct {
	rss, heap  int64
	goroutines int
}

// watch prints a line every so often until its result is called.
func (s *server) watch(every time.Duration, out io.Writer) (samples func() []sample) {
	var all []sample
	stop, done := make(chan struct{}), make(chan struct{})
	start := time.Now()
	go func() {
		defer close(done)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			now := sample{resident(), int64(m.HeapAlloc), runtime.NumGoroutine()}
			all = append(all, now)
			fmt.Fprintf(out, "%v: %d KB resident, %d KB heap, %d goroutines, %d published\n", time.Since(start).Round(time.Second),
				now.rss>>10, now.heap>>10, now.goroutines, s.published.Load())
		}
	}()
	return func() []sample {
		close(stop)
		<-done
		return all
	}
}

// flat says whether the heap of the last fifth of a run is no larger than that
// of the second fifth, by a tenth and a megabyte. What a channel keeps fills up
// in the first.
func flat(all []sample) error {
	if len(all) < 10 {
		return nil
	}
	fifth := len(all) / 5
	middle := func(list []sample) int64 {
		var heap []int64
		for _, s := range list {
			heap = append(heap, s.heap)
		}
		slices.Sort(heap)
		return heap[len(heap)/2]
	}
	first, last := middle(all[fifth:2*fifth]), middle(all[len(all)-fifth:])
	if last > first+first/10+1<<20 {
		return fmt.Errorf("the heap grew from %d KB to %d KB", first>>10, last>>10)
	}
	return nil
}

// resident is the memory of this process, 0 where /proc doesn't tell.
func resident() int64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := bytes.Fields(b)
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

// settle waits until no more than so many goroutines are left, and returns how
// many there are.
func settle(wanted int) int {
	for range 300 {
		if runtime.NumGoroutine() <= wanted {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	return runtime.NumGoroutine()
}
