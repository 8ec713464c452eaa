package intake

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"flexd/agent/flex"
	"golang.org/x/time/rate"
)

// Bounds of the folder. Writes are rare as well, so that a flood of forgeries
// wears out no flash.
const (
	refusedFiles  = 50
	refusedBytes  = 2 << 20
	refusedEvery  = 10 * time.Second
	refusedBurst  = 10
	refusedHeader = 200 // bytes kept of one header value
)

// refusedFolder keeps the last refused bodies for whoever integrates a market
// for the first time. It is a convenience: whatever fails here matters to
// nobody.
type refusedFolder struct {
	dir   string
	limit *rate.Limiter
	mu    sync.Mutex
}

func newRefusedFolder(dir string) *refusedFolder {
	return &refusedFolder{dir: dir, limit: rate.NewLimiter(rate.Every(refusedEvery), refusedBurst)}
}

// keep writes <hash>.body and <hash>.txt and drops the oldest files.
func (f *refusedFolder) keep(env flex.Envelope, hash string, why *flex.Refusal, now time.Time) {
	if f.dir == "" || len(env.Body) > refusedBytes/2 || !f.limit.AllowN(now, 1) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return
	}
	note := describe(env, hash, why, now)
	f.trim(2, len(env.Body)+len(note))
	name := filepath.Join(f.dir, hash[:min(len(hash), 32)])
	if replaceFile(name+".body", env.Body) == nil {
		// The header is worth nothing without its body, the reverse is.
		_ = replaceFile(name+".txt", note)
	}
}

// trim makes room: the oldest files go first.
func (f *refusedFolder) trim(files, bytes int) {
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return
	}
	var infos []os.FileInfo
	total := int64(bytes)
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		infos = append(infos, info)
		total += info.Size()
	}
	slices.SortFunc(infos, func(a, b os.FileInfo) int {
		return cmp.Or(a.ModTime().Compare(b.ModTime()), cmp.Compare(a.Name(), b.Name()))
	})
	for len(infos) > 0 && (len(infos)+files > refusedFiles || total > refusedBytes) {
		_ = os.Remove(filepath.Join(f.dir, infos[0].Name()))
		total -= infos[0].Size()
		infos = infos[1:]
	}
}

// describe is the text beside a refused body.
func describe(env flex.Envelope, hash string, why *flex.Refusal, now time.Time) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "refused: %s\nbecause: %s\nat: %s\ndoor: %s\nsource: %s\nsha256: %s\nbytes: %d\n\n",
		why.Reason, clip(why.Text), now.UTC().Format(time.RFC3339), env.Door, clip(env.Source), hash, len(env.Body))
	for _, name := range slices.Sorted(maps.Keys(env.Header)) {
		value := strings.Join(env.Header[name], ", ")
		switch strings.ToLower(name) {
		case "authorization", "proxy-authorization", "cookie":
			value = "(not kept)"
		}
		fmt.Fprintf(&b, "%s: %s\n", clip(name), clip(value))
	}
	return []byte(b.String())
}

// clip bounds one outside value and keeps it on its line.
func clip(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	if len(s) > refusedHeader {
		return s[:refusedHeader] + "…"
	}
	return s
}

// replaceFile writes beside and renames, so that a reader never sees half a
// file. It is not synced: losing it to a power cut is no loss.
func replaceFile(name string, data []byte) error {
	tmp := name + ".tmp"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		_ = os.Remove(tmp)
		return err
	}
	if err := os.Rename(tmp, name); err != nil {
		_ = os.Remove(tmp)
		return err
	}
	return nil
}
