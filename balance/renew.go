package balance

import "time"

// Renew says that another server answers at the endpoint's address now: a
// process that was started again, say. It begins with a clean record, and slowly;
// an ejection or a probation of the one before it is over.
func (p *Pool) Renew(e *Endpoint, now time.Duration) {
	p.mu.Lock()
	held := e.gate.Load()&(gateEjected|gateProbation) != 0
	e.acquit()
	e.startSlowly(now)
	var changes []event
	if held {
		changes = append(changes, event{e, Change{Kind: Trusted, Reason: "another server answers there", At: now}})
	}
	p.finish(changes, now)
}
