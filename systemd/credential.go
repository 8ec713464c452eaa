package systemd

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// maxSecret bounds a secret; certificates with their chains fit.
const maxSecret = 256 << 10

// CredentialPath is where systemd put a credential of this service
// (LoadCredential=, systemd.exec(5)): given by itself, or as a file of the
// folder /etc/flexd/keys.
func CredentialPath(name string) (string, error) {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" {
		return "", fmt.Errorf("credential %q: no credentials folder: flexd was not started by systemd with LoadCredential=%s:…; use {file: PATH} instead", name, name)
	}
	path := filepath.Join(dir, filepath.Base(name))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	// A folder given as LoadCredential=keys:FOLDER arrives with its id before
	// each name.
	return filepath.Join(dir, "keys_"+filepath.Base(name)), nil
}

// ReadSecret reads a secret file, without the white space around it.
func ReadSecret(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot open the secret: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read the secret %s: %w", path, err)
	}
	if len(data) > maxSecret {
		return nil, fmt.Errorf("the secret %s is larger than %d bytes", path, maxSecret)
	}
	if data = bytes.TrimSpace(data); len(data) == 0 {
		return nil, fmt.Errorf("the secret %s is empty", path)
	}
	return data, nil
}
