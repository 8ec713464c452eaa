package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"flexd/drivers/regmap"
)

func mapCommand() command {
	return command{
		name: "map", args: "list | show NAME | lint FILE… | schema", short: "look at the register maps, and check one of your own", noAgent: true,
		long: `A register map says, as data, where a vendor keeps what and in which order
control is taken, kept and given back. list names the shipped maps; show prints
one, as a start for your own, and says first what in it is doubtful and what
the device goes on with if flexd is gone; lint reports everything that is wrong with a file,
with line and remedy; schema prints a JSON Schema, with which an editor completes
and checks while you write: put it into a file map.json, and on top of your map
  # yaml-language-server: $schema=map.json

Every shipped map is unverified until a commissioning record of a real device
exists: its sources are in it.

Examples:
  flexd map list
  flexd map show huawei-luna > mine.yaml
  flexd map lint mine.yaml
  flexd map schema > map.json`,
		run: maps,
	}
}

func maps(_ context.Context, o *options) error {
	if len(o.args) == 0 {
		return usage("needs a verb: list, show, lint or schema")
	}
	verb := o.args[0]
	o.args = o.args[1:]
	switch verb {
	case "list":
		if err := o.none(); err != nil {
			return err
		}
		return mapList(o)
	case "show":
		name, err := o.one("the name of a shipped map")
		if err != nil {
			return err
		}
		m, err := regmap.Load(name, "")
		if err != nil {
			return err
		}
		for _, doubt := range m.Doubts() {
			fmt.Fprintln(o.out, "# doubtful: "+doubt)
		}
		for _, gone := range m.Gone() {
			fmt.Fprintln(o.out, "# if flexd is gone: "+gone)
		}
		raw, _ := regmap.Source(name)
		_, err = o.out.Write(raw)
		return err
	case "lint":
		return mapLint(o)
	case "schema":
		_, err := o.out.Write(regmap.Schema())
		return err
	}
	return usage("map %s is not a verb: list, show, lint or schema", verb)
}

// mapRow is one shipped map.
type mapRow struct {
	Name   string `json:"name"`
	Title  string `json:"title"`
	Role   string `json:"role"`
	Status string `json:"status"`
}

func mapList(o *options) error {
	var rows []mapRow
	for _, name := range regmap.Names() {
		m, err := regmap.Load(name, "")
		if err != nil {
			return err
		}
		rows = append(rows, mapRow{m.Name, m.Title, m.Role.String(), string(m.Status)})
	}
	return o.print(rows, func(w io.Writer) {
		tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprintln(tw, "MAP\tROLE\tSTATUS\tFOR")
		for _, r := range rows {
			fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", r.Name, r.Role, r.Status, r.Title)
		}
		_ = tw.Flush()
	})
}

// mapLint reports what is wrong with the files.
func mapLint(o *options) error {
	if len(o.args) == 0 {
		return usage("map lint needs one or more files")
	}
	all := regmap.Problems{}
	for _, file := range o.args {
		m, err := regmap.LoadFile(file)
		var ps regmap.Problems
		switch {
		case errors.As(err, &ps):
			all = append(all, ps...)
		case err != nil:
			return err
		case !o.json:
			fmt.Fprintf(o.out, "%s is good: %s, %d points\n", file, m.Title, len(m.Points))
		}
	}
	if o.json {
		if err := o.print(all, nil); err != nil {
			return err
		}
	}
	if len(all) > 0 {
		return all
	}
	return nil
}
