package config

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestGeneratedPagesAreFresh(t *testing.T) {
	for name, want := range map[string][]byte{"configuration.md": Reference(), "trivet.schema.json": Schema()} {
		got, err := os.ReadFile("../docs/reference/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("docs/reference/%s is stale: run make gen", name)
		}
	}
}

func TestDescriptionsAreFresh(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles config/describe")
	}
	before, err := os.ReadFile("descriptions.go")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(".")); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-o", dir+"/describe.bin", "./describe")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	run := exec.Command(dir + "/describe.bin")
	run.Dir = dir
	if out, err := run.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	after, err := os.ReadFile(dir + "/descriptions.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(before, after) {
		t.Error("config/descriptions.go is stale: run make gen")
	}
}

// Every reference within the schema leads somewhere, and it knows every key that the decoder knows.
func TestTheSchemaIsWhole(t *testing.T) {
	var schema map[string]any
	if err := json.Unmarshal(Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	defs := schema["$defs"].(map[string]any)
	var visit func(v any)
	visit = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				if _, known := defs[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any); !known {
					t.Errorf("%s leads nowhere", ref)
				}
			}
			for _, inner := range v {
				visit(inner)
			}
		case []any:
			for _, inner := range v {
				visit(inner)
			}
		}
	}
	visit(schema)
	if got := len(schema["properties"].(map[string]any)); got != len(shapeOf(typeOfConfig()).keys()) {
		t.Errorf("the schema has %d keys at the top", got)
	}
}
