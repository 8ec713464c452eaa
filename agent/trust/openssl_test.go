package trust

import (
	"bytes"
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// What the other party's usual tool signs must hold here, and its keys must
// be readable as it writes them.
func TestSignaturesOfOpenSSL(t *testing.T) {
	tool, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("no openssl on this machine")
	}
	dir := t.TempDir()
	run := func(args ...string) []byte {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), tool, args...)
		cmd.Dir = dir
		var errs bytes.Buffer
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("openssl %v: %v: %s", args, err, errs.String())
		}
		return out
	}
	msg := []byte("i1|a,b|1.50")
	if err := os.WriteFile(filepath.Join(dir, "msg"), msg, 0o600); err != nil {
		t.Fatal(err)
	}
	for scheme, c := range map[string]struct{ generate, sign []string }{
		SchemeEd25519: {[]string{"genpkey", "-algorithm", "ed25519", "-out", "k"}, []string{"pkeyutl", "-sign", "-inkey", "k", "-rawin", "-in", "msg"}},
		SchemeECDSA:   {[]string{"ecparam", "-name", "prime256v1", "-genkey", "-out", "k"}, []string{"dgst", "-sha256", "-sign", "k", "msg"}},
		SchemeRSAPSS: {[]string{"genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "k"},
			[]string{"dgst", "-sha256", "-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:max", "-sign", "k", "msg"}},
	} {
		run(c.generate...)
		keys, err := parseOperatorKeys(scheme, run("pkey", "-in", "k", "-pubout"))
		if err != nil {
			t.Errorf("%s: %v", scheme, err)
			continue
		}
		if !keys[0].verifies(scheme, msg, run(c.sign...)) {
			t.Errorf("%s: what openssl signed does not hold", scheme)
		}
		private, err := os.ReadFile(filepath.Join(dir, "k"))
		if err != nil {
			t.Fatal(err)
		}
		text, err := SignAs(scheme, "base64", private, msg)
		if err != nil {
			t.Errorf("%s: %v", scheme, err)
			continue
		}
		sig, err := base64.StdEncoding.DecodeString(text)
		if err != nil || !keys[0].verifies(scheme, msg, sig) {
			t.Errorf("%s: our own signature with the key of openssl does not hold: %v", scheme, err)
		}
	}
}
