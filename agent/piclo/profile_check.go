package piclo

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// misfit is a problem between settings that are each well written.
type misfit struct{ path, text string }

// at names the line of the file on top that has to do with it; settings may
// come from the profile below, and then there is none.
func (m misfit) at(tree *yaml.Node) string {
	if n := nodeAt(tree, strings.Split(m.path, ".")); n != nil {
		return lineOf(n) + m.path + " " + m.text
	}
	return m.path + " " + m.text
}

// leadingPath finds the setting that a message begins with.
var leadingPath = regexp.MustCompile(`^([a-z_]+(?:\.[a-z_]+)*):? (.*)$`)

// check finds what no profile can do without and what contradicts itself.
func (p *Profile) check() []misfit {
	var out []misfit
	out = append(out, p.checkNeeds()...)
	out = append(out, p.checkNotification()...)
	out = append(out, p.checkPower()...)
	out = append(out, p.checkLists()...)
	calls := p.Response.check()
	calls = append(calls, p.Subscription.check()...)
	calls = append(calls, p.Availability.check()...)
	for _, text := range calls {
		if f := leadingPath.FindStringSubmatch(text); f != nil {
			out = append(out, misfit{f[1], f[2]})
		} else {
			out = append(out, misfit{"response", text})
		}
	}
	return out
}

func (p *Profile) checkNeeds() []misfit {
	var out []misfit
	need := func(ok bool, path, text string) {
		if !ok {
			out = append(out, misfit{path, text})
		}
	}
	filled := func(ps pointers, path string) {
		need(len(ps) > 0, path, `must not be empty: write the JSON pointers of the field, such as ["/id"]`)
	}
	need(p.Version == 1, "version", "must be 1")
	need(p.Name != "", "name", "must not be empty")
	filled(p.Notification.DataURL, "notification.data_url")
	filled(p.Instruction.ID, "instruction.id")
	filled(p.Instruction.Capacity.At, "instruction.capacity")
	filled(p.Instruction.Start.At, "instruction.start")
	filled(p.Obligation.ID, "obligation.id")
	filled(p.Asset.ID, "asset.id")
	filled(p.Competition.ID, "competition.id")
	need(len(p.Power.DirectionFrom) > 0, "power.direction_from", "must not be empty: name where the direction comes from")
	return out
}

func (p *Profile) checkNotification() []misfit {
	n := p.Notification
	var out []misfit
	bad := func(path, format string, args ...any) {
		out = append(out, misfit{"notification." + path, fmt.Sprintf(format, args...)})
	}
	if len(n.Event) > 0 && n.EventName == "" {
		bad("event_name", "must not be empty while notification.event looks for it")
	}
	if n.Signature == signatureNone {
		if len(n.Require) > 0 {
			bad("require", "asks for claims, and with signature: none nobody vouches for them: remove it")
		}
		return out
	}
	if len(n.Algorithms) == 0 {
		bad("algorithms", "must not be empty: list those of the market's key, such as [RS256]")
	}
	if len(n.Location) == 0 {
		bad("location", "must not be empty: choose body, field or header")
	}
	has := func(w place) bool { return slices.Contains(n.Location, w) }
	if has(placeField) && len(n.Field) == 0 {
		bad("field", "must not be empty while notification.location has field")
	}
	if has(placeHeader) && n.Header == "" {
		bad("header", "must name the header while notification.location has header")
	}
	detached := n.Serialization == serialDetached
	switch {
	case detached && has(placeBody):
		bad("location", "has body, and a detached signature is not the body: choose header or field")
	case detached && has(placeField) && len(n.Payload) == 0:
		bad("payload", "must name the signed field: a signature inside the body cannot sign the whole body")
	case !detached && len(n.Payload) > 0:
		bad("payload", "is for serialization: detached only: remove it")
	}
	if slices.Contains(n.Require, "aud") && len(n.Audience) == 0 {
		bad("audience", "must list who we are while notification.require has aud")
	}
	return out
}

func (p *Profile) checkPower() []misfit {
	var out []misfit
	places := p.Power.DirectionFrom
	bySign := slices.Index(places, fromSign)
	signed := func(s positive) bool { return s != "" && s != signNone }
	capacity := p.Instruction.Capacity.Sign
	if capacity == "" {
		capacity = p.Power.Sign
	}
	byField := max(slices.Index(places, fromInstruction), slices.Index(places, fromField))
	switch {
	case bySign >= 0 && !signed(capacity):
		out = append(out, misfit{"power.direction_from", "has sign: set power.sign to export or import, what a positive power asks for"})
	case bySign < 0 && signed(capacity):
		out = append(out, misfit{"power.direction_from", "lacks sign while the capacity's sign has a meaning: add it"})
	case bySign >= 0 && byField >= 0 && max(bySign-byField, byField-bySign) > 1:
		out = append(out, misfit{"power.direction_from", "has sign and instruction apart: write them next to each other, both are of the instruction"})
	}
	for i, w := range places {
		if slices.Contains(places[:i], w) {
			out = append(out, misfit{"power.direction_from", "names " + string(w) + " twice"})
		}
	}
	for _, w := range p.Power.ExportWords {
		if p.Power.ImportWords.has(w) {
			out = append(out, misfit{"power.export_words", fmt.Sprintf("has %q, and so has power.import_words", w)})
		}
	}
	for _, w := range p.Instruction.StartWords {
		if p.Stop.TypeWords.has(w) {
			out = append(out, misfit{"instruction.start_words", fmt.Sprintf("has %q, and so has stop.type_words", w)})
		}
	}
	for _, w := range p.Instruction.StatusWords {
		if p.Stop.StatusWords.has(w) {
			out = append(out, misfit{"instruction.status_words", fmt.Sprintf("has %q, and so has stop.status_words", w)})
		}
	}
	return out
}

func (p *Profile) checkLists() []misfit {
	l := p.Lists
	var out []misfit
	if len(l.Items) == 0 {
		out = append(out, misfit{"lists.items", `must not be empty: "" is the whole reply`})
	}
	if l.Paging == pagingNext && len(l.Next) == 0 {
		out = append(out, misfit{"lists.next", "must name the field with the link while lists.paging is next"})
	}
	if l.Paging == pagingPage && (l.Page == "" || !plainASCII(l.Page) || len(l.Page) > 64) {
		out = append(out, misfit{"lists.page", "must name the query parameter while lists.paging is page"})
	}
	if l.FirstPage < 0 || l.FirstPage > 1 {
		out = append(out, misfit{"lists.first_page", "is 0 or 1"})
	}
	return out
}
