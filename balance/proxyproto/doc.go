// Package proxyproto reads and writes the header in which a proxy tells the next server who the client is, in
// its versions 1 (text) and 2 (binary), as specified in HAProxy's doc/proxy-protocol.txt.
//
// It decides nothing about trust: who may send such a header is for the caller to know. It does no input or
// output, and allocates nothing.
package proxyproto
