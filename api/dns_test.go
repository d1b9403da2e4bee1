package api_test

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/trivet-ha/trivet/api"
	"github.com/trivet-ha/trivet/api/apitest"
)

func TestDNSArrivesAsTheNodeGaveIt(t *testing.T) {
	n := apitest.NewNode()
	c, ctx := serve(t, n), t.Context()
	got, err := c.DNS(ctx)
	want, _ := n.DNS()
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-node +client):\n%s", err, diff)
	}
	q := api.DNSQuestion{Name: "www.example.com", From: "192.0.2.7"}
	answer, err := c.QueryDNS(ctx, q)
	q.Type = "A" // when none is said
	wantAnswer, _ := n.QueryDNS(q)
	if diff := cmp.Diff(wantAnswer, answer); diff != "" || err != nil {
		t.Errorf("%v (-node +client):\n%s", err, diff)
	}
	_, err = c.QueryDNS(ctx, api.DNSQuestion{})
	wantError(t, err, http.StatusBadRequest, "which name")
}

// without hides that a node serves DNS.
type without struct{ api.Node }

func TestANodeNeedNotServeDNS(t *testing.T) {
	c, ctx := serve(t, without{apitest.NewNode()}), t.Context()
	_, err := c.DNS(ctx)
	wantError(t, err, http.StatusNotFound, "serves no DNS")
	_, err = c.QueryDNS(ctx, api.DNSQuestion{Name: "x"})
	wantError(t, err, http.StatusNotFound, "serves no DNS")
}
