package piclo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"go.yaml.in/yaml/v3"

	"flexd/agent/flex"
)

// profileResponse says how the market hears that we accept or reject.
type profileResponse struct {
	Use      onOff                 `yaml:"use"`
	Accept   *answerCall           `yaml:"accept"`
	Reject   *answerCall           `yaml:"reject"`
	Bulk     profileBulk           `yaml:"bulk"`
	Reasons  reasonWords           `yaml:"reasons"`
	Deadline answerTime            `yaml:"deadline"`
	Presets  map[string]answerTime `yaml:"presets"`
	Rules    []answerCase          `yaml:"rules"`
}

// profileBulk says how several answers go in one request.
type profileBulk struct {
	Accept *bulkCall     `yaml:"accept"`
	Reject *bulkCall     `yaml:"reject"`
	Item   *itemTemplate `yaml:"item"`
	Max    count         `yaml:"max"`
	Failed pointers      `yaml:"failed"` // the list of those not taken
	ID     pointers      `yaml:"id"`     // of one of them
	Status pointers      `yaml:"status"` // its own status, when there is one
	Why    pointers      `yaml:"why"`
}

// answerTime is a deadline after receipt.
type answerTime struct {
	Within   within   `yaml:"within"`
	Calendar calendar `yaml:"calendar"`
}

// answerCase is a deadline, or the name of a preset, for some instructions.
type answerCase struct {
	Match struct {
		Operator    likeness `yaml:"operator"`
		ServiceType likeness `yaml:"service_type"`
		Competition likeness `yaml:"competition"`
	} `yaml:"match"`
	Preset     string `yaml:"preset"`
	answerTime `yaml:",inline"`
}

// The kinds of value of this section.
type (
	onOff       string
	within      time.Duration // negative: no answer is wanted
	calendar    string
	likeness    string // without regard to case; * is anything
	reasonWords map[flex.Reason]string
)

const (
	useOn               = "on"
	noAnswer            = within(-1)
	calendarAll         = "all"
	calendarWorkingDays = "working_days"
)

// UnmarshalYAML reads a switch.
func (o *onOff) UnmarshalYAML(n *yaml.Node) error {
	s, err := scalar(n, oneOf("on", "off"))
	*o = onOff(s)
	return err
}

// UnmarshalYAML reads a time to answer, or none.
func (w *within) UnmarshalYAML(n *yaml.Node) error {
	_, err := scalar(n, func(s string) error {
		if s == "none" {
			*w = noAnswer
			return nil
		}
		d, err := time.ParseDuration(s)
		if err != nil || d < time.Minute || d > 30*24*time.Hour {
			return errors.New(`write a duration such as "1h", from 1m to 720h, or none`)
		}
		*w = within(d)
		return nil
	})
	return err
}

// UnmarshalYAML reads which days count.
func (c *calendar) UnmarshalYAML(n *yaml.Node) error {
	s, err := scalar(n, oneOf(calendarAll, calendarWorkingDays))
	*c = calendar(s)
	return err
}

// UnmarshalYAML reads a pattern.
func (l *likeness) UnmarshalYAML(n *yaml.Node) error {
	var w word
	err := w.UnmarshalYAML(n)
	*l = likeness(strings.ToLower(string(w)))
	return err
}

// UnmarshalYAML reads the market's words for our reasons.
func (r *reasonWords) UnmarshalYAML(n *yaml.Node) error {
	var given map[string]word
	if err := n.Decode(&given); err != nil {
		return err
	}
	*r = reasonWords{}
	for reason, w := range given {
		if reason == "" || strings.Trim(reason, "abcdefghijklmnopqrstuvwxyz_") != "" {
			return atLine(n, "%q is not one of our reasons, such as too_late", clip(reason))
		}
		(*r)[flex.Reason(reason)] = string(w)
	}
	return nil
}

// matches compares with a pattern; an empty pattern asks nothing.
func (l likeness) matches(texts ...string) bool {
	if l == "" {
		return true
	}
	for _, t := range texts {
		if t != "" && like(string(l), strings.ToLower(t)) {
			return true
		}
	}
	return false
}

// like matches s with a pattern in which * is any text.
func like(pattern, s string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == s
	}
	first, last := parts[0], parts[len(parts)-1]
	s, ok := strings.CutPrefix(s, first)
	if !ok {
		return false
	}
	for _, part := range parts[1 : len(parts)-1] {
		at := strings.Index(s, part)
		if at < 0 {
			return false
		}
		s = s[at+len(part):]
	}
	return strings.HasSuffix(s, last)
}

