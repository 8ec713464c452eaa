package agent

import (
	"fmt"

	"flexd/agent/config"
	"flexd/systemd"
)

// secretPath is where a secret lies, "" when none is given.
func secretPath(s config.Secret) (string, error) {
	if s.Credential != "" {
		return systemd.CredentialPath(s.Credential)
	}
	return s.File, nil
}

// paths resolves several secrets at once, in order.
func paths(secrets ...config.Secret) ([]string, error) {
	out := make([]string, len(secrets))
	for i, s := range secrets {
		p, err := secretPath(s)
		if err != nil {
			return nil, err
		}
		out[i] = p
	}
	return out, nil
}

// readSecret reads a secret anew each time, so that a rotated key is taken
// without a restart.
func readSecret(s config.Secret) func() (string, error) {
	return func() (string, error) {
		path, err := secretPath(s)
		if err != nil {
			return "", err
		}
		data, err := systemd.ReadSecret(path)
		if err != nil {
			return "", fmt.Errorf("market.api_key: %w", err)
		}
		return string(data), nil
	}
}
