package config

import (
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

const day = 24 * time.Hour

func (b builder) market(v value) Market {
	if !v.given() {
		v.problem("add a market section", "is missing")
		return Market{}
	}
	o := v.object("profile", "base_url", "origins", "client_id", "api_key", "poll", "poll_near", "sync", "insecure", "answers", "unknown_word", "keep_raw", "operators", "contracts")
	m := Market{
		Profile:     o.get("profile").text(),
		ClientID:    o.get("client_id").text(),
		APIKey:      b.secret(o.get("api_key"), true),
		Poll:        o.get("poll").duration(5*time.Minute, time.Second, day),
		PollNear:    o.get("poll_near").duration(45*time.Second, time.Second, day),
		Sync:        o.get("sync").duration(15*time.Minute, time.Second, day),
		Insecure:    o.get("insecure").flag(),
		Answers:     answers(o.get("answers"), AnswerAuto),
		UnknownWord: o.get("unknown_word").choice(UnknownAlarm, []string{UnknownAlarm, UnknownStop}),
		KeepRaw:     o.get("keep_raw").duration(90*day, day, 400*day),
	}
	m.PollNear = min(m.PollNear, m.Poll)
	switch {
	case m.Profile == "":
		m.Profile = "piclo"
	case strings.ContainsAny(m.Profile, "/."):
		m.Profile = b.path(m.Profile)
	}
	m.BaseURL = strings.TrimSuffix(o.get("base_url").required("write the market's address, such as https://api.picloflex.com"), "/")
	b.url(o.get("base_url"), "https", "http", m.Insecure)
	for _, item := range o.get("origins").items() {
		b.url(item, "https", "http", m.Insecure)
		m.Origins = append(m.Origins, strings.TrimSuffix(item.text(), "/"))
	}
	for _, item := range o.get("operators").items() {
		op := b.operator(item, m.Answers)
		for _, name := range append([]string{op.Name}, op.Aliases...) {
			if slices.ContainsFunc(m.Operators, func(have Operator) bool { return have.Is(name) }) {
				item.problem("keep one of the two", "lists operator %q twice", name)
			}
		}
		m.Operators = append(m.Operators, op)
	}
	for _, item := range o.get("contracts").items() {
		c := b.contract(item)
		if slices.ContainsFunc(m.Contracts, func(have Contract) bool { return have.ID == c.ID }) {
			item.problem("keep one of the two", "lists contract %q twice", c.ID)
		}
		m.Contracts = append(m.Contracts, c)
	}
	return m
}

// contract is what ranks an obligation among others.
func (b builder) contract(v value) Contract {
	o := v.object("id", "priority", "emergency")
	return Contract{
		ID:        o.get("id").required("write the id of the obligation or of the competition"),
		Priority:  o.get("priority").number(0, 0, 100),
		Emergency: o.get("emergency").flag(),
	}
}

// answers is the policy for accepting and rejecting.
func answers(v value, def string) string {
	return v.choice(def, []string{AnswerAuto, AnswerIfDeliverable, AnswerAsk, AnswerNone})
}

// operator is what two parties agreed off the platform, and how answers and
// holidays go with that operator.
func (b builder) operator(v value, defAnswers string) Operator {
	o := v.object("name", "aliases", "signature", "scheme", "key_file", "keys", "canonical", "encoding", "answers", "holidays")
	op := Operator{
		Name:      o.get("name").required("write the operator's name as the market gives it"),
		Signature: o.get("signature").choice(VerifyIfPresent, []string{Require, VerifyIfPresent, Ignore}),
		Scheme:    o.get("scheme").choice("", []string{"ed25519", "ecdsa-p256", "rsa-pss", "hmac-sha256"}),
		Encoding:  o.get("encoding").choice("base64", []string{"base64", "base64url", "hex"}),
		Answers:   answers(o.get("answers"), defAnswers),
		Holidays:  o.get("holidays").choice("", []string{"england-and-wales", "scotland", "northern-ireland"}),
	}
	for _, a := range o.get("aliases").items() {
		op.Aliases = append(op.Aliases, a.required("write a name, as the market gives it"))
	}
	if one := o.get("key_file"); one.given() {
		op.Keys = append(op.Keys, b.secret(one, true))
	}
	for _, k := range o.get("keys").items() {
		op.Keys = append(op.Keys, b.secret(k, true))
	}
	b.canonical(o.get("canonical"), &op)
	switch {
	case len(op.Keys) > 8:
		o.get("keys").problem("keep the current key and the one it replaces", "lists more than 8 keys")
	case op.Scheme != "" && len(op.Keys) == 0:
		v.problem("list the operator's keys under keys", "has a scheme and no key")
	case op.Scheme == "" && len(op.Keys) > 0:
		v.problem("name the scheme: ed25519, ecdsa-p256, rsa-pss or hmac-sha256", "has keys and no scheme")
	case op.Signature == Require && op.Scheme == "":
		v.problem("add scheme and keys as agreed with the operator", "requires a signature that nothing here can check")
	}
	return op
}

// canonical says which bytes an operator signs: the whole instruction in the
// form of RFC 8785, or some of its fields in order.
func (b builder) canonical(v value, op *Operator) {
	if !v.given() {
		return
	}
	if v.node.Kind == yaml.ScalarNode {
		v.choice("jcs", []string{"jcs"})
		return
	}
	o := v.object("fields", "separator")
	op.Separator = o.get("separator").text()
	for _, f := range o.get("fields").items() {
		p := f.required("write a JSON pointer such as /capacity")
		if p != "" && !strings.HasPrefix(p, "/") {
			f.problem("write a JSON pointer such as /capacity", "is not a JSON pointer")
		}
		op.Fields = append(op.Fields, p)
	}
	switch {
	case len(op.Fields) == 0:
		v.problem("list the signed fields, or write jcs", "names no field")
	case len(op.Fields) > 64:
		v.problem("sign the whole instruction with jcs", "names more than 64 fields")
	case len(op.Fields) > 1 && op.Separator == "":
		v.problem("write a separator that none of the fields can hold", "joins fields without a separator: 1 and 23 would sign like 12 and 3")
	}
}
