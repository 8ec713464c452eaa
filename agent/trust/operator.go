package trust

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"flexd/agent/flex"
)

// Policies towards an operator's signature.
const (
	PolicyRequire         = "require"
	PolicyVerifyIfPresent = "verify-if-present"
	PolicyIgnore          = "ignore"
)

const (
	maxOperatorKeys = 8
	// keyRetry is when an instruction is judged again after a key could not
	// be read: somebody is replacing the file, or a mount is late.
	keyRetry = 10 * time.Second
)

// Operator is what was agreed with one system operator off the platform.
type Operator struct {
	Name    string
	Aliases []string // other names of the same operator
	Policy  string   // "": verify-if-present
	Scheme  string   // "": no key was agreed yet
	// Keys read the keys, each time anew: a file may be replaced at any time.
	// Several are for a rotation: any of them confirms.
	Keys      []func() ([]byte, error)
	Fields    []string // JSON pointers of what is signed; none: RFC 8785
	Separator string
	Encoding  string // of the signature; "": base64
}

// Operators judge the signatures that operators put into instructions. They
// are safe for concurrent use.
type Operators struct {
	list     []*keyring
	pointers []string
}

// NewOperators checks what was agreed. The pointers say where the profile
// finds an instruction's signature; where there are none, nobody signs.
func NewOperators(list []Operator, signaturePointers []string) (*Operators, error) {
	o := &Operators{pointers: slices.Clone(signaturePointers)}
	for _, op := range list {
		if len(signaturePointers) == 0 && op.Policy == PolicyRequire {
			return nil, fmt.Errorf("operator %q requires a signature, and the profile's instruction.signature says of no place that holds one", op.Name)
		}
		op.Policy, op.Encoding = cmp.Or(op.Policy, PolicyVerifyIfPresent), cmp.Or(op.Encoding, "base64")
		if err := op.check(Canon{Fields: op.Fields, Separator: op.Separator, Signature: signaturePointers}); err != nil {
			return nil, fmt.Errorf("operator %q %w", op.Name, err)
		}
		for _, name := range append([]string{op.Name}, op.Aliases...) {
			if _, twice := o.find(name); twice {
				return nil, fmt.Errorf("operator %q is listed twice", name)
			}
		}
		o.list = append(o.list, &keyring{Operator: op, parsed: make([]parsedFile, len(op.Keys))})
	}
	return o, nil
}

func (op Operator) check(form Canon) error {
	switch {
	case op.Name == "":
		return errors.New("has no name")
	case !slices.Contains([]string{PolicyRequire, PolicyVerifyIfPresent, PolicyIgnore}, op.Policy):
		return fmt.Errorf("has no policy %q", clip(op.Policy))
	case op.Scheme != "" && !slices.Contains(Schemes(), op.Scheme):
		return fmt.Errorf("has no scheme %q: use %s", clip(op.Scheme), strings.Join(Schemes(), ", "))
	case !slices.Contains(Encodings(), op.Encoding):
		return fmt.Errorf("has no encoding %q: use %s", clip(op.Encoding), strings.Join(Encodings(), ", "))
	case (op.Scheme == "") != (len(op.Keys) == 0):
		return errors.New("needs both a scheme and keys, or none")
	case len(op.Keys) > maxOperatorKeys:
		return fmt.Errorf("has %d keys, more than %d", len(op.Keys), maxOperatorKeys)
	case op.Policy == PolicyRequire && op.Scheme == "":
		return errors.New("requires a signature that no key can check")
	}
	if err := form.check(); err != nil {
		return fmt.Errorf("has a canonical form that %w", err)
	}
	return nil
}

// find is exact first; a name in other case is the same operator, so that
// nobody escapes a policy by its spelling.
func (o *Operators) find(name string) (*keyring, bool) {
	name = strings.TrimSpace(name)
	i := slices.IndexFunc(o.list, func(k *keyring) bool {
		return slices.ContainsFunc(append([]string{k.Name}, k.Aliases...), func(own string) bool { return strings.EqualFold(strings.TrimSpace(own), name) })
	})
	if i < 0 {
		return nil, false
	}
	return o.list[i], true
}

// Judgement is what came out of one signature, for people.
type Judgement struct {
	// State is "" when nothing stands against the instruction: verified,
	// ignored, or none present and none required. Else it is
	// flex.Unverified, flex.ReasonSignatureInvalid or
	// flex.ReasonSignatureMissing; with a *flex.RetryError it is
	// flex.ReasonNoKey, which decides nothing yet.
	State     string
	Form      string   // the canonical form in words
	Canonical []byte   // what was to be signed
	Key       string   // the key that confirmed
	Tried     []string // the keys that did not
}

