package repository

import (
	"encoding/json"
	"fmt"

	"github.com/restic/chunker"
)

// Versions of the format. Version 2 brought compression.
const (
	minVersion = 1
	newVersion = 2
	maxVersion = 2
)

// Config is the repository's identity.
type Config struct {
	Version uint   `json:"version"`
	ID      string `json:"id"` // 64 hexadecimal digits, random
	// ChunkerPolynomial is what restic cuts files with. Trivet keeps it for restic and cuts with its own
	// keyed chunker. It is irreducible: restic refuses others.
	ChunkerPolynomial string `json:"chunker_polynomial"`
}

func newConfig() (Config, error) {
	pol, err := chunker.RandomPolynomial()
	if err != nil {
		return Config{}, err
	}
	text, err := json.Marshal(pol)
	if err != nil {
		return Config{}, err
	}
	c := Config{Version: newVersion, ID: randomID().String()}
	return c, json.Unmarshal(text, &c.ChunkerPolynomial)
}

func parseConfig(data []byte) (Config, error) {
	var c Config
	if err := json.Unmarshal(data, &c); err != nil {
		return Config{}, fmt.Errorf("parse config: %w", err)
	}
	if c.Version < minVersion || c.Version > maxVersion {
		return Config{}, fmt.Errorf("parse config: version %d of the format is not known (this program knows %d to %d)", c.Version, minVersion, maxVersion)
	}
	if _, err := ParseID(c.ID); err != nil {
		return Config{}, fmt.Errorf("parse config: %w", err)
	}
	var pol chunker.Pol
	text, _ := json.Marshal(c.ChunkerPolynomial)
	if err := json.Unmarshal(text, &pol); err != nil || !pol.Irreducible() {
		return Config{}, fmt.Errorf("parse config: chunker polynomial %q is not irreducible", c.ChunkerPolynomial)
	}
	return c, nil
}
