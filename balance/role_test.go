package balance

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// roles is a pool whose endpoints are called by letters.
type roles struct {
	*Pool
	t   *testing.T
	log []string
}

func newRoles(t *testing.T, want Role, names string) *roles {
	t.Helper()
	r := &roles{t: t}
	cfg := Config{Name: "db", Role: want, OnChange: func(e *Endpoint, c Change) {
		if c.Kind == RoleChanged {
			r.log = append(r.log, fmt.Sprintf("%s %v fit=%v", e.Address(), c.Role, c.Fit))
		}
	}}
	for _, n := range names {
		cfg.Endpoints = append(cfg.Endpoints, EndpointConfig{Address: string(n)})
	}
	p, err := New(cfg, 0)
	if err != nil {
		t.Fatal(err)
	}
	r.Pool = p
	return r
}

// says has endpoints report roles: "a primary 2", "b replica", "c down", "c up".
func (r *roles) says(lines ...string) {
	for _, line := range lines {
		f := strings.Fields(line)
		e, term := r.ByAddress(f[0]), uint64(0)
		if len(f) > 2 {
			fmt.Sscan(f[2], &term)
		}
		switch f[1] {
		case "primary":
			r.SetRole(e, Primary, term, 0)
		case "replica":
			r.SetRole(e, Replica, term, 0)
		case "up":
			r.SetHealth(e, Up, "", 0)
		case "down":
			r.SetHealth(e, Down, "refused", 0)
		}
	}
}

// serve lists who takes requests.
func (r *roles) serve() string {
	got := map[string]bool{}
	for i := range 50 {
		e, err := r.Pick(&Request{Random: uint64(i)*golden + 1})
		if err != nil {
			return err.Error()
		}
		got[e.Address()] = true
		r.Done(e, Outcome{}, 0)
	}
	var all []string
	for a := range got {
		all = append(all, a)
	}
	slices.Sort(all)
	return strings.Join(all, "")
}

func (r *roles) want(serving string) {
	r.t.Helper()
	if got := r.serve(); got != serving {
		r.t.Errorf("%s serves, want %s", got, serving)
	}
}

func TestOnlyThePrimaryServesWhoWantsIt(t *testing.T) {
	r := newRoles(t, Primary, "abc")
	r.want(ErrNone.Error()) // nobody has said anything
	r.says("a primary 1", "b replica", "c replica")
	r.want("a")
	if p := r.Primary(); p == nil || p.Address() != "a" {
		t.Errorf("primary is %v", p)
	}
	r.says("a down") // no panic: a replica must not be written to
	r.want(ErrNone.Error())
	if r.Panicking(0) {
		t.Error("it panics")
	}
	r.says("b primary 2")
	r.want("b")
	r.says("a primary 1", "a up") // comes back and does not know
	r.want("b")
	if got := r.ByAddress("a").Status(0).Reason; got != "says that it is the primary, but b is since (2, this one 1)" {
		t.Errorf("reason is %q", got)
	}
	r.says("a replica", "b replica", "a primary 3")
	r.want("a")
	want := "a primary fit=true; a unknown fit=false; b primary fit=true; b replica fit=false; a primary fit=true"
	if got := strings.Join(r.log, "; "); got != want {
		t.Errorf("changes are %s\nwant %s", got, want)
	}
}

func TestAHigherTermTakesOverAtOnce(t *testing.T) {
	r := newRoles(t, Primary, "ab")
	r.says("a primary 1", "b primary 2")
	r.want("b")
	r.says("a primary 1", "b primary 2") // no news
	if len(r.log) != 3 {
		t.Errorf("changes are %v", r.log)
	}
}

func TestOfEqualClaimsTheOlderIsBelieved(t *testing.T) {
	r := newRoles(t, Primary, "abc")
	r.says("a replica", "b primary", "a primary")
	r.want("b")
	if got := r.ByAddress("a").Status(0).Reason; got != "says that it is the primary, but b is, and this one did not follow it" {
		t.Errorf("reason is %q", got)
	}
	r.says("b down") // a was a replica: somebody has promoted it
	r.want("a")
	r.says("b primary", "b up") // and b does not know
	r.want("a")
}

