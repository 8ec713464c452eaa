package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
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

// trial is what `market try` prints of one file.
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
	profile, base, err := trialProfile(o)
	if err != nil {
		return err
	}
	var keys []byte
	if o.key != "" {
		if keys, err = readBoundedFile(o.key, maxNoteFile); err != nil {
			return err
		}
	}
	var trials []trial
	for _, file := range o.args {
		body, err := readBoundedFile(file, maxSampleFile)
		if err != nil {
			return err
		}
		t := trial{File: file}
		t.Explanation, err = profile.Explain(piclo.Sample{Kind: o.as, Body: body, Header: headersBeside(file), Keys: keys, BaseURL: base, Now: time.Now()})
		if err != nil {
			t.Error = err.Error()
		}
		trials = append(trials, t)
	}
	related := make([]piclo.Explanation, len(trials))
	for i := range trials {
		related[i] = trials[i].Explanation // shares the documents
	}
	profile.Relate(related)
	if err := o.print(trials, func(w io.Writer) { trialsText(w, profile.Name, trials) }); err != nil {
		return err
	}
	return verdictOf(trials)
}

// verdictOf makes a script notice what a person sees.
func verdictOf(trials []trial) error {
	bad := 0
	for _, t := range trials {
		if t.Error != "" || !t.Good() {
			bad++
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d files hold something that cannot be used as it is", bad, len(trials))
	}
	return nil
}

// trialProfile is the profile named by --profile, else the one of the
// configuration, else the embedded one. Only a configuration that was asked
// for must be there.
func trialProfile(o *options) (p *piclo.Profile, base string, err error) {
	name := o.profile
	if o.config != "" {
		c, err := config.Load(o.config)
		if err != nil {
			return nil, "", &configError{err}
		}
		base = c.Market.BaseURL
		if name == "" {
			name = c.Market.Profile
		}
	}
	if p, err = piclo.LoadProfile(name); err != nil {
		return nil, "", &configError{err}
	}
	return p, base, nil
}

func readBoundedFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot open: %w", err)
	}
	defer f.Close() //nolint:errcheck // read only
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

func trialsText(w io.Writer, profile string, trials []trial) {
	fmt.Fprintf(w, "profile %s\n", profile)
	for _, t := range trials {
		fmt.Fprintf(w, "\n%s\n", t.File)
		if t.Error != "" {
			fmt.Fprintf(w, "  NOT USABLE: %s\n", plain(t.Error))
			continue
		}
		how := "as told"
		if t.Recognised {
			how = "recognised"
		}
		fmt.Fprintf(w, "  %s (%s): %s\n", t.Kind, how, plain(t.Found))
		for _, warning := range t.Warnings {
			fmt.Fprintf(w, "  ! %s\n", plain(warning))
		}
		for _, name := range t.Ignored {
			fmt.Fprintf(w, "  ignored around it: %s\n", plain(name))
		}
		for _, u := range t.Documents {
			documentText(w, u)
		}
		if t.More > 0 {
			fmt.Fprintf(w, "  and %d more, not shown\n", t.More)
		}
	}
}
