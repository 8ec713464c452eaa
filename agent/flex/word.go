package flex

import (
	"slices"
	"strings"
	"unicode"
)

// WordClass is what a market's word for a type or a status asks for.
type WordClass string

// The classes. Begin also holds the words by which markets only keep their
// books: they change nothing. What is in none is unknown, and somebody is told.
const (
	WordBegin   WordClass = "begin"
	WordStop    WordClass = "stop"
	WordNoOrder WordClass = "not for execution"
	WordUnknown WordClass = ""
)

// The words, folded. They are those of the neighbours: Flexible Power, IEEE
// 2030.5, OpenADR, Shapeshifter, and of the pointer webhooks.
var (
	beginWords = fields(`start started starting begin began dispatch dispatched dispatching activate activated activation active
		go deploy deployed run running instruct instructed instruction pending new created issued sent delivered delivering
		received acknowledged accepted confirmed approved scheduled planned queued upcoming ready live open valid published
		inprogress ongoing executing available normal ok update updated amended`)
	stopWords = fields(`stop stopped stopping cancel canceled cancelled cancelling canceling cancellation terminate terminated
		termination abort aborted withdraw withdrawn withdrawal revoke revoked rescind rescinded cease ceased end ended halt halted
		void voided annulled recall recalled interrupt interrupted suspend suspended deactivate deactivated deactivation
		standdown stooddown shutdown estop emergencystop emergencyshutdown invalidated deleted rejected expired declined`)
	noOrderWords = fields(`draft drafted test testing tested dryrun simulation simulated simulate exercise drill training rehearsal
		template example sample preview demo mock sandbox indicative forecast advisory proposal whatif notforexecution`)
)

// follows are the words that may come behind one that calls back: "cancelled by
// the operator" is a stop, "cancel failed" is nobody knows what.
var follows = fields(`by now immediately at due on early requested request order ordered instruction instructed dispatch event all and the
	command received issued sent confirmed accepted acknowledged pending`)

// precedes are those that may come before one.
var precedes = fields(`emergency immediate early system operator so dso dno tso market user provider auto automatically dispatch
	event instruction is was been being to request`)

func fields(s string) []string { return strings.Fields(s) }

// FoldWord drops what spellings differ in: case, blanks, hyphens, underscores
// and other marks.
func FoldWord(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, s)
}

// ClassOfWord tells what a word asks for, by the usual meanings.
func ClassOfWord(s string) WordClass {
	switch w := FoldWord(s); {
	case strings.TrimSpace(s) == "":
		return WordBegin // nothing is said
	case slices.Contains(stopWords, w):
		return WordStop
	case slices.Contains(noOrderWords, w):
		return WordNoOrder
	case slices.Contains(beginWords, w):
		return WordBegin
	}
	return classOfPhrase(parts(s))
}

// classOfPhrase reads several words: one that calls back, between words that
// say no more than who, when and how; or a draft or a test of something.
func classOfPhrase(words []string) WordClass {
	if len(words) < 2 {
		return WordUnknown
	}
	if slices.Contains(noOrderWords, words[0]) {
		return WordNoOrder
	}
	at := slices.IndexFunc(words, func(w string) bool { return slices.Contains(stopWords, w) })
	if at < 0 {
		return WordUnknown
	}
	for _, w := range words[:at] {
		if !slices.Contains(precedes, w) {
			return WordUnknown
		}
	}
	if at+1 < len(words) && !slices.Contains(follows, words[at+1]) {
		return WordUnknown
	}
	return WordStop
}

// parts splits at everything that is no letter or digit, and within camelCase.
func parts(s string) []string {
	var b strings.Builder
	lower := false
	for _, r := range s {
		switch {
		case !unicode.IsLetter(r) && !unicode.IsDigit(r):
			b.WriteByte(' ')
			lower = false
			continue
		case unicode.IsUpper(r) && lower:
			b.WriteByte(' ')
		}
		lower = unicode.IsLower(r)
		b.WriteRune(unicode.ToLower(r))
	}
	return strings.Fields(b.String())
}
