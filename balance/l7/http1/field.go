package http1

import "bytes"

// Field is one field line of a head.
type Field struct {
	Name, Value []byte // as sent, without the white space around the value
	Known       Name   // which of the known names it is
	Hop         bool   // never forward it: hop-by-hop, nominated by Connection, or against a rule
}

// Find returns the index of the first field of a known name, or -1.
func Find(fields []Field, name Name) int {
	for i := range fields {
		if fields[i].Known == name {
			return i
		}
	}
	return -1
}

// FindText returns the index of the first field with this name, ignoring
// case, or -1. Find is faster for known names.
func FindText(fields []Field, name []byte) int {
	for i := range fields {
		if sameName(fields[i].Name, name) {
			return i
		}
	}
	return -1
}

// HeadEnd returns the index after the empty line that ends the head in buf,
// or -1 if it is not there yet. With from the length that buf had when
// HeadEnd last said -1 (0 at first), a head that comes in any number of
// pieces is searched once in all.
//
// It serves to wait for slow peers: a head that it calls complete, Parse
// takes or refuses, without asking for more.
func HeadEnd(buf []byte, from int) int {
	i := afterEmptyLines(buf)
	if from-2 > i {
		i = from - 2 // the last bytes may have been "\n\r"
	}
	for {
		j := bytes.IndexByte(buf[i:], '\n')
		if j < 0 {
			return -1
		}
		i += j + 1
		if i < len(buf) && buf[i] == '\n' {
			return i + 1
		}
		if i+1 < len(buf) && buf[i] == '\r' && buf[i+1] == '\n' {
			return i + 2
		}
	}
}

// afterEmptyLines returns the index after the empty lines that may stand
// before a request line.
func afterEmptyLines(buf []byte) int {
	i := 0
	for i < 2*maxEmptyLines && i+1 < len(buf) && buf[i] == '\r' && buf[i+1] == '\n' {
		i += 2
	}
	return i
}
