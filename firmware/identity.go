// Package firmware knows which build this is.
//
// In: values set by the linker and what the Go toolchain recorded. Out: the
// identity that `flexd version`, the birth message and the state publish. It
// never changes anything on the machine.
package firmware

import (
	"debug/buildinfo"
	"fmt"
	"runtime"
	"runtime/debug"
	"time"
)

// Set by the linker: -X flexd/firmware.version=v1.2.3 and so on. They are
// written before main starts and only read afterwards.
var (
	version = "dev"
	commit  = ""
	built   = "" // RFC 3339
)

// Identity names one build.
type Identity struct {
	Version string    `json:"version"`
	Commit  string    `json:"commit,omitempty"`
	Built   time.Time `json:"built,omitzero"`
	OS      string    `json:"os"`
	Arch    string    `json:"arch"`
	Variant string    `json:"variant,omitempty"` // v6, v7 on arm; v1… on amd64
	Go      string    `json:"go"`
}

// Self is the identity of the running program.
func Self() Identity {
	id := Identity{Version: version, Commit: commit, OS: runtime.GOOS, Arch: runtime.GOARCH, Go: runtime.Version()}
	id.Built, _ = time.Parse(time.RFC3339, built)
	if info, ok := debug.ReadBuildInfo(); ok {
		id.fill(info)
	}
	return id
}

// fill takes what the toolchain recorded, where the linker set nothing.
func (id *Identity) fill(info *buildinfo.BuildInfo) {
	for _, s := range info.Settings {
		switch s.Key {
		case "GOARM", "GOAMD64", "GOARM64":
			id.Variant = variant(s.Value)
		case "vcs.revision":
			if id.Commit == "" {
				id.Commit = s.Value
			}
		case "vcs.time":
			if id.Built.IsZero() {
				id.Built, _ = time.Parse(time.RFC3339, s.Value)
			}
		}
	}
}

// variant writes GOARM's "6" like the others' "v1".
func variant(v string) string {
	if v != "" && v[0] >= '0' && v[0] <= '9' {
		return "v" + v
	}
	return v
}

// String is one line for people.
func (id Identity) String() string {
	s := fmt.Sprintf("flexd %s %s/%s", id.Version, id.OS, id.Arch)
	if id.Variant != "" {
		s += " " + id.Variant
	}
	if id.Commit != "" {
		s += " commit " + id.Commit[:min(12, len(id.Commit))]
	}
	return s + " " + id.Go
}
