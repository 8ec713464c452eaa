// Package longtest tells how much a test shall do: what is enough for every
// change, or all it can (`make test-long`).
//
// In: FLEXD_LONG. Out: a count. It is for tests alone, and for their amounts
// alone: which properties are checked does not depend on it.
package longtest

import "os"

// Pick is full where FLEXD_LONG is set, else everyday.
func Pick[T any](everyday, full T) T {
	if os.Getenv("FLEXD_LONG") != "" {
		return full
	}
	return everyday
}
