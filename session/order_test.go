package session_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatewire/gatewire/session"
)

// steps are what a handler may do, in any order.
var steps = []string{
	"Get", "Update", "Login", "Renew", "Logout",
	"Header", "WriteHeader", "103", "Write", "WriteString", "ReadFrom", "Flush", "Trailer",
	"panic", "abort",
}

// faults are the calls of the store that fail.
var faults = [][]string{nil, {"Replace"}, {"Create"}, {"Load"}, {"End"}, {"Replace", "Create"}, {"Replace", "End"}}

// run is one request whose handler follows a script, and what it came to there.
type run struct {
	m       *manager
	script  []string
	userID  string // who signs in
	owner   string // who is signed in
	endDown bool   // sessions can't be ended
	begun   bool   // something was done that begins the response
	status  int    // that it begins with
	header  string
	body    string
	trailer bool // set after the response had begun
	updates int  // that were made before
	cookie  string
	wrote   int  // writes that went well
	refused int  // writes that did not
	unsure  bool // the store could not tell something before the response
	panics  bool
}

func (x *run) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	begin := func(status int) {
		if !x.begun {
			x.begun, x.status, x.header = true, status, w.Header().Get("X-Header")
		}
	}
	note := func(text string, err error) {
		if err != nil {
			x.refused++
			return
		}
		x.wrote++
		x.body += text
	}
	told := func(err error, done func()) {
		switch {
		case x.begun:
		case err == nil:
			done()
		}
	}
	for i, step := range x.script {
		text := fmt.Sprintf("<%d>", i)
		switch step {
		case "Get":
			_, err := x.m.Get(r.Context())
			x.unsure = x.unsure || !x.begun && err != nil
		case "Update":
			err := x.m.Update(r.Context(), increment)
			x.unsure = x.unsure || !x.begun && errors.Is(err, errDown)
			told(err, func() { x.updates++ })
		case "Login":
			if x.begun {
				_ = x.m.Login(w, r, x.userID)
				continue
			}
			err := x.m.Login(w, r, x.userID)
			other := x.owner != "" && x.owner != x.userID
			x.unsure = x.unsure || other && x.endDown && err != nil
			if err == nil && other {
				x.updates = 0
			}
			told(err, func() { x.cookie, x.owner = "new", x.userID })
		case "Renew":
			told(x.m.Renew(w, r), func() { x.cookie = "new" })
		case "Logout":
			err := x.m.Logout(w, r)
			x.unsure = x.unsure || !x.begun && err != nil
			if !x.begun {
				x.cookie, x.updates, x.owner = "gone", 0, ""
			} else if x.cookie == "new" {
				x.cookie = "ended"
			}
		case "Header":
			w.Header().Set("X-Header", text)
		case "WriteHeader":
			begin(http.StatusCreated)
			w.WriteHeader(http.StatusCreated)
		case "103":
			w.WriteHeader(http.StatusEarlyHints)
		case "Write":
			begin(http.StatusOK)
			_, err := w.Write([]byte(text))
			note(text, err)
		case "WriteString":
			begin(http.StatusOK)
			_, err := io.WriteString(w, text)
			note(text, err)
		case "ReadFrom":
			begin(http.StatusOK)
			_, err := w.(io.ReaderFrom).ReadFrom(strings.NewReader(text))
			note(text, err)
		case "Flush":
			begin(http.StatusOK)
			note("", http.NewResponseController(w).Flush())
		case "Trailer":
			if x.begun {
				x.trailer = true
				w.Header().Set(http.TrailerPrefix+"X-Trailer", "1")
			}
		case "panic", "abort":
			x.panics = true
			if step == "abort" {
				panic(http.ErrAbortHandler)
			}
			panic("of the script")
		}
	}
	begin(http.StatusOK)
}

// order runs scripts on one protocol.
type order struct {
	site    *site
	current atomic.Value // http.Handler
}

func newOrder(t *testing.T, protocol string) *order {
	o := &order{}
	o.site = newSite(t, protocol, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.current.Load().(http.Handler).ServeHTTP(w, r)
	}), nil)
	return o
}

