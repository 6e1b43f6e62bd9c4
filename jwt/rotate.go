package jwt

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"errors"
	"slices"
	"time"
)

// sealPurpose separates signing keys from whatever else the host seals.
const sealPurpose = "jwt signing key"

// keySet is what was in the store at one time.
type keySet struct {
	read   time.Time
	keys   []*ringKey        // that open, oldest first
	closed map[string][]byte // that don't: id and what was sealed, so that each is logged once
	newest string            // id of the newest stored key, whether it opens or not
	last   time.Time         // when that was published
}

// ringKey is a stored key, opened.
type ringKey struct {
	Key
	stored  StoredKey
	private crypto.Signer
	jwk     []byte
}

// find returns the key with that id unless it is gone. A key that is not yet to
// sign verifies all the same: another node's clock may be ahead.
func (s *keySet) find(id string, now time.Time) *ringKey {
	if s == nil {
		return nil
	}
	for _, k := range s.keys {
		if k.id == id && now.Before(k.stored.Gone) {
			return k
		}
	}
	return nil
}

// signer returns the key whose time to sign it is, the latest if several. If
// there is none, because a key was withdrawn or our clock is behind, it is the
// one whose time comes next: it has been published already.
func (s *keySet) signer(now time.Time) *ringKey {
	if s == nil {
		return nil
	}
	var signs, next *ringKey
	for _, k := range s.keys {
		switch {
		case !now.Before(k.stored.Retires):
		case now.Before(k.stored.Signs):
			if next == nil || k.stored.Signs.Before(next.stored.Signs) {
				next = k
			}
		case signs == nil || k.stored.Signs.After(signs.stored.Signs):
			signs = k
		}
	}
	if signs != nil {
		return signs
	}
	return next
}

// until returns when the last of the keys retires.
func (s *keySet) until() time.Time {
	var t time.Time
	for _, k := range s.keys {
		if k.stored.Retires.After(t) {
			t = k.stored.Retires
		}
	}
	return t
}

// load reads the store, makes the next key if it is due and removes those that
// are gone.
func (r *Ring) load(ctx context.Context) (*keySet, error) {
	made := ""
	for try := 0; ; try++ {
		asked := time.Now()
		stored, err := r.store.Keys(ctx)
		if err != nil {
			return nil, err
		}
		now := time.Now()
		set := r.open(stored, asked) // an answer that took long is that old
		if now.Before(set.until().Add(-r.o.Publish)) {
			r.removeGone(ctx, stored, now)
			return set, nil
		}
		if slices.ContainsFunc(stored, func(k StoredKey) bool { return k.ID == made }) {
			// More of them would mend nothing and fill the store.
			r.o.Logger.Error("jwt: the key store does not return a key as it was added: does it cut bytes or times?", "kid", made)
			return set, r.store.RemoveKey(ctx, made)
		}
		k, err := r.makeKey(set, now)
		if err != nil {
			return nil, err
		}
		err = r.store.AddKey(ctx, k, set.newest)
		switch {
		case err == nil:
			r.o.Logger.Info("jwt: signing key made", "kid", k.ID, "alg", k.Algorithm, "signs", k.Signs, "retires", k.Retires)
			made = k.ID // what counts is what the store returns, so read it again
		case !errors.Is(err, ErrKeyConflict):
			// A store that can be read but not written: go on with what there is.
			r.o.Logger.Error("jwt: no signing key could be added to the store", "error", err)
			return set, nil
		}
		if try == 10 {
			r.o.Logger.Error("jwt: the key store does not return the newest key; is it read from a replica that lags?")
			return set, nil
		}
	}
}

func (r *Ring) removeGone(ctx context.Context, stored []StoredKey, now time.Time) {
	for _, k := range stored {
		if now.Before(k.Gone) {
			continue
		}
		if err := r.store.RemoveKey(ctx, k.ID); err != nil {
			r.o.Logger.Warn("jwt: a key that is gone could not be removed", "kid", quoteKeyID(k.ID), "error", err)
		}
	}
}

