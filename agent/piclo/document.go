package piclo

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"flexd/agent/trust"
)

// byteOrderMark may precede a JSON text: RFC 8259 section 8.1 lets a reader
// ignore it.
var byteOrderMark = []byte("\ufeff")

// decodeJSON reads exactly one JSON value; numbers keep their text.
func decodeJSON(raw []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(bytes.TrimPrefix(raw, byteOrderMark)))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, fmt.Errorf("not valid JSON: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("not a single JSON value")
	}
	return v, nil
}

// decodeObject reads one JSON object without repeated keys.
func decodeObject(raw []byte) (map[string]any, error) {
	v, err := trust.Decode(bytes.TrimPrefix(raw, byteOrderMark))
	if err != nil {
		return nil, err
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("not a JSON object")
	}
	return m, nil
}

// rawAt follows a pointer through raw JSON, so that what is found keeps its
// own bytes.
func rawAt(raw json.RawMessage, p pointer) (json.RawMessage, bool) {
	for _, part := range p {
		raw = bytes.TrimSpace(raw)
		var next json.RawMessage
		ok := false
		switch {
		case len(raw) > 0 && raw[0] == '{':
			var m map[string]json.RawMessage
			if json.Unmarshal(raw, &m) == nil {
				next, ok = m[part]
			}
		case len(raw) > 0 && raw[0] == '[':
			var list []json.RawMessage
			i, err := strconv.Atoi(part)
			if err == nil && json.Unmarshal(raw, &list) == nil && i >= 0 && i < len(list) {
				next, ok = list[i], true
			}
		}
		if !ok {
			return nil, false
		}
		raw = next
	}
	return raw, true
}

// listing is a list that was found in a reply.
type listing struct {
	elements []json.RawMessage
	at       pointer
	single   bool // the reply is one element, not a list
}

// listOf finds the elements of a list reply: the first of the pointers under
// which there is an array.
func listOf(raw []byte, items pointers) ([]json.RawMessage, error) {
	l, err := listIn(raw, items, nil)
	return l.elements, err
}

// listIn is listOf for replies that may be one element alone: an object under
// one of the pointers of single, where there is no array.
func listIn(raw []byte, items, single pointers) (listing, error) {
	for _, p := range items {
		at, ok := rawAt(raw, p)
		if !ok || len(bytes.TrimSpace(at)) == 0 || bytes.TrimSpace(at)[0] != '[' {
			continue
		}
		var list []json.RawMessage
		if err := json.Unmarshal(at, &list); err != nil {
			return listing{}, fmt.Errorf("not valid JSON: %w", err)
		}
		return listing{elements: list, at: p}, nil
	}
	for _, p := range single {
		at, ok := rawAt(raw, p)
		if at = bytes.TrimSpace(at); ok && len(at) > 0 && at[0] == '{' && json.Valid(at) {
			return listing{elements: []json.RawMessage{at}, at: p, single: true}, nil
		}
	}
	if !json.Valid(raw) {
		return listing{}, errors.New("not valid JSON")
	}
	return listing{}, errors.New("no list in it: check the profile's lists.items")
}
