package wire

import (
	"strconv"
	"strings"
)

// Type is a type of records, or of questions.
type Type uint16

// The types that something is done about. Others are stored and answered as bytes (RFC 3597).
const (
	TypeA     Type = 1
	TypeNS    Type = 2
	TypeCNAME Type = 5
	TypeSOA   Type = 6
	TypePTR   Type = 12
	TypeHINFO Type = 13
	TypeMX    Type = 15
	TypeTXT   Type = 16
	TypeAAAA  Type = 28
	TypeSRV   Type = 33
	TypeDNAME Type = 39
	TypeOPT   Type = 41
	TypeDS    Type = 43
	TypeSVCB  Type = 64
	TypeHTTPS Type = 65
	TypeIXFR  Type = 251
	TypeAXFR  Type = 252
	TypeANY   Type = 255
	TypeCAA   Type = 257
)

var typeNames = map[Type]string{
	TypeA: "A", TypeNS: "NS", TypeCNAME: "CNAME", TypeSOA: "SOA", TypePTR: "PTR", TypeHINFO: "HINFO", TypeMX: "MX", TypeTXT: "TXT",
	TypeAAAA: "AAAA", TypeSRV: "SRV", TypeDNAME: "DNAME", TypeOPT: "OPT", TypeDS: "DS", TypeSVCB: "SVCB", TypeHTTPS: "HTTPS",
	TypeIXFR: "IXFR", TypeAXFR: "AXFR", TypeANY: "ANY", TypeCAA: "CAA",
}

// String is the type's mnemonic, or TYPE123 (RFC 3597 §5).
func (t Type) String() string {
	if name, ok := typeNames[t]; ok {
		return name
	}
	return "TYPE" + strconv.Itoa(int(t))
}

// ParseType reads a mnemonic, or TYPE123.
func ParseType(text string) (Type, bool) {
	text = strings.ToUpper(text)
	for t, name := range typeNames {
		if name == text {
			return t, true
		}
	}
	if digits, ok := strings.CutPrefix(text, "TYPE"); ok {
		n, err := strconv.ParseUint(digits, 10, 16)
		return Type(n), err == nil
	}
	return 0, false
}

// isMeta reports a type that questions have and records do not (RFC 6895 §3.1); ANY and transfers are not among
// these, since more than their type is wrong with them.
func (t Type) isMeta() bool { return t == TypeOPT || t >= 128 && t < TypeIXFR || t == 253 || t == 254 }

// ClassIN is the Internet, the only class served.
const ClassIN = 1

// Rcode says how a question fared, with the upper bits that EDNS adds (RFC 6891 §6.1.3).
type Rcode uint16

// The response codes in use.
const (
	NoError   Rcode = 0
	FormErr   Rcode = 1
	ServFail  Rcode = 2
	NXDomain  Rcode = 3
	NotImp    Rcode = 4
	Refused   Rcode = 5
	BadVers   Rcode = 16
	BadCookie Rcode = 23
)

var rcodeNames = map[Rcode]string{
	NoError: "NOERROR", FormErr: "FORMERR", ServFail: "SERVFAIL", NXDomain: "NXDOMAIN", NotImp: "NOTIMP", Refused: "REFUSED",
	BadVers: "BADVERS", BadCookie: "BADCOOKIE",
}

// String is the code's mnemonic.
func (r Rcode) String() string {
	if name, ok := rcodeNames[r]; ok {
		return name
	}
	return "RCODE" + strconv.Itoa(int(r))
}

// Extended errors (RFC 8914 §4).
const (
	ErrorNotReady         uint16 = 14
	ErrorNotAuthoritative uint16 = 20
	ErrorNotSupported     uint16 = 21
)

// Bits of the second word of a header (RFC 1035 §4.1.1).
const (
	flagQR uint16 = 1 << 15
	flagAA uint16 = 1 << 10
	flagTC uint16 = 1 << 9
	flagRD uint16 = 1 << 8

	opcodeShift = 11
	opcodeMask  = 0xF
)

// HeaderLen is the length of a header, and where the question begins.
const HeaderLen = 12

// Largest messages.
const (
	// PlainUDPMax is what a client takes over UDP that says nothing else (RFC 1035 §2.3.4).
	PlainUDPMax = 512
	// TCPMax is what a length of two bytes can say.
	TCPMax = 65535
)

func get16(b []byte) uint16 { return uint16(b[0])<<8 | uint16(b[1]) }

func put16(b []byte, v uint16) { b[0], b[1] = byte(v>>8), byte(v) }

func append16(b []byte, v uint16) []byte { return append(b, byte(v>>8), byte(v)) }

func append32(b []byte, v uint32) []byte {
	return append(b, byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
}
