package repository

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// The JSON of trees, byte for byte as restic writes it: the same directory then has the same tree ID
// whoever saved it. restic design, "Trees and Data".

// ErrTreeOrder means that the nodes of a tree are not in strictly ascending order of their names.
var ErrTreeOrder = errors.New("names of a directory are not in ascending order")

// TreeBuilder writes the JSON of one directory after another. It is for one goroutine.
type TreeBuilder struct {
	buf  []byte
	n    int
	last string
}

// NewTreeBuilder returns an empty builder.
func NewTreeBuilder() *TreeBuilder { return new(TreeBuilder) }

// Reset empties the builder for the next directory and keeps its memory.
func (b *TreeBuilder) Reset() { b.buf, b.n, b.last = b.buf[:0], 0, "" }

// Len is the number of nodes added.
func (b *TreeBuilder) Len() int { return b.n }

// Add appends a node. Names must come in strictly ascending order of their bytes: ErrTreeOrder otherwise.
func (b *TreeBuilder) Add(n *Node) error {
	if b.n > 0 && n.Name <= b.last {
		return fmt.Errorf("%w: %q after %q", ErrTreeOrder, n.Name, b.last)
	}
	if n.Name == "" {
		return fmt.Errorf("%w: a name is empty", ErrTreeOrder)
	}
	if b.n == 0 {
		b.buf = append(b.buf[:0], `{"nodes":[`...)
	} else {
		b.buf = append(b.buf, ',')
	}
	b.buf = n.appendJSON(b.buf)
	b.n++
	b.last = n.Name
	return nil
}

// json finishes the tree. The bytes are valid until the next Reset or Add.
func (b *TreeBuilder) json() []byte {
	if b.n == 0 {
		b.buf = append(b.buf[:0], `{"nodes":[`...)
	}
	return append(b.buf, "]}\n"...)
}

// AppendJSON appends the tree's JSON to dst.
func (t *Tree) AppendJSON(dst []byte) ([]byte, error) {
	b := TreeBuilder{}
	for _, n := range t.Nodes {
		if err := b.Add(n); err != nil {
			return nil, err
		}
	}
	return append(dst, b.json()...), nil
}

// Find returns the node of that name, or nil.
func (t *Tree) Find(name string) *Node {
	i, ok := slices.BinarySearchFunc(t.Nodes, name, func(n *Node, name string) int {
		return bytes.Compare([]byte(n.Name), []byte(name))
	})
	if !ok {
		return nil
	}
	return t.Nodes[i]
}

// MarshalJSON writes the node as in a tree.
func (n *Node) MarshalJSON() ([]byte, error) { return n.appendJSON(nil), nil }

func (n *Node) appendJSON(b []byte) []byte {
	b = append(b, `{"name":`...)
	b = appendQuotedName(b, n.Name)
	b = append(b, `,"type":"`...)
	b = append(b, n.Type...)
	b = append(b, '"')
	b = appendUint(b, `,"mode":`, uint64(n.Mode))
	b = appendTime(b, `,"mtime":"`, n.ModTime)
	b = appendTime(b, `,"atime":"`, n.AccessTime)
	b = appendTime(b, `,"ctime":"`, n.ChangeTime)
	b = strconv.AppendUint(append(b, `,"uid":`...), uint64(n.UID), 10)
	b = strconv.AppendUint(append(b, `,"gid":`...), uint64(n.GID), 10)
	b = appendText(b, `,"user":`, n.User)
	b = appendText(b, `,"group":`, n.Group)
	b = appendUint(b, `,"inode":`, n.Inode)
	b = appendUint(b, `,"device_id":`, n.DeviceID)
	b = appendUint(b, `,"size":`, n.Size)
	b = appendUint(b, `,"links":`, n.Links)
	b = appendText(b, `,"linktarget":`, n.LinkTarget)
	if !utf8.ValidString(n.LinkTarget) {
		b = appendBase64(append(b, `,"linktarget_raw":`...), []byte(n.LinkTarget))
	}
	b = appendXattrs(b, n.Xattrs)
	if len(n.GenericAttributes) > 0 {
		if text, err := json.Marshal(n.GenericAttributes); err == nil {
			b = append(append(b, `,"generic_attributes":`...), text...)
		}
	}
	b = appendUint(b, `,"device":`, n.Device)
	b = appendContent(b, n.Content)
	if n.Subtree != nil {
		b = append(hex.AppendEncode(append(b, `,"subtree":"`...), n.Subtree[:]), '"')
	}
	b = appendText(b, `,"error":`, n.Error)
	return append(b, '}')
}

