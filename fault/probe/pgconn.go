package probe

import (
	"bufio"
	"context"
	"crypto/md5"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
)

// pgConn speaks as much of PostgreSQL's protocol as a probe needs: to log in, and
// one question. PostgreSQL documentation, chapter "Frontend/Backend Protocol".
type pgConn struct {
	conn net.Conn
	in   *bufio.Reader
	out  []byte
}

// maxMessage bounds what a server may say at once.
const maxMessage = 64 << 10

const (
	pgVersion    = 3 << 16         // protocol 3.0
	pgSSLRequest = 1234<<16 | 5679 // asks whether the server speaks TLS
)

// serverError is an error that a database answers with.
type serverError struct{ code, text string }

func (e *serverError) Error() string {
	if e.code == "" {
		return e.text
	}
	return e.text + " (" + e.code + ")"
}

// unavailable tells an answer that means "not now" from one that means "not you".
// PostgreSQL documentation, appendix A: classes 53 (resources) and 57 (operator).
func (e *serverError) unavailable() bool {
	return strings.HasPrefix(e.code, "53") || strings.HasPrefix(e.code, "57") || strings.HasPrefix(e.code, "58") || strings.HasPrefix(e.code, "XX")
}

// newReader reads ahead: a database's messages are small and come together.
func newReader(c net.Conn) *bufio.Reader { return bufio.NewReaderSize(c, 4<<10) }

var errNotUnderstood = errors.New("the answer is not understood")

// newPgConn begins a connection, with TLS if secure is set.
func newPgConn(ctx context.Context, raw net.Conn, secure *TLS, t Target) (*pgConn, error) {
	if secure == nil {
		return &pgConn{conn: raw, in: newReader(raw)}, nil
	}
	request := binary.BigEndian.AppendUint32([]byte{0, 0, 0, 8}, pgSSLRequest)
	var answer [1]byte
	if _, err := raw.Write(request); err != nil {
		return nil, explain(ctx, "ask for TLS", err)
	}
	if _, err := io.ReadFull(raw, answer[:]); err != nil {
		return nil, explain(ctx, "ask for TLS", err)
	}
	if answer[0] != 'S' {
		return nil, errors.New("the server does not speak TLS")
	}
	conn := tls.Client(raw, secure.config(t, ""))
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, explain(ctx, "TLS handshake", err)
	}
	return &pgConn{conn: conn, in: newReader(conn)}, nil
}

// send writes a message; kind 0 has none, as the first of a connection.
func (p *pgConn) send(kind byte, parts ...string) error {
	p.out = p.out[:0]
	if kind != 0 {
		p.out = append(p.out, kind)
	}
	at := len(p.out)
	p.out = append(p.out, 0, 0, 0, 0)
	for _, s := range parts {
		p.out = append(p.out, s...)
	}
	binary.BigEndian.PutUint32(p.out[at:], uint32(len(p.out)-at))
	_, err := p.conn.Write(p.out)
	return err
}

func (p *pgConn) startup(user, database string) error {
	version := binary.BigEndian.AppendUint32(nil, pgVersion)
	return p.send(0, string(version), "user\x00", user, "\x00database\x00", database, "\x00application_name\x00trivet\x00\x00")
}

// receive reads a message.
func (p *pgConn) receive() (kind byte, body []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(p.in, head[:]); err != nil {
		return 0, nil, err
	}
	size := binary.BigEndian.Uint32(head[1:])
	if size < 4 || size > maxMessage {
		return 0, nil, errNotUnderstood
	}
	body = make([]byte, size-4)
	_, err = io.ReadFull(p.in, body)
	return head[0], body, err
}

// expect reads up to a message of that kind, and passes notices and parameters by.
func (p *pgConn) expect(want byte) (body []byte, err error) {
	for {
		kind, body, err := p.receive()
		switch {
		case err != nil:
			return nil, err
		case kind == want:
			return body, nil
		case kind == 'E':
			return nil, pgError(body)
		case !slices.Contains([]byte("NSKvTCZ"), kind):
			return nil, errNotUnderstood
		}
	}
}

