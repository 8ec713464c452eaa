package agent

import (
	"fmt"
	"slices"
	"strings"

	"flexd/agent/config"
	"flexd/agent/piclo"
)

// signed warns of an operator's list of signed fields that leaves out what
// changes the effect of an instruction: whoever holds one signature could put it
// under a stop, another direction or another contract.
func (n *inspection) signed(c *config.Config) {
	profile, err := piclo.LoadProfile(c.Market.Profile)
	if err != nil {
		return // told elsewhere
	}
	effects := profile.EffectPointers()
	for i, o := range c.Market.Operators {
		if len(o.Fields) == 0 || o.Signature == config.Ignore {
			continue
		}
		var open []string
		for _, e := range effects {
			if !slices.ContainsFunc(e.Pointers, func(p string) bool { return slices.Contains(o.Fields, p) }) {
				open = append(open, fmt.Sprintf("%s (%s)", e.Name, strings.Join(e.Pointers, " or ")))
			}
		}
		if len(open) > 0 {
			n.add(Finding{Path: fmt.Sprintf("market.operators[%d].canonical.fields", i),
				What:   fmt.Sprintf("%s signs everything but %s: whoever has one signature can change that", o.Name, strings.Join(open, ", ")),
				Remedy: "agree with the operator on a list that signs them, or on the whole instruction (canonical: jcs)"})
		}
	}
}
