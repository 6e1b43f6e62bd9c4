package realtime

// Control does what another hub asked of all.
func (r *receiver) Control(message []byte) {}
