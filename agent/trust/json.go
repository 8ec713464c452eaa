package trust

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// maxDepth bounds the nesting of outside JSON: what we read is flat.
const maxDepth = 32

// Decode reads what UniqueKeys accepts; numbers keep their text.
func Decode(raw []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) == nil && utf8.Valid(raw) && len(bytes.TrimLeft(raw[dec.InputOffset():], " \t\r\n")) == 0 {
		if n, flat := pairs(v, 0); flat && n == colons(raw) {
			return v, nil // every pair that is written has its own place in v
		}
	}
	if err := UniqueKeys(raw); err != nil {
		return nil, err
	}
	return nil, errors.New("not valid JSON")
}

// pairs counts the keys with a value; flat is false where it nests too deep.
func pairs(v any, depth int) (n int, flat bool) {
	if depth > maxDepth {
		return 0, false
	}
	flat = true
	inner := func(v any) {
		more, ok := pairs(v, depth+1)
		n, flat = n+more, flat && ok
	}
	switch v := v.(type) {
	case map[string]any:
		n = len(v)
		for _, e := range v {
			inner(e)
		}
	case []any:
		for _, e := range v {
			inner(e)
		}
	}
	return n, flat
}

// colons counts those of valid JSON that are not within a text: one for every
// pair.
func colons(raw []byte) (n int) {
	text := false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case c == '\\':
			i++
		case c == '"':
			text = !text
		case c == ':' && !text:
			n++
		}
	}
	return n
}

// UniqueKeys refuses bytes that are not exactly one JSON value in valid
// UTF-8, nest deeper than 32 levels, or hold an object with the same key
// twice: two readers may pick different ones of a pair, and then what was
// checked is not what is acted on.
func UniqueKeys(raw []byte) error {
	if !utf8.Valid(raw) {
		return errors.New("not valid UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := uniqueValue(dec, 0); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the JSON value")
	}
	return nil
}

// uniqueValue consumes one value; the recursion is bounded by maxDepth.
func uniqueValue(dec *json.Decoder, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("nested deeper than %d levels", maxDepth)
	}
	tok, err := dec.Token()
	if err != nil {
		return fmt.Errorf("not valid JSON: %w", err)
	}
	open, isDelim := tok.(json.Delim)
	if !isDelim {
		return nil
	}
	seen := map[string]bool{}
	for dec.More() {
		if open == '{' {
			key, err := dec.Token()
			if err != nil {
				return fmt.Errorf("not valid JSON: %w", err)
			}
			name, _ := key.(string)
			if seen[name] {
				return fmt.Errorf("the key %q is given twice", clip(name))
			}
			seen[name] = true
		}
		if err := uniqueValue(dec, depth+1); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return fmt.Errorf("not valid JSON: %w", err)
	}
	return nil
}

// clip bounds an outside text that is quoted in an error.
func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}
