package config

import (
	_ "embed"
	"os"

	"go.yaml.in/yaml/v3"
)

//go:embed reference.yaml
var reference string

// Reference is the annotated configuration that `flexd config reference`
// prints: every key, with its default and its meaning.
func Reference() string { return reference }

// DataDir guesses the data folder of a file that may be broken, so that the
// last good configuration can be found: its own data key if that can be read,
// else systemd's STATE_DIRECTORY, else the default.
func DataDir(raw []byte) string {
	var loose struct {
		Data string `yaml:"data"`
	}
	if len(raw) <= maxSize && yaml.Unmarshal(raw, &loose) == nil && loose.Data != "" {
		return loose.Data
	}
	if dir := os.Getenv("STATE_DIRECTORY"); dir != "" {
		return dir
	}
	return DefaultData
}
