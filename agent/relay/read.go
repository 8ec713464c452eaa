package relay

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
	Path   string `json:"path"`
	Value  string `json:"value,omitempty"`
	What   string `json:"what"`
	Remedy string `json:"remedy"`
}

// String is one line: where, what, what to do.
func (p Problem) String() string {
	s := fmt.Sprintf("%s:%d:%d: %s: %s", p.File, p.Line, p.Column, p.Path, p.What)
	if p.Value != "" {
		s += fmt.Sprintf(" (%q)", p.Value)
	}
	return s + "; " + p.Remedy
}

// Problems is every problem found, in the order of the file. It is an error.
type Problems []Problem

// Error lists them, one per line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

func (ps Problems) sorted() Problems {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return ps
}

// reader collects the problems of one file.
type reader struct {
	file, dir string
	problems  Problems
}

var yamlLine = regexp.MustCompile(`line (\d+)`)

// document is the root mapping of the only document, nil when there is none.
func (r *reader) document(data []byte) *yaml.Node {
	at := value{r: r, path: "(file)"}
	const see = "see `flexd relay reference`"
	if len(data) > maxFile {
		at.problem("shorten it", "is larger than 1 MiB")
		return nil
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, next yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		at.problem(see, "is empty")
		return nil
	case err != nil:
		if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
			line, _ := strconv.Atoi(m[1])
			at.parent = &yaml.Node{Line: max(1, line), Column: 1}
		}
		at.problem("mend the syntax there", "is not YAML: %v", err)
		return nil
	}
	if err := dec.Decode(&next); !errors.Is(err, io.EOF) {
		at.problem("keep one document", "holds more than one document")
		return nil
	}
	if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		at.problem(see, "is not a mapping at the top")
		return nil
	}
	return doc.Content[0]
}

// value is a node with its path; node is nil when the key is absent.
type value struct {
	r            *reader
	node, parent *yaml.Node
	path         string
}

type object struct {
	value
	fields map[string]*yaml.Node
}

func (v value) given() bool { return v.node != nil }

func (v value) problem(remedy, what string, args ...any) {
	p := Problem{File: v.r.file, Line: 1, Column: 1, Path: v.path, What: fmt.Sprintf(what, args...), Remedy: remedy}
	if n := cmp.Or(v.node, v.parent); n != nil {
		p.Line, p.Column = n.Line, n.Column
	}
	if v.node != nil && v.node.Kind == yaml.ScalarNode {
		p.Value = v.node.Value[:min(60, len(v.node.Value))]
	}
	v.r.problems = append(v.r.problems, p)
}

// object is a mapping with known keys; anything else is a problem.
func (v value) object(known ...string) object {
	o := object{value: v, fields: map[string]*yaml.Node{}}
	if v.node == nil {
		return o
	}
	if v.node.Kind != yaml.MappingNode {
		v.problem("write it as a mapping with the keys "+strings.Join(known, ", "), "is not a mapping")
		return o
	}
	for i := 0; i+1 < len(v.node.Content); i += 2 {
		k, n := v.node.Content[i], v.node.Content[i+1]
		at := value{r: v.r, node: k, path: strings.TrimPrefix(v.path+"."+k.Value, ".")}
		switch {
		case !slices.Contains(known, k.Value):
			at.problem("remove it; known here: "+strings.Join(known, ", "), "unknown key")
		case o.fields[k.Value] != nil:
			at.problem("keep one of the two", "given twice")
		case n.Kind == yaml.AliasNode:
			at.problem("write the value out", "aliases are not supported")
		default:
			o.fields[k.Value] = n
		}
	}
	return o
}

func (o object) get(key string) value {
	return value{r: o.r, node: o.fields[key], parent: o.node, path: strings.TrimPrefix(o.path+"."+key, ".")}
}