// TestAPrimaryFromBeforeIsNotBelievedEvenAlone is the fault that loses writes: the old primary comes back from the
// dead, and then the new one fails.
func TestAPrimaryFromBeforeIsNotBelievedEvenAlone(t *testing.T) {
	for _, terms := range [][2]string{{"1", "2"}, {"", ""}} {
		r := newRoles(t, Primary, "ab")
		r.says("a primary "+terms[0], "b replica", "a down", "b primary "+terms[1], "a primary "+terms[0], "a up")
		r.want("b")
		r.says("b down")
		r.want(ErrNone.Error())
		if got := r.ByAddress("a").Status(0); got.Available || !strings.HasPrefix(got.Reason, "says that it is the primary, but b is") {
			t.Errorf("status is %+v", got)
		}
		r.says("b primary "+terms[1], "b up")
		r.want("b")
		r.says("a replica", "b down", "a primary "+terms[1]) // it was made to follow, and is promoted
		r.want("a")
	}
}

func TestTheOnlyOneLeftIsBelieved(t *testing.T) {
	r := newRoles(t, Primary, "ab")
	r.says("a primary 5", "b primary 3")
	r.want("a")
	if got := r.Term(); got != 5 {
		t.Errorf("term is %d", got)
	}
	if err := r.Remove("a", 0); err != nil { // on purpose: the data has moved
		t.Fatal(err)
	}
	r.want("b")
}

func TestWhoWasThePrimaryIsKnownToAnotherProcess(t *testing.T) {
	r := newRoles(t, Primary, "ab")
	r.Reappoint(r.ByAddress("b"), 0)
	if !r.ByAddress("b").Status(0).LastPrimary || r.ByAddress("a").Status(0).LastPrimary {
		t.Error("it is not known")
	}
	r.says("a primary") // from before b
	r.want(ErrNone.Error())
	r.says("b primary")
	r.want("b")
}

func TestReplicasServeWhoWantsThem(t *testing.T) {
	r := newRoles(t, Replica, "abc")
	r.says("a primary 1", "b replica")
	r.want("b")
	r.says("c replica")
	r.want("bc")
	for address, want := range map[string]string{"a": "up but no replica", "b": ""} {
		if s := r.ByAddress(address).Status(0); s.Reason != want || s.Unfit != want {
			t.Errorf("%s: reason is %q", address, s.Reason)
		}
	}
}

func TestWhoDoesNotAskForRolesGetsAll(t *testing.T) {
	r := newRoles(t, RoleUnknown, "ab")
	r.says("a primary 1", "b replica")
	r.want("ab")
	if len(r.log) > 0 {
		t.Errorf("changes are %v", r.log)
	}
	if s := r.ByAddress("a").Status(0); s.Role != Primary || s.Term != 1 || !s.Available {
		t.Errorf("status is %+v", s)
	}
}

func TestTheWantedRoleCanChange(t *testing.T) {
	r := newRoles(t, RoleUnknown, "ab")
	r.says("a primary 1", "b replica")
	cfg := Config{Name: "db", Role: Primary, Endpoints: []EndpointConfig{{Address: "a"}, {Address: "b"}, {Address: "c"}}}
	for want, role := range map[string]Role{"a": Primary, "b": Replica, "abc": RoleUnknown} {
		cfg.Role = role
		if err := r.Update(cfg, 0); err != nil {
			t.Fatal(err)
		}
		r.want(want)
	}
	if cfg.Role = 9; r.Update(cfg, 0) == nil {
		t.Error("role 9 is taken")
	}
	cfg.Role = Primary
	if err := r.Update(cfg, 0); err != nil {
		t.Fatal(err)
	}
	if got := r.ByAddress("c").Status(0).Reason; got != "its role is not known" {
		t.Errorf("reason is %q", got)
	}
	if got := r.ByAddress("b").Status(0).Reason; got != "up but not primary" {
		t.Errorf("reason is %q", got)
	}
	e, err := r.Add(EndpointConfig{Address: "d"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	r.SetRole(e, Primary, 7, 0)
	r.want("d")
}

func TestWhoWaitsForAPrimaryGetsItInOrder(t *testing.T) {
	r := newRoles(t, Primary, "ab")
	var got []string
	var w [3]Waiter
	for i := range w {
		w[i].Wake = func(e *Endpoint) { got = append(got, fmt.Sprint(i, e.Address())) }
		if err := r.Wait(&w[i], 0); err != nil {
			t.Fatal(err)
		}
	}
	r.says("b primary 2")
	if want := []string{"0b", "1b", "2b"}; !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}
