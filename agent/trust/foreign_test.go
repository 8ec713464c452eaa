package trust

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// nodeSigner makes keys, publishes them as JWKS and signs with each, with
// nothing but node's own crypto: no code of ours or of a library of ours.
const nodeSigner = `
const c = require('crypto'), b = x => Buffer.from(x).toString('base64url');
const payload = JSON.stringify({a: 1}), pss = {padding: c.constants.RSA_PKCS1_PSS_PADDING, saltLength: c.constants.RSA_PSS_SALTLEN_DIGEST};
const kinds = {RS256: ['rsa', {modulusLength: 2048}, 'sha256', {}], RS512: ['rsa', {modulusLength: 2048}, 'sha512', {}], PS256: ['rsa', {modulusLength: 2048}, 'sha256', pss],
  PS384: ['rsa', {modulusLength: 3072}, 'sha384', pss], ES256: ['ec', {namedCurve: 'P-256'}, 'sha256', {dsaEncoding: 'ieee-p1363'}],
  ES384: ['ec', {namedCurve: 'P-384'}, 'sha384', {dsaEncoding: 'ieee-p1363'}], ES512: ['ec', {namedCurve: 'P-521'}, 'sha512', {dsaEncoding: 'ieee-p1363'}],
  EdDSA: ['ed25519', {}, null, {}], Ed25519: ['ed25519', {}, null, {}]};
const out = {keys: [], pem: {}, tokens: {}};
for (const [alg, [type, options, hash, how]] of Object.entries(kinds)) {
  const k = c.generateKeyPairSync(type, options);
  out.keys.push({...k.publicKey.export({format: 'jwk'}), kid: alg, use: 'sig', alg});
  out.pem[alg] = k.publicKey.export({format: 'pem', type: 'spki'});
  const signing = b(JSON.stringify({alg, kid: alg})) + '.' + b(payload);
  out.tokens[alg] = signing + '.' + b(c.sign(hash, Buffer.from(signing), {key: k.privateKey, ...how}));
}
console.log(JSON.stringify(out));`

// What a foreign program signs by each algorithm holds here, attached and
// detached, with its keys as JWKS and as PEM, and nothing that was altered.
func TestSignaturesOfNode(t *testing.T) {
	raw, err := exec.CommandContext(t.Context(), "node", "-e", nodeSigner).Output()
	if err != nil && os.Getenv("CI") != "" {
		t.Fatalf("node is not usable and CI must test with it: scripts/test-deps.sh installs it: %v", err)
	}
	if err != nil {
		t.Skipf("SKIPPED: NOT TESTED with node: scripts/test-deps.sh installs it: %v", err)
	}
	var made struct {
		Keys   json.RawMessage
		Pem    map[string]string
		Tokens map[string]string
	}
	if err := json.Unmarshal(raw, &made); err != nil {
		t.Fatal(err)
	}
	set, err := ParseKeys([]byte(`{"keys":` + string(made.Keys) + `}`))
	if err != nil || len(set) != len(made.Tokens) {
		t.Fatalf("%d keys, %v", len(set), err)
	}
	for alg, token := range made.Tokens {
		own, err := ParseKeys([]byte(made.Pem[alg]))
		if err != nil {
			t.Errorf("%s: %v", alg, err)
			continue
		}
		parts := strings.Split(token, ".")
		for name, keys := range map[string][]Key{"JWKS": set, "PEM": own} {
			for form, s := range map[string]Signed{"attached": Compact([]byte(token)), "detached": Detached([]byte(parts[0]+".."+parts[2]), []byte(`{"a":1}`))} {
				if payload, h, err := VerifyForm(s, keys, []string{alg}); err != nil || string(payload) != `{"a":1}` || h.KeyID != alg {
					t.Errorf("%s %s with %s: %q %v", alg, form, name, payload, err)
				}
			}
			for part := range 3 {
				if _, _, err := VerifyForm(Compact(flip([]byte(token), part)), keys, []string{alg}); err == nil {
					t.Errorf("%s with %s: accepted with part %d altered", alg, name, part)
				}
			}
		}
	}
}
