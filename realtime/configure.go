package realtime

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/gatewire/gatewire/internal/origin"
)

// configure checks everything New was given and fills in defaults. It reports
// all mistakes at once.
func (h *Hub) configure(site string, rules Rules, o *Options) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("realtime: "+format, args...)) }
	if o != nil {
		h.o = *o
	}

	h.origins = map[string]struct{}{}
	for _, s := range append([]string{site}, h.o.AllowedOrigins...) {
		o, err := origin.Parse(s)
		if err != nil {
			bad("origin: %w", err)
			continue
		}
		h.origins[o] = struct{}{}
	}
	if h.auth == nil {
		bad("an Authenticator is needed: realtime.Via(sessions.Authenticate)")
	}
	if h.sessions == nil {
		bad("Sessions are needed, so that sockets end with their session")
	}
	h.rules = Rules{}
	for prefix, rule := range rules {
		if prefix == "" || rule == nil {
			bad("rule %q: a prefix that isn't empty and a function are needed", prefix)
		}
		h.rules[prefix] = rule
	}

	h.setDefaults()
	h.o.RPC = maps.Clone(h.o.RPC)
	h.methods = make(map[string]string, len(h.o.RPC))
	for name, f := range h.o.RPC {
		if f == nil {
			bad("RPC[%q]: a function is needed", name)
		}
		h.methods[name] = name
	}
	h.history, _ = h.o.Broker.(History)
	h.presence, _ = h.o.Broker.(Presence)
	h.control, _ = h.o.Broker.(Control)
	channels := make(map[string]Channel, len(h.o.Channels))
	for prefix, ch := range h.o.Channels {
		if _, ok := longest(h.rules, prefix); !ok {
			bad("Channels[%q]: no rule for this prefix", prefix)
		}
		if ch.HistorySize < 0 || ch.HistorySize > 100_000 {
			bad("Channels[%q]: HistorySize must be 0 to 100,000", prefix)
		}
		if ch.HistorySize > 0 && ch.HistoryTTL <= 0 {
			bad("Channels[%q]: HistorySize needs a HistoryTTL", prefix)
		}
		if ch.HistorySize > 0 && h.history == nil {
			bad("Channels[%q]: this Broker keeps no history", prefix)
		}
		if ch.Overflow < Close || ch.Overflow > Latest {
			bad("Channels[%q]: Overflow is Close, DropOldest or Latest", prefix)
		}
		channels[prefix] = ch
	}
	h.o.Channels = channels

	if h.o.MaxChannels < 0 || h.o.MaxMessage < 0 || h.o.MaxQueue < 0 || h.o.MaxHistory < 0 || h.o.CommandsPerSec < 0 {
		bad("limits other than MaxPerUser and MaxPerAddress can't be lifted")
	}
	if h.o.MaxQueue < h.o.MaxMessage+1024 {
		bad("MaxQueue must hold at least one message: MaxMessage + 1024 bytes")
	}
	if h.o.PingInterval < time.Second || h.o.WatchInterval > time.Second {
		bad("PingInterval is at least, WatchInterval at most a second")
	}
	for _, d := range []time.Duration{h.o.ConnectTimeout, h.o.PongTimeout, h.o.WriteTimeout, h.o.CommandTimeout, h.o.RefreshGrace, h.o.DrainWindow, h.o.UnknownAfter, h.o.WatchInterval} {
		if d < 0 {
			bad("times other than LeaveGrace can't be negative")
			break
		}
	}
	if h.o.LeaveGrace > 3*presenceBeat {
		bad("LeaveGrace is at most %v: what a node that died had entered is gone by then", 3*presenceBeat)
	}
	return errors.Join(errs...)
}

func (h *Hub) setDefaults() {
	o := &h.o
	if o.Broker == nil {
		o.Broker = NewMemoryBroker(nil)
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.ClientIP == nil {
		o.ClientIP = peerIP
	}
	o.MaxPerUser = cmp.Or(o.MaxPerUser, 256)
	o.MaxPerAddress = cmp.Or(o.MaxPerAddress, 16_384)
	o.MaxChannels = cmp.Or(o.MaxChannels, 128)
	o.MaxMessage = cmp.Or(o.MaxMessage, 64<<10)
	o.MaxQueue = cmp.Or(o.MaxQueue, 1<<20)
	o.MaxHistory = cmp.Or(o.MaxHistory, 1000)
	o.CommandsPerSec = cmp.Or(o.CommandsPerSec, 1000)
	o.ConnectTimeout = cmp.Or(o.ConnectTimeout, 10*time.Second)
	o.PingInterval = cmp.Or(o.PingInterval, 25*time.Second)
	o.PongTimeout = cmp.Or(o.PongTimeout, 10*time.Second)
	o.WriteTimeout = cmp.Or(o.WriteTimeout, 10*time.Second)
	o.CommandTimeout = cmp.Or(o.CommandTimeout, 10*time.Second)
	o.RefreshGrace = cmp.Or(o.RefreshGrace, 5*time.Second)
	o.LeaveGrace = cmp.Or(o.LeaveGrace, 2*time.Second)
	o.DrainWindow = cmp.Or(o.DrainWindow, 5*time.Second)
	o.UnknownAfter = cmp.Or(o.UnknownAfter, 30*time.Second)
	o.WatchInterval = cmp.Or(o.WatchInterval, 500*time.Millisecond)
}
