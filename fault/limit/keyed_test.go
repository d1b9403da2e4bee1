package limit

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestKeysDoNotTouchEachOther(t *testing.T) {
	k := NewKeyed(KeyedConfig{Config: Config{Tokens: 3}, Keys: 100_000})
	for round := range 3 {
		for key := range uint64(10_000) {
			if _, ok := k.Take(0, key, 1); !ok {
				t.Fatalf("key %d is refused in round %d", key, round)
			}
		}
	}
	for key := range uint64(10_000) {
		if wait, ok := k.Take(0, key, 1); ok || wait <= second/3-2 || wait > second/3 {
			t.Fatalf("key %d: %v, %v", key, wait, ok)
		}
	}
	if k.Crowded() != 0 || k.Active(0) != 10_000 || k.Active(second) != 0 {
		t.Errorf("crowded %d times, %d active now, %d later", k.Crowded(), k.Active(0), k.Active(second))
	}
	if got := k.Remaining(0, 77_777); got != 3 {
		t.Errorf("unknown key has %d left", got)
	}
	k.Return(0, 77_777, 1)
	if k.Active(0) != 10_000 {
		t.Error("a token returned by an unknown key makes it known")
	}
}

// TestIdleKeysMakeRoomWithoutLoss: many times more keys than fit, but few at a
// time.
func TestIdleKeysMakeRoomWithoutLoss(t *testing.T) {
	for _, c := range []Config{{Tokens: 2}, {Tokens: 2, Algorithm: SlidingWindow}} {
		k := NewKeyed(KeyedConfig{Config: c, Keys: 8192})
		now := time.Duration(0)
		for key := range uint64(30_000) {
			now += 2 * time.Millisecond // at most a thousand in use
			for i := range 3 {
				if _, ok := k.Take(now, key, 1); ok != (i < 2) {
					t.Fatalf("%v: key %d, token %d: %v", c.Algorithm, key, i, ok)
				}
			}
		}
		if k.Crowded() != 0 {
			t.Errorf("%v: crowded %d times", c.Algorithm, k.Crowded())
		}
	}
}

// TestFloodOfKeysWashesNoDebtAway: whoever changes its key for each call gets no
// more than the keys that fit.
func TestFloodOfKeysWashesNoDebtAway(t *testing.T) {
	k := NewKeyed(KeyedConfig{Config: Config{Tokens: 5}, Keys: 800})
	taken := 0
	for key := range uint64(100_000) {
		if _, ok := k.Take(0, key, 1); ok {
			taken++
		}
	}
	if taken > 800*5 {
		t.Errorf("%d tokens at once, want at most 4000", taken)
	}
	if k.Crowded() == 0 {
		t.Error("a hundred thousand keys fit into 800 entries")
	}
	if _, ok := k.Take(time.Second, 1, 5); !ok {
		t.Error("a second later the key is still refused")
	}
}

// TestEachKeyAgreesWithALimiterOfItsOwn as long as all fit.
func TestEachKeyAgreesWithALimiterOfItsOwn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Config{Tokens: rapid.IntRange(1, 20).Draw(t, "tokens"), Algorithm: Algorithm(rapid.IntRange(0, 1).Draw(t, "algorithm"))}
		k := NewKeyed(KeyedConfig{Config: c, Keys: 4096, Seed: rapid.Uint64().Draw(t, "seed")})
		own := map[uint64]*Limiter{}
		now := time.Duration(0)
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			now += time.Duration(rapid.Int64Range(0, 3e8).Draw(t, "step"))
			key := rapid.Uint64Range(0, 20).Draw(t, "key")
			if own[key] == nil {
				own[key] = New(c)
			}
			n := rapid.IntRange(1, 3).Draw(t, "n")
			wait, ok := k.Take(now, key, n)
			if w, o := own[key].Take(now, n); w != wait || o != ok {
				t.Fatalf("key %d: %v, %v; alone %v, %v", key, wait, ok, w, o)
			}
		}
	})
}

func TestMemoryIsWhatWasAskedFor(t *testing.T) {
	for keys, want := range map[int]int{1: 8, 8: 8, 9: 16, 100: 104} {
		k := NewKeyed(KeyedConfig{Config: Config{Tokens: 1}, Keys: keys, Seed: 5})
		if got := k.Config(); got.Keys != keys || got.Seed != 5 || got.Tokens != 1 {
			t.Errorf("%d keys: %+v", keys, got)
		}
		if got := len(k.sets) * setSize; got != want {
			t.Errorf("%d keys: room for %d, want %d", keys, got, want)
		}
	}
	if got := NewKeyed(KeyedConfig{Config: Config{Tokens: 1}}).Config().Keys; got != 1<<16 {
		t.Errorf("%d keys by default", got)
	}
}

func TestNewKeysAreClaimedOnceConcurrently(t *testing.T) {
	k := NewKeyed(KeyedConfig{Config: Config{Tokens: 10}, Keys: 1 << 14})
	var taken atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range uint64(20_000) {
				if _, ok := k.Take(0, i%1000, 1); ok {
					taken.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if got := taken.Load(); got != 10_000 {
		t.Errorf("%d tokens of a thousand keys, want 10000", got)
	}
}

// TestLateClaimFindsTheFirst: another goroutine made the entry while this one
// waited for the lock.
func TestLateClaimFindsTheFirst(t *testing.T) {
	k := NewKeyed(KeyedConfig{Config: Config{Tokens: 1}})
	index, name := k.place(3)
	if a, b := k.claim(index, name, 0), k.claim(index, name, 0); a != b {
		t.Error("a key has two entries")
	}
}

func TestKeyedAllocatesNothing(t *testing.T) {
	k := NewKeyed(KeyedConfig{Config: Config{Tokens: 1}, Keys: 64})
	key := uint64(0)
	if got := testing.AllocsPerRun(1000, func() { k.Take(0, key, 1); key++ }); got != 0 {
		t.Errorf("%v allocations a call", got)
	}
}

func BenchmarkKeyed(b *testing.B) {
	for _, keys := range []int{1_000, 1_000_000, 10_000_000} {
		b.Run(fmt.Sprintf("%d", keys), func(b *testing.B) {
			k := NewKeyed(KeyedConfig{Config: Config{Tokens: 100}, Keys: 2 * keys})
			x := uint64(1)
			b.ReportAllocs()
			for now := time.Duration(0); b.Loop(); now += time.Microsecond {
				x = x*6364136223846793005 + 1442695040888963407
				k.Take(now, (x>>33)%uint64(keys), 1)
			}
		})
	}
}
