package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"

	"flexd/agent/config"
	"flexd/agent/local"
)

func marketCommand() command {
	return command{
		name: "market", args: "try FILE… | sign FILE | subscribe [URL] | unsubscribe ID|URL | list", short: "check what the market sends, and manage the webhook there", noAgent: false,
		long: `try runs captured bodies and replies through the market profile and shows, field
by field, what was understood and from where. sign makes and checks test vectors
for an operator's own signature, with the keys and the canonical form of the
configuration. Both need no running agent.

subscribe, unsubscribe and list manage the webhook at the market through the
running agent, and prove that its door can be reached from outside at its
public address; where the profile has no call for it, the steps for a person
are printed.

Examples:
  flexd market try refused/3fa4c1.body
  flexd market try --profile my-market.yaml --as instructions reply.json
  flexd market sign --operator SPEN --key private.pem instruction.json
  flexd market sign --operator SPEN --check instruction.json
  flexd market subscribe https://harwell.example:8443/webhooks/piclo
  flexd market list`,
		flags: func(fs *flag.FlagSet, o *options) {
			fs.StringVar(&o.config, "config", config.DefaultPath, "the configuration `file` (try, sign)")
			fs.StringVar(&o.profile, "profile", "", "the market profile, a name or a `file`, instead of the configuration's (try)")
			fs.StringVar(&o.as, "as", "", "what the files are: notification, instructions, obligations, assets, competition or key; else it is recognised (`kind`, try)")
			fs.StringVar(&o.key, "key", "", "the market's public key (try), or the private key or secret to sign with (sign): a `file`")
			fs.StringVar(&o.operator, "operator", "", "the system operator's `name` in the configuration (sign)")
			fs.BoolVar(&o.check, "check", false, "check the signature in the file instead of making one (sign)")
			fs.StringVar(&o.newKey, "new-key", "", "make a new key of this `scheme`: ed25519, ecdsa-p256, rsa-pss or hmac-sha256 (sign)")
		},
		run: market,
	}
}

func market(ctx context.Context, o *options) error {
	if len(o.args) == 0 {
		return usage("needs a verb: try, sign, subscribe, unsubscribe or list")
	}
	verb := o.args[0]
	o.args = o.args[1:]
	switch verb {
	case "try":
		return marketTry(ctx, o)
	case "sign":
		return marketSign(ctx, o)
	case "list":
		if err := o.none(); err != nil {
			return err
		}
		s, err := o.agent().Subscriptions(ctx)
		return o.subscriptions(s, err)
	case "subscribe":
		if len(o.args) > 1 {
			return usage("market subscribe takes one address at most")
		}
		s, err := o.agent().Subscribe(ctx, strings.Join(o.args, ""))
		return o.subscriptions(s, err)
	case "unsubscribe":
		what, err := o.one("the subscription's id or address, as `flexd market list` shows it")
		if err != nil {
			return err
		}
		if err := o.agent().Unsubscribe(ctx, what); err != nil {
			return err
		}
		return o.print(map[string]bool{"done": true}, func(w io.Writer) { fmt.Fprintln(w, "unsubscribed: "+what) })
	}
	return usage("market %s is not a verb: try, sign, subscribe, unsubscribe or list", verb)
}

// subscriptions prints what the market tells whom.
func (o *options) subscriptions(s local.Subscriptions, err error) error {
	if err != nil {
		return err
	}
	return o.print(s, func(w io.Writer) {
		for _, k := range s.Known {
			ours, state := "", "active"
			if k.Ours {
				ours = "  (this site)"
			}
			if !k.Active {
				state = "inactive"
			}
			fmt.Fprintf(w, "%s  %s  %s  %s%s\n", k.ID, orDash(k.Event), k.URL, state, ours)
		}
		if s.Can && len(s.Known) == 0 {
			fmt.Fprintln(w, "the market has no webhook of this account")
		}
		for i, step := range s.Steps {
			fmt.Fprintf(w, "%d. %s\n", i+1, step)
		}
		switch {
		case s.Tried && s.Reach == "":
			fmt.Fprintf(w, "the door answers at %s\n", s.URL)
		case s.Tried:
			fmt.Fprintf(w, "the door CANNOT be reached at %s: %s\n", s.URL, s.Reach)
		}
		if s.Note != "" {
			fmt.Fprintln(w, "note: "+s.Note)
		}
	})
}
