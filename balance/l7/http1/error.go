package http1

// Error is a refusal of what a peer sent. All of them are made once; the
// functions of this package return pointers to them as error values.
type Error struct {
	Status int    // what to answer: 400 and others for a request, 502 for a response
	Rule   string // stable name of the rule that was broken, fit for a metric's label
	Text   string // for people: what is wrong and what to do
	Source string // where the rule comes from
}

func (e *Error) Error() string { return e.Rule + ": " + e.Text }

// rule numbers the rules. Zero is "none broken", and more "can't tell yet".
type rule uint8

const (
	none rule = iota
	more

	emptyLines
	tlsHello
	http2Preface
	badMethod
	longMethod
	connectMethod
	traceMethod
	lineLength
	targetForm
	targetChar
	targetFragment
	targetEscape
	targetUserinfo
	versionMissing
	badVersion
	otherVersion

	statusLine
	statusCode
	reasonChar
	upgradeMissing

	bareLF
	bareCR
	obsFold
	fieldName
	fieldSpace
	fieldValue
	fieldUnderscore
	fieldCount
	headSize

	hostMissing
	hostDuplicate
	hostInvalid
	badConnection
	manyNominated
	badExpect

	badLength
	lengthDuplicate
	lengthAndCoding
	otherCoding
	codingDuplicate
	codingHTTP10
	trailerNames
	bodySize

	chunkSize
	chunkExtension
	chunkLine
	chunkWaste
	chunkEnd
	trailerField
	trailerSize
	truncated

	ruleCount
)

