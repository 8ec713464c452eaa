package main

import (
	"flag"
	"fmt"
	"io"
	"strings"
)

// overview lists the commands.
func overview(w io.Writer) {
	fmt.Fprint(w, `flexd turns a grid operator's dispatch instruction into setpoints, proves
what was delivered, and hands control back.

Usage: flexd COMMAND [flags] [arguments]

`)
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-14s %s\n", c.name, c.short)
	}
	fmt.Fprint(w, `
`+"`flexd help COMMAND`"+` shows a command's flags and examples. Try `+"`flexd demo`"+` first:
it needs no account and no hardware.

With --json an error is JSON on standard output as well: error, reason, exit;
--verbose adds the whole chain of an error, which is in the log too.

Exit codes: 0 done, 1 failed, 2 usage, 3 agent not running, 4 refused,
78 unusable configuration.
`)
}

// help prints the overview or one command's help.
func help(args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		overview(stdout)
		return exitDone
	}
	for _, c := range commands() {
		if c.name == args[0] {
			c.help(stdout)
			return exitDone
		}
	}
	fmt.Fprintf(stderr, "flexd: there is no command %q; `flexd help` lists them\n", args[0])
	return exitUsage
}

// help prints what the command does, its flags and examples.
func (c command) help(w io.Writer) {
	fmt.Fprintf(w, "Usage: flexd %s\n\n%s\n", strings.TrimSpace(c.name+" [flags] "+c.args), strings.TrimSpace(c.long))
	fs := c.flagSet(&options{})
	if s := fs.Lookup("socket"); s != nil && !c.noAgent {
		s.DefValue, s.Usage = "", s.Usage+" (default $RUNTIME_DIRECTORY/flexd.sock, else /run/flexd/flexd.sock)"
	}
	any := false
	fs.VisitAll(func(*flag.Flag) { any = true })
	if any {
		fmt.Fprint(w, "\nFlags:\n")
		fs.VisitAll(func(f *flag.Flag) {
			kind, text := flag.UnquoteUsage(f)
			left := "--" + f.Name
			if kind != "" {
				left += " " + strings.ToUpper(kind)
			}
			if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" {
				text += fmt.Sprintf(" (default %s)", f.DefValue)
			}
			fmt.Fprintf(w, "  %-20s %s\n", left, text)
		})
	}
}
