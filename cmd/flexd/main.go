// Command flexd turns a grid operator's dispatch instruction into Modbus
// setpoints, proves what was delivered, and hands control back.
//
// It is one binary: the agent (`flexd run`), the commands a technician uses
// beside it, and a demonstration that needs nothing. Here are only flags,
// wiring and exit codes; everything else lives in the rooms below.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := execute(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
