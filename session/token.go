package session

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"
)

// What a client holds is random and opaque; a store holds SHA-256 of it, each
// use with a label of its own, so that none can pass for another. The inputs
// have 128 random bits or more, so no slow hash and no salt is needed.
const (
	labelCookie    = "gatewire session cookie v1\x00"
	labelLocator   = "gatewire refresh locator v1\x00"
	labelSecret    = "gatewire refresh secret v1\x00"
	labelSuccessor = "gatewire refresh successor v1"
)

const (
	tokenSize   = 32 // bytes of a cookie token and of a refresh secret
	locatorSize = 16
)

var b64 = base64.RawURLEncoding.Strict()

func hash(label string, b []byte) [32]byte {
	var both [96]byte // on the stack, as long as label and b fit
	return sha256.Sum256(append(append(both[:0], label...), b...))
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails: crypto/rand ends the program instead
	return b
}

// newID is a session's public name: 130 random bits.
func newID() string { return rand.Text() }

// newCookieToken returns a fresh cookie value and the key it is found by.
func newCookieToken() (token string, key Key) {
	b := random(tokenSize)
	return b64.EncodeToString(b), hash(labelCookie, b)
}

func parseCookieToken(s string) (Key, bool) {
	var b [tokenSize]byte
	if !decodeFixed(b[:], s) {
		return Key{}, false
	}
	return hash(labelCookie, b[:]), true
}

// decodeFixed fills dst, of tokenSize bytes at most. The length is checked
// first, so a huge value costs nothing; Strict refuses a second spelling of the
// same bytes, but lets line ends pass.
func decodeFixed(dst []byte, s string) bool {
	if len(s) != b64.EncodedLen(len(dst)) || strings.ContainsAny(s, "\r\n") {
		return false
	}
	var text [(tokenSize*8 + 5) / 6]byte
	n, err := b64.Decode(dst, append(text[:0], s...))
	return err == nil && n == len(dst)
}

// refreshToken is a refresh token taken apart: a locator that finds the
// session and stays, and a secret that is replaced at every use.
type refreshToken struct {
	locator []byte
	secret  []byte
}

func newRefreshToken(locator []byte) refreshToken {
	return refreshToken{locator: locator, secret: random(tokenSize)}
}

func parseRefreshToken(s string) (refreshToken, bool) {
	locator, secret, ok := strings.Cut(s, ".")
	if !ok {
		return refreshToken{}, false
	}
	t := refreshToken{locator: make([]byte, locatorSize), secret: make([]byte, tokenSize)}
	if !decodeFixed(t.locator, locator) || !decodeFixed(t.secret, secret) {
		return refreshToken{}, false
	}
	return t, true
}

func (t refreshToken) reveal() RefreshToken {
	text := b64.EncodeToString(t.locator) + "." + b64.EncodeToString(t.secret)
	return RefreshToken{&text}
}

func (t refreshToken) key() Key      { return hash(labelLocator, t.locator) }
func (t refreshToken) sum() [32]byte { return hash(labelSecret, t.secret) }

// sealSuccessor encrypts the secret of next so that only who holds t opens it:
// a store, or a thief of one, does not.
func (t refreshToken) sealSuccessor(next refreshToken) ([]byte, error) {
	aead, err := t.aead()
	if err != nil {
		return nil, err
	}
	nonce := random(aead.NonceSize())
	key := t.key()
	return aead.Seal(nonce, nonce, next.secret, key[:]), nil
}

func (t refreshToken) openSuccessor(sealed []byte) (refreshToken, error) {
	aead, err := t.aead()
	if err != nil {
		return refreshToken{}, err
	}
	if len(sealed) < aead.NonceSize() {
		return refreshToken{}, errors.New("session: sealed successor is too short")
	}
	key := t.key()
	secret, err := aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], key[:])
	if err != nil {
		return refreshToken{}, errors.New("session: sealed successor does not open")
	}
	return refreshToken{locator: t.locator, secret: secret}, nil
}

func (t refreshToken) aead() (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, t.secret, nil, labelSuccessor, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
