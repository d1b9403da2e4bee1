package probe

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"
)

// plays reads nothing that matters and says text, then ends.
func plays(text string) func(net.Conn) {
	return func(c net.Conn) {
		_, _ = io.WriteString(c, text)
		_ = c.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, c)
	}
}

// pg is a message of PostgreSQL.
func pg(kind byte, body string) string {
	return string(binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)+4))) + body
}

func TestPostgresBeginningOrFullIsNotThere(t *testing.T) {
	for message, want := range map[string]string{
		"SFATAL\x00C57P03\x00Mthe database system is starting up\x00\x00": `error: knock: the database system is starting up \(57P03\)`,
		"SFATAL\x00C53300\x00Msorry, too many clients already\x00\x00":    `error: knock: sorry, too many clients already \(53300\)`,
		"SFATAL\x00C28000\x00Mno pg_hba.conf entry\x00\x00":               `takes connections`,
		"SFATAL\x00C3D000\x00Mno such database\x00\x00":                   `takes connections`,
		"garbage": `error: knock: the answer is not understood`,
	} {
		detail, err := ask(t, &Postgres{}, server(t, plays(pg('E', message))))
		wants(t, detail, err, want)
	}
}

func TestPostgresGarbleIsAnErrorAndNoMore(t *testing.T) {
	ok := pg('R', "\x00\x00\x00\x00") + pg('S', "a\x00b\x00") + pg('K', "12345678") + pg('Z', "I")
	for said, want := range map[string]string{
		"":                             "log in: connection closed by the endpoint",
		"HTTP/1.1 400 Bad Request\r\n": "log in: the answer is not understood",
		pg('R', "\x00"):                "log in: the answer is not understood",
		pg('R', "\x00\x00\x00\x07"):    "log in: the server asks for authentication 7, which a probe does not have",
		pg('R', "\x00\x00\x00\x05a"):   "log in: the answer is not understood",
		pg('R', "\x00\x00\x00\x0aSCRAM-SHA-1\x00\x00"):                             "log in: the server offers SCRAM-SHA-1  , not SCRAM-SHA-256",
		ok + pg('D', "\x00"):                                                       "ask for its role: the answer is not understood",
		ok + pg('D', "\x00\x01\x00\x00\x00\x09x"):                                  "ask for its role: the answer is not understood",
		ok + pg('D', "\x00\x01\xff\xff\xff\xff"):                                   "ask for its role: the answer is not understood",
		ok + pg('D', "\x00\x03\x00\x00\x00\x01f\x00\x00\x00\x01x\xff\xff\xff\xff"): `ask for its role: "x" is no timeline`,
		ok + pg('?', ""): "ask for its role: the answer is not understood",
	} {
		_, err := rank(t, &Postgres{User: "a"}, server(t, plays(said)))
		wants(t, "", err, "error: "+regexp.QuoteMeta(want))
	}
}

