package main

import (
	"embed"
	"flag"
	"fmt"
	"io"
	"strings"
)

// topics are what a person reads beside the commands, one file each.
//
//go:embed help/*.md
var topics embed.FS

// topic is the text of one, and whether there is one of that name.
func topic(name string) (text string, ok bool) {
	raw, err := topics.ReadFile("help/" + name + ".md")
	return string(raw), err == nil
}

// topicList is every topic with its title.
func topicList() (names, titles []string) {
	files, err := topics.ReadDir("help")
	if err != nil {
		return nil, nil // it is embedded
	}
	for _, f := range files {
		name := strings.TrimSuffix(f.Name(), ".md")
		text, _ := topic(name)
		title, _, _ := strings.Cut(strings.TrimPrefix(text, "# "), "\n")
		names, titles = append(names, name), append(titles, title)
	}
	return names, titles
}

// overview lists the commands.
func overview(w io.Writer) {
	fmt.Fprint(w, `flexd turns a grid operator's dispatch instruction into setpoints, proves
what was delivered, and hands control back.

Usage: flexd COMMAND [flags] [arguments]

`)
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-14s %s\n", c.name, c.short)
	}
	fmt.Fprint(w, "\nTopics:\n\n")
	names, titles := topicList()
	for i, name := range names {
		fmt.Fprintf(w, "  %-14s %s\n", name, titles[i])
	}
	fmt.Fprint(w, `
`+"`flexd help NAME`"+` shows a command's flags and examples, or a topic. Try
`+"`flexd demo`"+` first: it needs no account and no hardware.

With --json an error is JSON on standard output as well: error, reason, exit;
--verbose adds the whole chain of an error, which is in the log too.

Exit codes: 0 done, 1 failed, 2 usage, 3 agent not running, 4 refused,
78 unusable configuration.
`)
}

// help prints the overview, or what there is of a name: a command's help, a
// topic, or both.
func help(args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		overview(stdout)
		return exitDone
	}
	text, found := topic(args[0])
	for _, c := range commands() {
		if c.name == args[0] {
			c.help(stdout)
			if found {
				fmt.Fprintln(stdout)
			}
			found = true
		}
	}
	if !found {
		fmt.Fprintf(stderr, "flexd: there is no command or topic %q; `flexd help` lists them\n", args[0])
		return exitUsage
	}
	fmt.Fprint(stdout, text)
	return exitDone
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
