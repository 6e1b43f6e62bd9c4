// Package password hashes and verifies passwords: argon2id with a salt, an
// optional pepper, a policy for new passwords and a bound on memory.
//
// Start with [New], which returns a [Hasher]; one per process is enough.
//
//	h, err := password.New(nil)
//	err = h.Check(pw, email, name)              // a new password: is it good enough?
//	stored, err := h.Hash(ctx, pw)              // store string(stored)
//	rehash, err := h.Verify(ctx, pw, stored)    // signing in: nil means right
//	err = h.VerifyMissing(ctx, pw)              // signing in, and there is no such user
//
// A wrong password is [ErrMismatch], never a nil error. Every other error means
// "could not tell" (a 500 or 503, and nobody is signed in).
//
// # What is stored
//
// A PHC string (https://github.com/P-H-C/phc-string-format) with the cost, a salt
// of 16 random bytes and a tag of 32: RFC 9106's argon2id, version 19. Without a
// pepper other argon2id libraries verify it too. A TEXT or VARCHAR(255) column
// holds it; don't compare it without regard to case.
//
// # Security considerations
//
// Time. For an unknown user call VerifyMissing, which costs what Verify costs
// with the current parameters. Verify costs that also where the stored hash is
// empty, disabled, damaged, of another scheme, or under an unknown pepper, and a
// wrong password for a hash of a lower cost is stretched to about the current
// one. Not made equal: a hash of a higher cost than the current one (until it is
// rehashed at the next sign-in); a hash refused with ErrParams, at once; a
// password longer than [MaxBytes], at once whoever the user is; and that of a
// right password, after which callers make a new hash when rehash is true.
//
// Memory. Options.MemoryBudget bounds the memory of all hashing that runs at
// once; callers beyond it wait in order, then get [ErrBusy]. The Go garbage
// collector takes memory back with delay: allow for about twice the budget, or
// set GOMEMLIMIT. Memory is not wiped after use. The budget bounds no rate:
// limit guesses per account and per network as well.
//
// Stored hashes are not trusted: their length, their every number and their
// product are capped before any work is done.
//
// Unicode. Passwords are normalized to NFC, so that "é" is one password on every
// keyboard, as NIST SP 800-63B-4 asks for. OWASP ASVS 5.0 6.2.8 wants passwords
// "exactly as received": nothing else is changed, no case, no space, no
// truncation. What is not valid UTF-8 is taken byte by byte. A hash that other
// software made of a password in another form than NFC does not verify.
//
// # Peppers
//
// A pepper is a secret kept outside of the database: whoever steals the database
// alone can't try passwords against it. argon2id then gets HMAC-SHA-256(pepper,
// password) in place of the password, and the stored string names the pepper in
// the PHC parameter keyid, its id in base64. (Of argon2 itself keyid names the
// secret value K, which golang.org/x/crypto can't take: another argon2 library
// with a secret does not verify these hashes.) Without the pepper nobody can sign
// in: keep a copy as safe as the database's.
//
// To begin: set Options.Peppers on every node. Hashes without pepper still verify
// and are replaced as their users sign in (rehash is true).
//
// To rotate, without signing anyone out:
//
//  1. Make one: openssl rand -base64 32. Give it an id that was never used.
//  2. On every node, put it last: PASSWORD_PEPPERS=2025:…,2026:… Every node can
//     now verify what will be made with it.
//  3. On every node, put it first: PASSWORD_PEPPERS=2026:…,2025:… New hashes are
//     made with it, old ones are replaced as their users sign in.
//  4. When few hashes with the old id are left (LIKE '%,keyid=MjAyNQ$%'), have
//     those users reset their passwords, then remove the old one. While any is
//     left, its user's sign-in answers [ErrUnknownPepper] after the removal.
//
// If an old pepper leaked together with the database, don't wait for step 4.
//
// # Not included
//
// Other schemes than argon2id, bcrypt among them: Verify names them in
// [ErrUnsupported]. A check against breached-password services. Limits on
// guessing, reset flows, second factors.
package password
