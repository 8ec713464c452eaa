package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"flexd/agent/trust"
)

const signConfig = `site: {id: a}
data: data
market:
  base_url: https://api.example
  client_id: x
  api_key: {file: k}
  operators:
    - {name: SPEN, signature: require, scheme: SCHEME, keys: [FIRST, SECOND], canonical: CANON, encoding: base64url}
    - {name: NGED, signature: ignore}
ingress: {}
devices: []
assets: []
`

// signBench is a folder with two keys, a configuration and an instruction.
type signBench struct {
	t   *testing.T
	dir string
}

func newSignBench(t *testing.T, scheme, canonical string) signBench {
	b := signBench{t, t.TempDir()}
	for _, name := range []string{"first", "second"} {
		var out, errs strings.Builder
		if err := marketSign(t.Context(), &options{out: &out, err: &errs, newKey: scheme}); err != nil {
			t.Fatal(err)
		}
		public := errs.String()
		if scheme == trust.SchemeHMAC {
			public = out.String()
		}
		b.write(name+".key", out.String())
		b.write(name+".pub", public)
	}
	b.write("flexd.yaml", strings.NewReplacer("SCHEME", scheme, "CANON", canonical, "FIRST", b.path("first.pub"), "SECOND", b.path("second.pub")).Replace(signConfig))
	b.write("plain.json", `[ {"type":"start", "id":"i1","capacity":"1.50","asset_ids":["a","b"],"note":"Zürich","signature":null} ]`)
	return b
}

func (b signBench) path(name string) string { return filepath.Join(b.dir, name) }

func (b signBench) write(name, text string) {
	b.t.Helper()
	if err := os.WriteFile(b.path(name), []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// run gives the vector, the exit code and what was said of the error.
func (b signBench) run(o options) (v vector, code int, said string) {
	b.t.Helper()
	var out, errs strings.Builder
	o.out, o.err, o.json, o.config = &out, &errs, true, b.path("flexd.yaml")
	code = o.fail("market", marketSign(b.t.Context(), &o))
	if !o.printed {
		return v, code, out.String()
	}
	if out.Len() > 0 {
		if err := json.Unmarshal([]byte(out.String()), &v); err != nil {
			b.t.Fatalf("%v in %s", err, out.String())
		}
	}
	return v, code, errs.String()
}

func TestAVectorIsMadeAndChecked(t *testing.T) {
	for _, scheme := range trust.Schemes() {
		for canonical, want := range map[string]string{
			"jcs": `{"asset_ids":["a","b"],"capacity":"1.50","id":"i1","note":"Zürich","type":"start"}`,
			`{fields: [/id, /asset_ids, /capacity, /note], separator: "|"}`: "i1|a,b|1.50|Zürich",
		} {
			b := newSignBench(t, scheme, canonical)
			v, code, said := b.run(options{operator: "spen", key: b.path("second.key"), args: []string{b.path("plain.json")}})
			if code != exitDone || v.Canonical != want || len(v.SHA256) != 64 || !v.Verified || !strings.HasPrefix(v.Key, "key 2") || len(v.Tried) != 1 {
				t.Fatalf("%s %s: %d %s %+v", scheme, canonical, code, said, v)
			}
			b.write("signed.json", `{"signature":"`+v.Signature+`","type":"start","id":"i1","capacity":"1.50","asset_ids":["a","b"],"note":"Z\u00fcrich"}`)
			b.write("forged.json", `{"signature":"`+v.Signature+`","type":"start","id":"i1","capacity":"9.50","asset_ids":["a","b"],"note":"Zürich"}`)
			for name, c := range map[string]struct {
				args []string
				code int
			}{
				"inside":              {[]string{"signed.json"}, exitDone},
				"given":               {[]string{"plain.json", v.Signature}, exitDone},
				"altered":             {[]string{"forged.json"}, exitRefused},
				"missing":             {[]string{"plain.json"}, exitRefused},
				"given, garbled":      {[]string{"signed.json", "AAAA"}, exitRefused},
				"no such file":        {[]string{"nothing.json"}, exitFailed},
				"three arguments":     {[]string{"signed.json", "a", "b"}, exitUsage},
				"without an object":   {[]string{"flexd.yaml"}, exitRefused},
				"key is not a vector": {[]string{"first.key"}, exitRefused},
			} {
				args := append([]string{b.path(c.args[0])}, c.args[1:]...)
				if v, code, said := b.run(options{operator: "SPEN", check: true, args: args}); code != c.code || (code == exitDone) != v.Verified {
					t.Errorf("%s %s, %s: exit %d, want %d: %s", scheme, canonical, name, code, c.code, said)
				}
			}
		}
	}
}

func TestWhyAVectorCannotBeMade(t *testing.T) {
	b := newSignBench(t, trust.SchemeEd25519, "jcs")
	b.write("two.json", `[{"id":1},{"id":2}]`)
	plain := []string{b.path("plain.json")}
	for name, c := range map[string]struct {
		o    options
		code int
		said string
	}{
		"no file":                   {options{operator: "SPEN"}, exitUsage, "one file"},
		"no operator":               {options{args: plain}, exitUsage, "--operator"},
		"an operator not listed":    {options{operator: "UKPN", args: plain}, exitUsage, "not listed"},
		"an operator without key":   {options{operator: "NGED", args: plain}, exitUsage, "no scheme"},
		"check with a private key":  {options{operator: "SPEN", check: true, key: "x", args: plain}, exitUsage, "leave --key out"},
		"a key that is not there":   {options{operator: "SPEN", key: "nowhere.pem", args: plain}, exitFailed, "nowhere.pem"},
		"the public key to sign":    {options{operator: "SPEN", key: b.path("first.pub"), args: plain}, exitFailed, "not a private key"},
		"two instructions":          {options{operator: "SPEN", args: []string{b.path("two.json")}}, exitFailed, "lists 2"},
		"a scheme that is not one":  {options{newKey: "rot13"}, exitUsage, "hmac-sha256"},
		"a new key and a file":      {options{newKey: trust.SchemeHMAC, args: plain}, exitUsage, "takes no file"},
		"without a key: no failure": {options{operator: "SPEN", args: plain}, exitDone, ""},
	} {
		if _, code, said := b.run(c.o); code != c.code || !strings.Contains(said, c.said) {
			t.Errorf("%s: exit %d, want %d: %s", name, code, c.code, said)
		}
	}
	if err := os.Remove(b.path("second.pub")); err != nil {
		t.Fatal(err)
	}
	if _, code, said := b.run(options{operator: "SPEN", check: true, args: []string{plain[0], strings.Repeat("A", 86)}}); code != exitFailed || !strings.Contains(said, "second.pub") {
		t.Errorf("a key that cannot be read condemns: exit %d: %s", code, said)
	}
	b.write("bad.yaml", "site: {id: UPPER}\n")
	var errs strings.Builder
	o := &options{out: &errs, err: &errs, config: b.path("bad.yaml"), operator: "SPEN", args: plain}
	if code := o.fail("market", marketSign(t.Context(), o)); code != exitConfig {
		t.Errorf("a broken configuration: exit %d", code)
	}
}

func TestAVectorForPeopleShowsWhatTheEyeCannot(t *testing.T) {
	var out strings.Builder
	vector{Operator: "X", Canonical: "a\nü", Why: "because"}.text(&out)
	if !strings.Contains(out.String(), `"a\n\u00fc"`) || !strings.Contains(out.String(), "no: because") {
		t.Error(out.String())
	}
}
