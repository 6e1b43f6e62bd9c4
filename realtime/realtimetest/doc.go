// Package realtimetest is for tests of host applications and of brokers.
//
// [Serve] runs a host's handler, with a hub on it, over connections in memory,
// and a [Client] speaks the protocol to it. Both work in a bubble of
// testing/synctest, where a token expires, a session is revoked and a node is
// drained without any time passing:
//
//	synctest.Test(t, func(t *testing.T) {
//		app := realtimetest.Serve(newApp(t))
//		defer app.Close()
//		ann, err := app.Dial(t.Context(), "/realtime", http.Header{"Cookie": {signIn(t, app, "ann")}})
//		…
//	})
//
// [Run] is the contract of a [realtime.Broker], and of [realtime.History],
// [realtime.Presence] and [realtime.Control] where a broker has them.
//
//	func TestBroker(t *testing.T) {
//		realtimetest.Run(t, func(t *testing.T) realtimetest.System {
//			server := startEmptyServer(t)
//			return realtimetest.System{
//				Open: func() realtime.Broker { return openBroker(t, server) },
//				Lose: func() { server.flush() },
//			}
//		}, nil)
//	}
//
// Each rule is a subtest; a failure names it and prints its sentence. The rules
// of links and events are B, of histories H, of presence P, of control C:
//
//   - B1. Subscribe returns only once everything published from then on arrives, whoever publishes it.
//   - B2. Events of one publisher in one channel arrive in order, each once, at every node.
//   - B3. When Unsubscribe has returned, nothing of the channel arrives any more; others still get it.
//   - B4. Channels don't mix, and arrive under their own names, whatever those are.
//   - B5. When Close has returned, nothing arrives any more and no goroutine is left. Close again is no error, Subscribe afterwards is.
//   - B6. Every field of an event arrives as it was published.
//   - B7. Publishing and subscribing at once, from everywhere, loses and doubles nothing for who is subscribed.
//   - B8. A handler that takes its time gets all events of a channel, one after another, in order.
//   - B9. With its context cancelled every method returns soon, and everything works afterwards.
//   - H1. Offsets are dense from 1; Append returns the place that is delivered and read.
//   - H2. What has been delivered can be read at once.
//   - H3. What several nodes append at once arrives dense and in order, at every node.
//   - H4. Read goes by Since, Limit and Reverse, and always returns the top.
//   - H5. A history keeps the newest Keep.Size, and its top counts on.
//   - H6. A history keeps publications for Keep.TTL, no longer.
//   - H7. The epoch is one for all nodes and stays; Since of another epoch returns the top alone.
//   - H8. The top survives the expiry of the publications.
//   - H9. A history that was lost begins at 1 with another epoch.
//   - P1. Who has entered is listed with all fields and counted, by every node; who has left is not.
//   - P2. Leave takes off only what its node has entered.
//   - P3. Without a beat, what a node has entered is listed for ttl, and no longer.
//   - P4. Beat keeps everything its node has entered for ttl from then on, and nothing of others.
//   - P5. List returns at most limit clients.
//   - P6. A client that enters again is listed once, at all times, under the node where it entered last.
//   - C1. Broadcast reaches every link once, the sender's too.
//   - C2. Messages of one sender arrive in order.
//   - C3. Control needs no subscription, and a link that is closed gets nothing.
package realtimetest
