package trust

import (
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"strings"
	"sync"
	"testing"

	"flexd/agent/flex"
)

func fixed(raw []byte) func() ([]byte, error) { return func() ([]byte, error) { return raw, nil } }

func absent() ([]byte, error) { return nil, errors.New("permission denied") }

const plainInstruction = `{"id":"i1","asset_ids":["a","b"],"capacity":"1.50","signature":"SIG","type":"start"}`

// signed puts a signature into the instruction.
func signed(operator, sig string) flex.Instruction {
	return flex.Instruction{ID: "i1", Operator: operator, Signature: sig, Raw: []byte(strings.Replace(plainInstruction, "SIG", sig, 1))}
}

func mustOperators(t testing.TB, list ...Operator) *Operators {
	t.Helper()
	o, err := NewOperators(list, []string{"/signature"})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestEverySchemeFormAndEncoding(t *testing.T) {
	for _, scheme := range Schemes() {
		private, public, err := NewOperatorKey(scheme)
		if err != nil {
			t.Fatal(err)
		}
		if public == nil {
			public = private
		}
		for _, encoding := range Encodings() {
			for _, fields := range [][]string{nil, {"/id", "/asset_ids", "/capacity"}} {
				o := mustOperators(t, Operator{Name: "SPEN", Policy: PolicyRequire, Scheme: scheme, Keys: []func() ([]byte, error){fixed(public)}, Fields: fields, Separator: "|", Encoding: encoding})
				text, err := Canon{Fields: fields, Separator: "|", Signature: []string{"/signature"}}.Bytes([]byte(plainInstruction))
				if err != nil {
					t.Fatal(err)
				}
				sig, err := SignAs(scheme, encoding, private, text)
				if err != nil {
					t.Fatal(err)
				}
				if j, err := o.Judge(signed("SPEN", sig)); j.State != "" || err != nil || j.Key == "" {
					t.Errorf("%s %s %v: %+v %v", scheme, encoding, fields, j, err)
				}
				in := signed("SPEN", sig)
				in.Raw = []byte(strings.Replace(string(in.Raw), "1.50", "1.51", 1))
				if state, err := o.Check(in); state != string(flex.ReasonSignatureInvalid) || err == nil {
					t.Errorf("%s %s %v, capacity altered: %q %v", scheme, encoding, fields, state, err)
				}
			}
		}
	}
}

func TestSignaturesMadeElsewhere(t *testing.T) {
	k := makeKeys()
	msg := []byte("i1|a,b|1.50")
	sum := sha256.Sum256(msg)
	der, err := ecdsa.SignASN1(rand.Reader, k.p256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	r, s, err := ecdsa.Sign(rand.Reader, k.p256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	pair := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	pss := func(salt int) []byte {
		sig, err := rsa.SignPSS(rand.Reader, k.rsa, 5, sum[:], &rsa.PSSOptions{SaltLength: salt})
		if err != nil {
			t.Fatal(err)
		}
		return sig
	}
	pkcs, err := rsa.SignPKCS1v15(nil, k.rsa, 5, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	ec, rs := operatorKey{public: &k.p256.PublicKey}, operatorKey{public: &k.rsa.PublicKey}
	// RFC 8032 section 7.1, test 3.
	edPub, _ := hex.DecodeString("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025")
	edSig, _ := hex.DecodeString("6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a")
	block := append([]byte{0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00}, edPub...)
	eds, err := parseOperatorKeys(SchemeEd25519, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: block}))
	if err != nil {
		t.Fatal(err)
	}
	// RFC 4231 section 4.7, test case 6: a key longer than the block.
	macs, err := parseOperatorKeys(SchemeHMAC, []byte("hex:"+strings.Repeat("aa", 131)))
	if err != nil {
		t.Fatal(err)
	}
	mac, _ := hex.DecodeString("60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54")
	for name, c := range map[string]struct {
		key    operatorKey
		scheme string
		msg    []byte
		sig    []byte
		want   bool
	}{
		"ECDSA in DER":                  {ec, SchemeECDSA, msg, der, true},
		"ECDSA as a pair":               {ec, SchemeECDSA, msg, pair, true},
		"ECDSA of zeros":                {ec, SchemeECDSA, msg, make([]byte, 64), false},
		"ECDSA of nothing":              {ec, SchemeECDSA, msg, nil, false},
		"ECDSA pair cut short":          {ec, SchemeECDSA, msg, pair[:63], false},
		"ECDSA with bytes after":        {ec, SchemeECDSA, msg, append(der[:len(der):len(der)], 0), false},
		"RSA-PSS with the usual salt":   {rs, SchemeRSAPSS, msg, pss(32), true},
		"RSA-PSS with another salt":     {rs, SchemeRSAPSS, msg, pss(20), true},
		"RSA-PSS with the longest salt": {rs, SchemeRSAPSS, msg, pss(rsa.PSSSaltLengthAuto), true},
		"RSA of PKCS 1":                 {rs, SchemeRSAPSS, msg, pkcs, false},
		"RSA under ECDSA":               {rs, SchemeECDSA, msg, pss(32), false},
		"Ed25519 of RFC 8032":           {eds[0], SchemeEd25519, []byte{0xaf, 0x82}, edSig, true},
		"Ed25519 of another message":    {eds[0], SchemeEd25519, []byte{0xaf, 0x83}, edSig, false},
		"HMAC of RFC 4231":              {macs[0], SchemeHMAC, []byte("Test Using Larger Than Block-Size Key - Hash Key First"), mac, true},
		"HMAC cut short":                {macs[0], SchemeHMAC, []byte("Test Using Larger Than Block-Size Key - Hash Key First"), mac[:16], false},
		"HMAC without a secret":         {ec, SchemeHMAC, msg, der, false},
		"a scheme that is not one":      {ec, "none", msg, der, false},
	} {
		if got := c.key.verifies(c.scheme, c.msg, c.sig); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

type policyCase struct {
	in   flex.Instruction
	want string
}

func policyCases(good, bad string) map[string]policyCase {
	of := func(name string, in flex.Instruction) flex.Instruction { in.Operator = name; return in }
	garbled := func(raw string) flex.Instruction { return flex.Instruction{Operator: "must", Raw: []byte(raw)} }
	const invalid, missing, unverified, later = string(flex.ReasonSignatureInvalid), string(flex.ReasonSignatureMissing), string(flex.Unverified), "later"
	return map[string]policyCase{
		"require, good":                           {signed("must", good), ""},
		"require, good, padding gone":             {signed("must", strings.TrimRight(good, "=")), ""},
		"require, operator in other case":         {signed(" MUST ", good), ""},
		"require, bad":                            {signed("must", bad), invalid},
		"require, bad, operator in other case":    {signed("Must", bad), invalid},
		"require, none":                           {signed("must", ""), missing},
		"require, blanks only":                    {signed("must", "  "), missing},
		"require, null":                           {garbled(`{"signature":null}`), missing},
		"require, not read by the profile":        {garbled(`{"signature":"AAAA"}`), invalid},
		"require, not a text":                     {garbled(`{"signature":{"v":1}}`), invalid},
		"require, an instruction that is broken":  {garbled(`{`), missing},
		"require, not base64":                     {signed("must", "%%%"), invalid},
		"require, in another encoding":            {signed("must", hex.EncodeToString([]byte("abc"))+"-_"), invalid},
		"require, too much padding":               {signed("must", good+"==="), invalid},
		"require, huge":                           {signed("must", strings.Repeat("A", 1<<20)), invalid},
		"require, good one but no raw copy":       {flex.Instruction{Operator: "must", Signature: good}, invalid},
		"require, a key twice in the instruction": {flex.Instruction{Operator: "must", Signature: good, Raw: []byte(`{"a":1,"a":1}`)}, invalid},
		"if present, good":                        {signed("may", good), ""},
		"if present, bad":                         {signed("may", bad), invalid},
		"if present, none":                        {signed("may", ""), ""},
		"if present, not a text":                  {of("may", garbled(`{"signature":[]}`)), invalid},
		"if present, listed without key":          {signed("bare", good), unverified},
		"if present, not listed":                  {signed("nobody", good), unverified},
		"if present, not listed, not a text":      {of("nobody", garbled(`{"signature":{}}`)), unverified},
		"not listed, none":                        {signed("nobody", ""), ""},
		"no operator at all":                      {signed("", ""), ""},
		"ignore, bad":                             {signed("lax", bad), ""},
		"ignore, none":                            {signed("lax", ""), ""},
		"require, key unreadable":                 {signed("must-lost", good), later},
		"require, key unreadable, bad one":        {signed("must-lost", bad), later},
		"require, key unreadable, none":           {signed("must-lost", ""), missing},
		"if present, key unreadable":              {signed("may-lost", good), later},
		"if present, key unreadable, none":        {signed("may-lost", ""), ""},
		"a key half written":                      {signed("half", good), later},
		"one key unreadable, the other confirms":  {signed("one-lost", good), ""},
		"one key unreadable, the other does not":  {signed("one-lost", bad), later},
	}
}

func TestOperatorPolicies(t *testing.T) {
	private, public, err := NewOperatorKey(SchemeEd25519)
	if err != nil {
		t.Fatal(err)
	}
	other, _, err := NewOperatorKey(SchemeEd25519)
	if err != nil {
		t.Fatal(err)
	}
	text, err := Canon{Signature: []string{"/signature"}}.Bytes([]byte(plainInstruction))
	if err != nil {
		t.Fatal(err)
	}
	sign := func(key []byte) string {
		sig, err := SignAs(SchemeEd25519, "base64", key, text)
		if err != nil {
			t.Fatal(err)
		}
		return sig
	}
	good, bad := sign(private), sign(other)
	keys := []func() ([]byte, error){fixed(public)}
	lost := []func() ([]byte, error){absent}
	half := []func() ([]byte, error){fixed([]byte("-----BEGIN PUBLIC KEY-----\nMCow"))}
	o := mustOperators(t,
		Operator{Name: "must", Policy: PolicyRequire, Scheme: SchemeEd25519, Keys: keys},
		Operator{Name: "may", Scheme: SchemeEd25519, Keys: keys},
		Operator{Name: "bare"},
		Operator{Name: "lax", Policy: PolicyIgnore, Scheme: SchemeEd25519, Keys: lost},
		Operator{Name: "must-lost", Policy: PolicyRequire, Scheme: SchemeEd25519, Keys: lost},
		Operator{Name: "may-lost", Scheme: SchemeEd25519, Keys: lost},
		Operator{Name: "half", Scheme: SchemeEd25519, Keys: half},
		Operator{Name: "one-lost", Policy: PolicyRequire, Scheme: SchemeEd25519, Keys: append(lost[:1:1], keys...)},
	)
	for name, c := range policyCases(good, bad) {
		state, err := o.Check(c.in)
		var retry *flex.RetryError
		if errors.As(err, &retry) {
			if state != string(flex.ReasonNoKey) || retry.After <= 0 {
				t.Errorf("%s: to be asked again with state %q after %v", name, state, retry.After)
			}
			state = "later"
		}
		if state != c.want || (state == "") != (err == nil) {
			t.Errorf("%s: %q (%v), want %q", name, state, err, c.want)
		}
	}
}

func TestAnOperatorsKeyIsRotatedInPlace(t *testing.T) {
	var mu sync.Mutex
	file := []byte{}
	oldKey, oldPub, _ := NewOperatorKey(SchemeECDSA)
	newKey, newPub, _ := NewOperatorKey(SchemeECDSA)
	text, _ := Canon{Signature: []string{"/signature"}}.Bytes([]byte(plainInstruction))
	before, _ := SignAs(SchemeECDSA, "base64", oldKey, text)
	after, _ := SignAs(SchemeECDSA, "base64", newKey, text)
	o := mustOperators(t, Operator{Name: "x", Policy: PolicyRequire, Scheme: SchemeECDSA, Keys: []func() ([]byte, error){
		func() ([]byte, error) { mu.Lock(); defer mu.Unlock(); return file, nil }}})
	for name, c := range map[string]struct {
		file       []byte
		old, fresh bool
	}{
		"the old key alone": {oldPub, true, false}, "both in one file": {append(append([]byte{}, oldPub...), newPub...), true, true}, "the new key alone": {newPub, false, true},
	} {
		mu.Lock()
		file = c.file
		mu.Unlock()
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				a, _ := o.Check(signed("x", before))
				b, _ := o.Check(signed("x", after))
				if (a == "") != c.old || (b == "") != c.fresh {
					t.Errorf("%s: old %q, new %q", name, a, b)
				}
			})
		}
		wg.Wait()
	}
}

func TestAgreementsThatCannotWork(t *testing.T) {
	key := []func() ([]byte, error){fixed(nil)}
	for name, op := range map[string]Operator{
		"no name":                      {},
		"no such policy":               {Name: "x", Policy: "maybe"},
		"no such scheme":               {Name: "x", Scheme: "md5", Keys: key},
		"no such encoding":             {Name: "x", Encoding: "base32"},
		"scheme without keys":          {Name: "x", Scheme: SchemeHMAC},
		"keys without scheme":          {Name: "x", Keys: key},
		"required without key":         {Name: "x", Policy: PolicyRequire},
		"more keys than a rotation":    {Name: "x", Scheme: SchemeHMAC, Keys: make([]func() ([]byte, error), maxOperatorKeys+1)},
		"fields without separator":     {Name: "x", Fields: []string{"/a", "/b"}},
		"a field that is no pointer":   {Name: "x", Fields: []string{"a"}},
		"the whole as a field":         {Name: "x", Fields: []string{""}},
		"the signature signs itself":   {Name: "x", Fields: []string{"/signature"}},
		"a name that is there already": {Name: "HAVE"},
	} {
		if _, err := NewOperators([]Operator{{Name: "have"}, op}, []string{"/signature"}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for policy, fits := range map[string]bool{PolicyRequire: false, PolicyVerifyIfPresent: true, PolicyIgnore: true} {
		op := Operator{Name: "x", Policy: policy, Scheme: SchemeHMAC, Keys: key}
		if _, err := NewOperators([]Operator{op}, nil); (err == nil) != fits {
			t.Errorf("no place for a signature, %s: %v", policy, err)
		}
	}
	for name, p := range map[string][]string{"the whole": {""}, "no pointer": {"signature"}} {
		if _, err := NewOperators([]Operator{{Name: "x"}}, p); err == nil {
			t.Errorf("signature at %s: accepted", name)
		}
	}
}

func TestOperatorKeysThatAreRefused(t *testing.T) {
	k := makeKeys()
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ scheme, raw string }{
		"P-384 for P-256":             {SchemeECDSA, string(pemOf(t, &k.p384.PublicKey))},
		"RSA for Ed25519":             {SchemeEd25519, string(pemOf(t, &k.rsa.PublicKey))},
		"Ed25519 for RSA":             {SchemeRSAPSS, string(pemOf(t, k.ed.Public()))},
		"RSA of 1024 bits":            {SchemeRSAPSS, string(pemOf(t, &weak.PublicKey))},
		"a private key":               {SchemeRSAPSS, string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(k.rsa)}))},
		"an empty secret":             {SchemeHMAC, ""},
		"a short secret":              {SchemeHMAC, strings.Repeat("x", minSecret-1)},
		"a short secret in hex":       {SchemeHMAC, "hex:" + strings.Repeat("00", minSecret-1)},
		"a secret that is not hex":    {SchemeHMAC, "hex:" + strings.Repeat("zz", 32)},
		"a secret that is not base64": {SchemeHMAC, "base64:" + strings.Repeat("%", 32)},
		"a public key as a secret":    {SchemeHMAC, string(pemOf(t, &k.rsa.PublicKey))},
		"a JWK as a secret":           {SchemeHMAC, `{"kty":"oct","k":"c2VjcmV0c2VjcmV0c2VjcmV0"}`},
	} {
		if keys, err := parseOperatorKeys(c.scheme, []byte(c.raw)); err == nil {
			t.Errorf("%s: accepted as %d keys", name, len(keys))
		}
	}
	secret := strings.Repeat("k", 20)
	for _, raw := range []string{secret + "\n", "hex:" + hex.EncodeToString([]byte(secret)), "base64:" + base64.StdEncoding.EncodeToString([]byte(secret))} {
		if keys, err := parseOperatorKeys(SchemeHMAC, []byte(raw)); err != nil || string(keys[0].secret) != secret {
			t.Errorf("%q: %v", raw, err)
		}
	}
}