func TestMD5PasswordsAreHashedTwice(t *testing.T) {
	// PostgreSQL documentation: concat('md5', md5(concat(md5(concat(password, username)), random-salt)))
	inner := md5.Sum([]byte("s3cretprobe"))
	outer := md5.Sum([]byte(hex.EncodeToString(inner[:]) + "salt"))
	if got, want := md5Password("probe", "s3cret", []byte("salt")), "md5"+hex.EncodeToString(outer[:]); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestScramIsThatOfTheRFC plays the example of RFC 7677 §3.
func TestScramIsThatOfTheRFC(t *testing.T) {
	s := newScram("pencil")
	s.nonce = "rOprNGfwEbeRWgbNEkqO"
	challenge := "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
	// The RFC's client says its name, which is left to the startup message here; the proof is over what was said.
	proof, err := s.answer(challenge)
	if err != nil || !strings.HasPrefix(proof, "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=") {
		t.Fatalf("proof is %s, %v", proof, err)
	}
	if err := s.verify("v=" + strings.Repeat("A", 43) + "="); err == nil || !strings.Contains(err.Error(), "does not know the password") {
		t.Errorf("a server that knows nothing is believed: %v", err)
	}
	for _, bad := range []string{
		"", "r=other,s=YQ==,i=1", "r=rOprNGfwEbeRWgbNEkqO,s=YQ==,i=1", "r=rOprNGfwEbeRWgbNEkqOx,s=!,i=1",
		"r=rOprNGfwEbeRWgbNEkqOx,s=YQ==,i=0", "r=rOprNGfwEbeRWgbNEkqOx,s=YQ==,i=99999999", "r=rOprNGfwEbeRWgbNEkqOx,m=ext,s=YQ==",
	} {
		if _, err := s.answer(bad); !errors.Is(err, errScram) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// mysqlPacket is a packet of MySQL.
func mysqlPacket(sequence byte, body string) string {
	return string([]byte{byte(len(body)), byte(len(body) >> 8), byte(len(body) >> 16), sequence}) + body
}

const fakeSalt = "abcdefghijklmnopqrst"

// greeting is a HandshakeV10 of a server whose users log in by plugin.
func greeting(plugin string) string {
	return mysqlPacket(0, "\x0a8.4.0\x00\x01\x00\x00\x00"+fakeSalt[:8]+"\x00"+"\x00\x82\x2d\x02\x00\x08\x00\x15"+strings.Repeat("\x00", 10)+fakeSalt[8:]+"\x00"+plugin+"\x00")
}

func TestMySQLLogsInByCachingSHA2(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, _ := x509.MarshalPKIXPublicKey(key.Public())
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	for _, how := range []string{"known", "whole", "changed"} {
		t.Run(how, func(t *testing.T) {
			failed := make(chan string, 1)
			address := server(t, func(c net.Conn) {
				failed <- sha2Server(c, how, key, string(public))
				_, _ = io.Copy(io.Discard, c)
			})
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			// Loopback is private enough for a password; pretend that it is not.
			m, err := greet(public1{conn})
			if err == nil {
				err = m.login("probe", "s3cret")
			}
			if err != nil {
				t.Error(err)
			}
			if m.version != "8.4.0" {
				t.Errorf("version %s", m.version)
			}
			conn.Close()
			if problem := <-failed; problem != "" {
				t.Error(problem)
			}
		})
	}
}

// public1 is a connection that others may listen to.
type public1 struct{ net.Conn }

func (public1) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)} }

// sha2Server is the server's part, by the book: MySQL documentation,
// "Caching_sha2_password information".
func sha2Server(c net.Conn, how string, key *rsa.PrivateKey, public string) (problem string) {
	read := func() []byte {
		head := make([]byte, 4)
		_, _ = io.ReadFull(c, head)
		body := make([]byte, int(head[0])|int(head[1])<<8)
		_, _ = io.ReadFull(c, body)
		return body
	}
	scramble := func(salt string) []byte {
		a := sha256.Sum256([]byte("s3cret"))
		b := sha256.Sum256(a[:])
		d := sha256.Sum256(append(b[:], salt...))
		for i := range a {
			a[i] ^= d[i]
		}
		return a[:]
	}
	salt := fakeSalt
	if how == "changed" {
		_, _ = io.WriteString(c, greeting("auth_gssapi_client"))
		read()
		salt = "tsrqponmlkjihgfedcba"
		_, _ = io.WriteString(c, mysqlPacket(2, "\xfecaching_sha2_password\x00"+salt+"\x00"))
		if got := read(); !bytes.Equal(got, scramble(salt)) {
			return "the proof is wrong after a change"
		}
	} else {
		_, _ = io.WriteString(c, greeting("caching_sha2_password"))
		got := read()
		if !bytes.Contains(got, scramble(salt)) || !bytes.Contains(got, []byte("probe\x00")) {
			return "the proof is wrong"
		}
	}
	if how == "known" {
		_, _ = io.WriteString(c, mysqlPacket(2, "\x01\x03")+mysqlPacket(3, "\x00\x00\x00\x02\x00\x00\x00"))
		return ""
	}
	_, _ = io.WriteString(c, mysqlPacket(4, "\x01\x04"))
	if got := read(); !bytes.Equal(got, []byte{2}) {
		return "the key was not asked for"
	}
	_, _ = io.WriteString(c, mysqlPacket(6, "\x01"+public))
	text, err := rsa.DecryptOAEP(sha1.New(), nil, key, read(), nil)
	if err != nil {
		return err.Error()
	}
	for i := range text {
		text[i] ^= salt[i%len(salt)]
	}
	if string(text) != "s3cret\x00" {
		return "the password is wrong"
	}
	_, _ = io.WriteString(c, mysqlPacket(8, "\x00\x00\x00\x02\x00\x00\x00"))
	return ""
}

