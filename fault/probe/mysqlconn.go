package probe

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
)

// mysqlConn speaks as much of MySQL's protocol as a probe needs: to log in, and
// questions with one row for an answer. MySQL Source Code Documentation, "Client/
// Server Protocol".
type mysqlConn struct {
	conn     net.Conn
	in       *bufio.Reader
	sequence byte
	version  string
	plugin   string // of authentication, that the server would like
	salt     []byte
	tls      bool // the server speaks it
}

// Capabilities, as the protocol numbers them.
const (
	mysqlLongPassword = 1 << 0
	mysqlProtocol41   = 1 << 9
	mysqlTLS          = 1 << 11
	mysqlSecure       = 1 << 15
	mysqlPluginAuth   = 1 << 19

	mysqlCapabilities = mysqlLongPassword | mysqlProtocol41 | mysqlSecure | mysqlPluginAuth
)

const mysqlUTF8 = 45 // utf8mb4_general_ci

// saltSize is the length of what is hashed with a password.
const saltSize = 20

// greet reads the server's greeting, version 10: HandshakeV10.
func greet(conn net.Conn) (*mysqlConn, error) {
	m := &mysqlConn{conn: conn, in: newReader(conn)}
	p, err := m.receive()
	if err != nil {
		return nil, err
	}
	if len(p) > 0 && p[0] == 0xff {
		return nil, mysqlError(p)
	}
	version, rest, ok := bytes.Cut(p[min(1, len(p)):], []byte{0})
	if !ok || p[0] != 10 || len(rest) < 4+8+1+2+1+2+2+1+10 {
		return nil, errNotUnderstood
	}
	m.version = strings.TrimPrefix(string(version), "5.5.5-") // what MariaDB before 11 puts before its own
	m.salt = append(m.salt, rest[4:12]...)
	capabilities := uint32(binary.LittleEndian.Uint16(rest[13:])) | uint32(binary.LittleEndian.Uint16(rest[18:]))<<16
	m.tls = capabilities&mysqlTLS != 0
	if capabilities&(mysqlProtocol41|mysqlSecure) != mysqlProtocol41|mysqlSecure {
		return nil, fmt.Errorf("version %s is too old to be asked", m.version)
	}
	size := max(13, int(rest[20])-8)
	rest = rest[31:]
	if len(rest) < size {
		return nil, errNotUnderstood
	}
	m.salt = append(m.salt, rest[:size]...)
	m.salt = m.salt[:saltSize]
	plugin, _, _ := bytes.Cut(rest[size:], []byte{0})
	m.plugin = string(plugin)
	return m, nil
}

// receive reads a packet.
func (m *mysqlConn) receive() ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(m.in, head[:]); err != nil {
		return nil, err
	}
	size := int(head[0]) | int(head[1])<<8 | int(head[2])<<16
	if size > maxMessage {
		return nil, errNotUnderstood
	}
	m.sequence = head[3] + 1
	p := make([]byte, size)
	_, err := io.ReadFull(m.in, p)
	return p, err
}

func (m *mysqlConn) send(p []byte) error {
	b := append([]byte{byte(len(p)), byte(len(p) >> 8), byte(len(p) >> 16), m.sequence}, p...)
	m.sequence++
	_, err := m.conn.Write(b)
	return err
}

// mysqlError reads an ERR_Packet.
func mysqlError(p []byte) error {
	if len(p) < 3 {
		return errNotUnderstood
	}
	number, text := binary.LittleEndian.Uint16(p[1:]), p[3:]
	e := &serverError{code: strconv.Itoa(int(number))}
	if len(text) >= 6 && text[0] == '#' {
		e.code, text = string(text[1:6]), text[6:]
	}
	e.text = string(text)
	return e
}

// head is what a HandshakeResponse41 and an SSLRequest begin with.
func (m *mysqlConn) head() []byte {
	capabilities := uint32(mysqlCapabilities)
	if _, secure := m.conn.(*tls.Conn); secure {
		capabilities |= mysqlTLS
	}
	p := binary.LittleEndian.AppendUint32(nil, capabilities)
	p = binary.LittleEndian.AppendUint32(p, maxMessage)
	return append(append(p, mysqlUTF8), make([]byte, 23)...)
}