func FuzzOperatorCheck(f *testing.F) {
	_, public, err := NewOperatorKey(SchemeECDSA)
	if err != nil {
		f.Fatal(err)
	}
	o := mustOperators(f, Operator{Name: "x", Policy: PolicyRequire, Scheme: SchemeECDSA, Keys: []func() ([]byte, error){fixed(public)}, Fields: []string{"/a", "/b"}, Separator: "|"})
	f.Add("MEUCIQ==", []byte(plainInstruction))
	f.Add("", []byte(`{"signature":"AA=="}`))
	f.Add("AAAA", []byte(`{"a":"|"}`))
	f.Fuzz(func(t *testing.T, sig string, raw []byte) {
		if state, err := o.Check(flex.Instruction{Operator: "x", Signature: sig, Raw: raw}); state == "" || err == nil {
			t.Fatalf("nobody signed %q with %q: %q %v", raw, sig, state, err)
		}
	})
}

// A name is an operator's by its aliases as well, and a signature may be broken
// into lines.
func TestAliasesAndLineBreaks(t *testing.T) {
	secret := []byte("0123456789abcdef0123456789abcdef")
	o, err := NewOperators([]Operator{{Name: "SPEN", Aliases: []string{"SP Energy Networks", "dno-12"}, Policy: PolicyRequire, Scheme: SchemeHMAC,
		Keys: []func() ([]byte, error){fixed(secret)}, Fields: []string{"/id"}}}, []string{"/signature"})
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("i1"))
	sig := base64.StdEncoding.EncodeToString(mac.Sum(nil))
	for _, name := range []string{"SPEN", "spen", "sp energy networks", " dno-12 "} {
		for text, want := range map[string]string{"": string(flex.ReasonSignatureMissing), sig: "", sig[:20] + "\r\n" + sig[20:] + "\n": "", sig[:20] + "\n " + sig[20:]: "", "AA" + sig[2:]: string(flex.ReasonSignatureInvalid)} {
			in := flex.Instruction{ID: "i1", Operator: name, Signature: text, Raw: []byte(`{"id":"i1"}`)}
			if got, err := o.Check(in); got != want {
				t.Errorf("%s, %q: %q, %v", name, text, got, err)
			}
		}
	}
	if _, err := NewOperators([]Operator{{Name: "a", Aliases: []string{"B"}}, {Name: "b"}}, []string{"/signature"}); err == nil {
		t.Error("an alias that is another's name is accepted")
	}
}
