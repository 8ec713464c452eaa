package piclo

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // a gateway without zone files must still read the market's hours

	"go.yaml.in/yaml/v3"

	"flexd/agent/flex"
	"flexd/agent/trust"
)

// The kinds of value a profile has. Each reads itself and refuses, with its
// line, what it cannot mean.
type (
	word       string        // one line of visible text
	words      []string      // compared without regard to case
	address    string        // of an API, over TLS
	fixedPath  string        // an absolute path
	idPath     string        // the same, with {id} in it
	span       time.Duration // from 0 to 30 days
	count      int           // from 1 to 1000
	algorithm  string
	paging     string
	capacityOf string
	from       string
	unit       flex.Watts

	// Of notifications.
	signing       string
	place         string // where the signature, or all that is signed, stands
	serialization string
	eventUse      string
	claim         string
	keyFormat     string
	tokenKind     string
	holidayRegion string
	sinceFormat   string

	pointer1 struct{ text string } // one JSON pointer

	zone     struct{ *time.Location }
	pointers []pointer
)

// Words of the choices.
const (
	pagingNext = "next"
	pagingNone = "none"
	pagingLink = "link"
	pagingPage = "page"

	signatureJWS  = "jws"
	signatureNone = "none"

	placeBody   place = "body"
	placeField  place = "field"
	placeHeader place = "header"

	serialCompact  = "compact"
	serialJSON     = "json"
	serialDetached = "detached"

	eventAccept = "accept"
	eventRefuse = "refuse"

	tokenLogin  = "login"
	tokenStatic = "static"

	capacityOfInstruction = "instruction"
	capacityOfAsset       = "asset"

	fromInstruction = "instruction"
	fromField       = "field" // another word for instruction
	fromSign        = "sign"
	fromObligation  = "obligation"
	fromCompetition = "competition"
)

// atLine makes an error that the decoder collects with the others.
func atLine(n *yaml.Node, format string, args ...any) error {
	return &yaml.TypeError{Errors: []string{fmt.Sprintf("line %d: ", n.Line) + fmt.Sprintf(format, args...)}}
}

// scalar reads a plain value with a check.
func scalar(n *yaml.Node, check func(string) error) (string, error) {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		return "", atLine(n, "a plain value is needed here")
	}
	if len(n.Value) > 1024 {
		return "", atLine(n, "longer than 1024 characters")
	}
	if err := check(n.Value); err != nil {
		return "", atLine(n, "%q: %v", clip(n.Value), err)
	}
	return n.Value, nil
}

// oneOf makes a check for a choice.
func oneOf(choices ...string) func(string) error {
	return func(s string) error {
		if !slices.Contains(choices, s) {
			return errors.New("choose " + strings.Join(choices, " or "))
		}
		return nil
	}
}

// UnmarshalYAML reads a word.
func (w *word) UnmarshalYAML(n *yaml.Node) error {
	s, err := scalar(n, func(s string) error {
		if s == "" || !visible(s) {
			return errors.New("visible text is needed")
		}
		return nil
	})
	*w = word(s)
	return err
}

// UnmarshalYAML reads a list of words.
func (w *words) UnmarshalYAML(n *yaml.Node) error {
	var list []word
	if err := n.Decode(&list); err != nil {
		return err
	}
	*w = nil
	for _, s := range list {
		*w = append(*w, strings.ToLower(string(s)))
	}
	return nil
}

// has tells whether s is one of the words, however it is spelt.
func (w words) has(s string) bool {
	s = flex.FoldWord(s)
	return s != "" && slices.ContainsFunc(w, func(have string) bool { return flex.FoldWord(have) == s })
}

func checkPath(s string) error {
	if !strings.HasPrefix(s, "/") || len(s) < 2 || strings.ContainsAny(s, "?#\\% ") ||
		strings.Contains(s, "//") || strings.Contains(s, "/.") || !visible(s) {
		return errors.New(`write a path such as "/assets/v1/"`)
	}
	return nil
}

// UnmarshalYAML reads the address of an API.
func (a *address) UnmarshalYAML(n *yaml.Node) error {
	s, err := scalar(n, func(s string) error {
		_, err := parseOrigin("the address", s, false)
		return err
	})
	*a = address(s)
	return err
}

