package storetest

import (
	"testing"

	"github.com/trivet-ha/trivet/backup/store"
)

func TestMemoryKeepsItsPromises(t *testing.T) {
	Run(t, Options{}, func(*testing.T) Opener {
		m := NewMemory()
		return func() store.Store { return m }
	})
}
