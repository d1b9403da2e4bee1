package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// Client asks a running Trivet. An error that it answers is an *Error.
type Client struct {
	http  *http.Client
	base  string
	token string
	where string // for people
}

// Dial makes a client for the Unix socket at path. Nothing is connected yet.
func Dial(path string) *Client {
	dialer := net.Dialer{Timeout: 5 * time.Second}
	return &Client{
		where: path, base: "http://trivet",
		http: &http.Client{Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dialer.DialContext(ctx, "unix", path) },
		}},
	}
}

// DialTCP makes a client for a TCP address, which shows the token. Nothing is connected yet.
func DialTCP(address, token string) *Client {
	return &Client{where: address, base: "http://" + address, token: token, http: &http.Client{Transport: &http.Transport{
		DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
	}}}
}

// Close ends connections that wait for another question.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Status asks for everything at a glance.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return ask[Status](ctx, c, http.MethodGet, "/v1/status", nil)
}

// Pools asks for all pools.
func (c *Client) Pools(ctx context.Context) ([]Pool, error) {
	return ask[[]Pool](ctx, c, http.MethodGet, "/v1/pools", nil)
}

// Pool asks for one pool.
func (c *Client) Pool(ctx context.Context, name string) (Pool, error) {
	return ask[Pool](ctx, c, http.MethodGet, "/v1/pools/"+url.PathEscape(name), nil)
}

// ChangeEndpoint drains an endpoint, takes it back or weighs it.
func (c *Client) ChangeEndpoint(ctx context.Context, pool, address string, change Change) (Endpoint, error) {
	return ask[Endpoint](ctx, c, http.MethodPatch, endpointPath(pool, address), change)
}

// AddEndpoint adds an endpoint to a pool.
func (c *Client) AddEndpoint(ctx context.Context, pool string, e NewEndpoint) (Endpoint, error) {
	return ask[Endpoint](ctx, c, http.MethodPost, "/v1/pools/"+url.PathEscape(pool)+"/endpoints", e)
}

// RemoveEndpoint removes an endpoint from a pool.
func (c *Client) RemoveEndpoint(ctx context.Context, pool, address string) error {
	_, err := ask[done](ctx, c, http.MethodDelete, endpointPath(pool, address), nil)
	return err
}

// ExplainRequest asks where a request would go.
func (c *Client) ExplainRequest(ctx context.Context, q Question) ([]Explanation, error) {
	return ask[[]Explanation](ctx, c, http.MethodPost, "/v1/explain/request", q)
}

// ExplainEndpoint asks why an endpoint is in or out.
func (c *Client) ExplainEndpoint(ctx context.Context, address string) ([]EndpointExplanation, error) {
	return ask[[]EndpointExplanation](ctx, c, http.MethodGet, "/v1/explain/endpoint?address="+url.QueryEscape(address), nil)
}

// Reload has the configuration file loaded again, and returns when it is in force.
func (c *Client) Reload(ctx context.Context) error {
	_, err := ask[done](ctx, c, http.MethodPost, "/v1/reload", nil)
	return err
}

// Upgrade has the process replaced by the program that now stands in its place, and returns when that serves.
func (c *Client) Upgrade(ctx context.Context) error {
	_, err := ask[done](ctx, c, http.MethodPost, "/v1/upgrade", nil)
	return err
}

func endpointPath(pool, address string) string {
	return "/v1/pools/" + url.PathEscape(pool) + "/endpoints/" + url.PathEscape(address)
}

// ask sends one question and decodes the answer.
func ask[T any](ctx context.Context, c *Client, method, path string, body any) (answer T, err error) {
	var content io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return answer, err
		}
		content = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, content)
	if err != nil {
		return answer, err
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return answer, c.unreachable(err)
	}
	defer res.Body.Close()
	if res.StatusCode >= 400 {
		return answer, readError(res)
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return answer, fmt.Errorf("read the answer of %s: %w", c.where, err)
	}
	return answer, nil
}

func readError(res *http.Response) error {
	const longest = 4 << 20 // a file with very many errors
	body, err := io.ReadAll(io.LimitReader(res.Body, longest))
	if err != nil {
		return err
	}
	e := &Error{}
	if json.Unmarshal(body, e) != nil || e.Message == "" {
		e.Message = strings.TrimSpace(res.Status + ": " + string(body))
	}
	e.Status = res.StatusCode
	return e
}

// unreachable says why nobody answers, in an *Error with status 0.
func (c *Client) unreachable(err error) error {
	var cause *url.Error
	if errors.As(err, &cause) {
		err = cause.Err
	}
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return &Error{Message: "no Trivet answers at " + c.where, Hint: "start one with trivet run, or say where it is with --socket", nobody: true}
	case errors.Is(err, fs.ErrPermission):
		return &Error{Message: "the socket " + c.where + " belongs to another user", Hint: "run the command as the user that Trivet runs as, with sudo for instance"}
	default:
		return &Error{Message: "ask " + c.where + ": " + err.Error()}
	}
}
