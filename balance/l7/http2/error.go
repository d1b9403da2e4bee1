package http2

import (
	"strconv"

	"github.com/trivet-ha/trivet/balance/l7/http1"
)

// Code is an error code of RFC 9113 §7.
type Code uint32

// The error codes.
const (
	NoError Code = iota
	ProtocolError
	InternalError
	FlowControlError
	SettingsTimeout
	StreamClosed
	FrameSizeError
	RefusedStream
	Cancel
	CompressionError
	ConnectError
	EnhanceYourCalm
	InadequateSecurity
	HTTP11Required
)

var codeTexts = [...]string{
	"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
	"FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
	"INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
}

// String returns the code's name in RFC 9113, or its number.
func (c Code) String() string {
	if int64(c) < int64(len(codeTexts)) {
		return codeTexts[c]
	}
	return strconv.FormatUint(uint64(c), 10)
}

// Error is a rule that a peer has broken. All of them are made once.
type Error struct {
	Code   Code   // what the peer is told
	Rule   string // stable name of the rule, fit for a metric's label
	Text   string // for people: what is wrong
	Source string // where the rule comes from
}

func (e *Error) Error() string { return e.Rule + ": " + e.Text }

// rule numbers the rules. Zero is "none broken".
type rule uint8

const (
	none rule = iota

	badPreface
	settingsFirst
	frameSize
	frameTooLong
	frameStream
	frameNoStream
	framePadding
	continuationMissing
	continuationStray
	blockSize
	pushPromise

	hpackTruncated
	hpackInteger
	hpackIndex
	hpackHuffman
	hpackTableSize
	hpackTableOrder

	streamID
	streamIdle
	streamClosed
	streamReused
	streamEnded
	streamLimit
	headMemory
	draining
	selfDependency

	pseudoUnknown
	pseudoDuplicate
	pseudoLate
	pseudoMissing
	pseudoTrailer
	pseudoValue
	pathForm
	fieldName
	fieldValue
	connectionField
	badTE
	hostConflict
	badConnect
	statusValue
	status101
	interimEnd
	interimCount
	trailersEnd
	trailerSize
	answerMissing
	answerHead
	lengthMismatch

	windowZero
	windowOverflow
	windowExceeded
	streamWindowZero
	streamWindowOverflow
	streamWindowExceeded

	settingPush
	settingWindowValue
	settingFrameValue
	settingConnectValue

	floodResets
	floodControl
	floodEmpty
	outputFull

	ruleCount
)