// check finds what does not fit together.
func (p *profileResponse) check() []string {
	var out []string
	if p.Use == useOn && (p.Accept == nil || p.Reject == nil || p.Accept.off || p.Reject.off) {
		out = append(out, "response.use is on: it needs the calls response.accept and response.reject")
	}
	if p.Use == useOn && p.Deadline.Within == 0 {
		out = append(out, "response.use is on: it needs response.deadline.within")
	}
	b := p.Bulk
	if (b.Accept != nil && !b.Accept.off || b.Reject != nil && !b.Reject.off) && (b.Item == nil || b.Max == 0) {
		out = append(out, "response.bulk needs item and max")
	}
	for i, c := range p.Rules {
		_, known := p.Presets[c.Preset]
		switch {
		case c.Preset != "" && !known:
			out = append(out, fmt.Sprintf("response.rules: the preset %q of rule %d does not exist", clip(c.Preset), i+1))
		case c.Preset == "" && c.Within == 0, c.Preset != "" && c.Within != 0:
			out = append(out, fmt.Sprintf("response.rules: rule %d needs either preset or within", i+1))
		}
	}
	return out
}

// rule finds the deadline for an instruction; the first case that fits counts.
func (p *profileResponse) rule(in flex.Instruction, comp flex.Competition) answerTime {
	operator := in.Operator
	if operator == "" {
		operator = comp.Operator
	}
	for _, c := range p.Rules {
		if c.Match.Operator.matches(operator) && c.Match.ServiceType.matches(comp.ServiceType) &&
			c.Match.Competition.matches(string(in.Competition), string(comp.ID), comp.Name) {
			if c.Preset != "" {
				return p.Presets[c.Preset]
			}
			return c.answerTime
		}
	}
	return p.Deadline
}

// Responds tells whether the market takes answers from a program.
func (m *Market) Responds() bool { return m.profile.Response.Use == useOn }

// AnswerRule tells how long the market waits for an answer; false: none is
// wanted. A stop is never a question.
func (m *Market) AnswerRule(in flex.Instruction, comp flex.Competition) (flex.AnswerRule, bool) {
	if !m.Responds() || in.Kind == flex.KindStop {
		return flex.AnswerRule{}, false
	}
	t := m.profile.Response.rule(in, comp)
	if t.Within <= 0 {
		return flex.AnswerRule{}, false
	}
	return flex.AnswerRule{Within: time.Duration(t.Within), WorkingDays: t.Calendar == calendarWorkingDays}, true
}

// Respond gives answers to the market, one error for each: nil when the
// market took it; a *flex.RetryError when it may work later, flex.ErrUncertain
// when it may have arrived; anything else is final.
func (m *Market) Respond(ctx context.Context, word flex.Word, say []flex.Say) []error {
	out := make([]error, len(say))
	p := m.profile.Response
	single, bulk := p.Accept, p.Bulk.Accept
	if word == flex.Reject {
		single, bulk = p.Reject, p.Bulk.Reject
	}
	if !m.Responds() || single == nil || single.off || word != flex.Accept && word != flex.Reject {
		fill(out, fmt.Errorf("%w: the profile has no call to %s", flex.ErrUnsupported, word))
		return out
	}
	now, _ := m.wall.Now()
	if bulk == nil || bulk.off || len(say) < 2 {
		m.singly(ctx, &single.call, say, now, out)
		return out
	}
	size := max(1, int(p.Bulk.Max))
	for from := 0; from < len(say); from += size {
		to := min(from+size, len(say))
		retry := m.inBulk(ctx, &bulk.call, &single.call, say[from:to], now, out[from:to])
		switch {
		case retry == nil:
		case lasting(retry):
			m.singly(ctx, &single.call, say[from:to], now, out[from:to])
		default:
			fill(out[from:to], retry)
			fill(out[to:], unasked(retry))
			return out
		}
	}
	return out
}

// lasting tells that a request in bulk failed for good, or cannot be
// understood: one bad answer among many must not take the others with it.
func lasting(err error) bool {
	var retry *flex.RetryError
	return !errors.As(err, &retry)
}

// maxFailures in a row end a round: the market is not well, and every answer
// that waits for a timeout takes time from the others.
const maxFailures = 3

// answersAtOnce is how many single answers are under way at a time, so that one
// that hangs does not keep the others. The first goes alone for a while: it
// shows whether the market wants any.
const (
	answersAtOnce = 4
	firstAlone    = 2 * time.Second
)

