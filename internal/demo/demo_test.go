package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/trivet-ha/trivet"
	"github.com/trivet-ha/trivet/config"
	"github.com/trivet-ha/trivet/fault/supervise"
)

// The test binary is its own shop and its own Trivet, and keeps the shops that Trivet runs, as trivet does.
func TestMain(m *testing.M) {
	if os.Getenv("TRIVET_KEEPER") != "" {
		syscall.Exit(supervise.Keep()) // without what os.Exit says about coverage
	}
	if len(os.Args) < 2 || (os.Args[1] != "demo-shop" && os.Args[1] != "run") {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	err := asChild(ctx, os.Args[1], os.Args[2:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func asChild(ctx context.Context, command string, args []string) error {
	if command == "demo-shop" {
		return Shop(ctx, args)
	}
	file, err := config.Load(args[0])
	if err != nil {
		return err
	}
	node, err := trivet.New(trivet.Config{File: file})
	if err != nil {
		return err
	}
	return node.Run(ctx)
}

func TestTheWholeStoryLosesNoRequestAndNoOrder(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	t.Setenv("TMPDIR", t.TempDir())
	var talk, out bytes.Buffer
	err := Run(t.Context(), &out, Options{Rate: 150, JSON: true, Talk: &talk, pace: 0.2})
	if err != nil {
		t.Fatalf("%v\n%s", err, talk.String())
	}
	var r Result
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Phases) != 3*(len(Chapters())-1)+1 { // the last has only one
		t.Errorf("%d phases for %d chapters", len(r.Phases), len(Chapters()))
	}
	for _, p := range r.Phases {
		if p.Requests == 0 {
			t.Errorf("%s, %s: no requests", p.Chapter, p.Phase)
		}
	}
	if r.Failed != 0 || r.OrdersAcknowledged == 0 || r.OrdersFound != r.OrdersAcknowledged {
		t.Errorf("failed %d, orders %d of %d", r.Failed, r.OrdersFound, r.OrdersAcknowledged)
	}
	for _, want := range []string{"kill -9", "s: shop-b is ", "kill -STOP", "s: shop-c is ", "shop/0 serves again", "incident of shop/0: ", "process.exited", "incident of shop-a: ", "recovered after ", "pool drain", "shop-a is draining", "edition 21 of the file", `did you mean "interval"?`, "still carry edition 21", "backup scrambled", "invoices are back, each compared", "shop.example is shop-b, shop-c", "DROP TABLE orders", "orders are there", "trivet report", "faults went unnoticed", "requests answered"} {
		if !strings.Contains(talk.String(), want) {
			t.Errorf("the story does not say %q:\n%s", want, talk.String())
		}
	}
	assertNothingIsLeft(t)
}

// A story that loses requests must end with an error, or the demo would prove nothing.
func TestTheStoryFailsWhenARequestDoes(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	all := Chapter{"Every shop is killed", func(ctx context.Context, s *Stage) error {
		s.Phase("during")
		for _, shop := range []string{"shop-a", "shop-b", "shop-c"} {
			if err := s.Kill(shop); err != nil {
				return err
			}
		}
		return s.Pause(ctx, time.Second)
	}}
	var out bytes.Buffer
	err := Run(t.Context(), &out, Options{Rate: 50, Chapters: []Chapter{all}, pace: 0.5})
	if err == nil || !strings.Contains(err.Error(), "requests failed") {
		t.Errorf("err %v, want that requests failed", err)
	}
	for _, want := range []string{"FAILED", "status 50", "How the customers fared"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the story does not say %q:\n%s", want, out.String())
		}
	}
	assertNothingIsLeft(t)
}

func TestCancellingEndsEverything(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	chapter := Chapter{"Nobody waits", func(ctx context.Context, s *Stage) error {
		s.Phase("before")
		cancel()
		return s.Pause(ctx, time.Hour)
	}}
	var out bytes.Buffer
	err := Run(ctx, &out, Options{Rate: 50, Chapters: []Chapter{chapter}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("err %v, want canceled", err)
	}
	assertNothingIsLeft(t)
}

// assertNothingIsLeft looks for child processes and files of the demo.
func assertNothingIsLeft(t *testing.T) {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		children, err := os.ReadFile("/proc/self/task/" + task.Name() + "/children")
		if err == nil && len(bytes.TrimSpace(children)) > 0 {
			t.Errorf("children are left: %s", children)
		}
	}
	left, err := os.ReadDir(os.TempDir())
	if err != nil || len(left) > 0 {
		t.Errorf("files are left: %v, %v", left, err)
	}
}
