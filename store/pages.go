package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"os"
)

// The file format of bbolt, version 2 (its internal/common): pages begin with
// id, flags, count and overflow; numbers are little-endian on every machine we
// build for.
const (
	pageHeader  = 16
	element     = 16
	bucketHead  = 16
	flagBranch  = 1
	flagLeaf    = 2
	flagFree    = 16
	leafBucket  = 1
	magic       = 0xED0CDAED
	fileVersion = 2
	noFreelist  = math.MaxUint64
)

// maxDepth is deeper than any tree of ours; maxRun bounds the pages that lie
// together: a damaged number must not make us read for ever.
const (
	maxDepth = 64
	maxRun   = 1 << 14
)

// pages reads a file by itself and proves that the library can: it panics on
// pages that it does not understand, follows a branch that leads to itself
// until memory ends, and the kernel kills who reads a map beyond the file.
type pages struct {
	f    io.ReaderAt
	high uint64          // pages in use lie below
	seen map[uint64]bool // pages that something leads to
}

// provePages tells what is damaged; an error of another kind is the disk's.
func provePages(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("cannot open the state file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("cannot look at the state file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a file", path)
	}
	if info.Size() < 2*pageSize {
		return damaged("it has %d bytes, less than its headers", info.Size())
	}
	meta, err := newestMeta(f)
	if err != nil {
		return err
	}
	p := &pages{f: f, high: meta.high, seen: map[uint64]bool{0: true, 1: true}}
	if uint64(info.Size())/pageSize < p.high {
		return damaged("it has %d pages of %d", info.Size()/pageSize, p.high)
	}
	if err := p.tree(meta.root, nil, nil, 0, 0); err != nil {
		return err
	}
	return p.free(meta.free)
}

type fileMeta struct{ root, free, high, tx uint64 }

// newestMeta reads both headers. One of them may be torn by a cut: the other
// is the state before it.
func newestMeta(f io.ReaderAt) (newest fileMeta, err error) {
	valid := false
	for i := range int64(2) {
		raw := make([]byte, 80)
		if _, err := f.ReadAt(raw, i*pageSize); err != nil {
			return newest, fmt.Errorf("cannot read the state file: %w", err)
		}
		b, le := raw[pageHeader:], binary.LittleEndian
		sum := fnv.New64a()
		_, _ = sum.Write(b[:56])
		if le.Uint32(b) != magic || le.Uint32(b[4:]) != fileVersion || le.Uint64(b[56:]) != sum.Sum64() || le.Uint32(b[8:]) != pageSize {
			continue
		}
		if m := (fileMeta{le.Uint64(b[16:]), le.Uint64(b[32:]), le.Uint64(b[40:]), le.Uint64(b[48:])}); !valid || m.tx > newest.tx {
			newest, valid = m, true
		}
	}
	if !valid {
		return newest, damaged("neither of its headers is whole")
	}
	return newest, nil
}

// load reads a page with what overflows from it, and marks it as led to.
func (p *pages) load(id uint64) ([]byte, error) {
	head := make([]byte, pageHeader)
	if id < 2 || id >= p.high {
		return nil, damaged("page %d lies outside", id)
	}
	if _, err := p.f.ReadAt(head, int64(id)*pageSize); err != nil {
		return nil, fmt.Errorf("cannot read page %d: %w", id, err)
	}
	over := uint64(binary.LittleEndian.Uint32(head[12:]))
	if binary.LittleEndian.Uint64(head) != id || over >= maxRun || id+over >= p.high {
		return nil, damaged("page %d is not what it should be", id)
	}
	for i := id; i <= id+over; i++ {
		if p.seen[i] {
			return nil, damaged("two places lead to page %d", i)
		}
		p.seen[i] = true
	}
	raw := make([]byte, (1+over)*pageSize)
	if _, err := p.f.ReadAt(raw, int64(id)*pageSize); err != nil {
		return nil, fmt.Errorf("cannot read page %d: %w", id, err)
	}
	return raw, nil
}

