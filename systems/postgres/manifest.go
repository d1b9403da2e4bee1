package postgres

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/trivet-ha/trivet/backup/repository"
)

// manifest is what a backup_manifest says, as far as it is looked at here.
// https://www.postgresql.org/docs/current/backup-manifest-format.html
type manifest struct {
	Files []struct {
		Path        string
		EncodedPath string `json:"Encoded-Path"` // hexadecimal, where it is not UTF-8
		Size        int64
		Algorithm   string `json:"Checksum-Algorithm"`
		Checksum    string
	}
	Sum string `json:"Manifest-Checksum"`
}

var errManifest = errors.New("it does not agree with the server's manifest")

// parseManifest reads a manifest and checks its own checksum, which covers all before its line.
func parseManifest(text []byte) (*manifest, error) {
	at := bytes.LastIndex(text, []byte(`"Manifest-Checksum"`))
	m := new(manifest)
	if at < 0 {
		return nil, errors.New("manifest: it is cut short")
	}
	if err := json.Unmarshal(text, m); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	if sum := sha256.Sum256(text[:at]); hex.EncodeToString(sum[:]) != m.Sum {
		return nil, errors.New("manifest: its checksum is wrong")
	}
	return m, nil
}

// verify compares what was received with the server's manifest: every file, its size and its checksum.
func (r *receiver) verify() error {
	m, err := parseManifest(r.manifest)
	if err != nil {
		return err
	}
	for _, f := range m.Files {
		name := f.Path
		if f.EncodedPath != "" {
			raw, err := hex.DecodeString(f.EncodedPath)
			if err != nil {
				return fmt.Errorf("manifest: path %q", f.EncodedPath)
			}
			name = string(raw)
		}
		e := r.find(placeOf(name))
		switch {
		case e == nil || e.node.Type != repository.TypeFile:
			return fmt.Errorf("%s is missing: %w", name, errManifest)
		case int64(e.node.Size) != f.Size:
			return fmt.Errorf("%s has %d bytes, not %d: %w", name, e.node.Size, f.Size, errManifest)
		case f.Algorithm == "CRC32C" && f.Checksum != checksumText(e.sum):
			return fmt.Errorf("%s has checksum %s, not %s: %w", name, checksumText(e.sum), f.Checksum, errManifest)
		}
	}
	return nil
}

// placeOf is where a file of the cluster is in the snapshot.
func placeOf(name string) string {
	if rest, ok := strings.CutPrefix(name, "pg_tblspc/"); ok {
		return path.Join(tablespacesDir, rest)
	}
	return path.Join(dataDir, name)
}

// checksumText is a CRC-32C as manifests write it: the bytes as they lie in memory.
func checksumText(sum uint32) string {
	return hex.EncodeToString([]byte{byte(sum), byte(sum >> 8), byte(sum >> 16), byte(sum >> 24)})
}
