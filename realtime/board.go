package realtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
	"unicode/utf8"
)

// Board publishes the latest values by key, all in one object, as a dashboard
// shows them. Its methods may be called concurrently.
type Board struct {
	hub     *Hub
	channel string
	every   time.Duration
	again   time.Duration // publish unchanged, lest the history forgets it
	stop    context.CancelFunc
	wake    chan struct{} // holds one when there is something to publish

	mu     sync.Mutex
	values map[string]json.RawMessage
	size   int
}

// NewBoard makes an empty board, of which nothing is seen before the first Set.
// It publishes when a value has changed, at most once every interval, and again
// after half the channel's HistoryTTL. The channel must keep a history and have
// Overflow Latest: who subscribes, comes back or is slow gets the newest, if
// the [Rule] grants Recover. Write it on one node and read it on all: of two
// boards on one channel each overwrites the other.
func (h *Hub) NewBoard(channel string, every time.Duration) (*Board, error) {
	kept, _ := longest(h.o.Channels, channel)
	if _, ok := longest(h.rules, channel); !ok {
		return nil, ErrUnknownChannel
	}
	if kept.Overflow != Latest || kept.HistorySize == 0 {
		return nil, fmt.Errorf("realtime: board %q: Options.Channels must keep it with Overflow: Latest and a HistorySize of 1", channel)
	}
	if every <= 0 {
		return nil, errors.New("realtime: NewBoard needs an interval")
	}
	ctx, stop := context.WithCancel(h.ctx)
	b := &Board{
		hub: h, channel: channel, every: every, again: max(kept.HistoryTTL/2, every),
		stop: stop, wake: make(chan struct{}, 1), values: map[string]json.RawMessage{}, size: 2,
	}
	h.spawn(func() { b.run(ctx) })
	return b, nil
}

// Set gives a key a value, which is made JSON. After an error, as when the board
// would be larger than a quarter of [Options.MaxQueue], the key is as it was.
func (b *Board) Set(key string, value any) error {
	if !utf8.ValidString(key) {
		return errors.New("realtime: board: a key is not valid UTF-8")
	}
	data, err := encodeJSON(value)
	if err != nil {
		return fmt.Errorf("realtime: board: %w", err)
	}
	if data, err = compact(data); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	old, there := b.values[key]
	if there && string(old) == string(data) {
		return nil
	}
	size := b.size + entrySize(key, data)
	if there {
		size -= entrySize(key, old)
	}
	if size > b.hub.o.MaxQueue/4 { // several may be in one connect reply
		return errors.New("realtime: the board would be larger than a quarter of Options.MaxQueue")
	}
	b.values[key], b.size = data, size
	b.changed()
	return nil
}

// Delete takes a key off the board.
func (b *Board) Delete(key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if old, there := b.values[key]; there {
		delete(b.values, key)
		b.size -= entrySize(key, old)
		b.changed()
	}
}

// Close ends the board, as the hub's Close does. What it published last stays.
func (b *Board) Close() { b.stop() }

func entrySize(key string, value json.RawMessage) int { return len(quote(key)) + len(value) + 2 }

func (b *Board) changed() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *Board) run(ctx context.Context) {
	again := time.NewTimer(b.again)
	defer again.Stop()
	pause := time.NewTimer(b.every)
	defer pause.Stop()
	var published json.RawMessage
	for {
		kept := true
		select {
		case <-b.wake:
		case <-again.C:
			kept = false
		case <-ctx.Done():
			return
		}
		data := b.encode()
		if kept && string(data) == string(published) || !kept && published == nil {
			continue // a value is what it was again, or there has never been one
		}
		if err := b.publish(ctx, data); err == nil {
			published = data
		} else if ctx.Err() == nil {
			b.hub.o.Logger.Warn("realtime: board", "channel", b.channel, "error", err)
			published = nil
			b.changed()
		}
		again.Reset(b.again)
		pause.Reset(b.every)
		select {
		case <-pause.C:
		case <-ctx.Done():
			return
		}
	}
}

func (b *Board) publish(ctx context.Context, data json.RawMessage) error {
	ctx, cancel := context.WithTimeout(ctx, b.hub.o.CommandTimeout)
	defer cancel()
	return b.hub.publish(ctx, b.channel, Publication{Data: data})
}

// encode writes the values in the order of their keys.
func (b *Board) encode() json.RawMessage {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]byte, 0, b.size)
	out = append(out, '{')
	for i, key := range slices.Sorted(maps.Keys(b.values)) {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(append(append(out, quote(key)...), ':'), b.values[key]...)
	}
	return append(out, '}')
}
