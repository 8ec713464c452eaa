package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Salvage copies what can be read of a state that cannot be opened for writing
// into another folder, so that what it remembers can be opened there. What is
// there and cannot be read counts as lost in the copy.
func Salvage(path, folder string) (copied string, err error) {
	copied = filepath.Join(folder, filepath.Base(path))
	for _, suffix := range []string{"", backupSuffix, olderSuffix, holdsSuffix} {
		switch err := copyFile(path+suffix, copied+suffix); {
		case err == nil || errors.Is(err, fs.ErrNotExist):
		default: // a trace of what was there: the copy must not pass for a first start
			_ = os.Remove(copied + suffix)
			if err := os.WriteFile(copied+".bad-1", nil, 0o600); err != nil {
				return "", fmt.Errorf("cannot make the copy of the state: %w", err)
			}
		}
	}
	return copied, nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	_, err = writeFile(to, func(w io.Writer) (int64, error) { return io.Copy(w, in) })
	return err
}
