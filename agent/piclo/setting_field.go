package piclo

import (
	"errors"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"flexd/agent/flex"
)

// A field of a document: where it is, and how the market writes it. In the
// file it is a plain list of pointers, or a mapping with the pointers under
// "at" and what differs from the profile's common settings.
type (
	powerAt struct {
		At     pointers
		Unit   unit     // 0: power.unit
		UnitAt pointers // a field of the document names the unit
		Sign   positive // "": power.sign
	}
	timeAt struct {
		At     pointers
		Format timeFormat
		Zone   zone
	}
	dateAt struct {
		At     pointers
		Format dateFormat
		Zone   zone
	}
	clockAt struct {
		At     pointers
		Format clockFormat
	}
	spanAt struct {
		At     pointers
		Format spanFormat
	}
	// wordsAt is a field whose words have meanings: each meaning lists the
	// market's words for it.
	wordsAt struct {
		At    pointers
		Words map[string]words
	}
	directionAt struct{ wordsAt }
	daysAt      struct{ wordsAt }
	holidaysAt  struct{ wordsAt }
	regionAt    struct{ wordsAt }
)

// positive says what a positive power asks for.
type positive string

const (
	signNone   = "none" // powers are magnitudes
	signExport = "export"
	signImport = "import"
)

// maxWords bounds the words of one field.
const maxWords = 50

// readAt reads either form of a field; more are the keys that the mapping
// may have next to "at". All mistakes are told, not only the first.
func readAt(n *yaml.Node, at *pointers, more map[string]any) error {
	if n.Kind != yaml.MappingNode {
		if err := n.Decode(at); err != nil {
			return err
		}
		return nil
	}
	var bad []string
	keys := []string{"at"}
	for k := range more {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	seen := map[string]bool{}
	*at = nil
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		target, known := more[key.Value]
		if key.Value == "at" {
			target, known = at, true
		}
		switch {
		case !known:
			bad = append(bad, lineOf(key)+"unknown key "+clip(key.Value)+meant(key.Value, keys))
			continue
		case seen[key.Value]:
			bad = append(bad, lineOf(key)+clip(key.Value)+" is already defined here")
			continue
		}
		seen[key.Value] = true
		bad = append(bad, mistakes(value.Decode(target))...)
	}
	if len(bad) == 0 && len(*at) == 0 {
		bad = append(bad, lineOf(n)+`"at" with a list of JSON pointers is needed here`)
	}
	if len(bad) > 0 {
		return &yaml.TypeError{Errors: bad}
	}
	return nil
}

// mistakes are the lines of a decoder's error.
func mistakes(err error) []string {
	var typed *yaml.TypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &typed):
		return typed.Errors
	}
	return []string{err.Error()}
}

// UnmarshalYAML reads a power.
func (p *powerAt) UnmarshalYAML(n *yaml.Node) error {
	*p = powerAt{}
	return readAt(n, &p.At, map[string]any{"unit": &p.Unit, "unit_at": &p.UnitAt, "sign": &p.Sign})
}

// UnmarshalYAML reads an instant.
func (t *timeAt) UnmarshalYAML(n *yaml.Node) error {
	*t = timeAt{}
	return readAt(n, &t.At, map[string]any{"format": &t.Format, "zone": &t.Zone})
}

// UnmarshalYAML reads a day.
func (d *dateAt) UnmarshalYAML(n *yaml.Node) error {
	*d = dateAt{}
	return readAt(n, &d.At, map[string]any{"format": &d.Format, "zone": &d.Zone})
}

// UnmarshalYAML reads a time of day.
func (c *clockAt) UnmarshalYAML(n *yaml.Node) error {
	*c = clockAt{}
	return readAt(n, &c.At, map[string]any{"format": &c.Format})
}

// UnmarshalYAML reads a duration.
func (s *spanAt) UnmarshalYAML(n *yaml.Node) error {
	*s = spanAt{}
	return readAt(n, &s.At, map[string]any{"format": &s.Format})
}

// read takes a field of words that may have only these meanings.
func (w *wordsAt) read(n *yaml.Node, meanings ...string) error {
	*w = wordsAt{}
	table := wordTable{meanings: meanings}
	err := readAt(n, &w.At, map[string]any{"words": &table})
	w.Words = table.words
	return err
}

// meaning finds what a word stands for.
func (w wordsAt) meaning(s string) (string, bool) {
	for m, list := range w.Words {
		if list.has(s) {
			return m, true
		}
	}
	return "", false
}

// wordTable reads {meaning: [words]}; a word may have one meaning only.
type wordTable struct {
	meanings []string
	words    map[string]words
}

// UnmarshalYAML reads the table.
func (t *wordTable) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.MappingNode {
		return atLine(n, "a mapping such as {%s: [the market's words]} is needed here", t.meanings[0])
	}
	var bad []string
	t.words = map[string]words{}
	taken := map[string]string{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if !slices.Contains(t.meanings, key.Value) {
			bad = append(bad, lineOf(key)+"unknown meaning "+clip(key.Value)+meant(key.Value, t.meanings)+": choose "+strings.Join(t.meanings, ", "))
			continue
		}
		var list words
		bad = append(bad, mistakes(value.Decode(&list))...)
		for _, w := range list {
			if other, dup := taken[w]; dup {
				bad = append(bad, lineOf(value)+clip(w)+" already means "+other)
			}
			taken[w] = key.Value
		}
		t.words[key.Value] = list
	}
	if len(taken) > maxWords {
		bad = append(bad, lineOf(n)+"has more than 50 words")
	}
	if len(bad) > 0 {
		return &yaml.TypeError{Errors: bad}
	}
	return nil
}

// UnmarshalYAML reads the place of a direction.
func (d *directionAt) UnmarshalYAML(n *yaml.Node) error {
	return d.read(n, string(flex.Export), string(flex.Import))
}

// UnmarshalYAML reads the place of the service days.
func (d *daysAt) UnmarshalYAML(n *yaml.Node) error {
	return d.read(n, "mon", "tue", "wed", "thu", "fri", "sat", "sun")
}

// UnmarshalYAML reads the place that says whether bank holidays count.
func (h *holidaysAt) UnmarshalYAML(n *yaml.Node) error { return h.read(n, "include", "exclude") }

// UnmarshalYAML reads the place that says whose bank holidays count.
func (r *regionAt) UnmarshalYAML(n *yaml.Node) error { return r.read(n, regions()...) }

// regions are those with bank holidays of their own, in the words of
// gov.uk/bank-holidays, and none.
func regions() []string { return []string{"england-and-wales", "scotland", "northern-ireland", "none"} }

// UnmarshalYAML reads what a positive power asks for.
func (s *positive) UnmarshalYAML(n *yaml.Node) error {
	v, err := scalar(n, oneOf(signNone, signExport, signImport))
	*s = positive(v)
	return err
}
