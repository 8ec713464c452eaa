package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"flexd/agent/flex"
	"flexd/agent/local"
)

// An error is one line for a person, the chain only when asked for; with
// --json it is JSON on standard output, and nothing else is.
func TestAnErrorIsToldOnce(t *testing.T) {
	chain := flex.Plainly(&flex.PlainError{Text: "no answer from unit 3; units 1 and 2 answer on this line: `flexd device scan 10.0.0.5`", Err: errors.New("read 40 registers at 40000: no answer in time")}, "cannot identify bat1")
	for _, tc := range []struct {
		err     error
		exit    int
		reason  string
		text    string
		verbose string
	}{
		{chain, 1, "", "cannot identify bat1: no answer from unit 3; units 1 and 2 answer on this line: `flexd device scan 10.0.0.5`", "cannot identify bat1: read 40 registers at 40000: no answer in time"},
		{usage("needs an id"), 2, "", "needs an id", "needs an id"},
		{fmt.Errorf("%w: start it", local.ErrNotRunning), 3, "", "flexd is not running: start it", "flexd is not running: start it"},
		{flex.Refuse(flex.ReasonLocalHold, "held by ann"), 4, "local_hold", "refused (local_hold): held by ann", "refused (local_hold): held by ann"},
		{&local.RefusedError{Text: "held by ann", Reason: flex.ReasonLocalHold}, 4, "local_hold", "held by ann", "held by ann"},
		{&configError{errors.New("line 3: no such key")}, 78, "", "line 3: no such key", "line 3: no such key"},
	} {
		for _, verbose := range []bool{false, true} {
			var out, errs strings.Builder
			o := &options{out: &out, err: &errs, verbose: verbose}
			want := map[bool]string{false: tc.text, true: tc.verbose}[verbose]
			if code := o.fail("x", tc.err); code != tc.exit || out.Len() > 0 || !strings.HasPrefix(errs.String(), "flexd x: "+want+"\n") {
				t.Errorf("exit %d, out %q, err %q, want %q", code, out.String(), errs.String(), want)
			}
		}
		var out, errs strings.Builder
		o := &options{out: &out, err: &errs, json: true}
		var got struct {
			Error, Reason, Detail string
			Exit                  int
		}
		code := o.fail("x", tc.err)
		if err := json.Unmarshal([]byte(out.String()), &got); err != nil || errs.Len() > 0 {
			t.Fatalf("%v: out %q, err %q", err, out.String(), errs.String())
		}
		if code != tc.exit || got.Exit != tc.exit || got.Reason != tc.reason || got.Error != tc.text || got.Detail != "" && got.Detail != tc.verbose {
			t.Errorf("told %+v", got)
		}
	}
}