// tree proves a page and all below it: keys rise from low, inclusive, to high,
// exclusive; nil is no bound.
func (p *pages) tree(id uint64, low, high []byte, depth, nested int) error {
	raw, err := p.load(id)
	if err != nil {
		return err
	}
	if depth > maxDepth || nested > maxDepth {
		return damaged("page %d lies too deep", id)
	}
	return p.page(fmt.Sprintf("page %d", id), raw, low, high, depth, nested)
}

// page proves one page, of the file or inline in a bucket's value.
func (p *pages) page(name string, raw, low, high []byte, depth, nested int) error {
	le := binary.LittleEndian
	flags, count := le.Uint16(raw[8:]), int(le.Uint16(raw[10:]))
	if flags != flagBranch && flags != flagLeaf || pageHeader+count*element > len(raw) || flags == flagBranch && count == 0 {
		return damaged("%s is of no known kind, or longer than it can be", name)
	}
	keys := make([][]byte, count)
	for i := range count {
		e := raw[pageHeader+i*element:]
		pos, ksize, vsize := uint64(le.Uint32(e)), uint64(le.Uint32(e[4:])), uint64(0)
		if flags == flagLeaf {
			pos, ksize, vsize = uint64(le.Uint32(e[4:])), uint64(le.Uint32(e[8:])), uint64(le.Uint32(e[12:]))
		}
		at := uint64(pageHeader+i*element) + pos
		if pos < uint64((count-i)*element) || at+ksize+vsize > uint64(len(raw)) {
			return damaged("%s has an entry that lies outside", name)
		}
		keys[i] = raw[at : at+ksize]
		if i > 0 && bytes.Compare(keys[i-1], keys[i]) >= 0 || low != nil && bytes.Compare(keys[i], low) < 0 || high != nil && bytes.Compare(keys[i], high) >= 0 {
			return damaged("%s has keys out of order", name)
		}
		if flags == flagLeaf {
			if err := p.leaf(name, le.Uint32(e), raw[at+ksize:at+ksize+vsize], nested); err != nil {
				return err
			}
		}
	}
	for i := 0; flags == flagBranch && i < count; i++ {
		until := high
		if i+1 < count {
			until = keys[i+1]
		}
		if err := p.tree(le.Uint64(raw[pageHeader+i*element+8:]), keys[i], until, depth+1, nested); err != nil {
			return err
		}
	}
	return nil
}

// leaf follows a value that is a bucket.
func (p *pages) leaf(name string, flags uint32, v []byte, nested int) error {
	switch {
	case flags == 0:
		return nil
	case flags != leafBucket || len(v) < bucketHead:
		return damaged("%s has a value of no known kind", name)
	}
	if root := binary.LittleEndian.Uint64(v); root != 0 {
		return p.tree(root, nil, nil, 0, nested+1)
	}
	if len(v) < bucketHead+pageHeader || nested >= maxDepth {
		return damaged("%s has a bucket without a page", name)
	}
	if inline := v[bucketHead:]; binary.LittleEndian.Uint16(inline[8:]) == flagLeaf {
		return p.page(name+" (inline)", inline, nil, nil, 0, nested+1)
	}
	return damaged("%s has a bucket of no known kind", name)
}

// free proves that the list of free pages names each page that nothing leads
// to, and no other: one that is wrongly free would be written over.
func (p *pages) free(id uint64) error {
	if id == noFreelist {
		return nil
	}
	raw, err := p.load(id)
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	count, ids := uint64(le.Uint16(raw[10:])), raw[pageHeader:]
	if count == math.MaxUint16 {
		count, ids = le.Uint64(ids), ids[8:]
	}
	if le.Uint16(raw[8:]) != flagFree || count > uint64(len(ids)/8) {
		return damaged("the list of free pages is not whole")
	}
	for i := range count {
		n := le.Uint64(ids[i*8:])
		if n < 2 || n >= p.high || p.seen[n] {
			return damaged("page %d is listed as free and is not", n)
		}
		p.seen[n] = true
	}
	if uint64(len(p.seen)) != p.high {
		return damaged("%d pages are neither in use nor free", p.high-uint64(len(p.seen)))
	}
	return nil
}
