package piclo

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"flexd/agent/flex"
)

// Kinds of document that can be explained.
const (
	KindNotification = "notification"
	KindInstructions = "instructions"
	KindObligations  = "obligations"
	KindAssets       = "assets"
	KindCompetition  = "competition"
	KindKey          = "key"
)

// Kinds lists them.
func Kinds() []string {
	return []string{KindNotification, KindInstructions, KindObligations, KindAssets, KindCompetition, KindKey}
}

// Sample is a captured message to be explained.
type Sample struct {
	Kind    string              // one of Kinds; "": recognised by its looks
	Body    []byte              // as it came
	Header  map[string][]string // of a notification, by canonical name
	Keys    []byte              // the market's key document; nil: no signature is checked
	BaseURL string              // "": addresses are not compared with ours
	Origins []string            // others, with BaseURL
	Now     time.Time
}

// Explanation tells what the profile makes of a sample. It comes from the
// same code that reads real messages.
type Explanation struct {
	Kind       string       `json:"kind"`
	Recognised bool         `json:"recognised,omitempty"` // the kind was not given
	Found      string       `json:"found,omitempty"`      // where the documents are in it
	Warnings   []string     `json:"warnings,omitempty"`
	Documents  []Understood `json:"documents,omitempty"`
	More       int          `json:"more,omitempty"`    // documents that are not shown
	Ignored    []string     `json:"ignored,omitempty"` // around the documents
}

// Understood is one document, field by field.
type Understood struct {
	ID        string   `json:"id,omitempty"`
	Verdict   string   `json:"verdict"`             // what would become of it
	Why       string   `json:"why,omitempty"`       // the rule behind a start or a stop
	Direction string   `json:"direction,omitempty"` // resolved or not, and from where
	Fields    []Field  `json:"fields,omitempty"`
	Problems  []string `json:"problems,omitempty"` // of the document as a whole
	Ignored   []string `json:"ignored,omitempty"`  // fields that nobody looks at

	instruction *flex.Instruction
	obligation  *flex.Obligation
	competition *flex.Competition
}

// Good tells whether every document could be used.
func (e Explanation) Good() bool {
	return !slices.ContainsFunc(e.Documents, func(u Understood) bool { return len(u.Refusals()) > 0 })
}

// Refusals are all problems of a document.
func (u Understood) Refusals() []string {
	out := slices.Clone(u.Problems)
	for _, f := range u.Fields {
		if f.Problem != "" {
			out = append(out, f.Problem)
		}
	}
	return out
}

// maxExplained bounds the documents that are shown of one sample.
const maxExplained = 100

// Explain shows what the profile makes of a sample. The error says that it
// is no document at all; everything else is in the explanation.
func (p *Profile) Explain(s Sample) (Explanation, error) {
	if len(s.Body) > maxReply {
		return Explanation{}, fmt.Errorf("it has %d bytes, more than %d", len(s.Body), maxReply)
	}
	out := Explanation{Kind: s.Kind}
	if s.Kind == "" {
		kind, err := p.recognise(s)
		if err != nil {
			return Explanation{}, err
		}
		out.Kind, out.Recognised = kind, true
	}
	switch out.Kind {
	case KindNotification:
		return p.explainNotification(s, out)
	case KindKey:
		return p.explainKey(s, out)
	case KindInstructions, KindObligations, KindAssets, KindCompetition:
		return p.explainList(s, out)
	}
	return Explanation{}, fmt.Errorf("there is no kind %q: choose %s", clip(out.Kind), strings.Join(Kinds(), ", "))
}

// recognise finds the kind of a document by its looks.
func (p *Profile) recognise(s Sample) (string, error) {
	text := bytes.TrimSpace(s.Body)
	if len(text) == 0 {
		if len(s.Header) > 0 {
			return KindNotification, nil
		}
		return "", fmt.Errorf("it is empty")
	}
	if bytes.HasPrefix(text, []byte("-----BEGIN ")) {
		return KindKey, nil
	}
	if text[0] != '{' && text[0] != '[' {
		return KindNotification, nil
	}
	if text[0] == '{' && p.looksNotified(s, text) {
		return KindNotification, nil
	}
	if _, err := p.parseKeys(text); err == nil {
		return KindKey, nil
	}
	list, err := p.elements(text)
	if err != nil {
		return "", fmt.Errorf("what it is cannot be told: %w: name its kind", err)
	}
	best, top := "", 0
	for _, kind := range []string{KindInstructions, KindObligations, KindAssets, KindCompetition} {
		if len(list.elements) == 0 {
			break
		}
		if n := score(p.understand(kind, list.elements[0], s.Now)); n > top {
			best, top = kind, n
		}
	}
	if best == "" {
		return "", fmt.Errorf("what it is cannot be told: nothing in it is where the profile looks: name its kind")
	}
	return best, nil
}

// looksNotified tells whether a JSON body is a notification.
func (p *Profile) looksNotified(s Sample, text []byte) bool {
	if p.Notification.Signature != signatureNone {
		_, err := p.locate(s.Header, s.Body)
		return err == nil
	}
	v, err := decodeJSON(text)
	if err != nil {
		return false
	}
	_, _, event := p.Notification.Event.find(v)
	_, _, target := p.Notification.DataURL.find(v)
	return target && (event || len(p.Notification.Event) == 0)
}

