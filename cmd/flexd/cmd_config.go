package main

import (
	"context"
	"fmt"
	"io"

	"flexd/agent/config"
)

func configCommand() command {
	return command{
		name: "config", args: "reference", short: "print the annotated configuration", noAgent: true,
		long: `Prints a complete configuration in which every key is explained.

Example:
  flexd config reference > /etc/flexd/flexd.yaml`,
		run: func(_ context.Context, o *options) error {
			if what, err := o.one("reference"); err != nil || what != "reference" {
				return usage("needs exactly one argument: reference")
			}
			return o.print(struct {
				Reference string `json:"reference"`
			}{config.Reference()}, func(w io.Writer) { fmt.Fprint(w, config.Reference()) })
		},
	}
}
