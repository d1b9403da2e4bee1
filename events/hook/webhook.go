package hook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// SignatureHeader carries the HMAC-SHA256 of the body, as "sha256=" and
// hexadecimal digits, if the webhook has a key.
const SignatureHeader = "X-Trivet-Signature-256"

// Webhook delivers notices as JSON by POST. Statuses of 200 to 299 are success;
// 408, 425, 429 and all from 500 on are tried again, and so is whoever does not
// answer; anything else is a refusal.
type Webhook struct {
	URL    string
	Header http.Header // added to each request
	Key    []byte      // to sign with; empty is no signature
	// Timeout is how long an attempt may take; 0 is 5 seconds.
	Timeout time.Duration
	// Client sends; nil is one that follows no redirects.
	Client *http.Client
}

// answerKept is how much of a receiver's complaint is told.
const answerKept = 200

// Deliver implements Deliverer.
func (w *Webhook) Deliver(ctx context.Context, n Notice) error {
	body, err := json.Marshal(n)
	if err != nil {
		return &Refusal{err.Error()}
	}
	timeout := w.Timeout
	if timeout == 0 {
		timeout = 5 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(body))
	if err != nil {
		return &Refusal{err.Error()}
	}
	req.Header = w.Header.Clone()
	if req.Header == nil {
		req.Header = http.Header{}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "trivet")
	// The same for every attempt: who has it already can tell.
	req.Header.Set("Idempotency-Key", n.Node+"/"+strconv.FormatInt(n.Event.ID, 10))
	if len(w.Key) > 0 {
		req.Header.Set(SignatureHeader, Sign(w.Key, body))
	}
	client := w.Client
	if client == nil {
		client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	res, err := client.Do(req)
	if err != nil {
		var cause *url.Error // names the URL, which may be a secret
		if errors.As(err, &cause) {
			err = cause.Err
		}
		return fmt.Errorf("webhook: %w", err)
	}
	defer res.Body.Close()
	return judge(res)
}

// Sign returns the value of SignatureHeader for a body.
func Sign(key, body []byte) string {
	mac := hmac.New(sha256.New, key)
	mac.Write(body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

// judge turns an answer into what Deliver returns.
func judge(res *http.Response) error {
	if res.StatusCode >= 200 && res.StatusCode < 300 {
		// Read, so that the connection can be used again.
		_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10))
		return nil
	}
	said, _ := io.ReadAll(io.LimitReader(res.Body, answerKept))
	reason := "webhook answered " + res.Status
	if text := strings.TrimSpace(string(bytes.ToValidUTF8(said, []byte("?")))); text != "" {
		reason += ": " + text
	}
	switch {
	case res.StatusCode == http.StatusTooManyRequests, res.StatusCode == http.StatusServiceUnavailable:
		seconds, _ := strconv.Atoi(res.Header.Get("Retry-After")) // a date is answered by the usual pause
		return &Later{reason, time.Duration(max(0, min(seconds, 3600))) * time.Second}
	case res.StatusCode >= 500, res.StatusCode == http.StatusRequestTimeout, res.StatusCode == http.StatusTooEarly:
		return errors.New(reason)
	}
	return &Refusal{reason}
}
