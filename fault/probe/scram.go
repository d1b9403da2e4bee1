package probe

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"

	"golang.org/x/text/secure/precis"
)

const scramName = "SCRAM-SHA-256"

// scram is the client of one login by SCRAM-SHA-256 without channel binding: RFC
// 5802 §3, RFC 7677. It does no I/O. PostgreSQL takes the user's name from the
// startup message, and none here.
type scram struct {
	password string
	nonce    string
	proof    []byte // HMAC(ServerKey, AuthMessage): what the server must show
}

func newScram(password string) *scram {
	// What SASLprep refuses is taken as it is, as the server does (RFC 4013; src/common/saslprep.c).
	if prepared, err := precis.OpaqueString.String(password); err == nil {
		password = prepared
	}
	return &scram{password: password, nonce: rand.Text()}
}

func (s *scram) bare() string { return "n=,r=" + s.nonce }

// first opens the exchange.
func (s *scram) first() string { return "n,," + s.bare() }

var errScram = errors.New("the server's part of SCRAM-SHA-256 is not understood")

// maxIterations bounds the work that a server may ask for. The default of
// PostgreSQL is 4096.
const maxIterations = 1 << 20

// answer proves that the password is known.
func (s *scram) answer(challenge string) (string, error) {
	parts := strings.Split(challenge, ",")
	if len(parts) < 3 || !strings.HasPrefix(parts[0], "r="+s.nonce) || len(parts[0]) == 2+len(s.nonce) ||
		!strings.HasPrefix(parts[1], "s=") || !strings.HasPrefix(parts[2], "i=") {
		return "", errScram
	}
	salt, err := base64.StdEncoding.DecodeString(parts[1][2:])
	if err != nil {
		return "", errScram
	}
	iterations, err := strconv.Atoi(parts[2][2:])
	if err != nil || iterations < 1 || iterations > maxIterations {
		return "", errScram
	}
	salted, err := pbkdf2.Key(sha256.New, s.password, salt, iterations, sha256.Size)
	if err != nil {
		return "", err
	}
	without := "c=biws," + parts[0] // biws is "n,,": no channel binding
	message := s.bare() + "," + challenge + "," + without
	clientKey := mac(salted, "Client Key")
	storedKey := sha256.Sum256(clientKey)
	s.proof = mac(mac(salted, "Server Key"), message)
	proof := make([]byte, sha256.Size)
	subtle.XORBytes(proof, clientKey, mac(storedKey[:], message))
	return without + ",p=" + base64.StdEncoding.EncodeToString(proof), nil
}

// verify makes sure that the server knows the password too.
func (s *scram) verify(final string) error {
	value, ok := strings.CutPrefix(final, "v=")
	value, _, _ = strings.Cut(value, ",")
	signature, err := base64.StdEncoding.DecodeString(value)
	switch {
	case !ok || err != nil:
		return errScram
	case !hmac.Equal(signature, s.proof):
		return errors.New("the server does not know the password itself: it is not the one it claims to be")
	}
	return nil
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}
