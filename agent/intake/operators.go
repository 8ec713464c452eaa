package intake

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"flexd/agent/flex"
)

// Known are the names under which the configuration knows an operator: one of
// its rules, with the other names for it.
type Known struct {
	Name    string
	Aliases []string
}

// is tells whether a name of the market's is this operator's.
func (k Known) is(name string) bool {
	return slices.ContainsFunc(append([]string{k.Name}, k.Aliases...), func(own string) bool {
		return strings.EqualFold(strings.TrimSpace(own), strings.TrimSpace(name))
	})
}

// operators tells of rules that no contract of ours falls under, and of
// operators of ours that no rule names: a rule under another name than the
// market's protects nothing.
func (s *Sync) operators(ctx context.Context) {
	if len(s.cfg.Operators) == 0 {
		return
	}
	cat, err := loadCatalogue(ctx, s.cfg.Book)
	if err != nil {
		return // told where it matters
	}
	names := s.named(cat)
	bad := map[string]string{}
	for _, k := range s.cfg.Operators {
		if len(names) > 0 && !slices.ContainsFunc(names, k.is) {
			bad[k.Name] = fmt.Sprintf("no contract of this site is of an operator called %q: the market says %s; write that name, or list it under aliases", k.Name, inWords(names))
		}
	}
	for _, n := range names {
		if !slices.ContainsFunc(s.cfg.Operators, func(k Known) bool { return k.is(n) }) {
			bad[n] = fmt.Sprintf("the market has contracts of operator %q, and no rule under market.operators names it: its instructions are taken without a signature", n)
		}
	}
	for name := range s.strange {
		if _, still := bad[name]; !still {
			delete(s.strange, name)
			s.cfg.Health.Clear(CodeOperatorUnmatched, name)
		}
	}
	for name, text := range bad {
		s.strange[name] = true
		s.cfg.Health.Raise(CodeOperatorUnmatched, name, text)
	}
}

// named lists the operators of the contracts that stand, each once.
func (s *Sync) named(cat catalogue) []string {
	today := s.cfg.Clock.Stamp().At.Format(time.DateOnly)
	var out []string
	for _, o := range cat.obligations {
		ours := len(s.cfg.Ours) == 0 || slices.ContainsFunc(o.Assets, func(id flex.AssetID) bool { return slices.Contains(s.cfg.Ours, id) })
		over := !o.GoneAt.IsZero() || o.EndDate != "" && o.EndDate < today
		if !ours || over {
			continue
		}
		name := o.Operator
		if name == "" {
			name = cat.competitions[o.Competition].Operator
		}
		if name = quoted(strings.TrimSpace(name)); name != "" {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// inWords lists names for people, a few of them.
func inWords(names []string) string {
	const most = 5
	parts := make([]string, 0, most)
	for _, n := range names[:min(most, len(names))] {
		parts = append(parts, fmt.Sprintf("%q", n))
	}
	text := strings.Join(parts, ", ")
	if len(names) > most {
		text += fmt.Sprintf(" and %d more", len(names)-most)
	}
	return text
}