func TestMySQLGarbleIsAnErrorAndNoMore(t *testing.T) {
	ok := greeting("mysql_native_password") + mysqlPacket(2, "\x00\x00\x00\x02\x00\x00\x00")
	for said, want := range map[string]string{
		"":                                 "greeting: connection closed by the endpoint",
		"SSH-2.0-OpenSSH_9.2p1 Debian\r\n": "greeting: the answer is not understood",
		mysqlPacket(0, ""):                 "greeting: the answer is not understood",
		mysqlPacket(0, "\x0a8.0\x00short"): "greeting: the answer is not understood",
		mysqlPacket(0, "\xff\x10\x04Too many connections"):                                          "greeting: Too many connections (1040)",
		greeting("x") + mysqlPacket(2, ""):                                                          "log in: the answer is not understood",
		greeting("x") + mysqlPacket(2, "\xfewhat\x00salt"):                                          "log in: the server asks for authentication by what, which a probe does not have",
		greeting("x") + mysqlPacket(2, "\x01\x04"):                                                  "log in: the answer is not understood",
		greeting("x") + strings.Repeat(mysqlPacket(2, "\xfemysql_native_password\x00"+fakeSalt), 9): "log in: the answer is not understood",
		ok + mysqlPacket(1, "\x00\x00\x00\x02\x00\x00\x00"):                                         "ask for its cluster: the answer is not understood",
		ok + mysqlPacket(1, "\x01") + mysqlPacket(2, "\x03def"):                                     "ask for its cluster: the answer is not understood",
		ok + mysqlPacket(1, "\x01") + mysqlPacket(2, "\xff\x00\x00#HY000no"):                        "ask for its cluster: the answer is not understood",
		ok + mysqlPacket(1, "\xff\x00\x00#HY000no"):                                                 "ask for its cluster: no (HY000)",
	} {
		_, err := rank(t, &MySQL{User: "a"}, server(t, plays(said)))
		wants(t, "", err, "error: "+regexp.QuoteMeta(want))
	}
}

func TestRedisGarbleIsAnErrorAndNoMore(t *testing.T) {
	pong := "+PONG\r\n"
	for said, want := range map[string]string{
		"": "PING: connection closed by the endpoint",
		"-LOADING Redis is loading the dataset in memory\r\n": "PING: LOADING Redis is loading the dataset in memory",
		"HTTP/1.1 400\r\n":        "PING: the answer is not understood",
		"+PONG\n":                 "PING: the answer is not understood",
		"$-2\r\n":                 "PING: the answer is not understood",
		"*99999\r\n":              "PING: the answer is not understood",
		strings.Repeat("+", 9000): "PING: the answer is not understood",
		pong + "*0\r\n":           "ROLE: the answer is not understood",
		pong + "*1\r\n+slave\r\n": "ROLE: the answer is not understood",
		pong + "*2\r\n$6\r\nmas":  "ROLE: connection closed by the endpoint",
		pong + "*5\r\n+slave\r\n+h\r\n:1\r\n+sync\r\n:-1\r\n": "replica without a primary: its link is in state sync",
	} {
		_, err := rank(t, &Redis{MaxLag: time.Second}, server(t, plays(said)))
		wants(t, "", err, "error: "+regexp.QuoteMeta(want))
	}
	detail, err := ask(t, &Redis{}, server(t, plays(pong+"*2\r\n+sentinel\r\n*1\r\n$-1\r\n")))
	wants(t, detail, err, "PONG from a sentinel")
}

