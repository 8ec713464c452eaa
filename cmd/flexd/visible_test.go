package main

import (
	"bytes"
	"testing"
)

func TestOutsideTextNeverReachesTheTerminalRaw(t *testing.T) {
	var out, errs bytes.Buffer
	execute(t.Context(), []string{"no\x1b[2Jsuch\u202ecommand\u2066"}, &out, &errs)
	execute(t.Context(), []string{"version", "--no\u202esuch"}, &out, &errs)
	for _, r := range errs.String() + out.String() {
		if r != '\n' && hidden(r) {
			t.Fatalf("%q reached the terminal in %q", r, errs.String()+out.String())
		}
	}
	out.Reset()
	if n, err := (visible{&out}).Write([]byte("a\tä\x1b\u202e\u2069\x9b\r\n")); n != 14 || err != nil {
		t.Errorf("wrote %d: %v", n, err)
	}
	if want := "a\tä\\u001b\\u202e\\u2069\\ufffd\\u000d\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
	out.Reset()
	if control(visible{&out}, "\r\x1b[K"); out.String() != "\r\x1b[K" {
		t.Errorf("our own sequence became %q", out.String())
	}
}
