package main

import (
	"context"
	"flag"
	"fmt"
	"io"

	"flexd/agent/flex"
	"flexd/agent/local"
)

func acceptCommand() command {
	return answerCommand(flex.Accept, "accept instructions that wait for an answer", `Accepts instructions that are pending: the site is bound to deliver them, and
the market is told before its deadline. Where the market profile knows no call
for it, the answer counts here and you tell the market by hand.

Examples:
  flexd instructions            # shows which are pending, and until when
  flexd accept disp-4711 disp-4712`)
}

func rejectCommand() command {
	return answerCommand(flex.Reject, "reject instructions that wait for an answer", `Rejects instructions that are pending: nothing will be delivered for them, and
the market is told, with the reason.

Example:
  flexd reject disp-4711 --reason "inverter is being replaced"`)
}

func answerCommand(word flex.Word, short, long string) command {
	return command{
		name: string(word), args: "ID…", short: short, long: long,
		flags: func(fs *flag.FlagSet, o *options) {
			fs.StringVar(&o.reason, "reason", "", "why, for the market and the diary (`text`)")
		},
		run: func(ctx context.Context, o *options) error {
			if len(o.args) == 0 {
				return usage("needs the ids of one or more instructions")
			}
			in := local.AnswerOrder{Word: word, Reason: o.reason}
			for _, id := range o.args {
				in.IDs = append(in.IDs, flex.InstructionID(id))
			}
			var out map[string]bool
			if err := o.agent().Post(ctx, "/v1/answer", in, &out); err != nil {
				return err
			}
			return o.print(out, func(w io.Writer) { fmt.Fprintf(w, "%sed: %s\n", word, ids(in.IDs)) })
		},
	}
}