// Check judges the operator's signature of an instruction: see Judgement for
// the states. The error says why and goes to the log; a *flex.RetryError
// means that no judgement is possible now, and must be asked for again.
func (o *Operators) Check(in flex.Instruction) (string, error) {
	j, err := o.Judge(in)
	return j.State, err
}

// Judge is Check with everything that a person may want to see.
func (o *Operators) Judge(in flex.Instruction) (Judgement, error) {
	op, listed := o.find(in.Operator)
	if !listed {
		op = &keyring{Operator: Operator{Name: in.Operator, Policy: PolicyVerifyIfPresent}}
	}
	if op.Policy == PolicyIgnore {
		return Judgement{}, nil
	}
	text, err := o.signature(in)
	switch {
	case err == nil && text == "" && op.Policy == PolicyRequire:
		return Judgement{State: string(flex.ReasonSignatureMissing)}, fmt.Errorf("operator %q signs its instructions, and this one has no signature at %s", clip(in.Operator), strings.Join(o.pointers, " "))
	case err == nil && text == "":
		return Judgement{}, nil
	case op.Scheme == "":
		return Judgement{State: string(flex.Unverified)}, fmt.Errorf("no key of operator %q is configured: its signature cannot be checked", clip(in.Operator))
	case err != nil:
		return Judgement{State: string(flex.ReasonSignatureInvalid)}, fmt.Errorf("the signature of operator %q: %w", clip(in.Operator), err)
	}
	j, err := op.judge(Canon{Fields: op.Fields, Separator: op.Separator, Signature: o.pointers}, text, in.Raw)
	if err != nil {
		err = fmt.Errorf("the signature of operator %q: %w", op.Name, err)
	}
	return j, err
}

// signature is the text to check. One that is there but is no text must not
// pass for none.
func (o *Operators) signature(in flex.Instruction) (string, error) {
	if text := strings.TrimSpace(in.Signature); text != "" {
		return text, nil
	}
	n, err := parseNode(in.Raw)
	if err != nil {
		return "", nil // without a signature there is nothing to hold it against
	}
	for _, text := range o.pointers {
		p, err := parsePointer(text)
		if err != nil {
			return "", err
		}
		switch v, _ := n.at(p); {
		case v.kind == kindNull, v.kind == kindText && strings.TrimSpace(v.text) == "":
		case v.kind == kindText:
			return strings.TrimSpace(v.text), nil
		default:
			return "", fmt.Errorf("what stands at %s is not a text", text)
		}
	}
	return "", nil
}

// keyring is an operator with its keys as they were read last.
type keyring struct {
	Operator
	mu     sync.Mutex
	parsed []parsedFile
}

// parsedFile keeps what a file's content means; only the hash of the content
// is kept beside it.
type parsedFile struct {
	sum  [sha256.Size]byte
	keys []operatorKey
}

// judge checks a signature with every key that can be read.
func (k *keyring) judge(form Canon, text string, raw []byte) (Judgement, error) {
	j := Judgement{State: string(flex.ReasonSignatureInvalid), Form: form.Name()}
	sig, err := decodeSignature(k.Encoding, text)
	if err != nil {
		return j, err
	}
	if j.Canonical, err = form.Bytes(raw); err != nil {
		return j, err
	}
	var unread error
	for i := range k.Keys {
		keys, err := k.read(i)
		if err != nil {
			unread = fmt.Errorf("key %d cannot be used now: %w", i+1, err)
			continue
		}
		for _, key := range keys {
			name := fmt.Sprintf("key %d, %s", i+1, key.name)
			if key.verifies(k.Scheme, j.Canonical, sig) {
				j.State, j.Key = "", name
				return j, nil
			}
			j.Tried = append(j.Tried, name)
		}
	}
	if unread != nil {
		j.State = string(flex.ReasonNoKey)
		return j, &flex.RetryError{After: keyRetry, Err: unread}
	}
	return j, fmt.Errorf("%w: %s over %d bytes (%s), tried with %s", ErrSignature, k.Scheme, len(j.Canonical), j.Form, strings.Join(j.Tried, "; "))
}

// read gives the keys of one file, parsed again when its content changed.
func (k *keyring) read(i int) ([]operatorKey, error) {
	raw, err := k.Keys[i]()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(raw)
	k.mu.Lock()
	defer k.mu.Unlock()
	if have := k.parsed[i]; have.keys != nil && have.sum == sum {
		return have.keys, nil
	}
	keys, err := parseOperatorKeys(k.Scheme, raw)
	if err != nil {
		return nil, err
	}
	k.parsed[i] = parsedFile{sum: sum, keys: keys}
	return keys, nil
}
