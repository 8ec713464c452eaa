package trust

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// maxFields bounds a list of signed fields; more are signed with RFC 8785.
const maxFields = 64

// Canon says which bytes two parties sign for an instruction.
type Canon struct {
	// Fields are JSON pointers of what is signed, in order. None: the whole
	// instruction by RFC 8785, without the members that Signature points to.
	Fields    []string
	Separator string
	Signature []string
}

// Name tells the form in a few words.
func (c Canon) Name() string {
	if len(c.Fields) == 0 {
		return "RFC 8785 without " + strings.Join(c.Signature, " ")
	}
	return fmt.Sprintf("%s joined with %q", strings.Join(c.Fields, " "), c.Separator)
}

// check finds what can be said against a form without an instruction.
func (c Canon) check() error {
	if len(c.Fields) > maxFields {
		return fmt.Errorf("signs %d fields, more than %d", len(c.Fields), maxFields)
	}
	if len(c.Fields) > 1 && c.Separator == "" {
		return errors.New("joins fields without a separator: 1 and 23 would sign like 12 and 3")
	}
	for _, list := range [][]string{c.Fields, c.Signature} {
		for _, p := range list {
			if _, err := parsePointer(p); err != nil {
				return err
			}
			if p == "" {
				return errors.New("has a pointer to the whole instruction")
			}
		}
	}
	for _, f := range c.Fields {
		if slices.Contains(c.Signature, f) {
			return fmt.Errorf("signs the signature itself (%s)", f)
		}
	}
	return nil
}

// Bytes gives what is signed of an instruction as it came, byte for byte:
// nothing is read from it twice and nothing is mended.
func (c Canon) Bytes(instruction []byte) ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("the canonical form %w", err)
	}
	n, err := parseNode(instruction)
	if err != nil {
		return nil, fmt.Errorf("the instruction is not fit to be signed: %w", err)
	}
	if n.kind != kindObject {
		return nil, errors.New("the instruction is not a JSON object")
	}
	if len(c.Fields) > 0 {
		return c.join(n)
	}
	for _, text := range c.Signature {
		p, err := parsePointer(text)
		if err != nil {
			return nil, err
		}
		n = n.without(p)
	}
	out, err := appendJCS(nil, n)
	if err != nil {
		return nil, fmt.Errorf("the instruction is not fit to be signed: %w", err)
	}
	return out, nil
}

// join writes the fields with the separator between them, and refuses a text
// that other fields would give as well.
func (c Canon) join(n node) ([]byte, error) {
	values := make([]string, len(c.Fields))
	for i, text := range c.Fields {
		p, err := parsePointer(text)
		if err != nil {
			return nil, err
		}
		at, _ := n.at(p)
		if values[i], err = at.plain(); err != nil {
			return nil, fmt.Errorf("the signed field %s %w", text, err)
		}
	}
	joined := strings.Join(values, c.Separator)
	// Taken apart again it must give the same fields: then no two different
	// instructions have the same text.
	if len(values) > 1 && !slices.Equal(strings.Split(joined, c.Separator), values) {
		return nil, fmt.Errorf("a signed field holds the separator %q: others would sign alike", c.Separator)
	}
	return []byte(joined), nil
}

// plain is a field's value as text: as it is, numbers as they were written,
// null as nothing, and the scalars of a list joined by commas.
func (n node) plain() (string, error) {
	switch n.kind {
	case kindNull:
		return "", nil
	case kindBool, kindNumber, kindText:
		return n.text, nil
	case kindObject:
		return "", errors.New("is an object, which has no agreed order")
	case kindList:
	}
	parts := make([]string, len(n.items))
	for i, item := range n.items {
		switch {
		case item.kind == kindList || item.kind == kindObject:
			return "", errors.New("is a list of more than plain values")
		case strings.Contains(item.text, ","):
			return "", errors.New("is a list in which a value holds a comma: others would sign alike")
		case item.kind != kindNull:
			parts[i] = item.text
		}
	}
	return strings.Join(parts, ","), nil
}

// at follows a pointer; what is not there is null.
func (n node) at(p []string) (node, bool) {
	for _, step := range p {
		i, ok := n.index(step)
		if !ok {
			return node{}, false
		}
		n = n.items[i]
	}
	return n, true
}

// index finds the item that one step of a pointer names.
func (n node) index(step string) (int, bool) {
	switch n.kind {
	case kindObject:
		i := slices.Index(n.names, step)
		return i, i >= 0
	case kindList:
		return arrayIndex(step, len(n.items))
	case kindNull, kindBool, kindNumber, kindText:
	}
	return 0, false
}

// without gives the value without the member that a pointer names. Only
// members go: taking an item out of a list would move the others.
func (n node) without(p []string) node {
	if len(p) == 0 {
		return n
	}
	i, ok := n.index(p[0])
	if !ok || len(p) == 1 && n.kind != kindObject {
		return n
	}
	out := node{kind: n.kind, names: slices.Clone(n.names), items: slices.Clone(n.items)}
	if len(p) > 1 {
		out.items[i] = n.items[i].without(p[1:])
		return out
	}
	out.names, out.items = slices.Delete(out.names, i, i+1), slices.Delete(out.items, i, i+1)
	return out
}
