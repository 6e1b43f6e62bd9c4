package redisstore

import "time"

// SetRetention has the store forget what ended, and epochs, sooner than
// [Options] allow.
func (s *Store) SetRetention(log, epochs time.Duration) {
	s.keepLog, s.keepEpoch = log.Milliseconds(), epochs.Milliseconds()
}
