package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// A Secret is a password or token. It is read from a file (key_file: path) or the environment (key: ${NAME}), never
// written in the configuration itself, and is never printed: only Reveal gives it.
type Secret struct {
	value string
	from  string
}

// NewSecret is for programs that embed Trivet and hold the secret already.
func NewSecret(value string) Secret { return Secret{value: value, from: "the program"} }

// Reveal is the secret itself.
func (s Secret) Reveal() string { return s.value }

// IsZero tells whether there is no secret.
func (s Secret) IsZero() bool { return s.value == "" }

// String says where the secret came from, not what it is.
func (s Secret) String() string {
	if s.IsZero() {
		return ""
	}
	return "(secret from " + s.from + ")"
}

// GoString keeps the secret out of %#v.
func (s Secret) GoString() string { return s.String() }

// MarshalText keeps the secret out of JSON and logs.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

const maxSecretSize = 64 << 10 // bytes; a secret is a line, or a key in PEM

// readSecret reads a secret from a file, without the line break at its end.
func readSecret(path string) (Secret, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Secret{}, unwrapPath(err)
	}
	if !info.Mode().IsRegular() {
		return Secret{}, errors.New("not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return Secret{}, unwrapPath(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSecretSize+1))
	if err != nil {
		return Secret{}, unwrapPath(err)
	}
	if len(data) > maxSecretSize {
		return Secret{}, fmt.Errorf("larger than %d KiB", maxSecretSize>>10)
	}
	value := strings.TrimRight(string(data), "\r\n")
	if value == "" {
		return Secret{}, errors.New("empty")
	}
	return Secret{value: value, from: path}, nil
}

// unwrapPath drops the path that package os puts into its errors: the caller shows it already.
func unwrapPath(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
