package main

import (
	"context"
	"fmt"
	"io"

	"flexd/firmware"
)

func versionCommand() command {
	return command{
		name: "version", short: "say which build this is", noAgent: true,
		long: `Prints version, platform and commit of this binary.

Example:
  flexd version --json`,
		run: func(_ context.Context, o *options) error {
			if err := o.none(); err != nil {
				return err
			}
			id := firmware.Self()
			return o.print(id, func(w io.Writer) { fmt.Fprintln(w, id) })
		},
	}
}
