// Command reference writes the reference page of the configuration and its JSON schema into the folder that it is given. It
// is run by go generate in the folder above it.
package main

import (
	"log"
	"os"
	"path/filepath"

	"github.com/trivet-ha/trivet/config"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("reference: ")
	if len(os.Args) != 2 {
		log.Fatal("usage: reference FOLDER")
	}
	dir := os.Args[1]
	if err := os.MkdirAll(dir, 0o755); err != nil {
		log.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"configuration.md":   config.Reference(),
		"trivet.schema.json": config.Schema(),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			log.Fatal(err)
		}
	}
}
