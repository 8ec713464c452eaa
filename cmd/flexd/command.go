package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"flexd/agent"
	"flexd/agent/config"
	"flexd/agent/flex"
	"flexd/agent/local"
	"flexd/agent/shown"
)

// Exit codes, the same for every command.
const (
	exitDone       = 0
	exitFailed     = 1
	exitUsage      = 2
	exitNotRunning = 3
	exitRefused    = 4
	exitConfig     = 78 // EX_CONFIG of sysexits.h; systemd must not restart on it
)

// command is one subcommand. Every one has help with an example.
type command struct {
	name    string
	args    string // shown after the name
	short   string // one line for the list
	long    string // what it does, and examples
	flags   func(*flag.FlagSet, *options)
	run     func(ctx context.Context, o *options) error
	noJSON  bool // it prints something that is not data
	noAgent bool // it does not ask a running agent: no --socket
}

// options are what the flags of all commands fill; each command declares the
// ones it takes.
type options struct {
	out, err io.Writer
	args     []string
	json     bool
	socket   string
	utc      bool
	verbose  bool
	printed  bool // the answer is out

	config   string
	logLevel string
	ahead    string
	limit    int
	reason   string
	address  string
	unit     int
	function int
	once     bool
	listen   string
	from, to string
	as       string
	profile  string
	operator string
	key      string
	check    bool
	newKey   string
}

// usageError is a mistake in the command line.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usage(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// configError is a configuration that cannot be used.
type configError struct{ err error }

func (e *configError) Error() string { return e.err.Error() }
func (e *configError) Unwrap() error { return e.err }

// commands in the order of the help text.
func commands() []command {
	return []command{
		runCommand(), demoCommand(), checkCommand(), configCommand(), statusCommand(), obligationsCommand(),
		instructionsCommand(), showCommand(), acceptCommand(), rejectCommand(), unavailableCommand(), marketCommand(), holdCommand(), releaseCommand(), stopCommand(), drillCommand(), whyCommand(), preflightCommand(), intervalsCommand(), telemetryCommand(), baselineCommand(), deviceCommand(), mapCommand(),
		relayCommand(), versionCommand(),
	}
}

// execute runs one command line and gives its exit code.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	stdout, stderr = visible{stdout}, visible{stderr}
	if len(args) == 0 {
		overview(stderr)
		return exitUsage
	}
	switch args[0] {
	case "help", "--help", "-h":
		return help(args[1:], stdout, stderr)
	case "--version":
		args = []string{"version"}
	}
	for _, c := range commands() {
		if c.name == args[0] {
			return c.execute(ctx, args[1:], stdout, stderr)
		}
	}
	fmt.Fprintf(stderr, "flexd: there is no command %q; `flexd help` lists them\n", args[0])
	return exitUsage
}

// execute parses the command's flags, which may stand before or after its
// arguments, and runs it.
func (c command) execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o := &options{out: stdout, err: stderr}
	fs := c.flagSet(o)
	fs.SetOutput(io.Discard)
	for rest := args; ; {
		if err := fs.Parse(rest); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				c.help(stdout)
				return exitDone
			}
			o.json = o.json || !c.noJSON && asksJSON(args)
			return o.fail(c.name, usage("%v", err))
		}
		if fs.NArg() == 0 {
			break
		}
		o.args = append(o.args, fs.Arg(0))
		rest = fs.Args()[1:]
	}
	return o.fail(c.name, c.run(ctx, o))
}

// flagSet declares the command's flags, and those of all.
func (c command) flagSet(o *options) *flag.FlagSet {
	fs := flag.NewFlagSet(c.name, flag.ContinueOnError)
	fs.BoolVar(&o.verbose, "verbose", false, "print the whole chain of an error")
	if !c.noJSON {
		fs.BoolVar(&o.json, "json", false, "print JSON, errors too")
	}
	if !c.noAgent {
		fs.StringVar(&o.socket, "socket", local.DefaultSocket(), "the running agent's command `socket`")
		fs.BoolVar(&o.utc, "utc", false, "show times in UTC instead of the site's time zone")
	}
	if c.flags != nil {
		c.flags(fs, o)
	}
	return fs
}

