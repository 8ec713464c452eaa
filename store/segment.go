package store

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A segment of the archive is a file of frames, each written and synced at
// once: a head, the names of what is in it, and its entries as compressed
// lines of JSON. Names are read without the entries. All three are
// checksummed, and so is every value by itself, as in the state file.
const (
	frameMagic = "fxA1"
	frameEnd   = "fxZ1"
	frameHead  = 24 // magic, lengths of names and entries, checksums of both, checksum of these
	frameTail  = 8  // end, length of all before it
	mostFrame  = 64 << 20
)

// entry is a value as it lay in the state file.
type entry struct {
	Bucket string          `json:"b"`
	Key    []byte          `json:"k"`
	Value  json.RawMessage `json:"v,omitempty"`
	Bytes  []byte          `json:"x,omitempty"` // of a value that is no JSON
}

// frame is where entries lie in a segment.
type frame struct {
	at    int64 // of the entries
	size  int
	sum   uint32
	names []string
}

// encodeFrame is the text of one frame.
func encodeFrame(names []string, entries []entry) ([]byte, error) {
	var body bytes.Buffer
	z, err := flate.NewWriter(&body, flate.BestCompression)
	if err != nil {
		return nil, err
	}
	lines := json.NewEncoder(z)
	lines.SetEscapeHTML(false) // a value stays as it was written
	for _, e := range entries {
		if err := lines.Encode(e); err != nil {
			return nil, fmt.Errorf("cannot encode an entry of the archive: %w", err)
		}
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	list := []byte(strings.Join(names, "\n"))
	out := []byte(frameMagic)
	out = binary.BigEndian.AppendUint32(out, uint32(len(list)))
	out = binary.BigEndian.AppendUint32(out, uint32(body.Len()))
	out = binary.BigEndian.AppendUint32(out, crc32.Checksum(list, castagnoli))
	out = binary.BigEndian.AppendUint32(out, crc32.Checksum(body.Bytes(), castagnoli))
	out = binary.BigEndian.AppendUint32(out, crc32.Checksum(out, castagnoli))
	out = append(append(out, list...), body.Bytes()...)
	return binary.BigEndian.AppendUint32(append(out, frameEnd...), uint32(len(out))), nil
}

// appendFrame adds a frame to a segment. What a cut has left of the last one
// goes first: it never counted, since its values are still in the state file.
func appendFrame(path string, names []string, entries []entry) error {
	raw, err := encodeFrame(names, entries)
	if err != nil {
		return err
	}
	_, missing := os.Stat(path)
	if missing == nil {
		if err := trim(path); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("cannot open the archive: %w", err)
	}
	_, err = f.Write(raw)
	if err = firstError(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("cannot write the archive: %w", err)
	}
	if errors.Is(missing, fs.ErrNotExist) {
		return syncDir(filepath.Dir(path))
	}
	return nil
}

// trim takes a torn frame off the end of a segment.
func trim(path string) error {
	s, err := openSegment(path, func(int64, error) {})
	if err != nil {
		return fmt.Errorf("cannot open the archive: %w", err)
	}
	defer s.f.Close()
	tail := make([]byte, frameTail)
	if s.size >= frameHead+frameTail {
		if _, err := s.f.ReadAt(tail, s.size-frameTail); err != nil {
			return fmt.Errorf("cannot read the archive: %w", err)
		}
	}
	if string(tail[:4]) == frameEnd || s.size == 0 {
		return nil
	}
	list, err := s.frames()
	if err != nil {
		return err
	}
	end := int64(0)
	if n := len(list); n > 0 {
		end = list[n-1].end()
	}
	if err := os.Truncate(path, end); err != nil {
		return fmt.Errorf("cannot mend the end of the archive: %w", err)
	}
	return nil
}

// segment is one that is read.
type segment struct {
	f    *os.File
	size int64
	// harmed is told of what is not as it was written. A frame that was cut at
	// the end is what a power cut leaves, and no harm.
	harmed func(at int64, err error)
}

func openSegment(path string, harmed func(at int64, err error)) (*segment, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &segment{f, info.Size(), harmed}, nil
}

// frames lists what is whole, in the order it was written.
func (s *segment) frames() ([]frame, error) {
	var out []frame
	for at := int64(0); at < s.size; {
		fr, next, err := s.frame(at)
		if err == nil {
			out = append(out, fr)
			at = next
			continue
		}
		if bad := (*damage)(nil); !errors.As(err, &bad) {
			return out, err
		}
		from := at
		if at, err = s.search(at + 1); err != nil {
			return out, err
		}
		if at < s.size { // else the end was cut
			s.harmed(from, errors.New("a part of the archive is damaged and is passed over"))
		}
	}
	return out, nil
}

func (s *segment) frame(at int64) (fr frame, next int64, err error) {
	head := make([]byte, frameHead)
	if at+frameHead > s.size {
		return fr, 0, damaged("the end is cut")
	}
	if _, err := s.f.ReadAt(head, at); err != nil {
		return fr, 0, fmt.Errorf("cannot read the archive: %w", err)
	}
	be := binary.BigEndian
	names, size := int64(be.Uint32(head[4:])), int64(be.Uint32(head[8:]))
	next = at + frameHead + names + size + frameTail
	if string(head[:4]) != frameMagic || be.Uint32(head[20:]) != crc32.Checksum(head[:20], castagnoli) || names+size > mostFrame || next > s.size {
		return fr, 0, damaged("not a frame")
	}
	list := make([]byte, names)
	if _, err := s.f.ReadAt(list, at+frameHead); err != nil {
		return fr, 0, fmt.Errorf("cannot read the archive: %w", err)
	}
	if crc32.Checksum(list, castagnoli) != be.Uint32(head[12:]) {
		return fr, 0, damaged("the names are damaged")
	}
	return frame{at + frameHead + names, int(size), be.Uint32(head[16:]), strings.Split(string(list), "\n")}, next, nil
}

// search finds the next frame, or the end.
func (s *segment) search(from int64) (int64, error) {
	buf := make([]byte, 64<<10)
	for at := from; at < s.size; at += int64(len(buf) - len(frameMagic)) {
		n, err := s.f.ReadAt(buf, at)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, fmt.Errorf("cannot read the archive: %w", err)
		}
		if i := bytes.Index(buf[:n], []byte(frameMagic)); i >= 0 {
			return at + int64(i), nil
		}
	}
	return s.size, nil
}

// entries reads a frame, without values that are not what was written.
func (s *segment) entries(fr frame) ([]entry, error) {
	raw := make([]byte, fr.size)
	if _, err := s.f.ReadAt(raw, fr.at); err != nil {
		return nil, fmt.Errorf("cannot read the archive: %w", err)
	}
	if crc32.Checksum(raw, castagnoli) != fr.sum {
		s.harmed(fr.at, fmt.Errorf("%d archived values are damaged and left out", len(fr.names)))
		return nil, nil
	}
	var out []entry
	lines := json.NewDecoder(flate.NewReader(bytes.NewReader(raw)))
	for {
		var e entry
		switch err := lines.Decode(&e); {
		case errors.Is(err, io.EOF):
			return out, nil
		case err != nil:
			s.harmed(fr.at, fmt.Errorf("an archived value cannot be read: %w", err))
			return out, nil
		}
		out = append(out, e)
	}
}

func (f frame) end() int64 { return f.at + int64(f.size) + frameTail }

func (f frame) has(name string) bool { return slices.Contains(f.names, name) }