// score is how well a document fits: what was found less what is wrong.
func score(u Understood) int {
	n := -3 * len(u.Refusals())
	for _, f := range u.Fields {
		if f.Found() {
			n += 2
		}
	}
	return n
}

// elements finds the documents in a reply; an object that holds no list is
// one document.
func (p *Profile) elements(text []byte) (listing, error) {
	list, err := listIn(text, p.Lists.Items, p.Lists.Single)
	if err != nil && len(text) > 0 && text[0] == '{' && json.Valid(text) {
		return listing{elements: []json.RawMessage{text}, single: true}, nil
	}
	return list, err
}

// explainList explains a reply of the market.
func (p *Profile) explainList(s Sample, out Explanation) (Explanation, error) {
	text := bytes.TrimSpace(s.Body)
	list, err := p.elements(text)
	if err != nil {
		return Explanation{}, err
	}
	_, strict := listIn(text, p.Lists.Items, p.Lists.Single)
	switch {
	case out.Kind == KindCompetition || out.Kind == KindAssets && list.single:
		out.Found = "the whole reply is one document"
	case list.single && strict != nil:
		out.Found = "the whole reply is one document"
		out.Warnings = append(out.Warnings, `a lone object where a list is expected: as a reply it would be refused, unless lists.single is [""]`)
	case list.single:
		out.Found = "one document at " + pointerText(list.at)
	default:
		out.Found = fmt.Sprintf("a list of %d under %s", len(list.elements), pointerText(list.at))
	}
	if !list.single {
		p.explainAround(text, list.at, &out)
	}
	for i, raw := range list.elements {
		if i == maxExplained {
			out.More = len(list.elements) - i
			break
		}
		out.Documents = append(out.Documents, p.understand(out.Kind, raw, s.Now))
	}
	return out, nil
}

// explainAround tells what stands next to the list, and which of it leads to
// the next page.
func (p *Profile) explainAround(text []byte, at pointer, out *Explanation) {
	doc, err := decodeJSON(text)
	if err != nil || len(at) == 0 {
		return
	}
	t := &trace{used: []pointer{at}}
	if p.Lists.Paging == pagingNext {
		if next, v, ok := p.Lists.Next.lookup(doc); ok {
			t.used = append(t.used, next)
			out.Found += fmt.Sprintf("; the next page is %s from %s", shown(v), pointerText(next))
		}
	}
	out.Ignored = t.ignored(doc)
}

// understand reads one document by the code that reads real ones.
func (p *Profile) understand(kind string, raw json.RawMessage, now time.Time) Understood {
	t := &trace{}
	var u Understood
	var err error
	switch kind {
	case KindInstructions:
		var in flex.Instruction
		if in, err = p.readInstruction(raw, t); err == nil {
			u.instruction = &in
			u.ID = string(in.ID)
			p.judge(&u, in, t, now)
		}
	case KindObligations:
		var ob flex.Obligation
		if ob, err = p.readObligation(raw, now, t); err == nil {
			u.obligation, u.ID, u.Verdict = &ob, string(ob.ID), "taken: "+serviceText(ob)
		}
	case KindAssets:
		var a flex.MarketAsset
		if a, err = p.readAsset(raw, now, t); err == nil {
			u.ID, u.Verdict = string(a.ID), fmt.Sprintf("taken: %s for import, %s for export", a.Import, a.Export)
		}
	case KindCompetition:
		var c flex.Competition
		if c, err = p.readCompetition(raw, now, t); err == nil {
			u.competition, u.ID, u.Verdict = &c, string(c.ID), "taken"
		}
	}
	if err != nil {
		u.Verdict = "refused: " + err.Error()
		if len(t.fields) == 0 {
			u.Problems = append(u.Problems, err.Error())
		}
	}
	u.complete(t, raw)
	return u
}

// complete moves the record into the explanation.
func (u *Understood) complete(t *trace, raw []byte) {
	for _, f := range t.fields {
		u.Fields = append(u.Fields, *f)
	}
	u.Problems = append(u.Problems, t.loose...)
	if doc, err := decodeJSON(raw); err == nil {
		u.Ignored = t.ignored(doc)
	}
	if u.Verdict == "" || len(u.Refusals()) > 0 || !strings.HasPrefix(u.Verdict, "refused") {
		return
	}
	u.Problems = append(u.Problems, strings.TrimPrefix(u.Verdict, "refused: "))
}

// serviceText is a contract in one line.
func serviceText(ob flex.Obligation) string {
	days := make([]string, len(ob.Days))
	for i, d := range ob.Days {
		days[i] = d.String()[:3]
	}
	clock := func(d time.Duration) string { return fmt.Sprintf("%02d:%02d", int(d.Hours()), int(d.Minutes())%60) }
	holidays := "bank holidays too"
	if !ob.BankHolidays {
		holidays = "not on bank holidays"
	}
	if ob.Region != "" {
		holidays += " of " + ob.Region
	}
	return fmt.Sprintf("%s %s on %s from %s to %s %s, from %s up to but not %s, %s",
		ob.Capacity, orUnresolved(ob.Direction), strings.Join(days, " "), clock(ob.StartTime), clock(ob.EndTime), ob.Zone, ob.StartDate, ob.EndDate, holidays)
}

func orUnresolved(d flex.Direction) string {
	if d == "" {
		return "(direction not said)"
	}
	return string(d)
}
