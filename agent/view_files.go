package agent

import (
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"flexd/agent/local"
	"flexd/store"
)

// files is what lies in the data folder, and what was written to it since the
// start.
func (v *view) files(up time.Duration) []local.File {
	a := v.a
	wear := store.WearOf(a.db)
	list := []local.File{
		{Name: stateFile, Written: wear.State},
		{Name: stateFile + ".backup", Written: wear.Backups}, // both generations
		{Name: seriesFile},
		{Name: whyFile},
	}
	_, list[2].Written = a.tele.Size()
	if a.whyDB != nil {
		list[3].Written = a.whyDB.Written()
	}
	for i := range list {
		f := &list[i]
		f.Size = sizeOf(filepath.Join(a.conf.cfg.Data, f.Name))
		if f.Name != stateFile && f.Name != seriesFile && f.Name != whyFile {
			f.Size += sizeOf(filepath.Join(a.conf.cfg.Data, f.Name+".older"))
		}
		if up >= time.Hour {
			f.PerDay = int64(float64(f.Written) * float64(24*time.Hour) / float64(up))
		}
	}
	return append(list, local.File{Name: "archive", Size: folderSize(filepath.Join(a.conf.cfg.Data, "archive"))})
}

func sizeOf(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

func folderSize(path string) (n int64) {
	_ = filepath.WalkDir(path, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			if info, ierr := e.Info(); ierr == nil {
				n += info.Size()
			}
		}
		return nil // what cannot be looked at counts for nothing
	})
	return n
}
