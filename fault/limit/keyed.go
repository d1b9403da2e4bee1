package limit

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

// Keyed limits the rate of each key. Its methods may be called concurrently and
// allocate nothing; only a key that is not remembered takes a lock, one of many.
//
// The memory is built like a processor's cache: a key belongs to one set of a few
// entries. A key that has used nothing up is forgotten without loss: a new one
// would be the same. If all entries of a set are in use, a new key takes the
// entry with the least debt over, and the debt with it. So a flood of keys can
// not wash debts away: it gets no more than the keys that fit.
type Keyed struct {
	config  KeyedConfig
	rule    rule
	sets    []set
	crowded atomic.Uint64
	locks   [lockCount]struct {
		sync.Mutex
		_ [56]byte // one to a cache line
	}
}

// setSize entries are two cache lines.
const setSize = 8

type set [setSize]entry

type entry struct {
	key   atomic.Uint64 // 0 is nobody's
	state atomic.Uint64
}

const lockCount = 64

// NewKeyed returns a limiter that has given no token yet. The caller has checked
// c.
func NewKeyed(c KeyedConfig) *Keyed {
	c = c.WithDefaults()
	return &Keyed{config: c, rule: newRule(c.Config), sets: make([]set, max(1, (c.Keys+setSize-1)/setSize))}
}

// Config returns the rules, defaults filled in.
func (k *Keyed) Config() KeyedConfig { return k.config }

// Take is [Limiter.Take] for a key. Keys are hashes of what they stand for, by
// package hash/maphash, say; those that are equal share their tokens.
func (k *Keyed) Take(now time.Duration, key uint64, n int) (wait time.Duration, ok bool) {
	return k.rule.take(&k.entry(key, now).state, now, n)
}

// Reserve is [Limiter.Reserve] for a key.
func (k *Keyed) Reserve(now time.Duration, key uint64, n int, atMost time.Duration) (wait time.Duration, ok bool) {
	return k.rule.reserve(&k.entry(key, now).state, now, n, atMost)
}

// Return is [Limiter.Return] for a key.
func (k *Keyed) Return(now time.Duration, key uint64, n int) {
	if e := k.find(k.place(key)); e != nil {
		k.rule.put(&e.state, now, n)
	}
}

// Remaining is [Limiter.Remaining] for a key.
func (k *Keyed) Remaining(now time.Duration, key uint64) int {
	if e := k.find(k.place(key)); e != nil {
		return k.rule.remaining(e.state.Load(), now)
	}
	return k.rule.remaining(0, now)
}

// Crowded returns how often a key took the entry of one that was still in use
// over. If it grows, there are too few Keys.
func (k *Keyed) Crowded() uint64 { return k.crowded.Load() }

// Active returns how many keys have used something up. It looks at all.
func (k *Keyed) Active(now time.Duration) (n int) {
	for i := range k.sets {
		for j := range k.sets[i] {
			e := &k.sets[i][j]
			if e.key.Load() != 0 && k.rule.debt(e.state.Load(), now) > 0 {
				n++
			}
		}
	}
	return n
}

// place returns the number of the key's set, and the name by which the key is
// known there.
func (k *Keyed) place(key uint64) (index, name uint64) {
	name = max(mix(key^k.config.Seed), 1)
	index, _ = bits.Mul64(name, uint64(len(k.sets)))
	return index, name
}

// mix spreads the bits of x. D. Stafford's variant 13 of the finalizer of
// MurmurHash3, as in SplitMix64.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func (k *Keyed) find(index, name uint64) *entry {
	s := &k.sets[index]
	for i := range s {
		if s[i].key.Load() == name {
			return &s[i]
		}
	}
	return nil
}

// entry returns the key's entry; it makes one if there is none.
func (k *Keyed) entry(key uint64, now time.Duration) *entry {
	index, name := k.place(key)
	if e := k.find(index, name); e != nil {
		return e
	}
	return k.claim(index, name, now)
}

// claim makes an entry the key's. Whoever found the entry a moment ago for the
// key it had before may still write to it: that costs the new key the tokens.
func (k *Keyed) claim(index, name uint64, now time.Duration) *entry {
	lock := &k.locks[index%lockCount]
	lock.Lock()
	defer lock.Unlock()
	if e := k.find(index, name); e != nil {
		return e // another goroutine was first
	}
	s := &k.sets[index]
	victim, least := &s[0], int64(-1)
	for i := range s {
		debt := k.rule.debt(s[i].state.Load(), now)
		if least < 0 || debt < least {
			victim, least = &s[i], debt
		}
	}
	if least > 0 {
		k.crowded.Add(1)
	}
	victim.key.Store(name)
	return victim
}
