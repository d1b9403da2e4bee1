package http2

import "encoding/binary"

// preface is what a client sends first (RFC 9113 §3.4).
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// frameHead is the size of a frame's header in bytes.
const frameHead = 9

// frameType is the type of a frame.
type frameType uint8

// The types of RFC 9113 §6.
const (
	typeData frameType = iota
	typeHeaders
	typePriority
	typeReset
	typeSettings
	typePushPromise
	typePing
	typeGoAway
	typeWindowUpdate
	typeContinuation
)

// The flags of frames. Some share a bit.
const (
	flagAck        = 0x01 // SETTINGS, PING
	flagEndStream  = 0x01 // DATA, HEADERS
	flagEndHeaders = 0x04 // HEADERS, CONTINUATION
	flagPadded     = 0x08 // DATA, HEADERS
	flagPriority   = 0x20 // HEADERS
)

// setting is an identifier of RFC 9113 §6.5.2 or its neighbours.
type setting uint16

const (
	settingTableSize    setting = 1
	settingEnablePush   setting = 2
	settingStreams      setting = 3
	settingWindow       setting = 4
	settingFrameSize    setting = 5
	settingHeadSize     setting = 6
	settingConnect      setting = 8 // RFC 8441 §3
	settingNoPriorities setting = 9 // RFC 9218 §2.1
)

// frame is a frame's header.
type frame struct {
	length int
	kind   frameType
	flags  uint8
	stream uint32
}

func (f *frame) has(flag uint8) bool { return f.flags&flag != 0 }

// parseFrame reads a frame's header from p[:frameHead].
func parseFrame(p []byte) frame {
	_ = p[frameHead-1]
	return frame{
		length: int(p[0])<<16 | int(p[1])<<8 | int(p[2]),
		kind:   frameType(p[3]),
		flags:  p[4],
		stream: binary.BigEndian.Uint32(p[5:]) & windowMax,
	}
}

func appendFrame(dst []byte, f frame) []byte {
	dst = append(dst, byte(f.length>>16), byte(f.length>>8), byte(f.length), byte(f.kind), f.flags)
	return binary.BigEndian.AppendUint32(dst, f.stream)
}

func appendReset(dst []byte, stream uint32, code Code) []byte {
	dst = appendFrame(dst, frame{4, typeReset, 0, stream})
	return binary.BigEndian.AppendUint32(dst, uint32(code))
}

func appendWindowUpdate(dst []byte, stream uint32, n int32) []byte {
	dst = appendFrame(dst, frame{4, typeWindowUpdate, 0, stream})
	return binary.BigEndian.AppendUint32(dst, uint32(n))
}

func appendPing(dst []byte, flags uint8, data []byte) []byte {
	return append(appendFrame(dst, frame{8, typePing, flags, 0}), data...)
}

func appendGoAway(dst []byte, last uint32, code Code, text string) []byte {
	dst = appendFrame(dst, frame{8 + len(text), typeGoAway, 0, 0})
	dst = binary.BigEndian.AppendUint32(dst, last)
	dst = binary.BigEndian.AppendUint32(dst, uint32(code))
	return append(dst, text...)
}

func appendSetting(dst []byte, id setting, value uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(dst, uint16(id)), value)
}
