//go:build race

package agent_test

// underRace tells that the race detector is on.
const underRace = true
