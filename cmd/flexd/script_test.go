package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"flexd": func() { os.Exit(execute(context.Background(), os.Args[1:], os.Stdout, os.Stderr)) },
	})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			// exits CODE COMMAND… runs a command and wants exactly that exit code.
			"exits": func(ts *testscript.TestScript, neg bool, args []string) {
				want, err := strconv.Atoi(args[0])
				if neg || err != nil {
					ts.Fatalf("usage: exits CODE COMMAND…")
				}
				got := 0
				if err := ts.Exec(args[1], args[2:]...); err != nil {
					if _, serr := fmt.Sscanf(err.Error(), "exit status %d", &got); serr != nil {
						ts.Fatalf("%v", err)
					}
				}
				if got != want {
					ts.Fatalf("exit code %d, want %d", got, want)
				}
			},
		},
	})
}

func TestEveryCommandHasHelpWithAnExample(t *testing.T) {
	for _, c := range commands() {
		var out, err strings.Builder
		if code := execute(t.Context(), []string{"help", c.name}, &out, &err); code != exitDone {
			t.Errorf("help %s exits %d", c.name, code)
		}
		if text := out.String(); !strings.Contains(text, "Example") || !strings.Contains(text, "  flexd "+c.name) {
			t.Errorf("help %s shows no example:\n%s", c.name, text)
		}
		if c.short == "" || len(c.name)+len(c.short) > 100 {
			t.Errorf("%s has no fitting line for the list", c.name)
		}
		if !c.noJSON && !strings.Contains(out.String(), "--json") {
			t.Errorf("help %s does not show --json", c.name)
		}
	}
}