// encrypt goes on in TLS.
func (m *mysqlConn) encrypt(ctx context.Context, cfg *tls.Config) error {
	if !m.tls {
		return errors.New("the server does not speak TLS")
	}
	p := m.head()
	binary.LittleEndian.PutUint32(p, mysqlCapabilities|mysqlTLS)
	if err := m.send(p); err != nil {
		return err
	}
	conn := tls.Client(m.conn, cfg)
	if err := conn.HandshakeContext(ctx); err != nil {
		return err
	}
	m.conn, m.in = conn, newReader(conn)
	return nil
}

// login proves who we are, in the way that the server asks for.
func (m *mysqlConn) login(user, password string) error {
	proof, err := m.prove(password)
	if err != nil { // a way that we do not have; the server may offer another
		m.plugin, proof = "mysql_native_password", nativeProof(password, m.salt)
	}
	p := append(append(m.head(), user...), 0)
	p = append(append(p, byte(len(proof))), proof...)
	p = append(append(p, m.plugin...), 0)
	if err := m.send(p); err != nil {
		return err
	}
	for range 8 { // it may change its mind, but not for ever
		p, err := m.receive()
		switch {
		case err != nil:
			return err
		case len(p) == 0:
			return errNotUnderstood
		}
		switch p[0] {
		case 0x00:
			return nil
		case 0xff:
			return mysqlError(p)
		case 0xfe:
			err = m.change(p[1:], password)
		case 0x01:
			err = m.more(p[1:], password)
		default:
			err = errNotUnderstood
		}
		if err != nil {
			return err
		}
	}
	return errNotUnderstood
}

// change follows an AuthSwitchRequest to another way of authentication.
func (m *mysqlConn) change(p []byte, password string) error {
	plugin, salt, _ := bytes.Cut(p, []byte{0})
	m.plugin, m.salt = string(plugin), bytes.TrimSuffix(salt, []byte{0})
	proof, err := m.prove(password)
	if err != nil {
		return err
	}
	return m.send(proof)
}

// prove is the first answer in the way of authentication at hand.
func (m *mysqlConn) prove(password string) ([]byte, error) {
	switch m.plugin {
	case "mysql_native_password":
		return nativeProof(password, m.salt), nil
	case "caching_sha2_password":
		return sha2Proof(password, m.salt), nil
	case "mysql_clear_password":
		if !private(m.conn) {
			return nil, errors.New("the server asks for the password in the clear; that is only answered over TLS")
		}
		return append([]byte(password), 0), nil
	}
	return nil, fmt.Errorf("the server asks for authentication by %s, which a probe does not have", m.plugin)
}

// more goes on with caching_sha2_password: the server knows the password from
// before, or wants it whole, which is sent encrypted by its key if nothing else
// keeps it secret.
func (m *mysqlConn) more(p []byte, password string) error {
	const known, whole, wantKey = 3, 4, 2
	if m.plugin != "caching_sha2_password" || len(p) != 1 {
		return errNotUnderstood
	}
	switch {
	case p[0] == known:
		return nil
	case p[0] != whole:
		return errNotUnderstood
	case private(m.conn):
		return m.send(append([]byte(password), 0))
	}
	if err := m.send([]byte{wantKey}); err != nil {
		return err
	}
	answer, err := m.receive()
	if err != nil {
		return err
	}
	sealed, err := seal(password, m.salt, answer[min(1, len(answer)):])
	if err != nil {
		return err
	}
	return m.send(sealed)
}

