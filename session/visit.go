package session

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
)

// maxCookies bounds how many different cookies of our name are looked up.
const maxCookies = 4

var (
	errTooManyCookies = errors.New("session: too many cookies of one name to look them all up")
	// errNested is for a function that would otherwise be run for ever.
	errNested = fmt.Errorf("%w: a function given to Update must not change the session itself, but its argument", errHost)
)

// visit is one request's view of its cookie session. Its mutex is held while the
// store is asked and while hooks run, but not while a function given to Update does.
type visit[D any] struct {
	m      *Manager[D]
	header string   // Cookie, when the request has one such line
	values []string // of the cookies with our name, each once

	// Room for the one cookie and the one session that most requests have.
	first struct {
		value [1]string
		live  [1]Record
	}

	// The request's context with this visit, and the one without.
	inner, outer context.Context

	mu      sync.Mutex
	loaded  bool
	loadErr error    // the store could not tell
	used    bool     // read or written: the response depends on the cookie
	dead    bool     // cookies, but not one live session
	live    []Record // all the cookies name; the session is the only one

	rec      *Record // the session; nil: none
	data     []byte  // its data as this request has changed it
	changes  []func(*D) error
	version  int         // raised whenever rec or data changes
	snapshot *Session[D] // of rec and data

	token  string // to be sent as the cookie
	clear  bool   // the cookie is to be deleted
	unsent string // id of a session whose new token the client doesn't have yet
	closed bool
}

func (m *Manager[D]) newVisit(r *http.Request) *visit[D] {
	v := &visit[D]{m: m}
	if lines := r.Header["Cookie"]; len(lines) == 1 {
		v.header = lines[0]
	}
	v.values = m.cookieValues(r, v.first.value[:0])
	return v
}

// isOf says whether r has the cookies of the visit. The lines are compared and
// not the list of them, which a handler may have changed in place.
func (v *visit[D]) isOf(r *http.Request) bool {
	if lines := r.Header["Cookie"]; len(lines) == 1 && lines[0] == v.header {
		return true
	}
	return slices.Equal(v.values, v.m.cookieValues(r, nil))
}

// cookieValues appends the different values of the cookies with our name.
func (m *Manager[D]) cookieValues(r *http.Request, values []string) []string {
	for _, c := range r.CookiesNamed(m.config.shape.Name) {
		if !slices.Contains(values, c.Value) {
			values = append(values, c.Value)
		}
		if len(values) > maxCookies {
			break
		}
	}
	return values
}

// load finds the session once. A second cookie of the same name may have been
// planted from a sibling domain or another path, and the order in which they
// arrive is the planter's choice (RFC 6265 section 5.4). So the first is not
// taken: exactly one of them has to name a live session, else there is none.
func (v *visit[D]) load(ctx context.Context) (err error) {
	v.used = true
	if v.loaded {
		return v.loadErr
	}
	v.loaded = true
	ctx = v.m.apart(ctx)
	now := v.m.now()
	v.live, v.loadErr = v.find(ctx, now)
	if v.loadErr != nil {
		return v.loadErr
	}
	var data D
	usable := 0
	for _, rec := range v.live {
		if data, err = decodeData[D](rec.Data); err != nil {
			v.m.undecodable(ctx, rec, err)
			continue
		}
		usable++
	}
	if usable != 1 || len(v.live) != 1 {
		v.dead = len(v.values) > 0
		return nil
	}
	rec := v.live[0]
	v.m.touch(ctx, &rec, now)
	v.set(&rec, rec.Data)
	v.snapshot = snapshotOf(rec, data)
	return nil
}

// find returns the live sessions that the cookies name.
func (v *visit[D]) find(ctx context.Context, now time.Time) ([]Record, error) {
	if len(v.values) > maxCookies {
		return nil, nil
	}
	live := v.first.live[:0]
	for _, value := range v.values {
		key, ok := parseCookieToken(value)
		if !ok {
			continue
		}
		rec, found, err := v.m.store.Load(ctx, key)
		if err != nil {
			return nil, unavailable(err)
		}
		if found && rec.Kind == KindCookie && isLive(rec, now) {
			live = append(live, rec)
		}
	}
	return live, nil
}

