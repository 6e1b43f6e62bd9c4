// Command chat is a chat in rooms: history, who is here, who comes and goes, who is
// typing, and everything that was missed when a lost connection is back.
//
//	go run ./examples/chat
//
// Then open the address it prints, in two windows. One signs in by a name alone, as
// a guest; signing out throws all of that guest's windows out. A private window, or
// another browser, is another guest.
package main

import (
	"context"
	"embed"
	"regexp"
	"time"

	"github.com/gatewire/gatewire/examples/internal/site"
	"github.com/gatewire/gatewire/realtime"
)

//go:embed web
var web embed.FS

func main() { site.Main("chat", web, build) }

// kept is how many messages of a room are.
const kept = 200

// build makes the hub: there is nothing else to a chat at the server.
func build(_ context.Context, s *site.Site) (*realtime.Hub, error) {
	hub, err := realtime.New(s.Origin, realtime.Via(s.Sessions.Authenticate), s.Sessions, realtime.Rules{
		"room:":   inRoom,
		"typing:": aboutRoom,
	}, &realtime.Options{
		Channels: map[string]realtime.Channel{
			// What is said is kept, for who comes later and who lost the connection.
			// That somebody is typing is not: "typing:" has no entry.
			"room:": {HistorySize: kept, HistoryTTL: 24 * time.Hour},
		},
		Info:           s.Info, // with each message, and in the list of who is here
		MaxMessage:     4 << 10,
		MaxChannels:    16,
		CommandsPerSec: 20,
	})
	if err != nil {
		return nil, err
	}
	s.Mux.Handle("/realtime", hub)
	return hub, nil
}

// inRoom is the one gate of a room. Every guest may enter any; a chat with private
// rooms looks up here whether this user is a member.
func inRoom(_ context.Context, _ realtime.Identity, channel string) (realtime.Grant, error) {
	if !roomName.MatchString(channel) {
		return realtime.Grant{}, realtime.ErrUnknownChannel
	}
	return realtime.Grant{Publish: true, Presence: true, JoinLeave: true, History: true, Recover: true}, nil
}

// aboutRoom lets guests tell each other that they are typing, and nothing more.
func aboutRoom(_ context.Context, _ realtime.Identity, channel string) (realtime.Grant, error) {
	if !roomName.MatchString(channel) {
		return realtime.Grant{}, realtime.ErrUnknownChannel
	}
	return realtime.Grant{Publish: true}, nil
}

var roomName = regexp.MustCompile(`^(room|typing):[a-z0-9-]{1,24}$`)
