package realtime

import "fmt"

// Error is an error a client is told of: by a [Rule] or a handler that wants to
// say more than "denied". It is sent as it is, so it must hold nothing internal.
type Error struct {
	Code      uint32 // 100–1999; a host's own are 400 and above
	Message   string // plain text, never empty
	Temporary bool   // the client may try the same again
}

func (e *Error) Error() string { return fmt.Sprintf("realtime: %d: %s", e.Code, e.Message) }

// Errors of commands.
var (
	errInternal        = &Error{100, "internal server error", true}
	errUnknownChannel  = &Error{102, "unknown channel", false}
	errDenied          = &Error{103, "permission denied", false}
	errMethodNotFound  = &Error{104, "method not found", false}
	errAlready         = &Error{105, "already subscribed", false}
	errLimit           = &Error{106, "limit exceeded", false}
	errBadRequest      = &Error{107, "bad request", false}
	errNotAvailable    = &Error{108, "not available", false}
	errExpired         = &Error{109, "token expired", false}
	errTooManyRequests = &Error{111, "too many requests", true}
	errUnrecoverable   = &Error{112, "unrecoverable position", false}
)

// disconnect is a coded close. Every one has a reason: SDKs treat a terminal
// code without one as a lost connection and come back for ever.
type disconnect struct {
	code   uint16
	reason string
}

// reconnects says that a client told so comes back.
func (d disconnect) reconnects() bool {
	return d.code >= 3000 && d.code < 3500 || d.code >= 4000 && d.code < 4500
}

// Closes a client may see. Codes 3000–3499 and 4000–4499 reconnect, 3500–3999 and
// 4500–4999 are final.
var (
	closeLost         = disconnect{1006, "connection lost"} // never sent
	closeTooBig       = disconnect{1009, "message too big"}
	closeInternal     = disconnect{1011, "internal error"}
	closeShutdown     = disconnect{3001, "shutdown"}
	closeUnknown      = disconnect{3004, "session state unknown"}
	closeExpired      = disconnect{3005, "token expired"}
	closeSlow         = disconnect{3008, "slow consumer"}
	closeState        = disconnect{3010, "insufficient state"}
	closeNoPong       = disconnect{3012, "no pong"}
	closeInvalid      = disconnect{3500, "invalid credential"}
	closeBadRequest   = disconnect{3501, "bad request"}
	closeNoConnect    = disconnect{3502, "no connect in time"}
	closeConnections  = disconnect{3504, "too many connections"}
	closeChannels     = disconnect{3505, "too many channels"}
	closeRefused      = disconnect{3507, "refused"}
	closeSessionEnded = disconnect{4501, "session ended"}
)