// UnmarshalYAML reads a path.
func (p *fixedPath) UnmarshalYAML(n *yaml.Node) error {
	s, err := scalar(n, checkPath)
	*p = fixedPath(s)
	return err
}

// UnmarshalYAML reads a path with an {id}.
func (p *idPath) UnmarshalYAML(n *yaml.Node) error {
	s, err := scalar(n, func(s string) error {
		if strings.Count(s+"/", "/{id}/") != 1 || strings.Count(s, "{") != 1 {
			return errors.New("the path needs {id} once, between slashes or at the end")
		}
		return checkPath(s)
	})
	*p = idPath(s)
	return err
}

// UnmarshalYAML reads a duration.
func (d *span) UnmarshalYAML(n *yaml.Node) error {
	var v time.Duration
	_, err := scalar(n, func(s string) (err error) {
		if v, err = time.ParseDuration(s); err != nil || v < 0 || v > 30*24*time.Hour {
			return errors.New(`write a duration with its unit, such as "60s", up to 720h`)
		}
		return nil
	})
	*d = span(v)
	return err
}

// UnmarshalYAML reads a count.
func (c *count) UnmarshalYAML(n *yaml.Node) error {
	var v int
	_, err := scalar(n, func(s string) (err error) {
		if v, err = strconv.Atoi(s); err != nil || v < 1 || v > 1000 {
			return errors.New("write a number from 1 to 1000")
		}
		return nil
	})
	*c = count(v)
	return err
}

// UnmarshalYAML reads an algorithm; only those that can be verified exist.
func (a *algorithm) UnmarshalYAML(n *yaml.Node) error {
	s, err := scalar(n, oneOf(trust.Algorithms()...))
	*a = algorithm(s)
	return err
}

// UnmarshalYAML reads the kind of paging.
func (p *paging) UnmarshalYAML(n *yaml.Node) error {
	s, err := scalar(n, oneOf(pagingNext, pagingLink, pagingPage, pagingNone))
	*p = paging(s)
	return err
}

// UnmarshalYAML reads what a capacity is of.
func (c *capacityOf) UnmarshalYAML(n *yaml.Node) error {
	s, err := scalar(n, oneOf(capacityOfInstruction, capacityOfAsset))
	*c = capacityOf(s)
	return err
}

// UnmarshalYAML reads a place that gives the direction.
func (f *from) UnmarshalYAML(n *yaml.Node) error {
	s, err := scalar(n, oneOf(fromInstruction, fromField, fromSign, fromObligation, fromCompetition))
	*f = from(s)
	return err
}

// UnmarshalYAML reads a unit of power.
func (u *unit) UnmarshalYAML(n *yaml.Node) error {
	s, err := scalar(n, oneOf("MW", "kW", "W"))
	*u = unitOf(s)
	return err
}

// unitOf is the unit of that name, 0 when there is none.
func unitOf(s string) unit {
	switch s {
	case "MW":
		return unit(flex.Megawatt)
	case "kW":
		return unit(flex.Kilowatt)
	case "W":
		return unit(flex.Watt)
	}
	return 0
}

// String is the unit's name.
func (u unit) String() string {
	for _, name := range []string{"MW", "kW", "W"} {
		if unitOf(name) == u {
			return name
		}
	}
	return "?"
}

// UnmarshalYAML reads a time zone by its IANA name.
func (z *zone) UnmarshalYAML(n *yaml.Node) error {
	_, err := scalar(n, func(s string) error {
		loc, err := time.LoadLocation(s)
		if err != nil || s == "" || s == "Local" {
			return errors.New(`write an IANA zone such as "Europe/London"`)
		}
		z.Location = loc
		return nil
	})
	return err
}

// UnmarshalYAML reads a list of JSON pointers.
func (ps *pointers) UnmarshalYAML(n *yaml.Node) error {
	var list []string
	if n.Kind != yaml.SequenceNode || len(n.Content) > 20 || n.Decode(&list) != nil {
		return atLine(n, "a list of up to 20 JSON pointers is needed here")
	}
	*ps = nil
	for i, s := range list {
		p, err := parsePointer(s)
		if err != nil {
			return atLine(n.Content[i], "%q: %v", clip(s), err)
		}
		*ps = append(*ps, p)
	}
	return nil
}
