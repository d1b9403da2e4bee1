package hpack

// pair is a field of the static table.
type pair struct{ name, value string }

// staticCount is the number of fields in the static table.
const staticCount = 61

// static is the table of RFC 7541 Appendix A; index 0 is not used.
var static = [staticCount + 1]pair{
	1:  {":authority", ""},
	2:  {":method", "GET"},
	3:  {":method", "POST"},
	4:  {":path", "/"},
	5:  {":path", "/index.html"},
	6:  {":scheme", "http"},
	7:  {":scheme", "https"},
	8:  {":status", "200"},
	9:  {":status", "204"},
	10: {":status", "206"},
	11: {":status", "304"},
	12: {":status", "400"},
	13: {":status", "404"},
	14: {":status", "500"},
	15: {"accept-charset", ""},
	16: {"accept-encoding", "gzip, deflate"},
	17: {"accept-language", ""},
	18: {"accept-ranges", ""},
	19: {"accept", ""},
	20: {"access-control-allow-origin", ""},
	21: {"age", ""},
	22: {"allow", ""},
	23: {"authorization", ""},
	24: {"cache-control", ""},
	25: {"content-disposition", ""},
	26: {"content-encoding", ""},
	27: {"content-language", ""},
	28: {"content-length", ""},
	29: {"content-location", ""},
	30: {"content-range", ""},
	31: {"content-type", ""},
	32: {"cookie", ""},
	33: {"date", ""},
	34: {"etag", ""},
	35: {"expect", ""},
	36: {"expires", ""},
	37: {"from", ""},
	38: {"host", ""},
	39: {"if-match", ""},
	40: {"if-modified-since", ""},
	41: {"if-none-match", ""},
	42: {"if-range", ""},
	43: {"if-unmodified-since", ""},
	44: {"last-modified", ""},
	45: {"link", ""},
	46: {"location", ""},
	47: {"max-forwards", ""},
	48: {"proxy-authenticate", ""},
	49: {"proxy-authorization", ""},
	50: {"range", ""},
	51: {"referer", ""},
	52: {"refresh", ""},
	53: {"retry-after", ""},
	54: {"server", ""},
	55: {"set-cookie", ""},
	56: {"strict-transport-security", ""},
	57: {"transfer-encoding", ""},
	58: {"user-agent", ""},
	59: {"vary", ""},
	60: {"via", ""},
	61: {"www-authenticate", ""},
}

// Indexes of the static table that a writer of HTTP/2 heads needs by name.
const (
	Authority   = 1
	MethodGET   = 2
	MethodPOST  = 3
	PathRoot    = 4
	PathIndex   = 5
	SchemeHTTP  = 6
	SchemeHTTPS = 7
	Status200   = 8
	Status204   = 9
	Status206   = 10
	Status304   = 11
	Status400   = 12
	Status404   = 13
	Status500   = 14
)

// staticBytes are the same fields as byte slices, for the decoder, which hands them out.
var staticBytes = func() (table [staticCount + 1]struct{ name, value []byte }) {
	for i, p := range static {
		table[i].name, table[i].value = []byte(p.name), []byte(p.value)
	}
	return table
}()

// staticNames maps a name to the first index that has it.
var staticNames = func() map[string]uint8 {
	names := make(map[string]uint8, staticCount)
	for i := staticCount; i > 0; i-- {
		names[static[i].name] = uint8(i)
	}
	return names
}()
