package accounts

import (
	"context"
	"slices"
	"sync"

	"github.com/gatewire/gatewire/password"
)

// MemoryStore is a [Store] for tests and trials: accounts end with the process.
type MemoryStore struct {
	mu         sync.Mutex
	users      map[string]User
	byEmail    map[string]string // EmailKey → ID
	byIdentity map[[2]string]ExternalIdentity
}

// NewMemoryStore returns an empty store.
func NewMemoryStore() *MemoryStore {
	return &MemoryStore{users: map[string]User{}, byEmail: map[string]string{}, byIdentity: map[[2]string]ExternalIdentity{}}
}

var _ Store = (*MemoryStore)(nil)

// CreateUser implements [Store].
func (m *MemoryStore) CreateUser(ctx context.Context, u User, id *ExternalIdentity) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	key := EmailKey(u.Email)
	if id != nil {
		if _, taken := m.byIdentity[[2]string{id.Issuer, id.Subject}]; taken {
			return ErrIdentityTaken
		}
	}
	if _, taken := m.byEmail[key]; taken {
		return ErrEmailTaken
	}
	m.users[u.ID] = copyUser(u)
	if key != "" {
		m.byEmail[key] = u.ID
	}
	if id != nil {
		m.byIdentity[[2]string{id.Issuer, id.Subject}] = *id
	}
	return nil
}

// UserByID implements [Store].
func (m *MemoryStore) UserByID(ctx context.Context, id string) (User, bool, error) {
	return m.find(ctx, func() string { return id })
}

// UserByEmail implements [Store].
func (m *MemoryStore) UserByEmail(ctx context.Context, email string) (User, bool, error) {
	return m.find(ctx, func() string { return m.byEmail[EmailKey(email)] })
}

// UserByIdentity implements [Store].
func (m *MemoryStore) UserByIdentity(ctx context.Context, issuer, subject string) (User, bool, error) {
	return m.find(ctx, func() string { return m.byIdentity[[2]string{issuer, subject}].UserID })
}

func (m *MemoryStore) find(ctx context.Context, id func() string) (User, bool, error) {
	if err := ctx.Err(); err != nil {
		return User{}, false, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	u, found := m.users[id()]
	return copyUser(u), found, nil
}

// SetPassword implements [Store].
func (m *MemoryStore) SetPassword(ctx context.Context, userID string, old, new password.Hash) error {
	return m.change(ctx, userID, func(u *User) error {
		if u.Password != old {
			return ErrConflict
		}
		u.Password = new
		return nil
	})
}

// SetDisabled implements [Store].
func (m *MemoryStore) SetDisabled(ctx context.Context, userID string, disabled bool) error {
	return m.change(ctx, userID, func(u *User) error {
		u.Disabled = disabled
		return nil
	})
}

func (m *MemoryStore) change(ctx context.Context, userID string, f func(*User) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	u, found := m.users[userID]
	if !found {
		return ErrNoUser
	}
	if err := f(&u); err != nil {
		return err
	}
	m.users[userID] = u
	return nil
}

func copyUser(u User) User {
	u.Scopes, u.Roles = slices.Clone(u.Scopes), slices.Clone(u.Roles)
	return u
}
