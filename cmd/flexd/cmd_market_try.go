package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/textproto"
	"os"
	"slices"
	"strings"
	"time"

	"flexd/agent/config"
	"flexd/agent/piclo"
)

// Bounds of what is read as a captured message.
const (
	maxSampleFile = 8 << 20
	maxNoteFile   = 64 << 10
	maxSamples    = 200
)

// trials is what `market try` prints.
type trials struct {
	Profile string  `json:"profile"`
	BaseURL string  `json:"base_url,omitempty"` // what addresses are compared with
	Files   []trial `json:"files"`
}

// trial is one file.
type trial struct {
	File  string `json:"file"`
	Error string `json:"error,omitempty"` // it is no document at all
	piclo.Explanation
}

// marketTry runs captured messages through the market's profile and shows,
// field by field, what is understood and from where. It connects to nothing.
func marketTry(_ context.Context, o *options) error {
	switch {
	case len(o.args) == 0 || len(o.args) > maxSamples:
		return usage("needs one to %d files with captured messages", maxSamples)
	case o.as != "" && !slices.Contains(piclo.Kinds(), o.as):
		return usage("--as takes %s, got %q", strings.Join(piclo.Kinds(), ", "), o.as)
	}
	profile, at, err := trialProfile(o)
	if err != nil {
		return err
	}
	var keys []byte
	if o.key != "" {
		if keys, err = readBoundedFile(o.key, maxNoteFile); err != nil {
			return err
		}
	}
	all := trials{Profile: string(profile.Name), BaseURL: at.BaseURL}
	for _, file := range o.args {
		body, err := readBoundedFile(file, maxSampleFile)
		if err != nil {
			return err
		}
		t := trial{File: file}
		t.Explanation, err = profile.Explain(piclo.Sample{Kind: o.as, Body: body, Header: headersBeside(file), Keys: keys, BaseURL: at.BaseURL, Origins: at.Origins, Now: time.Now()})
		if err != nil {
			t.Error = err.Error()
		}
		all.Files = append(all.Files, t)
	}
	related := make([]piclo.Explanation, len(all.Files))
	for i := range all.Files {
		related[i] = all.Files[i].Explanation // shares the documents
	}
	profile.Relate(related)
	if err := o.print(all, all.text); err != nil {
		return err
	}
	return all.verdict()
}

// verdict makes a script notice what a person sees.
func (t trials) verdict() error {
	bad := 0
	for _, f := range t.Files {
		if f.Error != "" || !f.Good() {
			bad++
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d files hold something that cannot be used as it is", bad, len(t.Files))
	}
	return nil
}

// trialProfile is the profile named by --profile, else the one of the
// configuration, else the embedded one. A configuration at the usual place
// need not be there, nor be any good while --profile says what to use: this
// is also for whoever prepares a site elsewhere.
func trialProfile(o *options) (p *piclo.Profile, at config.Market, err error) {
	name, path := o.profile, cmp.Or(o.config, config.DefaultPath)
	usual := path == config.DefaultPath
	_, missing := os.Stat(path)
	if !usual || !errors.Is(missing, fs.ErrNotExist) {
		c, err := config.Load(path)
		switch {
		case err == nil:
			at, name = c.Market, cmp.Or(name, c.Market.Profile)
		case !usual || name == "":
			return nil, at, &configError{err}
		}
	}
	if p, err = piclo.LoadProfile(name); err != nil {
		return nil, at, &configError{err}
	}
	return p, at, nil
}

func readBoundedFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot open: %w", err)
	}
	defer f.Close() // read only
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", path, err)
	}
	if int64(len(raw)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return raw, nil
}

// headersBeside reads the headers that the agent keeps next to a refused
// body: NAME.txt for NAME.body. There may be none.
func headersBeside(file string) map[string][]string {
	stem, ok := strings.CutSuffix(file, ".body")
	if !ok {
		return nil
	}
	raw, err := readBoundedFile(stem+".txt", maxNoteFile)
	if err != nil {
		return nil
	}
	_, text, _ := bytes.Cut(raw, []byte("\n\n"))
	out := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ": ")
		if ok && name != "" {
			name = textproto.CanonicalMIMEHeaderKey(name)
			out[name] = append(out[name], value)
		}
	}
	return out
}

func (t trials) text(w io.Writer) {
	fmt.Fprintf(w, "profile %s\n", t.Profile)
	for _, f := range t.Files {
		fmt.Fprintf(w, "\n%s\n", plain(f.File))
		if f.Error != "" {
			fmt.Fprintf(w, "  NOT USABLE: %s\n", plain(f.Error))
			continue
		}
		f.text(w)
	}
}
