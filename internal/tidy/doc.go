// Package tidy keeps the house rules: it reads the source of the whole module and says where a rule is
// broken, and why the rule exists. The rules themselves are the tests of this package, so that
// `go test ./internal/tidy` is the review nobody has to write twice. Nothing in the product imports it.
package tidy
