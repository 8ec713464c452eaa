package piclo

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

//go:embed piclo.yaml
var embedded []byte

// others are the further profiles that come along, each read on top of
// piclo.yaml like a file of the site's own.
//
//go:embed profiles/*.yaml
var others embed.FS

// maxProfile bounds a profile file.
const maxProfile = 256 << 10

// ProfileError lists everything that is wrong with a profile, in the order
// of its lines.
type ProfileError struct {
	File     string
	Problems []string // "line 3: …" where a line can be named
}

// Error lists the problems, one a line.
func (e *ProfileError) Error() string {
	return fmt.Sprintf("market profile %s:\n  %s", e.File, strings.Join(e.Problems, "\n  "))
}

// Profiles names the embedded profiles.
func Profiles() []string {
	out := []string{"piclo"}
	entries, _ := others.ReadDir("profiles") // embedded: it is there
	for _, e := range entries {
		out = append(out, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	return out
}

// LoadProfile gives an embedded profile ("piclo", also when name is empty,
// or another of Profiles), or reads a file on top of piclo. The error is a
// *ProfileError when the profile can be read and not used.
func LoadProfile(name string) (*Profile, error) {
	p := &Profile{}
	if err := p.overlay("piclo.yaml", embedded); err != nil {
		return nil, err
	}
	if name == "" || name == p.Name {
		return p, nil
	}
	raw, err := readProfile(name)
	if err != nil {
		return nil, fmt.Errorf("market profile %q is neither embedded (%s) nor a readable file: %w", name, strings.Join(Profiles(), ", "), err)
	}
	if err := p.overlay(name, raw); err != nil {
		return nil, err
	}
	return p, nil
}

func readProfile(name string) ([]byte, error) {
	if slices.Contains(Profiles(), name) {
		return others.ReadFile("profiles/" + name + ".yaml")
	}
	return readBounded(name)
}

func readBounded(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close() // read only
	raw, err := io.ReadAll(io.LimitReader(f, maxProfile+1))
	if err == nil && len(raw) > maxProfile {
		err = fmt.Errorf("larger than %d bytes", maxProfile)
	}
	return raw, err
}

// overlay reads raw on top of what is there, strictly.
func (p *Profile) overlay(file string, raw []byte) error {
	var tree yaml.Node
	if err := yaml.Unmarshal(raw, &tree); err != nil {
		return &ProfileError{File: file, Problems: []string{strings.TrimPrefix(err.Error(), "yaml: ")}}
	}
	var problems []string
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	dec.KnownFields(true)
	if err := dec.Decode(p); err != nil && !errors.Is(err, io.EOF) {
		problems = readable(mistakes(err))
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) && len(problems) == 0 {
		problems = append(problems, "the file holds a second document after ---: keep one")
	}
	// What other lines got wrong would only be told twice.
	if len(problems) == 0 {
		for _, m := range p.check() {
			problems = append(problems, m.at(&tree))
		}
	}
	if len(problems) == 0 {
		return nil
	}
	slices.SortStableFunc(problems, func(a, b string) int { return lineNumber(a) - lineNumber(b) })
	return &ProfileError{File: file, Problems: problems}
}

// lineNumber is the line that a problem names; those without come last.
func lineNumber(problem string) int {
	rest, ok := strings.CutPrefix(problem, "line ")
	n, err := strconv.Atoi(strings.SplitN(rest, ":", 2)[0])
	if !ok || err != nil {
		return 1 << 30
	}
	return n
}

var (
	unknownField = regexp.MustCompile(`field (\S+) not found in type (\S+)`)
	wrongKind    = regexp.MustCompile(`cannot unmarshal !!(\w+)(.*) into (\S+)`)
)

// readable puts the decoder's messages into the words of the file, with the
// key that was probably meant.
func readable(messages []string) []string {
	var out []string
	for _, m := range messages {
		if f := unknownField.FindStringSubmatch(m); f != nil {
			known := keysOf(f[2])
			hint := meant(f[1], known)
			if hint == "" && len(known) > 0 {
				hint = ": there are " + strings.Join(known, ", ")
			}
			m = strings.Replace(m, f[0], "unknown key "+f[1]+hint, 1)
		}
		if f := wrongKind.FindStringSubmatch(m); f != nil {
			m = strings.Replace(m, f[0], fmt.Sprintf("a value of the kind %s%s does not belong here%s", f[1], f[2], wanted(f[3])), 1)
		}
		out = append(out, m)
	}
	return out
}

// wanted says what belongs where a value of the wrong kind stands.
func wanted(goType string) string {
	switch {
	case goType == "bool":
		return ": write true or false"
	case goType == "int":
		return ": write a whole number"
	case goType == "string":
		return ": write a text"
	case strings.HasPrefix(goType, "[]"):
		return ": write a list, such as [a, b]"
	case strings.HasPrefix(goType, "map["), strings.HasPrefix(goType, "piclo."):
		return ": write keys with values below it"
	}
	return ""
}

// nodeAt walks mappings by key as far as they go and gives the deepest node
// that is there.
func nodeAt(n *yaml.Node, path []string) *yaml.Node {
	if n.Kind == yaml.DocumentNode && len(n.Content) > 0 {
		n = n.Content[0]
	}
	var at *yaml.Node
	for _, key := range path {
		var found *yaml.Node
		for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == key {
				at, found = n.Content[i], n.Content[i+1]
			}
		}
		if found == nil {
			return at
		}
		n = found
	}
	return at
}