func (v value) items() []value {
	if v.node == nil {
		return nil
	}
	if v.node.Kind != yaml.SequenceNode || len(v.node.Content) > maxRoutes {
		v.problem("write it as a list", "is not a list of at most %d elements", maxRoutes)
		return nil
	}
	out := make([]value, len(v.node.Content))
	for i, n := range v.node.Content {
		out[i] = value{r: v.r, node: n, parent: v.node, path: fmt.Sprintf("%s[%d]", v.path, i)}
	}
	return out
}

// text is a scalar; absent is "".
func (v value) text() string {
	if v.node == nil {
		return ""
	}
	if v.node.Kind != yaml.ScalarNode || v.node.Tag == "!!null" || len(v.node.Value) > 4096 {
		v.problem("write a plain value", "is not a plain value")
		return ""
	}
	return v.node.Value
}

func (v value) required(remedy string) string {
	s := v.text()
	if s == "" && (v.node == nil || v.node.Kind == yaml.ScalarNode && v.node.Tag != "!!null") {
		v.problem(remedy, "is missing")
	}
	return s
}

func (v value) flag(def bool) bool {
	if v.node == nil {
		return def
	}
	switch strings.ToLower(v.text()) {
	case "true", "on", "yes":
		return true
	case "false", "off", "no":
		return false
	}
	v.problem("write on or off", "is neither on nor off")
	return def
}

func (v value) number(def, lo, hi int) int {
	if v.node == nil {
		return def
	}
	n, err := strconv.Atoi(v.text())
	if err != nil || n < lo || n > hi {
		v.problem(fmt.Sprintf("write a whole number from %d to %d", lo, hi), "is not such a number")
		return def
	}
	return n
}

func (v value) duration(def, lo, hi time.Duration) time.Duration {
	if v.node == nil {
		return def
	}
	d, err := time.ParseDuration(v.text())
	if err != nil || d < lo || d > hi {
		v.problem(fmt.Sprintf("write a duration from %v to %v", lo, hi), "is not such a duration")
		return def
	}
	return d
}

// size is a number of bytes in KiB or MiB.
func (v value) size(def, lo, hi int) int {
	if v.node == nil {
		return def
	}
	number, unit, _ := strings.Cut(v.text(), " ")
	factor := map[string]int{"KiB": 1 << 10, "MiB": 1 << 20}[unit]
	n, err := strconv.Atoi(number)
	if err != nil || factor == 0 || n < 0 || n > hi || n*factor < lo || n*factor > hi {
		v.problem(fmt.Sprintf("write a size from %d KiB to %d KiB", lo>>10, hi>>10), "is not such a size")
		return def
	}
	return n * factor
}

// address is a host:port to listen on.
func (v value) address(def string) string {
	if v.node == nil {
		return def
	}
	s := v.text()
	if _, port, err := net.SplitHostPort(s); err != nil || !isPort(port) {
		v.problem("write host:port", "is not an address to listen on")
		return def
	}
	return s
}

func isPort(s string) bool {
	n, err := strconv.Atoi(s)
	return err == nil && n >= 0 && n <= 65535
}

// secret is a path, or {credential: NAME}, or {file: PATH}.
func (v value) secret(required bool) Secret {
	const remedy = "write a path, {credential: NAME} or {file: PATH}"
	switch {
	case !v.given() && required:
		v.problem(remedy, "is missing")
		return Secret{}
	case !v.given():
		return Secret{}
	case v.node.Kind == yaml.ScalarNode:
		return Secret{File: v.r.resolve(v.required(remedy))}
	}
	o := v.object("credential", "file")
	s := Secret{Credential: o.get("credential").text(), File: v.r.resolve(o.get("file").text())}
	if (s.Credential == "") == (s.File == "") {
		v.problem(remedy, "needs exactly one of credential and file")
	}
	if s.Credential != "" && !nameWord.MatchString(s.Credential) {
		o.get("credential").problem("use letters, digits, '.', '_' and '-'", "is not a credential's name")
	}
	return s
}

func (r *reader) resolve(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(r.dir, path)
}
