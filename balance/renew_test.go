package balance

import (
	"testing"
	"time"

	"github.com/trivet-ha/trivet/fault/outlier"
)

func TestAServerThatIsRenewedHasACleanRecord(t *testing.T) {
	var changes []Change
	p := newPool(t, 2, func(c *Config) {
		c.SlowStart = 10 * time.Second
		c.OnChange = func(_ *Endpoint, change Change) { changes = append(changes, change) }
	})
	e := p.Endpoints()[0]
	p.Done(reserveOn(t, p, e), Outcome{Result: ConnectFailed}, second)
	if got := standing(e); got != outlier.Ejected {
		t.Fatalf("after a refused connect it is %v", got)
	}
	changes = nil
	p.Renew(e, second)
	if s := e.Status(second); standing(e) != outlier.Good || !s.Available || s.RampTenths != 1 {
		t.Errorf("renewed it is %+v", s)
	}
	if len(changes) != 1 || changes[0].Kind != Trusted {
		t.Errorf("told was %+v", changes)
	}
	p.Renew(p.Endpoints()[1], second)
	if len(changes) != 1 {
		t.Errorf("of one that was well, told was %+v", changes[1:])
	}
}
