package config

import (
	"slices"
	"strings"
)

// nearest is the candidate most like word, or "" when none is like it: at most a third of its letters may differ, counting a
// swap of neighbours as one difference (optimal string alignment distance), and case, '-' and '_' do not count.
func nearest(word string, candidates []string) string {
	best, bestDistance := "", -1
	plain := foldName(word)
	for _, candidate := range candidates {
		other := foldName(candidate)
		limit := max(1, len(other)/3)
		if abs(len(plain)-len(other)) > limit {
			continue
		}
		if d := distance(plain, other); d <= limit && (bestDistance < 0 || d < bestDistance) {
			best, bestDistance = candidate, d
		}
	}
	return best
}

// didYouMean is the hint for an unknown word: the nearest candidate, or else all of them.
func didYouMean(word string, candidates []string) string {
	if near := nearest(word, candidates); near != "" {
		return `did you mean "` + near + `"?`
	}
	if len(candidates) == 0 {
		return ""
	}
	sorted := slices.Sorted(slices.Values(candidates))
	const shown = 24
	if len(sorted) > shown {
		sorted = append(sorted[:shown:shown], "...")
	}
	return "one of " + strings.Join(sorted, ", ")
}

func foldName(s string) string {
	return strings.NewReplacer("-", "", "_", "", " ", "").Replace(strings.ToLower(s))
}

func abs(n int) int {
	return max(n, -n)
}

// distance is the optimal string alignment distance in bytes: insertions, deletions, substitutions, swaps of neighbours.
func distance(a, b string) int {
	const longest = 64 // keys are short; what is longer is no slip of the finger
	if len(a) > longest || len(b) > longest {
		return longest
	}
	var rows [3][longest + 1]int
	for j := range len(b) + 1 {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		row, above, twoAbove := &rows[i%3], &rows[(i+2)%3], &rows[(i+1)%3]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], twoAbove[j-2]+1)
			}
		}
	}
	return rows[len(a)%3][len(b)]
}
