package piclo

import (
	"errors"
	"strconv"
	"strings"

	"flexd/agent/trust"
)

// pointer is a JSON pointer (RFC 6901); empty, it is the whole document.
type pointer []string

func parsePointer(s string) (pointer, error) {
	if s == "" {
		return pointer{}, nil
	}
	if s[0] != '/' || len(s) > 256 {
		return nil, errors.New(`write a JSON pointer such as "/capacity"`)
	}
	parts := strings.Split(s[1:], "/")
	for i, p := range parts {
		parts[i] = strings.ReplaceAll(strings.ReplaceAll(p, "~1", "/"), "~0", "~")
	}
	return parts, nil
}

// String names the field for people, "capacity" or "offer.capacity".
func (p pointer) String() string { return strings.Join(p, ".") }

// SignaturePointers are where an instruction carries its operator's signature,
// as JSON pointers.
func (p *Profile) SignaturePointers() []string {
	var out []string
	for _, at := range p.Instruction.Signature {
		out = append(out, trust.JoinPointer(at))
	}
	return out
}

// Effect is a part of an instruction that changes what is done, and where the
// profile finds it.
type Effect struct {
	Name     string
	Pointers []string
}

// EffectPointers are the parts that a signature must cover.
func (p *Profile) EffectPointers() []Effect {
	in := p.Instruction
	var out []Effect
	for _, f := range []struct {
		name string
		at   pointers
	}{{"id", in.ID}, {"revision", in.Revision}, {"type", in.Type}, {"status", p.statusEffect()}, {"stops", in.Stops}, {"obligation", in.Obligation},
		{"operator", in.Operator}, {"assets", in.Assets}, {"capacity", in.Capacity.At}, {"direction", in.Direction.At}, {"start", in.Start.At}, {"end", in.End.At}} {
		e := Effect{Name: f.name}
		for _, at := range f.at {
			e.Pointers = append(e.Pointers, trust.JoinPointer(at))
		}
		if len(e.Pointers) > 0 {
			out = append(out, e)
		}
	}
	return out
}

// statusEffect is where the status is, when it alone tells a stop from a start.
// Where there is a type, the status is the market's own book-keeping, which
// nobody signs; all it can do is to end something.
func (p *Profile) statusEffect() pointers {
	if len(p.Instruction.Type) > 0 {
		return nil
	}
	return p.Instruction.Status
}

// find follows the pointer through decoded JSON.
func (p pointer) find(v any) (any, bool) {
	for _, part := range p {
		switch node := v.(type) {
		case map[string]any:
			next, ok := node[part]
			if !ok {
				return nil, false
			}
			v = next
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i < 0 || i >= len(node) {
				return nil, false
			}
			v = node[i]
		default:
			return nil, false
		}
	}
	return v, true
}

// find gives the first value that is there. Null and the empty text both mean
// that the market left the field out.
func (ps pointers) find(doc any) (v any, name string, ok bool) {
	p, v, ok := ps.lookup(doc)
	return v, p.String(), ok
}

// lookup is find with the pointer itself; where nothing is found, the first.
func (ps pointers) lookup(doc any) (at pointer, v any, ok bool) {
	for _, p := range ps {
		if v, ok := p.find(doc); ok && v != nil && v != "" {
			return p, v, true
		}
	}
	if len(ps) > 0 {
		at = ps[0]
	}
	return at, nil, false
}