// seal encrypts a password for the owner of a key in PEM.
func seal(password string, salt, key []byte) ([]byte, error) {
	block, _ := pem.Decode(key)
	if block == nil || len(salt) == 0 {
		return nil, errNotUnderstood
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	public, ok := parsed.(*rsa.PublicKey)
	if err != nil || !ok {
		return nil, errNotUnderstood
	}
	text := append([]byte(password), 0)
	for i := range text {
		text[i] ^= salt[i%len(salt)]
	}
	return rsa.EncryptOAEP(sha1.New(), rand.Reader, public, text, nil)
}

// nativeProof is SHA1(password) XOR SHA1(salt, SHA1(SHA1(password))).
func nativeProof(password string, salt []byte) []byte {
	if password == "" {
		return nil
	}
	first := sha1.Sum([]byte(password))
	second := sha1.Sum(first[:])
	third := sha1.Sum(append(bytes.Clone(salt), second[:]...))
	proof := make([]byte, sha1.Size)
	subtle.XORBytes(proof, first[:], third[:])
	return proof
}

// sha2Proof is SHA256(password) XOR SHA256(SHA256(SHA256(password)), salt).
func sha2Proof(password string, salt []byte) []byte {
	if password == "" {
		return nil
	}
	first := sha256.Sum256([]byte(password))
	second := sha256.Sum256(first[:])
	third := sha256.Sum256(append(second[:], salt...))
	proof := make([]byte, sha256.Size)
	subtle.XORBytes(proof, first[:], third[:])
	return proof
}

// query returns the first row of an answer, by the names of its columns; nil if
// there is none.
func (m *mysqlConn) query(sql string) (map[string]field, error) {
	m.sequence = 0
	if err := m.send(append([]byte{3}, sql...)); err != nil { // COM_QUERY
		return nil, err
	}
	p, err := m.receive()
	switch {
	case err != nil:
		return nil, err
	case len(p) == 0:
		return nil, errNotUnderstood
	case p[0] == 0xff:
		return nil, mysqlError(p)
	case p[0] == 0 || p[0] >= 0xfb: // no rows, or more columns than anybody asked for
		return nil, errNotUnderstood
	}
	names, err := m.columns(int(p[0]))
	if err != nil {
		return nil, err
	}
	var row map[string]field
	for {
		p, err := m.receive()
		switch {
		case err != nil:
			return nil, err
		case len(p) == 0:
			return nil, errNotUnderstood
		case p[0] == 0xff:
			return nil, mysqlError(p)
		case p[0] == 0xfe && len(p) < 9: // EOF_Packet
			return row, nil
		case row == nil:
			if row, err = mysqlRow(names, p); err != nil {
				return nil, err
			}
		}
	}
}

// columns reads the names of n columns: ColumnDefinition41.
func (m *mysqlConn) columns(n int) (names []string, err error) {
	for range n {
		p, err := m.receive()
		if err != nil {
			return nil, err
		}
		var name field
		for range 5 { // catalog, schema, table, original table, name
			var ok bool
			if name, p, ok = lengthEncoded(p); !ok {
				return nil, errNotUnderstood
			}
		}
		names = append(names, name.text)
	}
	p, err := m.receive()
	if err == nil && (len(p) == 0 || p[0] != 0xfe) {
		err = errNotUnderstood
	}
	return names, err
}

func mysqlRow(names []string, p []byte) (map[string]field, error) {
	row := map[string]field{}
	for _, name := range names {
		var ok bool
		if row[name], p, ok = lengthEncoded(p); !ok {
			return nil, errNotUnderstood
		}
	}
	return row, nil
}

// lengthEncoded takes a value off p: string<lenenc>, or NULL.
func lengthEncoded(p []byte) (f field, rest []byte, ok bool) {
	if len(p) == 0 {
		return f, nil, false
	}
	size, at := int(p[0]), 1
	switch p[0] {
	case 0xfb:
		return field{null: true}, p[1:], true
	case 0xfc:
		at = 3
	case 0xfd:
		at = 4
	case 0xfe, 0xff:
		return f, nil, false // longer than any packet that is read
	}
	if len(p) < at {
		return f, nil, false
	}
	if at > 1 {
		size = int(p[1]) | int(p[2])<<8
		if at == 4 {
			size |= int(p[3]) << 16
		}
	}
	if len(p) < at+size {
		return f, nil, false
	}
	return field{text: string(p[at : at+size])}, p[at+size:], true
}

// quit says good-bye, so that the server does not count an aborted connection.
func (m *mysqlConn) quit() {
	m.sequence = 0
	_ = m.send([]byte{1}) // COM_QUIT
}
