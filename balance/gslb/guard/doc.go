// Package guard answers whether a DNS server may be answering a forged address, and what to do about it: cookies
// (RFC 7873, RFC 9018) prove that a client is where it says, and limits slow down those that are not proven.
//
// It reads no clock and opens no socket; what it remembers has a fixed size, and any number of threads may ask it.
package guard