// check runs one request, and requires that the client sees the whole answer of
// the handler, with all that it says about the session, or the error alone.
func (o *order) check(t *testing.T, script []byte) {
	if len(script) < 2 {
		return
	}
	store := newFaulty()
	m := newManager(t, store, session.Options{ReapEvery: -1})
	b := newBrowser(m)
	x := &run{m: m, userID: "u1"}
	signedIn := script[0]&1 == 1
	if signedIn {
		b.login(t, "u1")
		x.owner = "u1"
	}
	if script[0]&2 == 2 {
		x.userID = "u2"
	}
	down := faults[int(script[0]>>2)%len(faults)]
	x.endDown = slices.Contains(down, "End")
	for _, c := range script[1:min(len(script), 12)] {
		x.script = append(x.script, steps[int(c)%len(steps)])
	}
	about := fmt.Sprintf("%v signed in: %t, %s, down: %v", x.script, signedIn, x.userID, down)
	for _, method := range down {
		store.set(method, true)
	}
	over := make(chan struct{})
	inner := m.Handler(x)
	o.current.Store(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(over)
		inner.ServeHTTP(w, r)
	}))
	a, err := o.site.do(t, "GET", b.cookie(), nil)
	<-over
	for _, method := range down {
		store.set(method, false)
	}

	// What is there afterwards: the client can present all of it, unless the
	// store could not end it.
	live := func(keep ...string) {
		if x.endDown {
			return
		}
		n := 0
		for _, user := range []string{"u1", "u2"} {
			list, err := m.List(t.Context(), user)
			require.NoError(t, err)
			n += len(list)
		}
		can := 0
		for _, cookie := range keep {
			if _, err := b.with(cookie).who(); err == nil {
				can++
			}
		}
		require.Equal(t, can, n, "sessions that nobody can present: %s", about)
	}
	saved := func(cookie string) int {
		who, err := b.with(cookie).who()
		if err != nil {
			return -1
		}
		return who.Data().N
	}

	if x.panics && (err != nil || a.cut != nil) {
		if !x.begun {
			require.Error(t, err, about)
			live(b.cookie())
			if len(x.cookie) == 0 && signedIn {
				require.Zero(t, saved(b.cookie()), about)
			}
			return
		}
		if a != nil && x.refused == 0 {
			require.True(t, strings.HasPrefix(x.body, a.body), about)
		}
		return
	}
	require.NoError(t, err, about)
	require.NoError(t, a.cut, about)

	if session := a.Header.Get("X-Content-Type-Options"); session != "" {
		require.NotEmpty(t, down, about)
		cleared := a.Header["Set-Cookie"]
		a.Header.Del("Set-Cookie")
		a.isError(t)
		require.Zero(t, x.wrote, about)
		if x.cookie == "gone" {
			require.Len(t, cleared, 1, about)
			require.Contains(t, cleared[0], "Max-Age=0", about)
		} else {
			require.Empty(t, cleared, about)
		}
		live(b.cookie())
		return
	}
	require.False(t, x.panics, about)
	require.Zero(t, x.refused, about)
	require.False(t, x.unsure, "the handler took a store that is down for an answer: %s", about)
	require.Equal(t, x.status, a.StatusCode, about)
	require.Equal(t, x.header, a.Header.Get("X-Header"), about)
	require.Equal(t, x.body, a.body, about)
	if x.trailer && o.site.EnableHTTP2 { // HTTP/1.1 sends them with chunks only
		require.Equal(t, "1", a.Trailer.Get("X-Trailer"), about)
	}
	cookie := b.cookie()
	switch set := a.Header["Set-Cookie"]; x.cookie {
	case "new":
		require.Len(t, set, 1, about)
		cookie = a.sessionCookie()
		_, err := b.with(cookie).who()
		require.NoError(t, err, about)
		require.Equal(t, x.updates, saved(cookie), about)
	case "gone":
		require.Len(t, set, 1, about)
		if x.updates == 0 {
			require.Contains(t, set[0], "Max-Age=0", about)
		}
	case "ended":
		require.Len(t, set, 1, about)
	default:
		if signedIn && !slices.Contains(x.script, "Logout") {
			require.Empty(t, set, about)
			require.Equal(t, x.updates, saved(cookie), about)
		} else if !signedIn {
			require.Len(t, set, min(x.updates, 1), about)
		}
	}
	live(cookie)
}

func TestS14_AnyOrder(t *testing.T) {
	for i, protocol := range protocols {
		t.Run("S14 "+protocol, func(t *testing.T) {
			random := rand.New(rand.NewPCG(14, uint64(i))) // FuzzResponseOrder goes further
			o := newOrder(t, protocol)
			for range 500 {
				script := make([]byte, 2+random.IntN(8))
				for i := range script {
					script[i] = byte(random.Uint32())
				}
				o.check(t, script)
			}
		})
	}
}

func FuzzResponseOrder(f *testing.F) {
	for fault := range faults {
		for step := range steps {
			f.Add([]byte{byte(fault<<2 | 1), 1, byte(step), 8, 12})
			f.Add([]byte{byte(fault << 2), 2, 1, byte(step), 7, 9, 12, 11})
		}
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		for _, protocol := range protocols[:2] {
			newOrder(t, protocol).check(t, script)
		}
	})
}
