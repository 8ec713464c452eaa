package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"flexd/agent/flex"
)

// The two kinds of segments: what is known of what is over, and what the
// market sent as it came.
const (
	kindHistory = "history"
	kindRaw     = "raw"
)

// How much of the archive is kept. What was sent as it came goes by the time of
// retention.
const (
	keepHistory  = 400 * 24 * time.Hour
	mostHistory  = 256 << 20
	mostRaw      = 128 << 20
	archiveDir   = "archive"
	segmentMonth = "2006-01"
)

// archive is what is over and left the state file: segments by month in a
// folder beside it. What flexd decides does not depend on it.
type archive struct {
	dir  string
	harm func(file string, at int64, err error)
}

func (a *archive) path(kind string, month time.Time) string {
	return filepath.Join(a.dir, kind+"-"+month.UTC().Format(segmentMonth)+".seg")
}

// add writes entries to the segment of a month.
func (a *archive) add(kind string, month time.Time, entries []entry) error {
	if len(entries) == 0 {
		return nil
	}
	if err := os.MkdirAll(a.dir, 0o700); err != nil {
		return fmt.Errorf("cannot make the archive: %w", err)
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = nameOf([]byte(e.Bucket), e.Key)
	}
	return appendFrame(a.path(kind, month), names, entries)
}

// part is a segment in the folder.
type part struct {
	file  string
	month time.Time
	size  int64
}

// end is when the segment's month was over.
func (p part) end() time.Time { return p.month.AddDate(0, 1, 0) }

// parts lists the segments of a kind, the oldest first.
func (a *archive) parts(kind string) ([]part, error) {
	files, err := os.ReadDir(a.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list the archive: %w", err)
	}
	var out []part
	for _, f := range files {
		name, ok := strings.CutPrefix(strings.TrimSuffix(f.Name(), ".seg"), kind+"-")
		month, err := time.Parse(segmentMonth, name)
		if !ok || err != nil {
			continue
		}
		info, err := f.Info()
		if err != nil {
			return nil, fmt.Errorf("cannot list the archive: %w", err)
		}
		out = append(out, part{f.Name(), month, info.Size()})
	}
	slices.SortFunc(out, func(x, y part) int { return x.month.Compare(y.month) })
	return out, nil
}

// visit shows the frames of a kind from the newest on, until fn has enough.
func (a *archive) visit(kind string, since time.Time, fn func(s *segment, fr frame) (enough bool, err error)) error {
	parts, err := a.parts(kind)
	if err != nil {
		return err
	}
	for _, p := range slices.Backward(parts) {
		if p.end().Before(since) {
			return nil
		}
		enough, err := a.visitPart(p, fn)
		if err != nil || enough {
			return err
		}
	}
	return nil
}

func (a *archive) visitPart(p part, fn func(s *segment, fr frame) (bool, error)) (enough bool, err error) {
	s, err := openSegment(filepath.Join(a.dir, p.file), func(at int64, err error) { a.harm(p.file, at, err) })
	if err != nil {
		return false, fmt.Errorf("cannot open the archive: %w", err)
	}
	defer s.f.Close()
	frames, err := s.frames()
	if err != nil {
		return false, err
	}
	for _, fr := range slices.Backward(frames) {
		if enough, err := fn(s, fr); err != nil || enough {
			return enough, err
		}
	}
	return false, nil
}

// find gives the newest value of a bucket's key.
func (a *archive) find(kind string, bucket []byte, key string) (out entry, ok bool, err error) {
	name := nameOf(bucket, []byte(key))
	err = a.visit(kind, time.Time{}, func(s *segment, fr frame) (bool, error) {
		if !fr.has(name) {
			return false, nil
		}
		list, err := s.entries(fr)
		for _, e := range list {
			if e.Bucket == string(bucket) && string(e.Key) == key {
				out, ok = e, true
			}
		}
		return ok, err
	})
	return out, ok, err
}

// nameOf is how a frame names an entry.
func nameOf(bucket, key []byte) string {
	return string(bucket) + "/" + strings.ReplaceAll(string(key), "\n", " ")
}

// archived reads one value from the archive.
func archived[T any](db *DB, bucket []byte, key string) (v T, ok bool, err error) {
	e, ok, err := db.archive.find(kindHistory, bucket, key)
	if err != nil || !ok {
		return v, false, err
	}
	if err := decode([]byte(key), e.Value, &v); err != nil {
		db.skip([]byte(archiveDir+"/"+string(bucket)), []byte(key), err)
		return v, false, nil
	}
	return v, true, nil
}

// archivedRecords adds archived records to those of the state file, newest
// first.
func (db *DB) archivedRecords(q RecordQuery, have []flex.Record) ([]flex.Record, error) {
	known := map[flex.InstructionID]bool{}
	for _, r := range have {
		known[r.ID] = true
	}
	var more []flex.Record
	err := db.archive.visit(kindHistory, q.Since, func(s *segment, fr frame) (bool, error) {
		if !slices.ContainsFunc(fr.names, func(n string) bool { return strings.HasPrefix(n, string(bRecords)+"/") }) {
			return false, nil
		}
		list, err := s.entries(fr)
		for _, e := range list {
			var r flex.Record
			if e.Bucket != string(bRecords) || known[flex.InstructionID(e.Key)] {
				continue
			}
			if err := decode(e.Key, e.Value, &r); err != nil {
				db.skip([]byte(archiveDir), e.Key, err)
				continue
			}
			if known[r.ID] = true; !came(r).Before(q.Since) {
				more = append(more, r)
			}
		}
		return q.Limit > 0 && len(more) >= q.Limit, err
	})
	have = append(have, more...)
	slices.SortStableFunc(have, func(x, y flex.Record) int { return came(y).Compare(came(x)) })
	if q.Limit > 0 && len(have) > q.Limit {
		have = have[:q.Limit]
	}
	return have, err
}

// excess lists the segments that are too old or too many, the oldest first,
// with why. The newest is never among them.
func (a *archive) excess(kind string, before time.Time, most int64) (gone []part, why []string, err error) {
	parts, err := a.parts(kind)
	total := int64(0)
	for _, p := range parts {
		total += p.size
	}
	for i, p := range parts {
		switch {
		case i == len(parts)-1:
			return gone, why, err
		case p.end().Before(before):
			why = append(why, "it is older than it has to be kept")
		case total > most:
			why = append(why, fmt.Sprintf("the archive has more than %d MiB", most>>20))
		default:
			return gone, why, err
		}
		gone = append(gone, p)
		total -= p.size
	}
	return gone, why, err
}

// count is how many values a segment has of each bucket.
func (a *archive) count(p part) string {
	n := map[string]int{}
	_, err := a.visitPart(p, func(_ *segment, fr frame) (bool, error) {
		for _, name := range fr.names {
			bucket, _, _ := bytes.Cut([]byte(name), []byte("/"))
			n[string(bucket)]++
		}
		return false, nil
	})
	if err != nil {
		return "what is in it cannot be read"
	}
	return tally(n)
}

// tally says counts in words, in order.
func tally(n map[string]int) string {
	var out []string
	for name, k := range n {
		if k > 0 {
			out = append(out, fmt.Sprintf("%d of %s", k, name))
		}
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}
