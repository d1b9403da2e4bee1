package config

import (
	"os"
	"regexp"
	"strings"
)

// Only names in capitals are the environment's, so that ${1} and ${name} stay what they are in a replacement text.
var envReference = regexp.MustCompile(`\$?\$\{([A-Z_][A-Z0-9_]*)(:-([^}]*))?\}`)

// expandEnv replaces ${NAME} and ${NAME:-what if unset}; $${NAME} stands for ${NAME} itself. It gives the names that are
// neither set nor have a default.
func expandEnv(text string) (expanded string, missing []string) {
	if !strings.Contains(text, "${") {
		return text, nil
	}
	expanded = envReference.ReplaceAllStringFunc(text, func(ref string) string {
		if strings.HasPrefix(ref, "$$") {
			return ref[1:]
		}
		parts := envReference.FindStringSubmatch(ref)
		if value, set := os.LookupEnv(parts[1]); set && (value != "" || parts[2] == "") {
			return value
		}
		if parts[2] != "" {
			return parts[3]
		}
		missing = append(missing, parts[1])
		return ""
	})
	return expanded, missing
}
