package piclo

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"flexd/agent/flex"
)

// The names that placeholders of each call have.
var (
	answerNames       = []string{"id", "revision", "reason", "text", "at"}
	bulkNames         = []string{itemsName, "at"}
	subscribeNames    = []string{"url", "event"}
	removeNames       = []string{"id", "url", "event"}
	availabilityNames = []string{"id", "asset", "from", "to", "reason", "at"}
)

// itemsName stands for the list of what a request in bulk carries.
const itemsName = "items"

// call is one request to the market as data: what to send where, and how to
// read the status that comes back.
type call struct {
	off    bool
	method string
	path   []segment
	query  map[string]template
	body   *template
	codes  map[verdict]statuses
	why    pointers // where a refusal explains itself
}

// segment is a stretch of a path between slashes: literal, or one value.
type segment struct {
	literal, name string
}

// verdict is what a status means.
type verdict int

const (
	verdictTaken     verdict = iota // as asked
	verdictAlready                  // it was so before: taken too
	verdictFinal                    // trying again changes nothing
	verdictTemporary                // may work later
)

// Calls by what their placeholders may say. A call is replaced whole by a
// file on top, never mixed.
type (
	answerCall    struct{ call }
	bulkCall      struct{ call }
	subscribeCall struct{ call }
	listCall      struct{ call }
	removeCall    struct{ call }
	declareCall   struct{ call }
	itemTemplate  struct{ template }
)

var writing = []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}

// UnmarshalYAML reads the call that answers one instruction.
func (c *answerCall) UnmarshalYAML(n *yaml.Node) error {
	return c.read(n, writing, answerNames)
}

// UnmarshalYAML reads the call that answers several.
func (c *bulkCall) UnmarshalYAML(n *yaml.Node) error {
	if err := c.read(n, writing, bulkNames); err != nil || c.off {
		return err
	}
	if c.body == nil || c.body.holds(itemsName) != 1 {
		return atLine(n, "the body of a call in bulk needs {%s} once", itemsName)
	}
	return nil
}

// UnmarshalYAML reads the call that subscribes.
func (c *subscribeCall) UnmarshalYAML(n *yaml.Node) error {
	return c.read(n, writing, subscribeNames)
}

// UnmarshalYAML reads the call that lists; it changes nothing.
func (c *listCall) UnmarshalYAML(n *yaml.Node) error {
	return c.read(n, []string{http.MethodGet}, []string{"event"})
}

// UnmarshalYAML reads the call that takes a subscription away.
func (c *removeCall) UnmarshalYAML(n *yaml.Node) error {
	return c.read(n, writing, removeNames)
}

// UnmarshalYAML reads a call about an asset's availability.
func (c *declareCall) UnmarshalYAML(n *yaml.Node) error {
	return c.read(n, writing, availabilityNames)
}

// UnmarshalYAML reads what a request in bulk says of each instruction.
func (t *itemTemplate) UnmarshalYAML(n *yaml.Node) (err error) {
	r := &reader{names: answerNames}
	t.template, err = r.read(n, 0, false)
	return err
}

// read checks a call: the word off, or its parts.
func (c *call) read(n *yaml.Node, methods, names []string) error {
	*c = call{codes: map[verdict]statuses{verdictTaken: {{2, true}}}, why: defaultWhy()}
	if n.Kind == yaml.ScalarNode && n.Value == "off" {
		c.off = true
		return nil
	}
	if n.Kind != yaml.MappingNode {
		return atLine(n, `write the call as {method: POST, path: "/…/{id}/", body: {…}}, or off`)
	}
	r := &reader{names: names}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if err := c.readPart(n.Content[i], n.Content[i+1], methods, r); err != nil {
			return err
		}
	}
	switch {
	case c.path == nil:
		return atLine(n, "the call needs a path")
	case c.method == "":
		return atLine(n, "the call needs a method: choose %s", strings.Join(methods, " or "))
	case c.method == http.MethodGet && c.body != nil:
		return atLine(n, "a GET has no body")
	}
	return nil
}

func (c *call) readPart(key, n *yaml.Node, methods []string, r *reader) (err error) {
	codes := map[string]verdict{"ok": verdictTaken, "already": verdictAlready, "final": verdictFinal, "temporary": verdictTemporary}
	switch key.Value {
	case "method":
		c.method, err = scalar(n, oneOf(methods...))
	case "path":
		_, err = scalar(n, func(s string) (err error) {
			c.path, err = readPath(s, r.names)
			return err
		})
	case "query":
		err = c.readQuery(n, r)
	case "body":
		var t template
		if t, err = r.read(n, 0, false); err == nil {
			c.body = &t
		}
	case "why":
		err = n.Decode(&c.why)
	case "ok", "already", "final", "temporary":
		var s statuses
		err = n.Decode(&s)
		c.codes[codes[key.Value]] = s
	default:
		err = atLine(key, "unknown key %s", clip(key.Value))
	}
	return err
}

