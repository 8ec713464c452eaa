package trust

import (
	"fmt"
	"strings"
)

// maxSteps bounds a JSON pointer: no document here is deeper.
const maxSteps = maxDepth

// parsePointer takes a JSON pointer (RFC 6901 section 3) into its steps.
func parsePointer(text string) ([]string, error) {
	if text == "" {
		return nil, nil
	}
	if text[0] != '/' {
		return nil, fmt.Errorf("%q is not a JSON pointer: it starts with a slash", clip(text))
	}
	steps := strings.Split(text[1:], "/")
	if len(steps) > maxSteps {
		return nil, fmt.Errorf("a JSON pointer of %d steps, more than %d", len(steps), maxSteps)
	}
	for i, s := range steps {
		for j := 0; j < len(s); j++ {
			if s[j] == '~' && (j+1 == len(s) || s[j+1] != '0' && s[j+1] != '1') {
				return nil, fmt.Errorf("%q is not a JSON pointer: a tilde is written ~0", clip(text))
			}
		}
		steps[i] = strings.ReplaceAll(strings.ReplaceAll(s, "~1", "/"), "~0", "~")
	}
	return steps, nil
}

// arrayIndex reads a step as an index: digits without leading zeros (RFC
// 6901 section 4).
func arrayIndex(step string, size int) (int, bool) {
	if step == "" || len(step) > 9 || step[0] == '0' && len(step) > 1 {
		return 0, false
	}
	n := 0
	for _, c := range []byte(step) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int(c-'0')
	}
	return n, n < size
}

// JoinPointer writes steps as a JSON pointer.
func JoinPointer(steps []string) string {
	var b strings.Builder
	for _, s := range steps {
		b.WriteByte('/')
		b.WriteString(strings.ReplaceAll(strings.ReplaceAll(s, "~", "~0"), "/", "~1"))
	}
	return b.String()
}
