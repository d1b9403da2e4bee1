package repository

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"time"

	"golang.org/x/crypto/scrypt"

	"github.com/trivet-ha/trivet/backup/store"
)

// Errors of opening a repository.
var (
	// ErrWrongPassword: no key file of the repository opens with the password.
	ErrWrongPassword = errors.New("wrong password, or no key for it")
	// ErrNoRepository: the store has no config and no key.
	ErrNoRepository = errors.New("no repository here")
	// ErrLastKey: the key in use can't be removed.
	ErrLastKey = errors.New("this key is in use; open the repository with another password to remove it")
)

// scrypt's cost. restic calibrates to 500 ms and 60 MiB; these are 32 MiB, and what it arrives at on
// ordinary machines (RFC 7914; N is a power of two, memory is 128·N·r bytes).
const (
	scryptN   = 32768
	scryptR   = 8
	scryptP   = 1
	saltBytes = 64
	// scryptMaxBytes bounds what a hostile key file may ask for.
	scryptMaxBytes = 1 << 30
)

// keyFile is the one plaintext file of the format.
type keyFile struct {
	Created  time.Time `json:"created"`
	Username string    `json:"username"`
	Hostname string    `json:"hostname"`
	KDF      string    `json:"kdf"`
	N        int       `json:"N"`
	R        int       `json:"r"`
	P        int       `json:"p"`
	Salt     []byte    `json:"salt"`
	Data     []byte    `json:"data"`
}

// KeyInfo describes a password of the repository.
type KeyInfo struct {
	ID       ID
	Created  time.Time
	Username string
	Hostname string
	Current  bool // the key that this Repository was opened with
}

// KeyOptions say who a key is for. Empty fields are those of this process.
type KeyOptions struct {
	Hostname string
	Username string
}

// userSealer derives the key that seals the master key (restic design, "Keys, Encryption and MAC").
func (k *keyFile) userSealer(password string) (*sealer, error) {
	if k.KDF != "scrypt" {
		return nil, fmt.Errorf("key derivation %q is not scrypt", k.KDF)
	}
	if k.N <= 1 || k.R <= 0 || k.P <= 0 || k.N > scryptMaxBytes/128/k.R || k.P > 64 {
		return nil, fmt.Errorf("scrypt parameters N=%d r=%d p=%d are out of range", k.N, k.R, k.P)
	}
	derived, err := scrypt.Key([]byte(password), k.Salt, k.N, k.R, k.P, 64)
	if err != nil {
		return nil, err
	}
	return newSealer([32]byte(derived[:32]), [16]byte(derived[32:48]), [16]byte(derived[48:64])), nil
}

func (k *keyFile) open(password string) (MasterKey, error) {
	s, err := k.userSealer(password)
	if err != nil {
		return MasterKey{}, err
	}
	plain, err := s.open(slices.Clone(k.Data))
	if err != nil {
		return MasterKey{}, err
	}
	var m MasterKey
	if err := json.Unmarshal(plain, &m); err != nil {
		return MasterKey{}, err
	}
	return m, nil
}

func newKeyFile(password string, m MasterKey, o KeyOptions, now time.Time) (*keyFile, error) {
	if password == "" {
		return nil, errors.New("the password is empty")
	}
	k := &keyFile{
		Created: now, Username: o.Username, Hostname: o.Hostname,
		KDF: "scrypt", N: scryptN, R: scryptR, P: scryptP, Salt: make([]byte, saltBytes),
	}
	if k.Hostname == "" {
		k.Hostname, _ = os.Hostname()
	}
	if k.Username == "" {
		if u, err := user.Current(); err == nil {
			k.Username = u.Username
		}
	}
	rand.Read(k.Salt)
	s, err := k.userSealer(password)
	if err != nil {
		return nil, err
	}
	plain, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	k.Data = s.seal(plain)
	return k, nil
}

