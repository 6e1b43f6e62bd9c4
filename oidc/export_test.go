package oidc

// Parsers of what strangers send, for fuzzing.
var (
	ParseKeys   = func(b []byte) (int, error) { keys, err := parseKeys(b); return len(keys), err }
	ParseHeader = func(s string) error { _, err := parseHeader(s); return err }
	ParseObject = func(b []byte) (map[string]string, error) {
		c, err := parseObject(b)
		m := map[string]string{}
		for k, v := range c {
			m[k] = string(v)
		}
		return m, err
	}
	NewMemoryOnce = func() Once { return newMemoryOnce() }
)
