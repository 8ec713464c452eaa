package firmware

import (
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

func TestSelfNamesThisBuild(t *testing.T) {
	id := Self()
	if id.OS != runtime.GOOS || id.Arch != runtime.GOARCH || id.Version == "" || !strings.HasPrefix(id.String(), "flexd "+id.Version) {
		t.Errorf("identity = %+v, %s", id, id)
	}
}

func TestTheToolchainFillsWhatTheLinkerLeft(t *testing.T) {
	id := Identity{Commit: ""}
	id.fill(&debug.BuildInfo{Settings: []debug.BuildSetting{
		{Key: "GOARM", Value: "6"}, {Key: "vcs.revision", Value: "abc"}, {Key: "vcs.time", Value: "2026-01-02T03:04:05Z"}}})
	if id.Variant != "v6" || id.Commit != "abc" || id.Built.Year() != 2026 {
		t.Errorf("identity = %+v", id)
	}
}
