package house

import (
	"fmt"
	"go/ast"
	"go/token"
	"path"
	"slices"
	"strings"
)

// Rules are what a tree must keep. Rows that nothing in the tree needs are
// faults as well: a table that says more than the tree does guards nothing.
type Rules struct {
	Module string
	// Arrows says which of our packages each room may import besides the
	// leaves: "*" any, "-" none at all, not even leaves.
	Arrows map[string][]string
	Leaves []string // may be imported by every room below Below
	Below  string
	// Never is not for those who may import any either.
	Never []string
	// Fences keep an outside library in the rooms that answer for it.
	Fences map[string][]string
	// Uses keeps a symbol of a package in the rooms, or files, that may use it.
	Uses map[string][]string
	// Timeless rooms, or files, take the instant as a parameter.
	Timeless []string
	// Pure rooms do no input or output and start nothing.
	Pure []string
}

// clocks are the symbols by which the clock is read.
var clocks = []string{"time.Now", "time.Since", "time.Until", "time.After", "time.Tick", "time.Sleep"}

// outside are packages that reach out of the process.
var outside = []string{"os", "net", "io/fs", "syscall", "database", "log", "path/filepath"}

// Check gives everything in which the tree breaks the rules.
func (r Rules) Check(t Tree) (faults []string) {
	faults = append(faults, r.arrows(t)...)
	faults = append(faults, r.fences(t)...)
	faults = append(faults, r.uses(t)...)
	faults = append(faults, r.timeless(t)...)
	faults = append(faults, r.pure(t)...)
	faults = append(faults, comments(t)...)
	return faults
}

// arrows wants each import of ours to be in the table, and each row of the
// table to be some import.
func (r Rules) arrows(t Tree) (faults []string) {
	used := map[string]map[string]bool{}
	for _, f := range t.Files {
		if f.Test {
			continue
		}
		allowed, listed := r.Arrows[f.Room]
		if !listed {
			faults = append(faults, fmt.Sprintf("%s states no arrows: add it to the table, with a reason in its package comment", f.Room))
			continue
		}
		for _, imp := range f.imports() {
			dep, ours := strings.CutPrefix(imp, r.Module+"/")
			if !ours {
				continue
			}
			if used[f.Room] == nil {
				used[f.Room] = map[string]bool{}
			}
			used[f.Room][dep] = true
			if !r.may(f.Room, allowed, dep) {
				faults = append(faults, fmt.Sprintf("%s must not import %s (%s)", f.Room, dep, f.Path))
			}
		}
	}
	rooms := t.rooms()
	for room, allowed := range r.Arrows {
		if !rooms[room] {
			faults = append(faults, fmt.Sprintf("the arrows of %s match nothing: there is no such room", room))
			continue
		}
		for _, dep := range allowed {
			if dep != "*" && dep != "-" && !used[room][dep] {
				faults = append(faults, fmt.Sprintf("the arrow from %s to %s matches nothing: nobody imports it there", room, dep))
			}
		}
	}
	return faults
}

func (r Rules) may(room string, allowed []string, dep string) bool {
	switch {
	case slices.Contains(allowed, "*"):
		return !slices.Contains(r.Never, dep)
	case slices.Contains(allowed, dep):
		return true
	case slices.Contains(allowed, "-"):
		return false
	}
	below := strings.HasPrefix(room, r.Below+"/") && !slices.Contains(r.Leaves, room)
	return below && slices.Contains(r.Leaves, dep) || strings.HasPrefix(dep, room+"/internal/")
}

func (r Rules) fences(t Tree) (faults []string) {
	used := map[string]map[string]bool{}
	for _, f := range t.Files {
		for _, imp := range f.imports() {
			for lib, rooms := range r.Fences {
				if imp != lib && !strings.HasPrefix(imp, lib+"/") {
					continue
				}
				if used[lib] == nil {
					used[lib] = map[string]bool{}
				}
				used[lib][f.Room] = true
				if !f.Test && !slices.Contains(rooms, f.Room) {
					faults = append(faults, fmt.Sprintf("%s must not import %s: it belongs to %v", f.Path, imp, rooms))
				}
			}
		}
	}
	for lib, rooms := range r.Fences {
		for _, room := range rooms {
			if !used[lib][room] {
				faults = append(faults, fmt.Sprintf("the fence of %s around %s matches nothing: nobody imports it there", lib, room))
			}
		}
	}
	return faults
}

// uses keeps symbols where they may be.
func (r Rules) uses(t Tree) (faults []string) {
	used := map[string]map[string]bool{}
	for _, f := range t.Files {
		if f.Test {
			continue
		}
		f.symbols(func(symbol string, at token.Pos) {
			places, watched := r.Uses[symbol]
			if !watched {
				return
			}
			if used[symbol] == nil {
				used[symbol] = map[string]bool{}
			}
			i := slices.IndexFunc(places, f.in)
			if i < 0 {
				faults = append(faults, fmt.Sprintf("%s uses %s, which belongs to %v", f.at(at), symbol, places))
				return
			}
			used[symbol][places[i]] = true
		})
	}
	for symbol, places := range r.Uses {
		for _, p := range places {
			if !used[symbol][p] {
				faults = append(faults, fmt.Sprintf("that %s may use %s matches nothing: it does not", p, symbol))
			}
		}
	}
	return faults
}

// in tells whether the file is one of a place: itself, or in that room.
func (f File) in(place string) bool { return f.Path == place || f.Room == place }

func (r Rules) timeless(t Tree) (faults []string) {
	matched := map[string]bool{}
	for _, f := range t.Files {
		i := slices.IndexFunc(r.Timeless, f.in)
		if i < 0 || f.Test {
			continue
		}
		matched[r.Timeless[i]] = true
		f.symbols(func(symbol string, at token.Pos) {
			if slices.Contains(clocks, symbol) {
				faults = append(faults, fmt.Sprintf("%s uses %s: take the instant as a parameter", f.at(at), symbol))
			}
		})
	}
	for _, place := range r.Timeless {
		if !matched[place] {
			faults = append(faults, fmt.Sprintf("timeless %s matches nothing", place))
		}
	}
	return faults
}

func (r Rules) pure(t Tree) (faults []string) {
	matched := map[string]bool{}
	for _, f := range t.Files {
		i := slices.IndexFunc(r.Pure, f.in)
		if i < 0 || f.Test {
			continue
		}
		matched[r.Pure[i]] = true
		for _, imp := range f.imports() {
			if slices.ContainsFunc(outside, func(o string) bool {
				return imp == o || strings.HasPrefix(imp, o+"/") && imp != "net/netip" && imp != "net/url"
			}) {
				faults = append(faults, fmt.Sprintf("%s imports %s: nothing in %s reaches out of the process", f.Path, imp, f.Room))
			}
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if g, ok := n.(*ast.GoStmt); ok {
				faults = append(faults, fmt.Sprintf("%s starts a goroutine in %s", f.at(g.Pos()), f.Room))
			}
			return true
		})
	}
	for _, place := range r.Pure {
		if !matched[place] {
			faults = append(faults, fmt.Sprintf("pure %s matches nothing", place))
		}
	}
	return faults
}

// comments wants every room to say what it is for.
func comments(t Tree) (faults []string) {
	said := map[string]bool{}
	for _, f := range t.Files {
		said[f.Room] = said[f.Room] || !f.Test && f.ast.Doc != nil
	}
	for room := range t.rooms() {
		if !said[room] {
			faults = append(faults, fmt.Sprintf("%s has no package comment", path.Clean(room)))
		}
	}
	return faults
}