// script is a connection whose other end says one thing, whatever it hears.
type script struct{ io.Reader }

func (script) Write(b []byte) (int, error)      { return len(b), nil }
func (script) Close() error                     { return nil }
func (script) LocalAddr() net.Addr              { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
func (script) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
func (script) SetDeadline(time.Time) error      { return nil }
func (script) SetReadDeadline(time.Time) error  { return nil }
func (script) SetWriteDeadline(time.Time) error { return nil }

func FuzzPostgres(f *testing.F) {
	ok := pg('R', "\x00\x00\x00\x05salt") + pg('R', "\x00\x00\x00\x00") + pg('Z', "I")
	f.Add([]byte(ok + pg('T', "") + pg('D', "\x00\x03\x00\x00\x00\x01f\x00\x00\x00\x0800000001\xff\xff\xff\xff")))
	f.Add([]byte(pg('R', "\x00\x00\x00\x0aSCRAM-SHA-256\x00\x00") + pg('R', "\x00\x00\x00\x0br=x,s=YQ==,i=1")))
	f.Add([]byte(pg('E', "C57P03\x00Mno\x00\x00")))
	f.Fuzz(func(t *testing.T, said []byte) {
		p, err := newPgConn(context.Background(), script{bytes.NewReader(said)}, nil, Target{})
		if err != nil {
			t.Fatal(err)
		}
		if p.login("a", "b", "c") != nil {
			return
		}
		row, err := p.query(rankQuery)
		if err != nil {
			return
		}
		if a, err := (&Postgres{}).judge(row); err == nil && (a.Role == RoleUnknown || a.Detail == "") {
			t.Errorf("%+v is %+v", row, a)
		}
	})
}

func FuzzMySQL(f *testing.F) {
	row := func(name, value string) string {
		return mysqlPacket(1, "\x01") + mysqlPacket(2, "\x03def\x00\x00\x00"+string(rune(len(name)))+name) + mysqlPacket(3, "\xfe\x00\x00\x02\x00") +
			mysqlPacket(4, string(rune(len(value)))+value) + mysqlPacket(5, "\xfe\x00\x00\x02\x00")
	}
	ok := greeting("mysql_native_password") + mysqlPacket(2, "\x00\x00\x00\x02\x00\x00\x00")
	f.Add([]byte(ok + row("Value", "OFF") + row("read_only", "0")))
	f.Add([]byte(greeting("caching_sha2_password") + mysqlPacket(2, "\x01\x04") + mysqlPacket(4, "\x01key")))
	f.Add([]byte(mysqlPacket(0, "\xff\x10\x04#HY000no")))
	f.Fuzz(func(t *testing.T, said []byte) {
		m, err := greet(script{bytes.NewReader(said)})
		if err != nil || m.login("a", "b") != nil {
			return
		}
		if a, err := (&MySQL{MaxLag: time.Second}).examine(t.Context(), m); err == nil && (a.Role == RoleUnknown || a.Detail == "") {
			t.Errorf("answer is %+v", a)
		}
	})
}

func FuzzRedis(f *testing.F) {
	f.Add([]byte("+PONG\r\n"))
	f.Add([]byte("*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"))
	f.Add([]byte("*2\r\n*2\r\n$-1\r\n:1\r\n-ERR\r\n"))
	f.Fuzz(func(t *testing.T, said []byte) {
		conn := script{bytes.NewReader(said)}
		r := &respConn{conn: conn, in: newReader(conn)}
		parts, err := r.ask("ROLE")
		if err == nil && len(parts) > maxReplies {
			t.Errorf("%d parts", len(parts))
		}
	})
}
