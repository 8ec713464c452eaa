//go:build !race

package clocktest

// raced tells that the race detector is on.
const raced = false
