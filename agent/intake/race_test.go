//go:build race

package intake

// underRace tells that the race detector is on.
const underRace = true
