package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"flexd/agent"
	"flexd/agent/config"
	"flexd/agent/flex"
	"flexd/agent/local"
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
		instructionsCommand(), showCommand(), acceptCommand(), rejectCommand(), unavailableCommand(), marketCommand(), holdCommand(), releaseCommand(), stopCommand(), drillCommand(), whyCommand(), preflightCommand(), intervalsCommand(), baselineCommand(), deviceCommand(), mapCommand(),
		relayCommand(), versionCommand(),
	}
}

// execute runs one command line and gives its exit code.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer) int {
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
	fs := flag.NewFlagSet(c.name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	if !c.noJSON {
		fs.BoolVar(&o.json, "json", false, "print JSON")
	}
	if !c.noAgent {
		fs.StringVar(&o.socket, "socket", local.DefaultSocket(), "the running agent's command `socket`")
		fs.BoolVar(&o.utc, "utc", false, "show times in UTC instead of the site's time zone")
	}
	if c.flags != nil {
		c.flags(fs, o)
	}
	for rest := args; ; {
		if err := fs.Parse(rest); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				c.help(stdout)
				return exitDone
			}
			fmt.Fprintf(stderr, "flexd %s: %v\n", c.name, err)
			fmt.Fprintf(stderr, "`flexd help %s` shows how to use it\n", c.name)
			return exitUsage
		}
		if fs.NArg() == 0 {
			break
		}
		o.args = append(o.args, fs.Arg(0))
		rest = fs.Args()[1:]
	}
	return exitCode(c.name, c.run(ctx, o), stderr)
}

// exitCode prints an error once and grades it.
func exitCode(name string, err error, stderr io.Writer) int {
	if err == nil {
		return exitDone
	}
	var (
		wrong    *usageError
		refused  *local.RefusedError
		bad      *configError
		problems config.Problems
	)
	switch {
	case errors.As(err, &problems):
		fmt.Fprintln(stderr, problems.Error())
		if errors.Is(err, agent.ErrNoConfig) {
			fmt.Fprintf(stderr, "flexd %s: %v: mend the file, `flexd check` tells when it is good\n", name, agent.ErrNoConfig)
		}
	default:
		fmt.Fprintf(stderr, "flexd %s: %v\n", name, err)
	}
	_, declined := flex.RefusalOf(err)
	switch {
	case errors.As(err, &wrong):
		fmt.Fprintf(stderr, "`flexd help %s` shows how to use it\n", name)
		return exitUsage
	case errors.As(err, &bad):
		return exitConfig
	case errors.Is(err, local.ErrNotRunning):
		return exitNotRunning
	case errors.As(err, &refused), declined:
		return exitRefused
	}
	return exitFailed
}

// print writes data as JSON when asked, else lets text render it.
func (o *options) print(v any, text func(w io.Writer)) error {
	if !o.json {
		text(o.out)
		return nil
	}
	enc := json.NewEncoder(o.out)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
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