// asksJSON finds the flag in a command line that could not be parsed.
func asksJSON(args []string) bool {
	return slices.ContainsFunc(args, func(a string) bool { return a == "--json" || a == "-json" || a == "--json=true" })
}

// failure is an error as --json prints it.
type failure struct {
	Error  string      `json:"error"`
	Reason flex.Reason `json:"reason,omitempty"`
	Detail string      `json:"detail,omitempty"` // the whole chain, where it says more
	Exit   int         `json:"exit"`
}

// fail prints an error once and gives its exit code: as JSON on standard output
// with --json, unless the answer stands there already, else in one line.
func (o *options) fail(name string, err error) int {
	exit, reason := grade(err)
	switch {
	case exit == exitDone:
	case o.json:
		f := failure{Error: flex.Plain(err), Reason: reason, Exit: exit}
		if chain := err.Error(); chain != f.Error {
			f.Detail = chain
		}
		out := o.out
		if o.printed {
			out = o.err
		}
		_ = encode(out, f)
	default:
		o.say(name, err, exit)
	}
	return exit
}

// say prints an error for a person.
func (o *options) say(name string, err error, exit int) {
	var problems config.Problems
	text := flex.Plain(err)
	if o.verbose {
		text = err.Error()
	}
	switch {
	case errors.As(err, &problems):
		fmt.Fprintln(o.err, problems.Error())
		if errors.Is(err, agent.ErrNoConfig) {
			fmt.Fprintf(o.err, "flexd %s: %v: mend the file, `flexd check` tells when it is good\n", name, agent.ErrNoConfig)
		}
	default:
		fmt.Fprintf(o.err, "flexd %s: %s\n", name, text)
	}
	if exit == exitUsage {
		fmt.Fprintf(o.err, "`flexd help %s` shows how to use it\n", name)
	}
}

// grade is an error's exit code, and its reason where it is a refusal.
func grade(err error) (int, flex.Reason) {
	if err == nil {
		return exitDone, ""
	}
	var (
		wrong   *usageError
		refused *local.RefusedError
		bad     *configError
	)
	declined, no := flex.RefusalOf(err)
	switch {
	case errors.As(err, &wrong):
		return exitUsage, ""
	case errors.As(err, &bad):
		return exitConfig, ""
	case errors.Is(err, local.ErrNotRunning):
		return exitNotRunning, ""
	case errors.As(err, &refused):
		return exitRefused, refused.Reason
	case no:
		return exitRefused, declined.Reason
	}
	return exitFailed, ""
}

// print writes data as JSON when asked, else lets text render it.
func (o *options) print(v any, text func(w io.Writer)) error {
	if !o.json {
		text(o.out)
		return nil
	}
	o.printed = true
	return encode(o.out, v)
}

func encode(w io.Writer, v any) error {
	raw, err := shown.Marshal(v)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, raw, "", "  "); err != nil {
		return err
	}
	out.WriteByte('\n')
	_, err = out.WriteTo(w)
	return err
}

// agent is the running agent, whose times a person sees in the site's zone.
func (o *options) agent() *local.Client {
	c := local.Dial(o.socket)
	if !o.json && !o.utc {
		c.SiteTime()
	}
	return c
}

// one is the single argument of a command.
func (o *options) one(what string) (string, error) {
	if len(o.args) != 1 {
		return "", usage("needs exactly one argument: %s", what)
	}
	return o.args[0], nil
}

// none refuses arguments.
func (o *options) none() error {
	if len(o.args) > 0 {
		return usage("takes no argument, got %s", strings.Join(o.args, " "))
	}
	return nil
}
