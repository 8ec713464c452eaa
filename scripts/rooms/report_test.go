package main

import (
	"strings"
	"testing"
)

func told(lines ...string) (string, error) {
	var out strings.Builder
	r := newReport(&out, []string{"flexd/a", "flexd/b"})
	for _, l := range lines {
		r.line([]byte(l + "\n"))
	}
	err := r.end()
	return out.String(), err
}

const (
	good = `{"Action":"output","Package":"flexd/a","Test":"TestGood","Output":"good words\n"}
{"Action":"pass","Package":"flexd/a","Test":"TestGood","Elapsed":2}
{"Action":"pass","Package":"flexd/a","Elapsed":2.5}`
	quiet = `{"Action":"pass","Package":"flexd/b","Elapsed":1}`
)

func TestAGoodRoomIsOneLine(t *testing.T) {
	out, err := told(append(strings.Split(good, "\n"), quiet)...)
	if err != nil || strings.Contains(out, "good words") || !strings.Contains(out, "ok      flexd/a") || !strings.Contains(out, "2.0s  a TestGood") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestWhatFailsIsShownAndIsTheStatus(t *testing.T) {
	out, err := told(append(strings.Split(good, "\n"),
		`{"Action":"output","Package":"flexd/b","Test":"TestBad","Output":"bad words\n"}`,
		`{"Action":"fail","Package":"flexd/b","Test":"TestBad","Elapsed":1}`,
		`{"Action":"fail","Package":"flexd/b","Elapsed":1}`)...)
	if err == nil || !strings.Contains(out, "bad words") || !strings.Contains(out, "FAIL    flexd/b") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestARoomThatDiesShowsWhatRan(t *testing.T) {
	out, err := told(append(strings.Split(good, "\n"),
		`{"Action":"output","Package":"flexd/b","Test":"TestHangs","Output":"panic: test timed out\n"}`,
		`{"Action":"fail","Package":"flexd/b","Elapsed":1}`)...)
	if err == nil || !strings.Contains(out, "panic: test timed out") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestARoomWithoutAResultIsNoSuccess(t *testing.T) {
	if out, err := told(strings.Split(good, "\n")...); err == nil || !strings.Contains(err.Error(), "flexd/b") {
		t.Errorf("%v\n%s", err, out)
	}
	if out, err := told("cannot find module", quiet); err == nil || !strings.Contains(out, "cannot find module") {
		t.Errorf("%v\n%s", err, out)
	}
}
