// Package demo tells the story of Trivet on one machine: three copies of a small shop that stores orders, Trivet in front of
// them, customers who do not stop coming, and trouble. It needs no root, opens nothing but loopback addresses, leaves no
// process and no file behind, and ends with a table of how every request fared.
//
// The story is a list of chapters; see [Chapters] to add one. What happens is real: the shops and Trivet are processes of
// their own (of the same binary), kill is SIGKILL, and the figures come from an open loop of requests, measured from
// when each was due. The package never changes anything outside its own temporary folder.
package demo
