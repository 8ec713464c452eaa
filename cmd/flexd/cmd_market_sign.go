package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"flexd/agent/config"
	"flexd/agent/flex"
	"flexd/agent/piclo"
	"flexd/agent/trust"
	"flexd/systemd"
)

// maxInstructionFile bounds what is read as an instruction.
const maxInstructionFile = 256 << 10

// vector is what `market sign` prints: everything two parties compare when
// their signatures do not agree.
type vector struct {
	Operator  string   `json:"operator"`
	Scheme    string   `json:"scheme"`
	Encoding  string   `json:"encoding"`
	Form      string   `json:"form"`
	Canonical string   `json:"canonical"`
	Hex       string   `json:"canonical_hex"`
	SHA256    string   `json:"sha256"`
	Signature string   `json:"signature,omitempty"`
	Verified  bool     `json:"verified"`
	Key       string   `json:"key,omitempty"`   // the configured key that confirms
	Tried     []string `json:"tried,omitempty"` // the configured keys that do not
	Why       string   `json:"why,omitempty"`   // what stands against it
}

// keyPair is what `market sign --new-key` prints as JSON.
type keyPair struct {
	Scheme  string `json:"scheme"`
	Private string `json:"private"`
	Public  string `json:"public,omitempty"`
}

// marketSign makes and checks test vectors for an operator's signatures.
func marketSign(_ context.Context, o *options) error {
	if o.newKey != "" {
		return newKey(o)
	}
	switch {
	case len(o.args) == 0 || len(o.args) > 2 || len(o.args) == 2 && !o.check:
		return usage("needs one file with an instruction; with --check a signature may follow")
	case o.check && o.key != "":
		return usage("--check uses the operator's configured keys: leave --key out")
	case o.operator == "":
		return usage("--operator says whose agreement applies")
	}
	op, form, err := agreement(cmp.Or(o.config, config.DefaultPath), o.operator)
	if err != nil {
		return err
	}
	raw, err := readInstruction(o.args[0])
	if err != nil {
		return err
	}
	text, err := form.Bytes(raw)
	if err != nil {
		return flex.Refuse(flex.ReasonBadField, "%s cannot be signed: %v", o.args[0], err)
	}
	sum := sha256.Sum256(text)
	v := vector{Operator: op.Name, Scheme: op.Scheme, Encoding: op.Encoding, Form: form.Name(),
		Canonical: string(text), Hex: hex.EncodeToString(text), SHA256: hex.EncodeToString(sum[:])}
	switch {
	case o.check:
		return v.check(o, op, form, raw)
	case o.key != "":
		private, err := systemd.ReadSecret(o.key)
		if err != nil {
			return err
		}
		if v.Signature, err = trust.SignAs(op.Scheme, op.Encoding, private, text); err != nil {
			return fmt.Errorf("sign with %s: %w", o.key, err)
		}
		_ = v.judge(op, form, raw) // whether the configured keys agree is told, not demanded
	}
	return o.print(v, v.text)
}

// check verifies the signature in the instruction, or the one given, and
// refuses when no configured key confirms it.
func (v vector) check(o *options, op trust.Operator, form trust.Canon, raw []byte) error {
	if len(o.args) == 2 {
		v.Signature = o.args[1]
	}
	err := v.judge(op, form, raw)
	if perr := o.print(v, v.text); perr != nil {
		return perr
	}
	return err
}

// judge asks the code that judges real instructions. The error is a refusal
// when the signature is wrong or missing.
func (v *vector) judge(op trust.Operator, form trust.Canon, raw []byte) error {
	op.Policy = trust.PolicyRequire
	all, err := trust.NewOperators([]trust.Operator{op}, form.Signature)
	if err != nil {
		return &configError{err}
	}
	j, err := all.Judge(flex.Instruction{Operator: op.Name, Signature: v.Signature, Raw: raw})
	v.Verified, v.Key, v.Tried = j.State == "" && err == nil, j.Key, j.Tried
	if err == nil {
		return nil
	}
	v.Why = err.Error()
	if retry := new(flex.RetryError); errors.As(err, &retry) {
		return err
	}
	return flex.Refuse(flex.Reason(j.State), "%v", err)
}

