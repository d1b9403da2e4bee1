//go:build race

package simulate

// raceEnabled: the race detector makes a simulation, which has no goroutines, ten times slower.
const raceEnabled = true
