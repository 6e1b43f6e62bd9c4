// Package realtime serves authenticated WebSocket connections.
package realtime