func (v *visit[D]) set(rec *Record, data []byte) {
	v.rec, v.data, v.snapshot = rec, data, nil
	v.version++
}

// forget makes the visitor one without a session and without changes. A token
// that was to be sent names nothing any more.
func (v *visit[D]) forget() {
	v.set(nil, nil)
	v.changes = nil
	v.token, v.unsent = "", ""
	v.live = nil
	v.dead = false
}

func (v *visit[D]) session() (*Session[D], error) {
	if v.snapshot != nil {
		return v.snapshot, nil
	}
	data, err := decodeData[D](v.data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errHost, err) // load saw to the store's
	}
	var rec Record
	if v.rec != nil {
		rec = *v.rec
	}
	v.snapshot = snapshotOf(rec, data)
	return v.snapshot, nil
}

// snapshotOf is the session that callers see. They see its data decoded alone.
func snapshotOf[D any](rec Record, data D) *Session[D] {
	rec.Data = nil
	return &Session[D]{rec: clone(rec), data: data}
}

func (v *visit[D]) get(ctx context.Context) (*Session[D], error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.load(ctx); err != nil {
		return nil, err
	}
	return v.session()
}

func (v *visit[D]) authenticate(ctx context.Context) (*Session[D], error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.load(ctx); err != nil {
		return nil, err
	}
	switch {
	case v.dead:
		return nil, ErrInvalid
	case v.rec == nil || v.rec.UserID == "":
		return nil, ErrNoSession
	case !isLive(*v.rec, v.m.now()):
		return nil, ErrInvalid
	}
	return v.session()
}

func (v *visit[D]) update(ctx context.Context, f func(*D) error) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	for attempt := 0; ; attempt++ {
		if v.closed {
			return ErrHeadersSent
		}
		if attempt == maxAttempts {
			return errNested
		}
		if err := v.load(ctx); err != nil {
			return err
		}
		before, version := v.data, v.version
		after, err := v.change(before, f)
		if err != nil {
			return err
		}
		if v.version != version { // another goroutine of the request was faster
			continue
		}
		if v.closed {
			return ErrHeadersSent
		}
		if !bytes.Equal(before, after) {
			v.set(v.rec, after)
		}
		v.changes = append(v.changes, f)
		return nil
	}
}

// change runs fs with the mutex released, so that they may read the session,
// and even panic.
func (v *visit[D]) change(before []byte, fs ...func(*D) error) ([]byte, error) {
	v.mu.Unlock()
	defer v.mu.Lock()
	return change(before, v.m.config.maxData, fs...)
}

// change runs fs on a copy of the data. Data that stays zero is stored as
// nothing, so that looking at a session doesn't make one.
func change[D any](before []byte, limit int, fs ...func(*D) error) ([]byte, error) {
	data, err := decodeData[D](before)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errHost, err)
	}
	for _, f := range fs {
		if err := f(&data); err != nil {
			return nil, err
		}
	}
	after, err := encodeData(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errHost, err)
	}
	var zero D
	if nothing, err := encodeData(zero); err == nil && bytes.Equal(after, nothing) && len(before) == 0 {
		return nil, nil
	}
	if len(after) > limit {
		return nil, ErrTooLarge
	}
	return after, nil
}

func (v *visit[D]) isClosed() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.closed
}

func (v *visit[D]) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.closed = true
}

