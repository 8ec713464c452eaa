package trust

import (
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// maxSigned bounds the JSON that an operator signed.
const maxSigned = 256 << 10

// kind tells the JSON values apart.
type kind byte

const (
	kindNull kind = iota
	kindBool
	kindNumber
	kindText
	kindList
	kindObject
)

// node is a JSON value as it was written: the members in their order, the
// numbers digit by digit. The standard decoder keeps neither, and it mends
// what a signature must not have mended.
type node struct {
	kind  kind
	text  string // the decoded text, the number's literal, true or false
	names []string
	items []node // of a list, or of an object beside names
}

// parseNode reads exactly one JSON value (RFC 8259) that fits I-JSON (RFC
// 7493): valid UTF-8, no lone surrogates, no name twice in an object.
func parseNode(raw []byte) (node, error) {
	if len(raw) > maxSigned {
		return node{}, fmt.Errorf("JSON of %d bytes, more than %d", len(raw), maxSigned)
	}
	if !utf8.Valid(raw) {
		return node{}, errors.New("not valid UTF-8")
	}
	s := scanner{raw: raw}
	n, err := s.value(0)
	if err != nil {
		return node{}, fmt.Errorf("at byte %d: %w", s.at, err)
	}
	if s.blank(); s.at < len(raw) {
		return node{}, fmt.Errorf("at byte %d: something follows the JSON value", s.at)
	}
	return n, nil
}

type scanner struct {
	raw []byte
	at  int
}

// peek is the next byte, 0 at the end; a 0 in the text fits nowhere either.
func (s *scanner) peek() byte {
	if s.at < len(s.raw) {
		return s.raw[s.at]
	}
	return 0
}

func (s *scanner) blank() {
	for s.at < len(s.raw) && (s.raw[s.at] == ' ' || s.raw[s.at] == '\t' || s.raw[s.at] == '\n' || s.raw[s.at] == '\r') {
		s.at++
	}
}

// next takes the byte when it follows, blanks aside.
func (s *scanner) next(c byte) bool {
	s.blank()
	if s.peek() != c {
		return false
	}
	s.at++
	return true
}

// value reads one value; the recursion is bounded by maxDepth.
func (s *scanner) value(depth int) (node, error) {
	if depth > maxDepth {
		return node{}, fmt.Errorf("nested deeper than %d levels", maxDepth)
	}
	s.blank()
	switch c := s.peek(); {
	case c == '{':
		return s.object(depth)
	case c == '[':
		return s.list(depth)
	case c == '"':
		text, err := s.text()
		return node{kind: kindText, text: text}, err
	case c == '-' || c >= '0' && c <= '9':
		return s.number()
	}
	for word, k := range map[string]kind{"null": kindNull, "true": kindBool, "false": kindBool} {
		if len(s.raw)-s.at >= len(word) && string(s.raw[s.at:s.at+len(word)]) == word {
			s.at += len(word)
			return node{kind: k, text: word}, nil
		}
	}
	return node{}, errors.New("not valid JSON: expected a value")
}

func (s *scanner) object(depth int) (node, error) {
	n := node{kind: kindObject}
	s.at++
	if s.next('}') {
		return n, nil
	}
	seen := map[string]bool{}
	for {
		if s.blank(); s.peek() != '"' {
			return node{}, errors.New("not valid JSON: expected a name")
		}
		name, err := s.text()
		if err != nil {
			return node{}, err
		}
		if seen[name] {
			return node{}, fmt.Errorf("the key %q is given twice", clip(name))
		}
		seen[name] = true
		if !s.next(':') {
			return node{}, errors.New("not valid JSON: expected a colon")
		}
		item, err := s.value(depth + 1)
		if err != nil {
			return node{}, err
		}
		n.names, n.items = append(n.names, name), append(n.items, item)
		switch {
		case s.next('}'):
			return n, nil
		case !s.next(','):
			return node{}, errors.New("not valid JSON: expected a comma or the end of the object")
		}
	}
}

func (s *scanner) list(depth int) (node, error) {
	n := node{kind: kindList}
	s.at++
	if s.next(']') {
		return n, nil
	}
	for {
		item, err := s.value(depth + 1)
		if err != nil {
			return node{}, err
		}
		n.items = append(n.items, item)
		switch {
		case s.next(']'):
			return n, nil
		case !s.next(','):
			return node{}, errors.New("not valid JSON: expected a comma or the end of the list")
		}
	}
}

// number reads a literal by the grammar of RFC 8259 section 6.
func (s *scanner) number() (node, error) {
	from := s.at
	if s.peek() == '-' {
		s.at++
	}
	if s.peek() == '0' {
		s.at++
	} else if !s.digits() {
		return node{}, errors.New("not a JSON number")
	}
	if s.peek() == '.' {
		s.at++
		if !s.digits() {
			return node{}, errors.New("not a JSON number")
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.at++
		if c := s.peek(); c == '+' || c == '-' {
			s.at++
		}
		if !s.digits() {
			return node{}, errors.New("not a JSON number")
		}
	}
	return node{kind: kindNumber, text: string(s.raw[from:s.at])}, nil
}

func (s *scanner) digits() bool {
	from := s.at
	for c := s.peek(); c >= '0' && c <= '9'; c = s.peek() {
		s.at++
	}
	return s.at > from
}

// text reads a text with its quotes.
func (s *scanner) text() (string, error) {
	s.at++
	out := make([]byte, 0, 16)
	for s.at < len(s.raw) {
		switch c := s.raw[s.at]; {
		case c == '"':
			s.at++
			return string(out), nil
		case c < 0x20:
			return "", errors.New("not valid JSON: a control character in a text")
		case c != '\\':
			out = append(out, c)
			s.at++
		default:
			var err error
			if out, err = s.escape(out); err != nil {
				return "", err
			}
		}
	}
	return "", errors.New("not valid JSON: a text without end")
}

// escapes are the short ones of RFC 8259 section 7.
var escapes = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

func (s *scanner) escape(out []byte) ([]byte, error) {
	s.at++
	c := s.peek()
	if plain := escapes[c]; plain != 0 {
		s.at++
		return append(out, plain), nil
	}
	first, ok := s.hex4()
	if !ok {
		return nil, errors.New("not valid JSON: an unknown escape")
	}
	switch {
	case first >= 0xDC00 && first < 0xE000:
		return nil, errors.New("a lone surrogate, which is no character")
	case first < 0xD800 || first >= 0xE000:
		return utf8.AppendRune(out, first), nil
	}
	if s.peek() != '\\' {
		return nil, errors.New("a lone surrogate, which is no character")
	}
	s.at++
	second, ok := s.hex4()
	if !ok || second < 0xDC00 || second >= 0xE000 {
		return nil, errors.New("a lone surrogate, which is no character")
	}
	return utf8.AppendRune(out, 0x10000+(first-0xD800)<<10+(second-0xDC00)), nil
}

// hex4 reads u and four hexadecimal digits.
func (s *scanner) hex4() (rune, bool) {
	if s.peek() != 'u' || s.at+5 > len(s.raw) {
		return 0, false
	}
	digits := string(s.raw[s.at+1 : s.at+5])
	v, err := strconv.ParseUint(digits, 16, 16)
	if err != nil || digits[0] == '+' || digits[0] == '-' {
		return 0, false
	}
	s.at += 5
	return rune(v), true
}
