package main

import (
	"fmt"
	"io"
	"unicode/utf8"
)

// visible is a terminal or a file that is written to, where text from outside
// must not move the cursor, colour a line or turn the reading direction. Such
// characters are written as \uXXXX, which is their form in JSON too.
type visible struct{ to io.Writer }

func (v visible) Write(p []byte) (int, error) {
	out := make([]byte, 0, len(p))
	for rest := p; len(rest) > 0; {
		r, n := utf8.DecodeRune(rest)
		switch {
		case r == utf8.RuneError && n == 1: // a lone byte above 0x7f can be a control too
			out = append(out, `\ufffd`...)
		case hidden(r):
			out = fmt.Appendf(out, `\u%04x`, r)
		default:
			out = append(out, rest[:n]...)
		}
		rest = rest[n:]
	}
	if _, err := v.to.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

func hidden(r rune) bool {
	return r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 ||
		r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0x200e || r == 0x200f || r == 0x061c
}

// control writes a terminal's own sequence, which nobody outside can give.
func control(w io.Writer, sequence string) {
	if v, ok := w.(visible); ok {
		w = v.to
	}
	_, _ = io.WriteString(w, sequence)
}