func (c *call) readQuery(n *yaml.Node, r *reader) error {
	if n.Kind != yaml.MappingNode {
		return atLine(n, "write the query as {name: value}")
	}
	t, err := r.readObject(n, 0)
	if err != nil {
		return err
	}
	for name, v := range t.object {
		if v.kind == listTemplate || v.kind == objectTemplate || v.holds(itemsName) > 0 {
			return atLine(n, "the query parameter %s must be a plain value", name)
		}
	}
	c.query = t.object
	return nil
}

// readPath checks a path below the base URL, with placeholders as whole
// segments.
func readPath(s string, names []string) ([]segment, error) {
	wrong := errors.New(`write a path such as "/dispatch/v1/instructions/{id}/"`)
	if !strings.HasPrefix(s, "/") || s == "/" || strings.ContainsAny(s, "?#\\%; ") || !plainASCII(s) {
		return nil, wrong
	}
	parts := strings.Split(s[1:], "/")
	var out []segment
	for i, part := range parts {
		name, isOne := strings.CutPrefix(part, "{")
		name, ends := strings.CutSuffix(name, "}")
		switch {
		case part == "" && i < len(parts)-1, part != "" && part[0] == '.':
			return nil, wrong
		case isOne && ends:
			if !slices.Contains(names, name) || name == itemsName {
				return nil, fmt.Errorf("no such placeholder here: choose of {%s}", strings.Join(names, "}, {"))
			}
			out = append(out, segment{name: name})
		case strings.ContainsAny(part, "{}"):
			return nil, errors.New("a placeholder stands alone between slashes")
		default:
			out = append(out, segment{literal: part})
		}
	}
	return out, nil
}

// target is the call's address below the base. Values come from documents
// and people: one that would lead elsewhere is refused.
func (c *call) target(v values) (string, error) {
	var b strings.Builder
	for _, s := range c.path {
		b.WriteByte('/')
		if s.name == "" {
			b.WriteString(s.literal)
			continue
		}
		value := piece{name: s.name}.string(v)
		if value == "" || len(value) > maxID || !visible(value) || strings.ContainsAny(value, `/\%;`) || strings.Trim(value, ".") == "" {
			return "", flex.Refuse(flex.ReasonBadField, "the %s %q cannot be part of an address", s.name, clip(value))
		}
		b.WriteString(url.PathEscape(value))
	}
	q := url.Values{}
	for name, t := range c.query {
		value, absent := t.render(v)
		if absent {
			continue
		}
		text := ""
		if value != nil {
			text = fmt.Sprint(value)
		}
		q.Set(name, text)
	}
	if len(q) > 0 {
		return b.String() + "?" + q.Encode(), nil
	}
	return b.String(), nil
}

// statusSet is one status, or with class the hundred that begin with code.
type statusSet struct {
	code  int
	class bool
}

type statuses []statusSet

// UnmarshalYAML reads a list such as [2xx, 409].
func (s *statuses) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.SequenceNode || len(n.Content) > 20 {
		return atLine(n, "a list of up to 20 statuses is needed here, such as [2xx, 409]")
	}
	*s = statuses{}
	for _, c := range n.Content {
		text, err := scalar(c, func(t string) error {
			if len(t) != 3 || t[0] < '2' || t[0] > '5' || t[1:] != "xx" && (t[1] < '0' || t[1] > '9' || t[2] < '0' || t[2] > '9') {
				return errors.New("write a status from 200 to 599, or a class such as 2xx")
			}
			if t == "401" {
				return errors.New("401 is about our token: it is never an answer")
			}
			return nil
		})
		if err != nil {
			return err
		}
		if text[1] == 'x' {
			*s = append(*s, statusSet{int(text[0] - '0'), true})
			continue
		}
		code, err := strconv.Atoi(text)
		if err != nil {
			return atLine(c, "%q is not a status", clip(text))
		}
		*s = append(*s, statusSet{code, false})
	}
	return nil
}

// meaning reads a status: what the profile says of it, the exact word before
// the class, and else what HTTP says.
func (c *call) meaning(code int) verdict {
	for _, want := range []statusSet{{code, false}, {code / 100, true}} {
		for _, v := range []verdict{verdictTaken, verdictAlready, verdictFinal, verdictTemporary} {
			if code != http.StatusUnauthorized && slices.Contains(c.codes[v], want) {
				return v
			}
		}
	}
	switch {
	case code >= 500, code == http.StatusUnauthorized, code == http.StatusRequestTimeout,
		code == http.StatusTooEarly, code == http.StatusTooManyRequests:
		return verdictTemporary
	}
	return verdictFinal
}

// defaultWhy is where most frameworks explain a refusal.
func defaultWhy() pointers { return pointers{{"detail"}, {"message"}, {"error"}, {"title"}} }
