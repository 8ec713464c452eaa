package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"flexd/agent/piclo"
)

// text prints what a file is and what is in it.
func (t trial) text(w io.Writer) {
	how := "as told"
	if t.Recognised {
		how = "recognised"
	}
	fmt.Fprintf(w, "  %s (%s): %s\n", t.Kind, how, plain(t.Found))
	for _, warning := range t.Warnings {
		fmt.Fprintf(w, "  ! %s\n", plain(warning))
	}
	for _, name := range t.Ignored {
		fmt.Fprintf(w, "  ignored around it: %s\n", plain(name))
	}
	for _, u := range t.Documents {
		documentText(w, u)
	}
	if t.More > 0 {
		fmt.Fprintf(w, "  and %d more, not shown\n", t.More)
	}
}

// documentText prints one document: what becomes of it, then what every field
// of the profile found, then what nobody looks at.
func documentText(w io.Writer, u piclo.Understood) {
	fmt.Fprintf(w, "\n  %s: %s\n", plain(cmp.Or(u.ID, "(no id)")), plain(u.Verdict))
	if u.Why != "" {
		fmt.Fprintf(w, "    why        %s\n", plain(u.Why))
	}
	if u.Direction != "" {
		fmt.Fprintf(w, "    direction  %s\n", plain(u.Direction))
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	var missing []string
	for _, f := range u.Fields {
		switch {
		case f.Found():
			fmt.Fprintf(tw, "    %s\t%s\t%s\t= %s\n", f.Name, plain(f.From), plain(f.Raw), plain(cmp.Or(f.Means, "?")))
		default:
			missing = append(missing, fmt.Sprintf("%s (looked at %s)", f.Name, strings.Join(f.Looked, ", ")))
		}
	}
	_ = tw.Flush()
	for _, problem := range u.Refusals() {
		fmt.Fprintf(w, "    PROBLEM    %s\n", plain(problem))
	}
	for _, name := range missing {
		fmt.Fprintf(w, "    missing    %s\n", plain(name))
	}
	for _, name := range u.Ignored {
		fmt.Fprintf(w, "    ignored    %s\n", plain(name))
	}
}

// plain keeps outside text from playing with the terminal.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return '?'
		}
		return r
	}, s)
}
