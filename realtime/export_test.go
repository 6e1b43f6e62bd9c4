package realtime

// ParseCommand is parseCommand for the fuzz test.
func ParseCommand(line []byte) bool {
	_, ok := parseCommand(line)
	return ok
}

// PlainReason is plainReason for the fuzz test.
func PlainReason(s string) string { return plainReason(s) }
