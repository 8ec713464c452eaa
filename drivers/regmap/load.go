package regmap

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

//go:embed maps/*.yaml
var shipped embed.FS

// maxFile bounds a map.
const maxFile = 256 << 10

// Problem is one thing that is wrong with a map.
type Problem struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	What   string `json:"what"`
	Remedy string `json:"remedy,omitempty"`
}

// String is one line for people.
func (p Problem) String() string {
	s := fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.What)
	if p.Remedy != "" {
		s += "; " + p.Remedy
	}
	return s
}

// Problems are all that is wrong with a map.
type Problems []Problem

// Error lists them.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Names lists the shipped maps.
func Names() []string {
	files, err := fs.Glob(shipped, "maps/*.yaml")
	if err != nil {
		return nil // the pattern is a constant
	}
	for i, f := range files {
		files[i] = strings.TrimSuffix(path.Base(f), ".yaml")
	}
	return files
}

// Load finds a map: a path, a file NAME.yaml in dir (when dir is given), or a
// shipped one, in this order, so that a site can mend a shipped map.
func Load(name, dir string) (*Map, error) {
	if strings.ContainsAny(name, "/\\") || strings.HasSuffix(name, ".yaml") {
		return LoadFile(name)
	}
	if dir != "" {
		file := filepath.Join(dir, name+".yaml")
		if _, err := os.Stat(file); err == nil {
			return LoadFile(file)
		}
	}
	raw, err := shipped.ReadFile("maps/" + name + ".yaml")
	if err != nil {
		return nil, fmt.Errorf("there is no register map %q; shipped are: %s", name, strings.Join(Names(), ", "))
	}
	return Parse(name+".yaml", raw)
}

// Source is the text of a shipped map.
func Source(name string) ([]byte, bool) {
	raw, err := shipped.ReadFile("maps/" + name + ".yaml")
	return raw, err == nil
}

// LoadFile reads a map from a file.
func LoadFile(file string) (*Map, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("cannot open the register map: %w", err)
	}
	defer f.Close() // read only
	raw, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read the register map %s: %w", file, err)
	}
	return Parse(file, raw)
}

// Parse reads and checks a map; the error is Problems.
func Parse(file string, raw []byte) (*Map, error) {
	if len(raw) > maxFile {
		return nil, Problems{{File: file, Line: 1, What: fmt.Sprintf("larger than %d bytes", maxFile)}}
	}
	var tree yaml.Node
	if err := yaml.Unmarshal(raw, &tree); err != nil {
		return nil, Problems{{File: file, Line: lineOf(err.Error()), What: "is not YAML: " + strings.TrimPrefix(err.Error(), "yaml: ")}}
	}
	m := &Map{file: file}
	c := &checker{file: file, tree: &tree}
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	dec.KnownFields(true)
	err := dec.Decode(m)
	var typed *yaml.TypeError
	switch {
	case errors.As(err, &typed):
		for _, text := range typed.Errors {
			c.typed(text)
		}
	case errors.Is(err, io.EOF):
		c.add(1, "is empty", "see `flexd map show victron-gx` for an example")
	case err != nil:
		c.add(lineOf(err.Error()), err.Error(), "")
	}
	if len(c.problems) > 0 {
		return nil, c.sorted() // what could not be read would only look missing below
	}
	m.fill()
	c.check(m)
	if len(c.problems) > 0 {
		return nil, c.sorted()
	}
	return m, nil
}

// fill puts the defaults in.
func (m *Map) fill() {
	if m.Line.Port == 0 {
		m.Line.Port = 502
	}
	if m.Line.Unit == 0 {
		m.Line.Unit = 1
	}
	if m.Line.MaxRead == 0 {
		m.Line.MaxRead = 100
	}
	if m.Line.MaxWrite == 0 {
		m.Line.MaxWrite = 100
	}
	if m.Line.Write == 0 {
		m.Line.Write = 16
	}
	for name, p := range m.Points {
		if p == nil {
			continue
		}
		p.name = name
		if p.Func == 0 {
			p.Func = 3
		}
		if p.Scale == 0 {
			p.Scale = 1
		}
		if p.Sign == 0 {
			p.Sign = 1
		}
		if p.Access == "" {
			p.Access = readOnly
		}
		if p.Words == "" && m.WordsBy == nil {
			p.Words = m.LowFirst
		}
		if p.Memory == "" {
			p.Memory = unknown
		}
	}
	for _, me := range m.Control {
		if me == nil {
			continue
		}
		for _, steps := range [][]Step{me.Arm, me.Write, me.Engage, me.Release, me.Boot} {
			for i := range steps {
				if steps[i].Echo == "" {
					steps[i].Echo = echoEqual
				}
			}
		}
	}
}

// size is the number of registers of a point.
func (p *Point) size() int {
	if p.Type == Str {
		return p.Len
	}
	return p.Type.size()
}

func (p *Point) readable() bool { return p.Access != writeOnly }
func (p *Point) writable() bool { return p.Access != readOnly }
func (p *Point) low() bool      { return p.Words == lowest }

// Writable lists the names of the points that may be written, sorted.
func (m *Map) Writable() []string {
	var out []string
	for name, p := range m.Points {
		if p.writable() {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}