var ruleErrors = [ruleCount]Error{
	badPreface:          {ProtocolError, "preface", "the connection does not begin with the client's preface", "RFC 9113 §3.4"},
	settingsFirst:       {ProtocolError, "settings-first", "the first frame is not SETTINGS", "RFC 9113 §3.4"},
	frameSize:           {FrameSizeError, "frame-size", "a frame's length is wrong for its type", "RFC 9113 §4.2"},
	frameTooLong:        {FrameSizeError, "frame-too-long", "a frame is longer than 16384 bytes", "RFC 9113 §4.2"},
	frameStream:         {ProtocolError, "frame-stream", "a frame about the connection names a stream", "RFC 9113 §6"},
	frameNoStream:       {ProtocolError, "frame-no-stream", "a frame about a stream names none", "RFC 9113 §6"},
	framePadding:        {ProtocolError, "padding", "the padding is as long as the frame or longer", "RFC 9113 §6.1"},
	continuationMissing: {ProtocolError, "continuation-missing", "another frame stands inside a header block", "RFC 9113 §6.10"},
	continuationStray:   {ProtocolError, "continuation-stray", "CONTINUATION without a header block to continue", "RFC 9113 §6.10"},
	blockSize:           {EnhanceYourCalm, "block-size", "a header block is larger than any head may be, or comes in more than 32 frames", "CVE-2024-27316"},
	pushPromise:         {ProtocolError, "push-promise", "PUSH_PROMISE, which clients may not send and this one has switched off", "RFC 9113 §8.4"},

	hpackTruncated:  {CompressionError, "hpack-truncated", "a header block ends inside a field", "RFC 7541 §6"},
	hpackInteger:    {CompressionError, "hpack-integer", "an integer in a header block has more than 31 bits", "RFC 7541 §5.1"},
	hpackIndex:      {CompressionError, "hpack-index", "an index in a header block points to no field", "RFC 7541 §2.3.3"},
	hpackHuffman:    {CompressionError, "hpack-huffman", "a string in a header block is no Huffman code, or is padded wrongly", "RFC 7541 §5.2"},
	hpackTableSize:  {CompressionError, "hpack-table-size", "a header block wants a dynamic table larger than announced", "RFC 7541 §6.3"},
	hpackTableOrder: {CompressionError, "hpack-table-order", "a header block changes the table's size after its first field", "RFC 7541 §4.2"},

	streamID:       {ProtocolError, "stream-id", "a client's streams have odd numbers, each above the last", "RFC 9113 §5.1.1"},
	streamIdle:     {ProtocolError, "stream-idle", "a frame for a stream that was never opened", "RFC 9113 §5.1"},
	streamClosed:   {StreamClosed, "stream-closed", "DATA or HEADERS after the peer's end of the stream", "RFC 9113 §5.1"},
	streamReused:   {StreamClosed, "stream-reused", "HEADERS for a stream that was closed", "RFC 9113 §5.1"},
	streamEnded:    {StreamClosed, "stream-ended", "DATA for a stream that was closed", "RFC 9113 §5.1"},
	streamLimit:    {RefusedStream, "stream-limit", "more requests at a time than announced; send it again when one has ended", "RFC 9113 §5.1.2"},
	headMemory:     {RefusedStream, "head-memory", "the heads of the open requests are too large together; send it again when one has ended", "RFC 9113 §10.5.1"},
	draining:       {RefusedStream, "draining", "the connection is about to end; send the request on another", "RFC 9113 §6.8"},
	selfDependency: {ProtocolError, "self-dependency", "a stream depends on itself", "RFC 7540 §5.3.1"},

	pseudoUnknown:   {ProtocolError, "pseudo-unknown", "a pseudo-header field that is not known here", "RFC 9113 §8.3"},
	pseudoDuplicate: {ProtocolError, "pseudo-duplicate", "a pseudo-header field comes twice", "RFC 9113 §8.3"},
	pseudoLate:      {ProtocolError, "pseudo-late", "a pseudo-header field after a plain one", "RFC 9113 §8.3"},
	pseudoMissing:   {ProtocolError, "pseudo-missing", "a pseudo-header field is missing", "RFC 9113 §8.3.1"},
	pseudoTrailer:   {ProtocolError, "pseudo-trailer", "a pseudo-header field in a trailer section", "RFC 9113 §8.1"},
	pseudoValue:     {ProtocolError, "pseudo-value", "a pseudo-header field holds a space or a control character", "RFC 9113 §8.3.1"},
	pathForm:        {ProtocolError, "path-form", "the path is empty, or does not begin with '/'", "RFC 9113 §8.3.1"},
	fieldName:       {ProtocolError, "field-name", "a field name is empty or holds an upper-case letter or another character that is not allowed", "RFC 9113 §8.2.1"},
	fieldValue:      {ProtocolError, "field-value", "a field value holds a line end or NUL, or has white space around it", "RFC 9113 §8.2.1"},
	connectionField: {ProtocolError, "connection-field", "a field that is about an HTTP/1.1 connection", "RFC 9113 §8.2.2"},
	badTE:           {ProtocolError, "te", "TE is something else than trailers", "RFC 9113 §8.2.2"},
	hostConflict:    {ProtocolError, "host-conflict", "Host and the authority differ, or Host comes twice", "RFC 9113 §8.3.1"},
	badConnect:      {ProtocolError, "connect", "a protocol without CONNECT, an empty one, or one that was not offered", "RFC 8441 §4"},
	statusValue:     {ProtocolError, "status", "the status is not three digits", "RFC 9113 §8.3.2"},
	status101:       {ProtocolError, "status-101", "status 101, which HTTP/2 does not have", "RFC 9113 §8.6"},
	interimEnd:      {ProtocolError, "interim-end", "an interim answer ends the stream", "RFC 9113 §8.1"},
	interimCount:    {EnhanceYourCalm, "interim-count", "more than 32 interim answers to one request", "RFC 9110 §15.2"},
	trailersEnd:     {ProtocolError, "trailers-end", "a second head that does not end the stream", "RFC 9113 §8.1"},
	trailerSize:     {EnhanceYourCalm, "trailer-size", "a trailer section is larger than any head may be", "RFC 6585 §5"},
	answerMissing:   {ProtocolError, "answer-missing", "DATA before the head of the answer", "RFC 9113 §8.1"},
	answerHead:      {ProtocolError, "answer-head", "the head of the answer is refused", "RFC 9113 §8.1.1"},
	lengthMismatch:  {ProtocolError, "length-mismatch", "the body is longer or shorter than Content-Length says", "RFC 9113 §8.1.1"},

	windowZero:           {ProtocolError, "window-zero", "WINDOW_UPDATE by 0 for the connection", "RFC 9113 §6.9"},
	windowOverflow:       {FlowControlError, "window-overflow", "the connection's window grows beyond 2^31-1", "RFC 9113 §6.9.1"},
	windowExceeded:       {FlowControlError, "window-exceeded", "more data than the connection's window allows", "RFC 9113 §6.9.1"},
	streamWindowZero:     {ProtocolError, "stream-window-zero", "WINDOW_UPDATE by 0 for a stream", "RFC 9113 §6.9"},
	streamWindowOverflow: {FlowControlError, "stream-window-overflow", "a stream's window grows beyond 2^31-1", "RFC 9113 §6.9.1"},
	streamWindowExceeded: {FlowControlError, "stream-window-exceeded", "more data than the stream's window allows", "RFC 9113 §6.9.1"},

	settingPush:         {ProtocolError, "setting-push", "SETTINGS_ENABLE_PUSH is neither 0 nor 1, or a server sets it", "RFC 9113 §6.5.2"},
	settingWindowValue:  {FlowControlError, "setting-window", "SETTINGS_INITIAL_WINDOW_SIZE above 2^31-1", "RFC 9113 §6.5.2"},
	settingFrameValue:   {ProtocolError, "setting-frame", "SETTINGS_MAX_FRAME_SIZE outside 16384 to 2^24-1", "RFC 9113 §6.5.2"},
	settingConnectValue: {ProtocolError, "setting-connect", "SETTINGS_ENABLE_CONNECT_PROTOCOL is neither 0 nor 1, or is taken back", "RFC 8441 §3"},

	floodResets:  {EnhanceYourCalm, "flood-resets", "too many streams are opened and reset, or broken, in a short time", "CVE-2023-44487"},
	floodControl: {EnhanceYourCalm, "flood-control", "too many frames that carry nothing", "CVE-2019-9512"},
	floodEmpty:   {EnhanceYourCalm, "flood-empty", "too many empty frames, or windows of a few bytes", "CVE-2019-9518"},
	outputFull:   {EnhanceYourCalm, "output-full", "the peer does not read what it is sent", "CVE-2019-9517"},
}