// singly answers one by one, a few at a time.
func (m *Market) singly(ctx context.Context, c *call, say []flex.Say, now time.Time, out []error) {
	var (
		mu       sync.Mutex
		next     int
		failures int
		ended    error
		wg       sync.WaitGroup
		once     sync.Once
	)
	first := make(chan struct{})
	take := func() (int, error, bool) {
		mu.Lock()
		defer mu.Unlock()
		if next >= len(say) {
			return 0, nil, false
		}
		next++
		return next - 1, ended, true
	}
	for n := range min(answersAtOnce, len(say)) {
		if n == 1 {
			select {
			case <-first:
			case <-time.After(firstAlone):
			}
		}
		wg.Go(func() {
			for i, stop, ok := take(); ok; i, stop, ok = take() {
				if stop != nil {
					out[i] = unasked(stop)
					continue
				}
				_, out[i] = m.do(ctx, c, m.said(say[i], now))
				mu.Lock()
				var retry *flex.RetryError
				if !errors.As(out[i], &retry) {
					failures = 0
				} else if failures++; ended == nil && (failures >= maxFailures || ctx.Err() != nil || aboutUs(out[i])) {
					ended = out[i]
				}
				mu.Unlock()
				once.Do(func() { close(first) })
			}
		})
	}
	wg.Wait()
}

// aboutUs tells that the market turns the account away, whatever it asks.
func aboutUs(err error) bool {
	var status *StatusError
	return errors.As(err, &status) && (status.Code == http.StatusUnauthorized || status.Code == http.StatusTooManyRequests)
}

// unasked is the error of what was not even tried. The cause is kept as text
// only: it may be uncertain, and this is not.
func unasked(cause error) error {
	after := defaultRetry
	var retry *flex.RetryError
	if errors.As(cause, &retry) {
		after, cause = retry.After, retry.Err
	}
	return &flex.RetryError{After: after, Err: fmt.Errorf("%w, since another was not taken: %s", flex.ErrNotSent, cause.Error())}
}

func fill(out []error, err error) {
	for i := range out {
		out[i] = err
	}
}

// said is what the placeholders stand for.
func (m *Market) said(s flex.Say, now time.Time) values {
	reason, known := m.profile.Response.Reasons[s.Reason]
	if !known {
		reason = string(s.Reason)
	}
	return values{"id": string(s.ID), "revision": s.Revision, "reason": reason, "text": s.Text, "at": now}
}

// inBulk answers several at once. An error is about all of them; it is not a
// *flex.RetryError when they should be tried one by one. What the status of one
// of them means is as of the call for one.
func (m *Market) inBulk(ctx context.Context, c, one *call, say []flex.Say, now time.Time, out []error) error {
	p := m.profile.Response.Bulk
	items := make([]any, 0, len(say))
	for _, s := range say {
		item, _ := p.Item.render(m.said(s, now))
		items = append(items, item)
	}
	got, err := m.do(ctx, c, values{itemsName: items, "at": now})
	if err != nil || len(p.Failed) == 0 {
		return err
	}
	if got.cut != nil {
		return retryable(fmt.Errorf("%w: the list of failures is cut off: %w", flex.ErrUncertain, got.cut))
	}
	failed, err := p.failures(one, got.body)
	if err != nil {
		return err
	}
	named := 0
	for i, s := range say {
		f, ok := failed[string(s.ID)]
		if ok {
			named++
			out[i] = f
		}
	}
	if named < len(failed) {
		return errors.New("the market names failures of instructions that were not answered")
	}
	return nil
}

// failures reads which answers of a request in bulk were not taken. An empty
// body, or one without the list, names none.
func (p *profileBulk) failures(c *call, body []byte) (map[string]error, error) {
	if len(strings.TrimSpace(string(body))) == 0 {
		return nil, nil
	}
	doc, err := decodeJSON(body)
	if err != nil {
		return nil, fmt.Errorf("the market's answer in bulk is %w", err)
	}
	v, _, ok := p.Failed.find(doc)
	if !ok {
		return nil, nil
	}
	list, ok := v.([]any)
	if !ok {
		return nil, errors.New("the market's list of failures is no list: check the profile's response.bulk.failed")
	}
	out := make(map[string]error, len(list))
	for _, e := range list {
		id := e
		if len(p.ID) > 0 {
			id, _, _ = p.ID.find(e)
		}
		text, ok := id.(string)
		if !ok {
			return nil, errors.New("the market names a failure without an id: check the profile's response.bulk.id")
		}
		out[text] = p.failure(c, e)
	}
	return out, nil
}

// failure is the error of one entry; nil when its own status says that all
// is well.
func (p *profileBulk) failure(c *call, entry any) error {
	status := &callError{StatusError: StatusError{Code: http.StatusUnprocessableEntity, What: "one of several answers"}}
	if v, _, ok := p.Why.find(entry); ok {
		status.Detail = printable(fmt.Sprint(v))
	}
	v, _, ok := p.Status.find(entry)
	if !ok {
		return status
	}
	var code int
	if _, err := fmt.Sscanf(fmt.Sprint(v), "%3d", &code); err != nil || code < 100 || code > 599 {
		return status
	}
	status.Code = code
	switch c.meaning(code) {
	case verdictTaken, verdictAlready:
		return nil
	case verdictTemporary:
		return &flex.RetryError{After: defaultRetry, Err: status}
	case verdictFinal:
	}
	return status
}
