package repository

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// ID is the SHA-256 of a blob's plain bytes or of a stored file. The zero ID names nothing.
type ID [sha256.Size]byte

// Hash returns the ID of data.
func Hash(data []byte) ID { return sha256.Sum256(data) }

// ParseID reads 64 hexadecimal digits.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != 2*len(id) {
		return ID{}, fmt.Errorf("parse id %q: %d characters, want %d", s, len(s), 2*len(id))
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return ID{}, fmt.Errorf("parse id %q: %w", s, err)
	}
	return id, nil
}

// String is the ID in 64 hexadecimal digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Short is the first eight digits, as restic prints them.
func (id ID) Short() string { return hex.EncodeToString(id[:4]) }

// IsZero reports whether the ID names nothing.
func (id ID) IsZero() bool { return id == ID{} }

// MarshalText is String.
func (id ID) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, id[:]), nil }

// UnmarshalText is ParseID.
func (id *ID) UnmarshalText(text []byte) error {
	parsed, err := ParseID(string(text))
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}

// BlobKind tells file contents from directories.
type BlobKind uint8

// The two kinds of blob. Their values are those of a pack's header.
const (
	DataBlob BlobKind = 0 // a piece of a file
	TreeBlob BlobKind = 1 // a directory, as JSON
)

// String is the kind's name in index files: "data" or "tree".
func (k BlobKind) String() string {
	switch k {
	case DataBlob:
		return "data"
	case TreeBlob:
		return "tree"
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// BlobHandle names a blob. A data blob and a tree blob of the same bytes are two blobs.
type BlobHandle struct {
	ID   ID
	Kind BlobKind
}

// String is the handle for messages: "data/0a1b2c3d".
func (h BlobHandle) String() string { return h.Kind.String() + "/" + h.ID.Short() }
