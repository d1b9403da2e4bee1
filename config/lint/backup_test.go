package lint

import (
	"os"
	"path/filepath"
	"testing"
)

func TestABackupOnTheDiskOfItsFilesIsFound(t *testing.T) {
	t.Setenv("LINT_PASSWORD", "s3cret")
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "vault"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		yaml string
		want int
	}{
		"same":    {"repositories: {v: {store: vault, password: '${LINT_PASSWORD}'}}\nbackups: {b: {files: [.], repository: v}}", 1},
		"other":   {"repositories: {v: {store: /proc/self, password: '${LINT_PASSWORD}'}}\nbackups: {b: {files: [.], repository: v}}", 0},
		"not yet": {"repositories: {v: {store: nowhere, password: '${LINT_PASSWORD}'}}\nbackups: {b: {files: [.], repository: v}}", 0},
		"remote":  {"repositories: {v: {store: vault, password: '${LINT_PASSWORD}'}, s: {store: 's3://x/y', password: '${LINT_PASSWORD}'}}\nbackups: {b: {files: [.], repository: [v, s]}}", 0},
	} {
		path := filepath.Join(dir, "trivet.yaml")
		if err := os.WriteFile(path, []byte(c.yaml), 0o600); err != nil {
			t.Fatal(err)
		}
		found := Disks(load(t, path))
		if len(found) != c.want {
			t.Errorf("%s: %+v", name, found)
		}
		if c.want == 1 && (found[0].Rule != "same-disk" || found[0].Line != 2) {
			t.Errorf("%s: %+v", name, found[0])
		}
	}
}
