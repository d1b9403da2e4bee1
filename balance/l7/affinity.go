package l7

import (
	"bytes"
	"sync"
	"time"

	"github.com/trivet-ha/trivet/balance"
	"github.com/trivet-ha/trivet/balance/l7/http1"
)

// Affinity keeps a client with the endpoint that it began with. The zero Affinity does not.
type Affinity struct {
	Cookie      string        // name of the cookie
	Application bool          // the cookie is the application's own: learn who set which value, send no cookie
	TTL         time.Duration // Max-Age of our cookie, idle life of a learned value; 0 is the browser session (an hour for learned values)
	Attributes  string        // rendered once: "; Path=/; HttpOnly; SameSite=Lax"
}

// prefer returns the endpoint that the request's cookie names, or nil.
func (u *Upstream) prefer(a *Affinity, req *http1.Request, now time.Duration) *balance.Endpoint {
	v := cookieValue(req, a.Cookie)
	if v == nil {
		return nil
	}
	if a.Application {
		if key, ok := u.learned.get(v, a.life(), now); ok {
			return u.Pool.ByKey([]byte(key))
		}
		return nil
	}
	return u.Pool.ByKey(v)
}

func (a *Affinity) life() time.Duration {
	if a.TTL > 0 {
		return a.TTL
	}
	return time.Hour
}

// learn remembers the endpoint, by its key, of each application session that the answer begins.
func (u *Upstream) learn(a *Affinity, resp *http1.Response, key string, now time.Duration) {
	for i := range resp.Fields {
		f := &resp.Fields[i]
		if f.Known != http1.SetCookie {
			continue
		}
		pair, _, _ := bytes.Cut(f.Value, []byte{';'})
		name, value, ok := bytes.Cut(pair, []byte{'='})
		if ok && string(bytes.TrimSpace(name)) == a.Cookie {
			u.learned.put(bytes.TrimSpace(value), key, a.life(), now)
		}
	}
}

// cookieValue returns the value of a request's cookie (RFC 6265 §4.2.1), or nil.
func cookieValue(req *http1.Request, name string) []byte {
	for i := range req.Fields {
		if req.Fields[i].Known != http1.Cookie {
			continue
		}
		rest := req.Fields[i].Value
		for len(rest) > 0 {
			var pair []byte
			pair, rest, _ = bytes.Cut(rest, []byte{';'})
			n, v, ok := bytes.Cut(bytes.TrimLeft(pair, " \t"), []byte{'='})
			if ok && string(n) == name {
				return bytes.Trim(v, `" `)
			}
		}
	}
	return nil
}

// learnedMax bounds the table of application sessions of one pool, in entries of about 150 bytes.
const learnedMax = 200_000

// learned maps application cookies to endpoint keys. It has two generations: a value that is used moves to
// the young one, and the old one is dropped whole once the young one is full or a life has passed.
type learned struct {
	mu    sync.Mutex
	young map[string]string
	old   map[string]string
	since time.Duration
}

func newLearned() *learned { return &learned{young: map[string]string{}} }

func (l *learned) get(value []byte, life, now time.Duration) (key string, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.age(life, now)
	if key, ok = l.young[string(value)]; ok {
		return key, true
	}
	if key, ok = l.old[string(value)]; ok {
		l.young[string(value)] = key
	}
	return key, ok
}

func (l *learned) put(value []byte, key string, life, now time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.age(life, now)
	l.young[string(value)] = key
}

func (l *learned) age(life, now time.Duration) {
	if now-l.since > life || len(l.young) >= learnedMax/2 {
		l.old, l.young, l.since = l.young, map[string]string{}, now
	}
}