// pgError reads an ErrorResponse.
func pgError(body []byte) error {
	e := &serverError{}
	for len(body) > 1 {
		value, rest, ok := strings.Cut(string(body[1:]), "\x00")
		if !ok {
			return errNotUnderstood
		}
		switch body[0] {
		case 'C':
			e.code = value
		case 'M':
			e.text = value
		}
		body = []byte(rest)
	}
	return e
}

// login proves who we are, in the way that the server asks for.
func (p *pgConn) login(user, password, database string) error {
	if err := p.startup(user, database); err != nil {
		return err
	}
	for {
		body, err := p.expect('R')
		if err != nil {
			return err
		}
		if len(body) < 4 {
			return errNotUnderstood
		}
		method, data := binary.BigEndian.Uint32(body), body[4:]
		switch method {
		case 0: // AuthenticationOk
			_, err := p.expect('Z')
			return err
		case 3: // AuthenticationCleartextPassword
			if !private(p.conn) {
				return errors.New("the server asks for the password in the clear; that is only answered over TLS")
			}
			err = p.send('p', password, "\x00")
		case 5: // AuthenticationMD5Password
			if len(data) != 4 {
				return errNotUnderstood
			}
			err = p.send('p', md5Password(user, password, data), "\x00")
		case 10: // AuthenticationSASL
			err = p.scram(password, strings.Split(string(data), "\x00"))
		default:
			return fmt.Errorf("the server asks for authentication %d, which a probe does not have", method)
		}
		if err != nil {
			return err
		}
	}
}

// private reports whether nobody can listen: TLS, a Unix socket or loopback.
func private(c net.Conn) bool {
	switch a := c.RemoteAddr().(type) {
	case *net.UnixAddr:
		return true
	case *net.TCPAddr:
		_, secure := c.(*tls.Conn)
		return secure || a.IP.IsLoopback()
	}
	return false
}

func md5Password(user, password string, salt []byte) string {
	inner := md5.Sum([]byte(password + user))
	outer := md5.Sum(append([]byte(hex.EncodeToString(inner[:])), salt...))
	return "md5" + hex.EncodeToString(outer[:])
}

// scram logs in by SCRAM-SHA-256 (RFC 7677).
func (p *pgConn) scram(password string, mechanisms []string) error {
	if !slices.Contains(mechanisms, scramName) {
		return fmt.Errorf("the server offers %s, not %s", strings.Join(mechanisms, " "), scramName)
	}
	s := newScram(password)
	first := s.first()
	size := binary.BigEndian.AppendUint32(nil, uint32(len(first)))
	if err := p.send('p', scramName, "\x00", string(size), first); err != nil {
		return err
	}
	challenge, err := p.sasl(11)
	if err != nil {
		return err
	}
	proof, err := s.answer(challenge)
	if err != nil {
		return err
	}
	if err := p.send('p', proof); err != nil {
		return err
	}
	final, err := p.sasl(12)
	if err != nil {
		return err
	}
	return s.verify(final)
}

// sasl reads one step of the server's part.
func (p *pgConn) sasl(want uint32) (string, error) {
	body, err := p.expect('R')
	if err != nil {
		return "", err
	}
	if len(body) < 4 || binary.BigEndian.Uint32(body) != want {
		return "", errNotUnderstood
	}
	return string(body[4:]), nil
}

// query asks for one row of text.
func (p *pgConn) query(sql string) ([]field, error) {
	if err := p.send('Q', sql, "\x00"); err != nil {
		return nil, err
	}
	body, err := p.expect('D')
	if err != nil {
		return nil, err
	}
	if len(body) < 2 {
		return nil, errNotUnderstood
	}
	n := int(binary.BigEndian.Uint16(body))
	body = body[2:]
	var row []field
	for range n {
		if len(body) < 4 {
			return nil, errNotUnderstood
		}
		size := int(int32(binary.BigEndian.Uint32(body)))
		body = body[4:]
		if size < 0 {
			row = append(row, field{null: true})
			continue
		}
		if size > len(body) {
			return nil, errNotUnderstood
		}
		row = append(row, field{text: string(body[:size])})
		body = body[size:]
	}
	return row, nil
}

// terminate says good-bye, so that the server does not log a lost connection.
func (p *pgConn) terminate() { _ = p.send('X') }
