package commission

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// keyFile is the site's signing key within the data folder.
const keyFile = "site-key.pem"

const (
	maxKey    = 4 << 10
	othersBit = 0o077
)

// SiteKey gives the site's key, and makes it on first use.
func SiteKey(dir string) (ed25519.PrivateKey, error) {
	path := filepath.Join(dir, keyFile)
	key, err := readKey(path)
	if !errors.Is(err, os.ErrNotExist) {
		return key, err
	}
	_, fresh, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("cannot make the site's key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(fresh)
	if err != nil {
		return nil, fmt.Errorf("cannot encode the site's key: %w", err)
	}
	temp, err := writeTemp(dir, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	if err != nil {
		return nil, fmt.Errorf("cannot write the site's key: %w", err)
	}
	defer os.Remove(temp) // gone after the rename, litter else
	// A link, not a rename: a key that appeared meanwhile is never replaced.
	if err := os.Link(temp, path); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("cannot keep the site's key: %w", err)
	}
	if err := syncDir(dir); err != nil {
		return nil, err
	}
	return readKey(path)
}

func readKey(path string) (ed25519.PrivateKey, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot open the site's key: %w", err)
	}
	defer f.Close() // read only
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("cannot look at the site's key: %w", err)
	}
	if info.Mode().Perm()&othersBit != 0 {
		return nil, fmt.Errorf("the site's key %s may be read by others: chmod 600 it", path)
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxKey))
	if err != nil {
		return nil, fmt.Errorf("cannot read the site's key: %w", err)
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, fmt.Errorf("the site's key %s is not PEM: restore it, or remove it and commission again", path)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("the site's key %s: %w", path, err)
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("the site's key %s is not ed25519", path)
	}
	return key, nil
}