func appendUint(b []byte, key string, v uint64) []byte {
	if v == 0 {
		return b
	}
	return strconv.AppendUint(append(b, key...), v, 10)
}

func appendText(b []byte, key, s string) []byte {
	if s == "" {
		return b
	}
	return appendString(append(b, key...), s)
}

// appendTime writes RFC 3339 with nanoseconds. Years that it can't express become the nearest that it can.
func appendTime(b []byte, key string, t time.Time) []byte {
	if y := t.Year(); y < 0 {
		t = t.AddDate(-y, 0, 0)
	} else if y > 9999 {
		t = t.AddDate(9999-y, 0, 0)
	}
	b = append(b, key...)
	return append(t.AppendFormat(b, time.RFC3339Nano), '"')
}

func appendXattrs(b []byte, xattrs []Xattr) []byte {
	if len(xattrs) == 0 {
		return b
	}
	b = append(b, `,"extended_attributes":[`...)
	for i, x := range xattrs {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(append(b, `{"name":`...), x.Name)
		b = append(b, `,"value":`...)
		if x.Value == nil {
			b = append(b, "null"...)
		} else {
			b = appendBase64(b, x.Value)
		}
		b = append(b, '}')
	}
	return append(b, ']')
}

func appendBase64(b, data []byte) []byte {
	b = append(b, '"')
	b = base64.StdEncoding.AppendEncode(b, data)
	return append(b, '"')
}

func appendContent(b []byte, ids []ID) []byte {
	b = append(b, `,"content":`...)
	if ids == nil {
		return append(b, "null"...)
	}
	b = append(b, '[')
	for i := range ids {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(hex.AppendEncode(append(b, '"'), ids[i][:]), '"')
	}
	return append(b, ']')
}

// appendString writes a JSON string with the escapes of encoding/json.
func appendString(b []byte, s string) []byte {
	if plainJSON(s) {
		return append(append(append(b, '"'), s...), '"')
	}
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings always marshal
	}
	return append(b, text...)
}

func plainJSON(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= utf8.RuneSelf-1 || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return false
		}
	}
	return true
}

// appendQuotedName writes a name, which may be any bytes: first in Go's quoting, then as a JSON string.
func appendQuotedName(b []byte, name string) []byte {
	if plainJSON(name) {
		return append(append(append(b, '"'), name...), '"')
	}
	quoted := strconv.Quote(name)
	return appendString(b, quoted[1:len(quoted)-1])
}

// UnmarshalJSON reads one node of a tree.
func (n *Node) UnmarshalJSON(data []byte) error {
	s := scanner{data: data}
	*n = Node{}
	if err := n.scan(&s); err != nil {
		return err
	}
	return s.end()
}

// ParseTree reads the JSON of a tree and checks the order of its names.
func ParseTree(data []byte) (*Tree, error) {
	s := scanner{data: data}
	t := &Tree{}
	err := s.object(func(key []byte) error {
		if string(key) != "nodes" {
			return s.skip()
		}
		t.Nodes = t.Nodes[:0]
		return s.array(func() error {
			n := new(Node)
			if err := n.scan(&s); err != nil {
				return err
			}
			if k := len(t.Nodes); k > 0 && n.Name <= t.Nodes[k-1].Name {
				return fmt.Errorf("%w: %q after %q", ErrTreeOrder, n.Name, t.Nodes[k-1].Name)
			}
			t.Nodes = append(t.Nodes, n)
			return nil
		})
	})
	if err == nil {
		err = s.end()
	}
	if err != nil {
		return nil, fmt.Errorf("parse tree: %w", err)
	}
	return t, nil
}

