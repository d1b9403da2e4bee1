package demo

import (
	"bytes"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/trivet-ha/trivet/internal/demo/load"
)

// Of ten requests two place an order, two look one up that was acknowledged before, and six look at the page.
type errand int

const (
	browse errand = iota
	place
	lookUp
)

func errandOf(seq uint64) errand {
	switch seq % 5 {
	case 2:
		return place
	case 4:
		return lookUp
	}
	return browse
}

// askedSlots is how many requests back a look-up is remembered; far more than can be in flight.
const askedSlots = 1 << 16

// customers make requests, check every answer, and remember which orders were acknowledged.
type customers struct {
	host string
	name string // of this run, so that ids are its own

	asked  [askedSlots]atomic.Uint64 // by seq: the seq of the order that is looked up, plus 1
	served [shopsMax]atomic.Uint64   // answers, by shop

	mu    sync.Mutex
	acked []uint64 // seqs of orders that were acknowledged
}

func (c *customers) orderID(seq uint64) string { return c.name + "-" + strconv.FormatUint(seq, 36) }

// next returns the bytes of a request.
func (c *customers) next(seq uint64) []byte {
	c.asked[seq%askedSlots].Store(0)
	switch errandOf(seq) {
	case place:
		body := fmt.Sprintf(`{"item":%q,"quantity":%d}`, goods()[seq/5%4].Name, seq%9+1)
		return fmt.Appendf(nil, "PUT /orders/%s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
			c.orderID(seq), c.host, len(body), body)
	case lookUp:
		if order, ok := c.pick(seq); ok {
			c.asked[seq%askedSlots].Store(order + 1)
			return fmt.Appendf(nil, "GET /orders/%s HTTP/1.1\r\nHost: %s\r\n\r\n", c.orderID(order), c.host)
		}
	}
	return fmt.Appendf(nil, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", c.host)
}

// pick returns one of the acknowledged orders, spread over all of them.
func (c *customers) pick(seq uint64) (order uint64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.acked) == 0 {
		return 0, false
	}
	const stride = 2654435761 // a prime near 2³²/φ: neighbours land far apart (Knuth, TAOCP 3, §6.4)
	return c.acked[seq*stride%uint64(len(c.acked))], true
}

// check says whether the answer is what was asked for, and keeps account.
func (c *customers) check(seq uint64, status int, body []byte) bool {
	want := []byte("The Tea Shop")
	switch order := c.asked[seq%askedSlots].Load(); {
	case errandOf(seq) == place:
		want = []byte(`"id":"` + c.orderID(seq) + `"`)
	case order > 0:
		want = []byte(`"id":"` + c.orderID(order-1) + `"`)
	}
	if !bytes.Contains(body, want) {
		return false
	}
	if shop, ok := answeredBy(body); ok {
		c.served[shop].Add(1)
	}
	if errandOf(seq) == place {
		c.mu.Lock()
		c.acked = append(c.acked, seq)
		c.mu.Unlock()
	}
	return status == 200 || status == 201
}

// answeredBy returns the number of the shop that an answer names last.
func answeredBy(body []byte) (shop int, ok bool) {
	i := bytes.LastIndex(body, []byte("shop-"))
	if i < 0 || i+5 >= len(body) {
		return 0, false
	}
	shop = int(body[i+5]) - 'a'
	return shop, shop >= 0 && shop < shopsMax
}

// acknowledged returns the ids of all orders that a customer believes to be stored.
func (c *customers) acknowledged() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	ids := make([]string, len(c.acked))
	for i, seq := range c.acked {
		ids[i] = c.orderID(seq)
	}
	return ids
}

// shares returns how many answers each of the first n shops has given so far.
func (c *customers) shares(n int) []uint64 {
	out := make([]uint64, n)
	for i := range out {
		out[i] = c.served[i].Load()
	}
	return out
}

// loadConfig returns what the generator needs to send these customers to an address.
func (c *customers) loadConfig(address string, rate float64, observe func(load.Result)) load.Config {
	return load.Config{Address: address, Rate: rate, Next: c.next, Check: c.check, Observe: observe}
}