// searchKey tries the password on every key file. A key file that can't be read is an error only if no
// other one opens: one damaged file must not lock everybody out.
func searchKey(ctx context.Context, st store.Store, password string) (MasterKey, ID, error) {
	var names []string
	err := st.List(ctx, store.Key, "", func(i store.Info) error {
		names = append(names, i.Name)
		return nil
	})
	if err != nil && !errors.Is(err, store.ErrNotExist) {
		return MasterKey{}, ID{}, err
	}
	if len(names) == 0 {
		return MasterKey{}, ID{}, ErrNoRepository
	}
	var damaged error
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return MasterKey{}, ID{}, err
		}
		k, id, err := loadKey(ctx, st, name)
		if err == nil {
			var m MasterKey
			if m, err = k.open(password); err == nil {
				return m, id, nil
			}
		}
		if !errors.Is(err, ErrUnauthenticated) && !errors.Is(err, store.ErrNotExist) {
			damaged = errors.Join(damaged, fmt.Errorf("key %s: %w", name[:8], err))
		}
	}
	if damaged != nil {
		return MasterKey{}, ID{}, fmt.Errorf("%w; %w", ErrWrongPassword, damaged)
	}
	return MasterKey{}, ID{}, ErrWrongPassword
}

func loadKey(ctx context.Context, st store.Store, name string) (*keyFile, ID, error) {
	id, err := ParseID(name)
	if err != nil {
		return nil, ID{}, err
	}
	data, err := store.ReadAll(ctx, st, store.Handle{Kind: store.Key, Name: name})
	if err != nil {
		return nil, ID{}, err
	}
	k := new(keyFile)
	if err := json.Unmarshal(data, k); err != nil {
		return nil, ID{}, err
	}
	return k, id, nil
}

func saveKey(ctx context.Context, st store.Store, k *keyFile) (ID, error) {
	data, err := json.Marshal(k)
	if err != nil {
		return ID{}, err
	}
	id := Hash(data)
	return id, st.Save(ctx, store.Handle{Kind: store.Key, Name: id.String()}, data)
}

// Keys lists the passwords of the repository.
func (r *Repository) Keys(ctx context.Context) ([]KeyInfo, error) {
	var infos []KeyInfo
	err := r.store.List(ctx, store.Key, "", func(i store.Info) error {
		k, id, err := loadKey(ctx, r.store, i.Name)
		if err != nil {
			return fmt.Errorf("key %s: %w", i.Name[:8], err)
		}
		infos = append(infos, KeyInfo{id, k.Created, k.Username, k.Hostname, id == r.keyID})
		return nil
	})
	return infos, err
}

// KeyID is the key that the repository was opened with; zero after OpenMaster.
func (r *Repository) KeyID() ID { return r.keyID }

// AddKey adds a password. The new key is read back and opened before AddKey returns.
func (r *Repository) AddKey(ctx context.Context, password string, o KeyOptions) (ID, error) {
	id, err := addKey(ctx, r.store, password, r.master, o)
	if err != nil {
		return ID{}, fmt.Errorf("add key: %w", err)
	}
	return id, nil
}

func addKey(ctx context.Context, st store.Store, password string, m MasterKey, o KeyOptions) (ID, error) {
	k, err := newKeyFile(password, m, o, time.Now())
	if err != nil {
		return ID{}, err
	}
	id, err := saveKey(ctx, st, k)
	if err != nil {
		return ID{}, err
	}
	back, _, err := loadKey(ctx, st, id.String())
	if err != nil {
		return ID{}, err
	}
	if got, err := back.open(password); err != nil || got != m {
		return ID{}, fmt.Errorf("read key back: it does not open: %w", errors.Join(err, store.ErrNotExist))
	}
	return id, nil
}

// RemoveKey removes a password. The master key stays the same: who copied it can still read.
func (r *Repository) RemoveKey(ctx context.Context, id ID) error {
	if id == r.keyID {
		return ErrLastKey
	}
	infos, err := r.Keys(ctx)
	if err == nil && !slices.ContainsFunc(infos, func(k KeyInfo) bool { return k.ID == id }) {
		err = store.ErrNotExist
	}
	if err == nil && len(infos) == 1 {
		err = ErrLastKey
	}
	if err == nil {
		err = r.store.Remove(ctx, store.Handle{Kind: store.Key, Name: id.String()})
	}
	if err != nil {
		return fmt.Errorf("remove key %s: %w", id.Short(), err)
	}
	return nil
}

// ChangePassword adds a key for the new password and then removes the one in use.
func (r *Repository) ChangePassword(ctx context.Context, password string, o KeyOptions) (ID, error) {
	id, err := r.AddKey(ctx, password, o)
	if err != nil {
		return ID{}, err
	}
	old := r.keyID
	r.keyID = id
	if !old.IsZero() {
		err = r.store.Remove(ctx, store.Handle{Kind: store.Key, Name: old.String()})
	}
	if err != nil {
		return id, fmt.Errorf("remove key %s: %w", old.Short(), err)
	}
	return id, nil
}
