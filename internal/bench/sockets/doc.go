// Sockets measures package realtime beside what people use today: fan-out,
// latency, idle connections, handshakes, request and reply, and how soon a
// sign-out closes its sockets.
//
// The program is the load generator. It starts itself again as the server of
// each peer, in a process of its own on another core, and drives all its
// connections from one thread with epoll. Around each step of fan-out, the
// server writes the same frame to the same sockets by bare net.Conn.Write: the
// floor that figures are quoted against.
//
// It runs on Linux. The figures are in the README.md of the folder above.
package main
