// Package house holds the rules by which the tree is built: which room may
// import which, who may listen, who may read the clock, how large anything may
// grow. It reads the sources as text, so that files for every platform count,
// and each of its rules is broken once in its tests.
package house

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// Tree is a source tree, parsed.
type Tree struct {
	Files []File
}

// File is one Go file.
type File struct {
	Path  string // from the root, with slashes
	Room  string // its folder
	Test  bool
	Lines int
	fset  *token.FileSet
	ast   *ast.File
}

// Read parses every Go file below root that the go tool would build for some
// platform.
func Read(root fs.FS) (Tree, error) {
	var t Tree
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			base := path.Base(name)
			if name != "." && (base == "testdata" || base == "vendor" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_")) {
				return fs.SkipDir
			}
			return nil
		case !strings.HasSuffix(name, ".go"):
			return nil
		}
		src, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		f := File{Path: name, Room: path.Dir(name), Test: strings.HasSuffix(name, "_test.go"), Lines: bytes.Count(src, []byte("\n")), fset: token.NewFileSet()}
		if f.ast, err = parser.ParseFile(f.fset, name, src, parser.ParseComments|parser.SkipObjectResolution); err != nil {
			return err
		}
		t.Files = append(t.Files, f)
		return nil
	})
	return t, err
}

// imports are the paths that the file imports, by the name it uses.
func (f File) imports() map[string]string {
	out := map[string]string{}
	for _, s := range f.ast.Imports {
		p, err := strconv.Unquote(s.Path.Value)
		if err != nil {
			continue
		}
		name := path.Base(p)
		if s.Name != nil {
			name = s.Name.Name
		}
		if old, twice := out[name]; twice && old != p { // "_" and ".", or v2 and v2
			name = p
		}
		out[name] = p
	}
	return out
}

// at is a position for a person.
func (f File) at(p token.Pos) string {
	pos := f.fset.Position(p)
	return f.Path + ":" + strconv.Itoa(pos.Line)
}

// symbols calls fn for every package-level name of another package that the
// file uses, as "net/http.Server".
func (f File) symbols(fn func(symbol string, at token.Pos)) {
	names := f.imports()
	ast.Inspect(f.ast, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if id, ok := sel.X.(*ast.Ident); ok && names[id.Name] != "" {
			fn(names[id.Name]+"."+sel.Sel.Name, sel.Pos())
		}
		return true
	})
}

// rooms are the folders that hold something other than tests.
func (t Tree) rooms() map[string]bool {
	out := map[string]bool{}
	for _, f := range t.Files {
		if !f.Test {
			out[f.Room] = true
		}
	}
	return out
}