// text prints a vector for people. The canonical text is quoted, so that
// blanks, line breaks and letters that look alike can be told apart.
func (v vector) text(w io.Writer) {
	fmt.Fprintf(w, "operator   %s: %s, signatures in %s\n", v.Operator, v.Scheme, v.Encoding)
	fmt.Fprintf(w, "form       %s\n", v.Form)
	fmt.Fprintf(w, "canonical  %+q\n", v.Canonical)
	fmt.Fprintf(w, "hex        %s\n", v.Hex)
	fmt.Fprintf(w, "sha256     %s\n", v.SHA256)
	if v.Signature != "" {
		fmt.Fprintf(w, "signature  %s\n", v.Signature)
	}
	switch {
	case v.Verified:
		fmt.Fprintf(w, "verified   by %s\n", v.Key)
	case v.Why != "":
		fmt.Fprintf(w, "verified   no: %s\n", v.Why)
	}
}

// newKey prints a fresh private key to stdout and its public half to stderr,
// so that each can be sent to a file of its own.
func newKey(o *options) error {
	if len(o.args) > 0 || o.check || o.key != "" {
		return usage("--new-key takes no file and no other flag")
	}
	if !slices.Contains(trust.Schemes(), o.newKey) {
		return usage("--new-key takes %s, got %q", strings.Join(trust.Schemes(), ", "), o.newKey)
	}
	private, public, err := trust.NewOperatorKey(o.newKey)
	if err != nil {
		return err
	}
	if !o.json {
		if _, err := o.err.Write(public); err != nil {
			return fmt.Errorf("print the public key: %w", err)
		}
	}
	return o.print(keyPair{Scheme: o.newKey, Private: string(private), Public: string(public)}, func(w io.Writer) {
		_, _ = w.Write(private)
	})
}

// agreement is what the configuration holds of an operator, with the place
// of the signature by the market's profile.
func agreement(path, name string) (trust.Operator, trust.Canon, error) {
	c, err := config.Load(path)
	if err != nil {
		return trust.Operator{}, trust.Canon{}, &configError{err}
	}
	profile, err := piclo.LoadProfile(c.Market.Profile)
	if err != nil {
		return trust.Operator{}, trust.Canon{}, &configError{err}
	}
	i := slices.IndexFunc(c.Market.Operators, func(op config.Operator) bool { return op.Is(name) })
	if i < 0 {
		return trust.Operator{}, trust.Canon{}, usage("operator %q is not listed under market.operators of %s", name, path)
	}
	have := c.Market.Operators[i]
	if have.Scheme == "" {
		return trust.Operator{}, trust.Canon{}, usage("operator %q has no scheme and no keys in %s", have.Name, path)
	}
	op := trust.Operator{Name: have.Name, Scheme: have.Scheme, Fields: have.Fields, Separator: have.Separator, Encoding: have.Encoding}
	for _, key := range have.Keys {
		op.Keys = append(op.Keys, func() ([]byte, error) { return readOperatorKey(key) })
	}
	form := trust.Canon{Fields: have.Fields, Separator: have.Separator}
	for _, p := range profile.Instruction.Signature {
		form.Signature = append(form.Signature, trust.JoinPointer(p))
	}
	return op, form, nil
}

func readOperatorKey(s config.Secret) ([]byte, error) {
	path := s.File
	if s.Credential != "" {
		var err error
		if path, err = systemd.CredentialPath(s.Credential); err != nil {
			return nil, err
		}
	}
	return systemd.ReadSecret(path)
}

// readInstruction reads one instruction as it came: an object, or a reply
// that lists exactly one.
func readInstruction(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot open the instruction: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxInstructionFile+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read the instruction: %w", err)
	}
	if len(raw) > maxInstructionFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxInstructionFile)
	}
	if raw = bytes.TrimSpace(raw); len(raw) == 0 || raw[0] != '[' {
		return raw, nil
	}
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, fmt.Errorf("%s is not valid JSON: %w", path, err)
	}
	if len(list) != 1 {
		return nil, fmt.Errorf("%s lists %d instructions: leave the one to sign", path, len(list))
	}
	return list[0], nil
}