// Rules returns a copy of every rule of RFC 9113 and its neighbours that the engine applies. Heads must also keep
// those of http1.Rules.
func Rules() []Error { return append([]Error(nil), ruleErrors[none+1:]...) }

// refusals are those of heads that package http1 does not know of. They are answered as its own are.
var refusals = [...]http1.Error{
	refusedSize:    {Status: 431, Rule: "head-size", Text: "the head is too large; send fewer or smaller fields (often: cookies) or raise the limit", Source: "RFC 6585 §5"},
	refusedConnect: {Status: 405, Rule: "method-connect", Text: "CONNECT asks for a tunnel through a forward proxy, which this is not", Source: "RFC 9110 §9.3.6"},
	refusedScheme:  {Status: 400, Rule: "scheme", Text: "the scheme is neither http nor https", Source: "RFC 9113 §8.3.1"},
	refusedUpgrade: {Status: 501, Rule: "protocol", Text: "CONNECT for a protocol that can't be passed on", Source: "RFC 8441 §4"},
}

// answerTooLarge is refusedSize for an answer.
var answerTooLarge = http1.Error{Status: 502, Rule: "head-size", Text: "the head of the answer is too large; send fewer or smaller fields or raise the limit", Source: "RFC 6585 §5"}

const (
	refusedSize = iota
	refusedConnect
	refusedScheme
	refusedUpgrade
)
