package allocate

import (
	"fmt"
	"time"

	"flexd/agent/flex"
)

// note is a text that is put together only when somebody is to read it. Nearly
// all of what a plan finds out it found out a second ago too: notes are
// compared, and the text of then is used again.
type note struct {
	format string
	n      int
	args   [5]arg
}

// arg is one value of a note.
type arg struct {
	kind argKind
	n    int64
	s    string
}

type argKind uint8

const (
	argWord argKind = iota
	argWatts
	argPercent
	argSpan
	argUse
)

func word[S ~string](s S) arg    { return arg{kind: argWord, s: string(s)} }
func watts(w flex.Watts) arg     { return arg{kind: argWatts, n: int64(w)} }
func percent(p flex.Percent) arg { return arg{kind: argPercent, n: int64(p)} }
func span(d time.Duration) arg   { return arg{kind: argSpan, n: int64(d)} }
func use(u flex.Use) arg         { return arg{kind: argUse, n: int64(u)} }
func plain(text string) note     { return say("%s", word(text)) }
func say(format string, a ...arg) note {
	n := note{format: format, n: len(a)}
	copy(n.args[:], a)
	return n
}

// String puts the text together.
func (n note) String() string {
	values := make([]any, n.n)
	for i, a := range n.args[:n.n] {
		switch a.kind {
		case argWord:
			values[i] = a.s
		case argWatts:
			values[i] = flex.Watts(a.n)
		case argPercent:
			values[i] = flex.Percent(a.n)
		case argSpan:
			values[i] = time.Duration(a.n)
		case argUse:
			values[i] = flex.Use(a.n)
		}
	}
	return fmt.Sprintf(n.format, values...)
}

// why is one of those who shaped a target, not yet put into words. More goes on
// where text ends.
type why struct {
	who        string
	power      flex.Watts
	text, more note
}

// told puts it into words.
func (y why) told() flex.Why {
	text := y.text.String()
	if y.more.format != "" {
		text += y.more.String()
	}
	return flex.Why{Who: y.who, Text: text, Power: y.power}
}
