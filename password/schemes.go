package password

import (
	"fmt"
	"strings"
)

// otherSchemes are prefixes of stored hashes that other software makes, with the
// name by which ErrUnsupported calls them. The first that fits counts.
func otherSchemes() [][2]string {
	return [][2]string{
		{"$argon2id$", "argon2id of a version other than 19"},
		{"$argon2i$", "argon2i"}, {"$argon2d$", "argon2d"},
		{"$2a$", "bcrypt"}, {"$2b$", "bcrypt"}, {"$2y$", "bcrypt"},
		{"$2x$", "bcrypt $2x$, made by a broken implementation: reset that password"},
		{"$bcrypt-sha256$", "passlib bcrypt-sha256"},
		{"$pbkdf2-sha256$", "passlib pbkdf2-sha256"}, {"$pbkdf2-sha512$", "passlib pbkdf2-sha512"}, {"$pbkdf2$", "passlib pbkdf2-sha1"},
		{"$scrypt$", "scrypt"}, {"$7$", "scrypt"}, {"$y$", "yescrypt"}, {"$gy$", "gost-yescrypt"},
		{"$6$", "sha512-crypt"}, {"$5$", "sha256-crypt"}, {"$1$", "md5-crypt"}, {"$apr1$", "apr1-md5"}, {"$P$", "phpass"}, {"$H$", "phpass"},
		{"argon2$", "Django argon2"}, {"bcrypt_sha256$", "Django bcrypt_sha256"}, {"bcrypt$", "Django bcrypt"},
		{"pbkdf2_sha256$", "Django pbkdf2_sha256"}, {"pbkdf2_sha1$", "Django pbkdf2_sha1"}, {"scrypt$", "Django scrypt"},
		{"sha1$", "Django sha1"}, {"md5$", "Django md5"},
		{"{argon2", "Spring {argon2}"}, {"{bcrypt}", "Spring {bcrypt}"}, {"{pbkdf2", "Spring {pbkdf2}"}, {"{scrypt", "Spring {scrypt}"}, {"{noop}", "Spring {noop}"},
		{"{", "an {id} prefix"},
	}
}

// foreign says what a stored hash is that parse can't take apart: disabled,
// another scheme's, or damaged. The error shows nothing of the hash.
func foreign(h Hash) error {
	// What Unix and Django put in place of a hash, and the absence of one.
	if h == "" || h[0] == '!' || h[0] == '*' {
		return ErrMismatch
	}
	for _, s := range otherSchemes() {
		if strings.HasPrefix(string(h), s[0]) {
			return fmt.Errorf("%w: %s", ErrUnsupported, s[1])
		}
	}
	return ErrMalformed
}
