package http1

// Method is a request method that the engine knows.
type Method uint8

// The methods of RFC 9110 §9 and RFC 5789. OtherMethod stands for any other
// token; Request.MethodText holds its text.
const (
	OtherMethod Method = iota
	GET
	HEAD
	POST
	PUT
	DELETE
	OPTIONS
	PATCH
	TRACE
	CONNECT
)

var methodTexts = [...]string{"", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"}

// String returns the method as it stands in a request line, or "" for
// OtherMethod.
func (m Method) String() string {
	if int(m) < len(methodTexts) {
		return methodTexts[m]
	}
	return ""
}

// Safe reports whether the method is read-only by definition (RFC 9110
// §9.2.1).
func (m Method) Safe() bool {
	return m == GET || m == HEAD || m == OPTIONS || m == TRACE
}

// Idempotent reports whether a request may be sent a second time without
// changing the outcome (RFC 9110 §9.2.2).
func (m Method) Idempotent() bool {
	return m.Safe() || m == PUT || m == DELETE
}

// methodOf returns the known method with this exact text.
func methodOf(b []byte) Method {
	switch string(b) {
	case "GET":
		return GET
	case "HEAD":
		return HEAD
	case "POST":
		return POST
	case "PUT":
		return PUT
	case "DELETE":
		return DELETE
	case "OPTIONS":
		return OPTIONS
	case "PATCH":
		return PATCH
	case "TRACE":
		return TRACE
	case "CONNECT":
		return CONNECT
	}
	return OtherMethod
}