func (n *Node) scan(s *scanner) error {
	var rawTarget []byte
	if s.next() != '{' {
		return s.fail("a node")
	}
	err := s.object(func(key []byte) error {
		if s.null() {
			return nil
		}
		return n.scanField(s, string(key), &rawTarget)
	})
	if err != nil {
		return err
	}
	if rawTarget != nil {
		n.LinkTarget = string(rawTarget)
	}
	return nil
}

func (n *Node) scanField(s *scanner, key string, rawTarget *[]byte) (err error) {
	switch key {
	case "name":
		return n.scanName(s)
	case "type":
		return n.scanType(s)
	case "mode":
		var mode uint32
		mode, err = s.uint32()
		n.Mode = fs.FileMode(mode)
	case "mtime":
		err = s.time(&n.ModTime)
	case "atime":
		err = s.time(&n.AccessTime)
	case "ctime":
		err = s.time(&n.ChangeTime)
	case "uid":
		n.UID, err = s.uint32()
	case "gid":
		n.GID, err = s.uint32()
	case "user":
		n.User, err = s.text()
	case "group":
		n.Group, err = s.text()
	case "inode":
		n.Inode, err = s.uint()
	case "device_id":
		n.DeviceID, err = s.uint()
	case "size":
		n.Size, err = s.uint()
	case "links":
		n.Links, err = s.uint()
	case "linktarget":
		n.LinkTarget, err = s.text()
	case "linktarget_raw":
		*rawTarget, err = s.base64()
	case "extended_attributes":
		return n.scanXattrs(s)
	case "generic_attributes":
		var raw []byte
		if raw, err = s.raw(); err == nil {
			err = json.Unmarshal(raw, &n.GenericAttributes)
		}
	case "device":
		n.Device, err = s.uint()
	case "content":
		return n.scanContent(s)
	case "subtree":
		n.Subtree = new(ID)
		err = s.id(n.Subtree)
	case "error":
		n.Error, err = s.text()
	default:
		return s.skip()
	}
	return err
}

func (n *Node) scanName(s *scanner) error {
	text, err := s.str()
	if err != nil {
		return err
	}
	if bytes.IndexByte(text, '\\') < 0 {
		if bytes.ContainsAny(text, "\"\n") {
			return s.fail("a quoted name")
		}
		n.Name = string(text)
		return nil
	}
	n.Name, err = strconv.Unquote(`"` + string(text) + `"`)
	if err != nil {
		return s.fail("a quoted name")
	}
	return nil
}

func (n *Node) scanType(s *scanner) error {
	text, err := s.str()
	if err != nil {
		return err
	}
	for _, t := range []NodeType{TypeFile, TypeDir, TypeSymlink, TypeDev, TypeCharDev, TypeFifo, TypeSocket} {
		if string(text) == string(t) {
			n.Type = t
			return nil
		}
	}
	n.Type = NodeType(text)
	return nil
}

func (n *Node) scanXattrs(s *scanner) error {
	n.Xattrs = nil
	return s.array(func() error {
		var x Xattr
		err := s.object(func(key []byte) (err error) {
			switch {
			case s.null():
			case string(key) == "name":
				x.Name, err = s.text()
			case string(key) == "value":
				x.Value, err = s.base64()
			default:
				err = s.skip()
			}
			return err
		})
		n.Xattrs = append(n.Xattrs, x)
		return err
	})
}

func (n *Node) scanContent(s *scanner) error {
	n.Content = make([]ID, 0, 1)
	return s.array(func() error {
		n.Content = append(n.Content, ID{})
		return s.id(&n.Content[len(n.Content)-1])
	})
}

func (s *scanner) text() (string, error) {
	b, err := s.str()
	return string(b), err
}

func (s *scanner) base64() ([]byte, error) {
	b, err := s.str()
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, base64.StdEncoding.DecodedLen(len(b)))
	if out, err = base64.StdEncoding.AppendDecode(out, b); err != nil {
		return nil, s.fail("base64")
	}
	return out, nil
}

func (s *scanner) time(t *time.Time) error {
	b, err := s.str()
	if err != nil {
		return err
	}
	if err := t.UnmarshalText(b); err != nil {
		return s.fail("a time in RFC 3339")
	}
	return nil
}
