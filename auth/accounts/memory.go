package accounts

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/gatewire/gatewire/password"
)

// MemoryStore is a [Store] for tests and trials: accounts end with the process.
type MemoryStore struct {
	mu         sync.Mutex
	users      map[string]User
	byEmail    map[string]string // EmailKey → ID
	byIdentity map[[2]string]ExternalIdentity
	owing      map[string]bool // those with an Ending, by ID
}

// NewMemoryStore returns an empty store.
func NewMemoryStore() *MemoryStore {
	return &MemoryStore{users: map[string]User{}, byEmail: map[string]string{}, byIdentity: map[[2]string]ExternalIdentity{}, owing: map[string]bool{}}
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
	u.Ending = nil
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
func (m *MemoryStore) SetPassword(ctx context.Context, userID string, old, new password.Hash, owed *Ending) error {
	return m.change(ctx, userID, func(u *User) error {
		if u.Password != old || owed != nil && u.Ending != nil {
			return ErrConflict
		}
		u.Password = new
		if owed != nil {
			u.Ending = owed
		}
		return nil
	})
}

// SetDisabled implements [Store].
func (m *MemoryStore) SetDisabled(ctx context.Context, userID string, disabled bool, owed *Ending) error {
	return m.change(ctx, userID, func(u *User) error {
		u.Disabled = disabled
		if owed != nil {
			u.Ending = owed
		}
		return nil
	})
}

// SetGrants implements [Store].
func (m *MemoryStore) SetGrants(ctx context.Context, userID string, scopes, roles []string) error {
	return m.change(ctx, userID, func(u *User) error {
		u.Scopes, u.Roles = slices.Clone(scopes), slices.Clone(roles)
		return nil
	})
}

// SwapEnding implements [Store].
func (m *MemoryStore) SwapEnding(ctx context.Context, userID, mark string, next *Ending) error {
	return m.change(ctx, userID, func(u *User) error {
		if u.Ending == nil || u.Ending.Mark != mark {
			return ErrConflict
		}
		u.Ending = next
		return nil
	})
}

// Owing implements [Store].
func (m *MemoryStore) Owing(ctx context.Context, at time.Time, limit int) ([]User, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var owing []User
	for id := range m.owing {
		if u := m.users[id]; !u.Ending.Due.After(at) {
			owing = append(owing, copyUser(u))
		}
	}
	slices.SortFunc(owing, func(a, b User) int { return a.Ending.Due.Compare(b.Ending.Due) })
	return owing[:min(len(owing), max(limit, 0))], nil
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
	m.users[userID] = copyUser(u) // the ending may be the caller's
	delete(m.owing, userID)
	if u.Ending != nil {
		m.owing[userID] = true
	}
	return nil
}

func copyUser(u User) User {
	u.Scopes, u.Roles = slices.Clone(u.Scopes), slices.Clone(u.Roles)
	if u.Ending != nil {
		ending := *u.Ending
		u.Ending = &ending
	}
	return u
}
