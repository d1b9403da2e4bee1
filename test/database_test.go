package test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/trivet-ha/trivet/internal/testserver"
)

const ordersDB = `
listeners:
  db: {address: "127.0.0.1:0", protocol: tcp, pool: orders}
pools:
  orders:
    role: primary
    endpoints: [%s, %s]
    health:
      interval: 200ms
      fast_interval: 100ms
      probe: {postgres: {user: postgres, password_file: %s}}
admin: {socket: SOCKET}
drain_timeout: 2s
`

// TestWritersFollowThePrimary promotes the standby of a PostgreSQL pair: the old primary lives on and knows nothing
// of it, as after a partition. Then the new one dies: nobody is written to until it is back.
func TestWritersFollowThePrimary(t *testing.T) {
	old := testserver.StartPostgres(t, "scram-sha-256")
	next := old.Standby(t)
	secret := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(secret, []byte(old.Password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := run(t, fmt.Sprintf(ordersDB, old.Address, next.Address, secret))
	front := d.front("db")
	sql := func(text string) string {
		t.Helper()
		out, err := old.Through(t.Context(), front, text).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", text, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	sql("create table orders (id int)")
	for range 20 { // a standby would refuse half of them
		sql("insert into orders values (1)")
	}

	waiting := old.Through(t.Context(), front, "select pg_sleep(60)")
	var said bytes.Buffer
	waiting.Stdout, waiting.Stderr = &said, &said
	if err := waiting.Start(); err != nil {
		t.Fatal(err)
	}
	old.Await(t, "select count(*) from pg_stat_activity where query like 'select pg_sleep%'", "1")
	next.Await(t, "select count(*) from orders", "20")
	began := time.Now()
	next.Promote(t)
	if err := waiting.Wait(); err == nil || time.Since(began) > 20*time.Second {
		t.Errorf("the session with the old primary goes on: %v, %s, %v", err, &said, time.Since(began))
	}
	t.Logf("sessions are cut %v after the promotion began", time.Since(began).Round(time.Millisecond))
	for range 20 {
		if got := sql("insert into orders values (2); select timeline_id from pg_control_checkpoint()"); got == "" {
			t.Error("no answer")
		}
	}
	if got := next.SQL(t, "select count(*) from orders where id = 2"); got != "20" {
		t.Errorf("the new primary has %s of 20 rows", got)
	}
	if got := old.SQL(t, "select count(*) from orders where id = 2"); got != "0" {
		t.Errorf("the old primary has got %s rows", got)
	}
	for _, e := range d.status().Pools[0].Endpoints {
		want := ""
		if e.Address == old.Address {
			want = "says that it is the primary, but " + next.Address + " is since (2, this one 1)"
		}
		if e.Reason != want || e.Role != "primary" {
			t.Errorf("%s: role %s, reason %q, want %q", e.Address, e.Role, e.Reason, want)
		}
	}
	if got := d.metric(fmt.Sprintf("trivet_endpoint_available{endpoint=%q,pool=\"orders\"}", old.Address)); got != 0 {
		t.Errorf("the old primary is available: %v", got)
	}

	// While there is none, who comes waits.
	next.Kill()
	eventually(t, "the primary is down", func() bool { return d.status().Pools[0].Available == 0 })
	patient := old.Through(t.Context(), front, "select 'served'")
	var answer bytes.Buffer
	patient.Stdout, patient.Stderr = &answer, &answer
	if err := patient.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a session waits", func() bool { return d.status().Pools[0].Pending > 0 })
	next.Start(t)
	if err := patient.Wait(); err != nil || strings.TrimSpace(answer.String()) != "served" {
		t.Errorf("who waited got %q, %v", &answer, err)
	}
}