// makeKey returns a key that begins to sign when the last one retires.
//
// Nobody meets it unprepared. If it is made in the first half of Publish, it is
// in the JWKS for the other half before it signs, which is longer than any copy
// of an older set lives (MaxStale here, then MaxAge elsewhere). If it is made
// later, then no node has read the store, hence served a set, for that long, so
// that all copies have expired; the same goes for the first key, which signs at once.
func (r *Ring) makeKey(set *keySet, now time.Time) (StoredKey, error) {
	private, err := newPrivateKey(r.o.Algorithm)
	if err != nil {
		return StoredKey{}, err
	}
	id, jwk, err := publicJWK(private.Public(), r.o.Algorithm)
	if err != nil {
		return StoredKey{}, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return StoredKey{}, err
	}
	sealed, err := r.sealing.Seal(sealPurpose, pkcs8, sealedWith(id, r.o.Algorithm))
	clear(pkcs8)
	if err != nil {
		return StoredKey{}, err
	}
	k := StoredKey{ID: id, Algorithm: r.o.Algorithm, Public: jwk, Sealed: sealed}
	k.Published = now.UTC().Truncate(time.Second) // stores differ in how finely they keep times
	k.Signs = k.Published
	if until := set.until(); until.After(k.Signs) {
		k.Signs = until
	}
	k.Retires = k.Signs.Add(r.o.Rotate)
	k.Gone = k.Retires.Add(r.o.Retire)
	// The newest key must be the newest by Published, also when the clock of the
	// node that made the one before is ahead of ours.
	if set.newest != "" && !k.Published.After(set.last) {
		k.Published = set.last.Add(time.Second)
	}
	return k, nil
}

// open opens the stored keys, or takes them over from the set at hand.
func (r *Ring) open(stored []StoredKey, read time.Time) *keySet {
	before := r.keys.Load()
	set := &keySet{read: read, closed: map[string][]byte{}}
	for _, k := range stored {
		set.newest, set.last = k.ID, k.Published
		if old := before.same(k); old != nil {
			set.keys = append(set.keys, &ringKey{Key: old.Key, stored: k, private: old.private, jwk: old.jwk})
			continue
		}
		opened, err := r.openKey(k)
		if err != nil {
			set.closed[k.ID] = k.Sealed
			if before == nil || !bytes.Equal(before.closed[k.ID], k.Sealed) {
				r.o.Logger.Error("jwt: a signing key in the store can't be used; have the sealing keys changed?", "kid", quoteKeyID(k.ID), "error", err)
			}
			continue
		}
		set.keys = append(set.keys, opened)
	}
	return set
}

func (s *keySet) same(k StoredKey) *ringKey {
	if s == nil {
		return nil
	}
	for _, have := range s.keys {
		if have.id == k.ID && have.alg == k.Algorithm && bytes.Equal(have.stored.Sealed, k.Sealed) {
			return have
		}
	}
	return nil
}

// openKey believes nothing in the store but what is sealed: the public key that
// verifies is derived from the private one, StoredKey.Public is for other readers.
func (r *Ring) openKey(k StoredKey) (*ringKey, error) {
	pkcs8, err := r.sealing.Open(sealPurpose, k.Sealed, sealedWith(k.ID, k.Algorithm))
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(pkcs8)
	clear(pkcs8)
	if err != nil {
		return nil, errors.New("not a PKCS #8 key")
	}
	private, ok := parsed.(crypto.Signer)
	if !ok || !fits(private, k.Algorithm) {
		return nil, errors.New("not a key for " + k.Algorithm)
	}
	id, jwk, err := publicJWK(private.Public(), k.Algorithm)
	if err != nil {
		return nil, err
	}
	if id != k.ID {
		return nil, errors.New("the id is not the key's thumbprint")
	}
	key, err := NewKey(id, k.Algorithm, private.Public())
	if err != nil {
		return nil, err
	}
	return &ringKey{Key: key, stored: k, private: private, jwk: jwk}, nil
}

func fits(private crypto.Signer, algorithm string) bool {
	switch key := private.(type) {
	case *ecdsa.PrivateKey:
		return algorithm == algES256 && key.Curve == elliptic.P256()
	case ed25519.PrivateKey:
		return algorithm == algEdDSA
	}
	return false
}

// sealedWith binds a sealed key to its id and algorithm.
func sealedWith(id, algorithm string) []byte { return []byte(id + " " + algorithm) }
