package house

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/token"
	"maps"
	"slices"
	"strings"
)

// Limits bound how large anything may grow. Known are what is larger today, by
// name, and how large it may be: the rows shrink, and never grow.
type Limits struct {
	FileLines, FuncLines            int
	Fields, Methods, Params, Branch int
	Known                           map[string]int
}

// Check gives everything that is too large.
func (l Limits) Check(t Tree) (faults []string) {
	c := check{limits: l, seen: map[string]bool{}}
	methods := map[string]int{}
	for _, f := range t.Files {
		c.size("lines", f.Path, f.Lines, l.FileLines)
		ast.Inspect(f.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				c.function(f, n, methods)
			case *ast.FuncLit:
				c.size("lines of a function at", f.at(n.Pos()), f.span(n), l.FuncLines)
			case *ast.TypeSpec:
				if s, ok := n.Type.(*ast.StructType); ok && !f.Test {
					c.size("fields", f.Room+"."+n.Name.Name, count(s.Fields), l.Fields)
				}
			}
			return true
		})
	}
	for _, name := range slices.Sorted(maps.Keys(methods)) {
		c.size("methods", name, methods[name], l.Methods)
	}
	for _, name := range slices.Sorted(maps.Keys(l.Known)) {
		if !c.seen[name] {
			c.faults = append(c.faults, fmt.Sprintf("%q is known as too large and is not any more: take its row out", name))
		}
	}
	return c.faults
}

type check struct {
	limits Limits
	seen   map[string]bool
	faults []string
}

// size compares one figure with its limit.
func (c *check) size(what, name string, n, most int) {
	if n <= most {
		return
	}
	key := what + " " + name
	known, ok := c.limits.Known[key]
	c.seen[key] = true
	switch {
	case !ok:
		c.faults = append(c.faults, fmt.Sprintf("%s: %d, at most %d", key, n, most))
	case n > known:
		c.faults = append(c.faults, fmt.Sprintf("%s: %d, it was %d and may only shrink to %d", key, n, known, most))
	}
}

func (c *check) function(f File, fn *ast.FuncDecl, methods map[string]int) {
	if fn.Body == nil {
		return
	}
	name := f.Room + "." + fn.Name.Name
	if on := receiver(fn); on != "" {
		name = f.Room + "." + on + "." + fn.Name.Name
		if !f.Test {
			methods[f.Room+"."+on]++
		}
	}
	c.size("lines of", name, f.span(fn), c.limits.FuncLines)
	if f.Test {
		return
	}
	c.size("parameters of", name, count(fn.Type.Params), c.limits.Params)
	c.size("branches of", name, branches(fn), c.limits.Branch)
}

func (f File) span(n ast.Node) int {
	return f.fset.Position(n.End()).Line - f.fset.Position(n.Pos()).Line + 1
}

func receiver(fn *ast.FuncDecl) string {
	if fn.Recv == nil || len(fn.Recv.List) == 0 {
		return ""
	}
	t := fn.Recv.List[0].Type
	if s, ok := t.(*ast.StarExpr); ok {
		t = s.X
	}
	if g, ok := t.(*ast.IndexExpr); ok {
		t = g.X
	}
	id, _ := t.(*ast.Ident)
	if id == nil {
		return ""
	}
	return id.Name
}

func count(list *ast.FieldList) (n int) {
	for _, f := range list.List {
		n += cmp.Or(len(f.Names), 1)
	}
	return n
}

// branches is the cyclomatic complexity: one, and one more for each way that
// leaves the straight line. Closures count with the function they are in.
func branches(fn *ast.FuncDecl) int {
	n := 1
	ast.Inspect(fn, func(x ast.Node) bool {
		switch x := x.(type) {
		case *ast.IfStmt, *ast.ForStmt, *ast.RangeStmt:
			n++
		case *ast.CaseClause:
			if x.List != nil {
				n++
			}
		case *ast.CommClause:
			if x.Comm != nil {
				n++
			}
		case *ast.BinaryExpr:
			if x.Op == token.LAND || x.Op == token.LOR {
				n++
			}
		}
		return true
	})
	return n
}

// Sleeping finds what waits for the wall clock outside of tests' helpers.
func Sleeping(t Tree) (faults []string) {
	for _, f := range t.Files {
		if f.Test || strings.HasSuffix(f.Room, "test") {
			continue
		}
		f.symbols(func(symbol string, at token.Pos) {
			if symbol == "time.Sleep" {
				faults = append(faults, f.at(at)+" sleeps: wait for ctx and a timer")
			}
		})
	}
	return faults
}