// commit saves the session and adds its headers to h, as the response begins.
func (v *visit[D]) commit(ctx context.Context, status int, h http.Header, hijack bool) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.closed = true
	if !v.used {
		return nil
	}
	if v.loadErr != nil {
		// The handler may have ignored it, and taken the visitor for nobody.
		// A handler that answers 5xx has not. Nor has one that opens a socket,
		// which has authenticated the request and reports on the socket.
		if status < 500 && status != http.StatusSwitchingProtocols {
			return v.loadErr
		}
	} else if err := v.save(v.m.apart(ctx)); err != nil {
		return err
	}
	if hijack && (v.token != "" || v.clear) {
		return fmt.Errorf("%w: a hijacked response can't carry the new cookie", ErrHeadersSent)
	}
	v.writeHeaders(h)
	v.unsent = ""
	return nil
}

// save writes the request's changes to the store, unless there are none.
func (v *visit[D]) save(ctx context.Context) error {
	if len(v.changes) == 0 || v.rec != nil && bytes.Equal(v.data, v.rec.Data) || v.rec == nil && len(v.data) == 0 {
		return nil
	}
	// A client that went away doesn't lose what its request did.
	ctx, cancel := detached(ctx)
	defer cancel()
	if v.rec == nil {
		return v.createAnonymous(ctx)
	}
	for attempt := 0; ; attempt++ {
		rec := *v.rec
		rec.Data = v.data
		err := v.m.store.Replace(ctx, rec.Key, rec, rec.Rev)
		switch {
		case err == nil:
			rec.Rev++
			v.set(&rec, rec.Data)
			return nil
		case errors.Is(err, ErrNotFound):
			return ErrEnded
		case !errors.Is(err, ErrConflict):
			return unavailable(err)
		}
		if err := pause(ctx, attempt); err != nil {
			return err
		}
		if err := v.rebase(ctx); err != nil {
			return err
		}
		if v.rec == nil {
			return ErrEnded
		}
	}
}

// rebase reads the session anew under the token that this request presented
// and applies its changes to what is there now. A session that is gone, has
// another user or another token is not this request's any more: then there is
// none.
func (v *visit[D]) rebase(ctx context.Context) error {
	rec, found, err := v.m.store.Load(ctx, v.rec.Key)
	if err != nil {
		return unavailable(err)
	}
	if !found || rec.ID != v.rec.ID || rec.UserID != v.rec.UserID || !isLive(rec, v.m.now()) {
		v.forget()
		return nil
	}
	for {
		n := len(v.changes)
		data := rec.Data
		if n > 0 {
			if data, err = v.change(rec.Data, v.changes[:n:n]...); err != nil {
				return fmt.Errorf("%w: %w", ErrConflict, err)
			}
		}
		if len(v.changes) == n { // else another goroutine of the request added one
			v.set(&rec, data)
			return nil
		}
	}
}

// createAnonymous stores a session for a visitor who has not signed in, and
// has data. A token the client came with is never used for it.
func (v *visit[D]) createAnonymous(ctx context.Context) error {
	now := v.m.now()
	token, key := newCookieToken()
	rec := Record{
		Key: key, ID: newID(), Kind: KindCookie, Rev: 1,
		Created: now, Seen: now,
		IdleExpires: now.Add(v.m.config.cookie.Idle), Expires: now.Add(v.m.config.cookie.Absolute),
		Data: v.data,
	}
	if err := v.m.store.Create(ctx, rec, AnyEpoch); err != nil {
		return unavailable(err)
	}
	v.set(&rec, rec.Data)
	v.token, v.clear, v.unsent = token, false, rec.ID
	return nil
}

// abandon ends a session whose token never reached the client, so that it
// doesn't stand in a list of devices.
func (v *visit[D]) abandon(ctx context.Context) {
	v.mu.Lock()
	id := v.unsent
	v.unsent, v.token = "", ""
	userID := ""
	if v.rec != nil {
		userID = v.rec.UserID
	}
	v.mu.Unlock()
	if id == "" {
		return
	}
	ctx, cancel := detached(ctx)
	defer cancel()
	if _, err := v.m.end(ctx, id, userID, ReasonRevoked); err != nil {
		v.m.config.logger.Warn("session: a session that was begun in vain could not be ended", "session", id, "error", err)
	}
}
