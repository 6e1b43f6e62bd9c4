// Package realtime serves authenticated WebSocket connections and channels on
// them: a hub is an [http.Handler] for a host's own mux. It speaks the JSON
// client protocol of Centrifuge, whose SDKs for JavaScript, Go and Python connect
// as they are; https://centrifugal.dev/docs/transports/client_protocol has its frames.
//
// Begin with [New]. It takes who is calling, which sessions live, and who may
// do what in which channels:
//
//	hub, err := realtime.New("https://app.example", realtime.Via(sessions.Authenticate), sessions,
//		realtime.Rules{"room:": mayJoin}, nil)
//	if err != nil {
//		return err
//	}
//	defer hub.Close()
//	mux.Handle("/realtime", hub)
//
// From then on [Hub.Publish] reaches everyone in a channel and [Hub.SendUser]
// every connection of a user. Before a restart, [Hub.Drain].
//
// Without rules there are no channels, and a hub manages connections: handlers
// in [Options] are called with a [Conn] when one connects, calls a method
// ([Reply]), sends a message ([Receive], [Dispatch]) and ends. A [Group] sends to
// many, at a fixed tick if need be; a [Board] shows the latest values.
//
// # Security
//
// A socket lives as long as its session. Sessions is a parameter of New, not an
// option: the hub asks it every 500 ms what ended, takes its pushes if it has
// any, and closes those sockets with 4501. A connection is registered before its
// session is looked at for the last time, so that a sign-out that races a
// connect always wins. A hub that can't ask for 30 s closes everything (3004);
// until then new connections are told to come back.
//
// What a client sends is use of its session, and keeps it from an idle end; that
// it listens isn't.
//
// A handshake from a page of another origin is refused, whatever it carries;
// being the Host of the request proves nothing. A credential is a cookie, an
// Authorization header, or the token of the connect command. A token connection
// ends with its token unless refreshed, by the same user and session alone. Two
// credentials must name the same user and session, and a bad one beside a good
// one refuses.
//
// One rule decides about a channel, for reading, history, recovery, presence,
// publishing and subscriptions of the server's making. It is asked again when a
// token is refreshed, when [Grant.Expires] has come and by [Hub.Reauthorize].
//
// Whatever a client can make large is bounded: see [Options]. A reader that is
// too slow is closed, or loses messages and is told so: see [Overflow]. Data is
// passed on as it is, JSON from another user: pages must treat it as such.
//
// # Not included
//
// Compression, HTTP/2, and the protocol's binary form are not spoken. The
// [MemoryBroker] carries one process; what it keeps ends with it. Nothing but
// history makes up for messages lost on the way: delivery to a client that is
// connected is at most once.
package realtime