var requestErrors = [ruleCount]Error{
	emptyLines:     {400, "empty-lines", "more than two empty lines before the request line; send the request line first", "RFC 9112 §2.2"},
	tlsHello:       {400, "tls-hello", "TLS on a plain-text port; use http:// here, or the port that speaks TLS", "RFC 8446 §5.1"},
	http2Preface:   {505, "http2-preface", "HTTP/2 without TLS is not spoken on this connection; use HTTP/1.1", "RFC 9113 §3.4"},
	badMethod:      {400, "method", "the method is not made of upper-case letters, digits, '-' and '_'", "RFC 9110 §9.1"},
	longMethod:     {501, "method-length", "the method is longer than any that is known", "RFC 9112 §3"},
	connectMethod:  {405, "method-connect", "CONNECT asks for a tunnel through a forward proxy, which this is not", "RFC 9110 §9.3.6"},
	traceMethod:    {405, "method-trace", "TRACE would send the request's credentials back to the sender", "RFC 9110 §9.3.8"},
	lineLength:     {414, "line-length", "the first line is too long; shorten the target or raise the limit", "RFC 9112 §3"},
	targetForm:     {400, "target-form", "the target is neither a path, nor an http or https URL, nor '*' for OPTIONS", "RFC 9112 §3.2"},
	targetChar:     {400, "target-char", "the target holds a control character or a byte outside ASCII; percent-encode it", "RFC 9112 §3.2"},
	targetFragment: {400, "target-fragment", "the target holds '#'; leave the fragment out, or send %23", "RFC 9112 §3.2"},
	targetEscape:   {400, "target-escape", "a '%' in the path is not followed by two hexadecimal digits; send %25 for a plain one", "RFC 3986 §2.1"},
	targetUserinfo: {400, "target-userinfo", "the target holds user information; send credentials in Authorization", "RFC 9110 §4.2.4"},
	versionMissing: {400, "version-missing", "the request line has no version: HTTP/0.9 is not spoken; end the line with HTTP/1.1", "RFC 9112 §3"},
	badVersion:     {400, "version", "the target is not followed by one space and HTTP/1.1; percent-encode spaces in the target", "RFC 9112 §2.3"},
	otherVersion:   {505, "version-unsupported", "only HTTP/1.1 and HTTP/1.0 are spoken on this connection", "RFC 9110 §15.6.6"},

	statusLine:     {502, "status-line", "the response does not begin with HTTP/1.1 or HTTP/1.0, a space and three digits", "RFC 9112 §4"},
	statusCode:     {502, "status-code", "the status is not between 100 and 599", "RFC 9110 §15"},
	reasonChar:     {502, "reason-char", "the reason phrase holds a control character", "RFC 9112 §4"},
	upgradeMissing: {502, "upgrade-missing", "status 101 without Connection: upgrade and one Upgrade protocol", "RFC 9110 §15.2.2"},

	bareLF:          {400, "bare-lf", "a line ends in LF without CR; end lines in CR LF", "RFC 9112 §2.2"},
	bareCR:          {400, "bare-cr", "a CR is not followed by LF", "RFC 9112 §2.2"},
	obsFold:         {400, "obs-fold", "a field line begins with white space; write the field on one line", "RFC 9112 §5.2"},
	fieldName:       {400, "field-name", "a field name is empty, holds a character that is not allowed, or has no colon after it", "RFC 9110 §5.1"},
	fieldSpace:      {400, "field-space", "white space between a field name and its colon", "RFC 9112 §5.1"},
	fieldValue:      {400, "field-value", "a field value holds a control character", "RFC 9110 §5.5"},
	fieldUnderscore: {400, "field-underscore", "a field name holds an underscore; use '-'", "RFC 3875 §4.1.18"},
	fieldCount:      {431, "field-count", "too many fields; send fewer or raise the limit", "RFC 6585 §5"},
	headSize:        {431, "head-size", "the head is too large; send fewer or smaller fields (often: cookies) or raise the limit", "RFC 6585 §5"},

	hostMissing:   {400, "host-missing", "an HTTP/1.1 request needs a Host field", "RFC 9112 §3.2"},
	hostDuplicate: {400, "host-duplicate", "more than one Host field", "RFC 9112 §3.2"},
	hostInvalid:   {400, "host-invalid", "the host is empty, or not a name or address with an optional port", "RFC 9112 §3.2"},
	badConnection: {400, "connection", "the Connection field is not a list of tokens", "RFC 9110 §7.6.1"},
	manyNominated: {400, "connection-count", "the Connection field nominates too many names", "RFC 9110 §7.6.1"},
	badExpect:     {417, "expect", "the only known expectation is 100-continue", "RFC 9110 §10.1.1"},

	badLength:       {400, "content-length", "Content-Length is not one decimal number below 2^63", "RFC 9112 §6.3"},
	lengthDuplicate: {400, "content-length-duplicate", "more than one Content-Length field", "RFC 9112 §6.3"},
	lengthAndCoding: {400, "length-and-coding", "both Content-Length and Transfer-Encoding; send one", "RFC 9112 §6.1"},
	otherCoding:     {501, "transfer-encoding", "the only known transfer coding is chunked, named once", "RFC 9112 §6.1"},
	codingDuplicate: {501, "transfer-encoding-duplicate", "more than one Transfer-Encoding field", "RFC 9112 §6.1"},
	codingHTTP10:    {400, "transfer-encoding-http10", "Transfer-Encoding in an HTTP/1.0 message", "RFC 9112 §6.1"},
	trailerNames:    {400, "trailer-names", "the Trailer field announces a framing field", "RFC 9110 §6.5.1"},
	bodySize:        {413, "body-size", "the body is larger than allowed; send less or raise the limit", "RFC 9110 §15.5.14"},

	chunkSize:      {400, "chunk-size", "a chunk size is not 1 to 16 hexadecimal digits below 2^63, or is followed by white space", "RFC 9112 §7.1"},
	chunkExtension: {400, "chunk-extension", "a chunk extension holds a control character or is longer than 1 KiB", "RFC 9112 §7.1.1"},
	chunkLine:      {400, "chunk-line", "a chunk's first line does not end in CR LF", "RFC 9112 §7.1"},
	chunkWaste:     {400, "chunk-waste", "chunk extensions outweigh the data by 16 KiB", "RFC 9112 §7.1.1"},
	chunkEnd:       {400, "chunk-end", "a chunk's data is not followed by CR LF", "RFC 9112 §7.1"},
	trailerField:   {400, "trailer-field", "a trailer field line is malformed", "RFC 9112 §7.1.2"},
	trailerSize:    {431, "trailer-size", "the trailer section has more than 32 fields or 8 KiB", "RFC 6585 §5"},
	truncated:      {400, "truncated", "the peer closed the connection before the end of the body", "RFC 9112 §8"},
}

// responseErrors are the same rules broken by a server: whatever it was, the
// client is told 502 (RFC 9110 §15.6.3).
var responseErrors = func() (errs [ruleCount]Error) {
	for i, e := range requestErrors {
		e.Status = 502
		errs[i] = e
	}
	return errs
}()

// Rules returns a copy of every rule, with the status it has for a request.
func Rules() []Error {
	return append([]Error(nil), requestErrors[more+1:]...)
}
