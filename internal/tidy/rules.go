package tidy

// A Rule is one thing the house asks of its source. Check returns a line per place where it is broken.
type Rule struct {
	Name  string
	Why   string
	Check func(*Module) []string
}

// Rules returns all rules, in the order in which they are best read.
func Rules() []Rule {
	return []Rule{
		{"imports", "decide, move and keep stay apart, so that each can be read, tested and reused alone", checkImports},
		{"purity", "a decision that takes time and chance as arguments can be replayed in a test; one that reads a clock can not", checkPurity},
		{"package comments", "a stranger asks first what a package answers", checkPackageComments},
		{"package names", "a package named after nothing in particular collects everything", checkPackageNames},
		{"doc comments", "what others may call, others must be able to understand without reading the body", checkDocComments},
		{"no init", "a program whose start is a visible list can be followed; import for effect can not", checkNoInit},
		{"package variables", "state that everybody can change belongs to nobody, and two nodes in one process would share it", checkPackageVariables},
		{"exit only in commands", "a library that ends the process takes the decision, and the clean-up, away from its caller", checkExit},
		{"file length", "a file that needs a table of contents is two files", checkFileLength},
		{"function length", "a long function hides its branches; the ratchet list may only shrink", checkFunctionLength},
		{"no sleep in tests", "a test that sleeps is slow on a fast machine and wrong on a slow one: wait for a state, or use a synctest bubble", checkSleep},
		{"code map", "ARCHITECTURE.md is the first page a newcomer trusts", checkCodeMap},
		{"links", "a dead link in the documentation costs every reader a minute", checkLinks},
		{"words", "the repository speaks of the project and of nothing else", checkWords},
	}
}

// fileLinesMax and functionLinesMax come from what the tidy code bases of the field keep to: their 90th percentile
// file has about 450 lines, and fewer than 4 % of their functions pass 70.
const (
	fileLinesMax     = 800
	functionLinesMax = 100
)
