// Package seal encrypts small secrets at rest: AES-256-GCM under a key derived
// per purpose, with the id of the key in front so that keys can be rotated.
//
// jwt seals signing keys with it, oidc its flow cookies. Both export [Keys]
// under their own name, so a host passes one value to both.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// KeySize is the length of a key in bytes.
const KeySize = 32

// maxIDLen bounds a key id; it stands in front of everything sealed.
const maxIDLen = 32

// ErrOpen is returned for what was not sealed with one of the keys, for this
// purpose and with this additional data. It does not say which.
var ErrOpen = errors.New("seal: cannot be opened with these keys")

// Keys is a list of sealing keys. The first seals, all open. The zero value
// holds none: it seals nothing and opens nothing. It prints as REDACTED.
// Keys is immutable and safe for concurrent use.
type Keys struct {
	// A func, because fmt looks into everything else: Keys in an unexported field,
	// where Format is not called, still show nothing.
	list func() []key
}

type key struct {
	id     string
	secret [KeySize]byte
}

// Parse reads "id:base64[,id:base64…]", 32 bytes each, the first is current.
// Standard and URL-safe base64 are both read, with or without padding. The
// error says which entry is wrong, never what is in it.
func Parse(s string) (Keys, error) {
	var list []key
	if strings.TrimSpace(s) == "" {
		return Keys{}, errors.New("no key: want id:base64[,id:base64…]")
	}
	for i, part := range strings.Split(s, ",") {
		id, b64, ok := strings.Cut(strings.TrimSpace(part), ":")
		if !ok {
			return Keys{}, fmt.Errorf("key %d: want id:base64", i+1)
		}
		if err := checkID(id); err != nil {
			return Keys{}, fmt.Errorf("key %d: %w", i+1, err)
		}
		b64 = strings.TrimRight(strings.NewReplacer("-", "+", "_", "/").Replace(b64), "=")
		raw, err := base64.RawStdEncoding.Strict().DecodeString(b64)
		if err != nil {
			return Keys{}, fmt.Errorf("key %d: not base64", i+1)
		}
		if len(raw) != KeySize {
			return Keys{}, fmt.Errorf("key %d: %d bytes, want %d", i+1, len(raw), KeySize)
		}
		for _, k := range list {
			if k.id == id {
				return Keys{}, fmt.Errorf("key %d: its id appears twice", i+1)
			}
		}
		list = append(list, key{id: id, secret: [KeySize]byte(raw)})
	}
	return newKeys(list), nil
}

// New returns one key. It is for a key that a host holds as bytes or derives.
func New(id string, secret [KeySize]byte) (Keys, error) {
	if err := checkID(id); err != nil {
		return Keys{}, err
	}
	return newKeys([]key{{id: id, secret: secret}}), nil
}

func newKeys(list []key) Keys { return Keys{list: func() []key { return list }} }

// Generate returns one fresh random key named id, and its text for [Parse].
func Generate(id string) (Keys, string, error) {
	var secret [KeySize]byte
	if _, err := rand.Read(secret[:]); err != nil {
		return Keys{}, "", err
	}
	ks, err := New(id, secret)
	if err != nil {
		return Keys{}, "", err
	}
	return ks, id + ":" + base64.StdEncoding.EncodeToString(secret[:]), nil
}

// IsZero reports whether there is no key.
func (ks Keys) IsZero() bool { return ks.list == nil }

// Seal encrypts plaintext under the first key. The same purpose and additional
// data are needed to open it. Purposes separate uses of one key: what was
// sealed as a flow cookie never opens as a signing key.
func (ks Keys) Seal(purpose string, plaintext, additional []byte) ([]byte, error) {
	if ks.IsZero() {
		return nil, errors.New("seal: no key")
	}
	k := ks.list()[0]
	aead, err := k.aead(purpose)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, 1+len(k.id)+aead.NonceSize()+len(plaintext)+aead.Overhead())
	out = append(out, byte(len(k.id)))
	out = append(out, k.id...)
	nonce := out[len(out) : len(out)+aead.NonceSize()]
	if _, err := io.ReadFull(rand.Reader, nonce); err != nil {
		return nil, err
	}
	out = out[:len(out)+len(nonce)]
	return aead.Seal(out, nonce, plaintext, additional), nil
}

// Open decrypts what Seal returned under any of the keys, or returns ErrOpen.
func (ks Keys) Open(purpose string, sealed, additional []byte) ([]byte, error) {
	if ks.IsZero() || len(sealed) < 1 || len(sealed) < 1+int(sealed[0]) {
		return nil, ErrOpen
	}
	id, rest := string(sealed[1:1+int(sealed[0])]), sealed[1+int(sealed[0]):]
	for _, k := range ks.list() {
		if k.id != id {
			continue
		}
		aead, err := k.aead(purpose)
		if err != nil {
			return nil, err
		}
		if len(rest) < aead.NonceSize() {
			return nil, ErrOpen
		}
		plain, err := aead.Open(nil, rest[:aead.NonceSize()], rest[aead.NonceSize():], additional)
		if err != nil {
			return nil, ErrOpen
		}
		return plain, nil
	}
	return nil, ErrOpen
}

func (k key) aead(purpose string) (cipher.AEAD, error) {
	sub, err := hkdf.Key(sha256.New, k.secret[:], nil, "gatewire seal v1 "+purpose, KeySize)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(sub)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func checkID(id string) error {
	if id == "" || len(id) > maxIDLen {
		return fmt.Errorf("a key id has 1 to %d characters", maxIDLen)
	}
	for _, r := range id {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.') {
			return errors.New("a key id has letters, digits, '-', '_' and '.' only")
		}
	}
	return nil
}

// Format keeps the keys out of every fmt verb.
func (Keys) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "REDACTED") }

// LogValue keeps the keys out of slog.
func (Keys) LogValue() slog.Value { return slog.StringValue("REDACTED") }

// MarshalText keeps the keys out of JSON and other encodings.
func (Keys) MarshalText() ([]byte, error) { return []byte("REDACTED"), nil }
