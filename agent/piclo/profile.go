package piclo

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"flexd/agent/flex"
)

//go:embed piclo.yaml
var embedded []byte

// maxProfile bounds a profile file.
const maxProfile = 256 << 10

// Profile is a market profile, read and checked. See piclo.yaml for what
// each setting means.
type Profile struct {
	Version      int                 `yaml:"version"`
	Name         string              `yaml:"name"`
	Zone         zone                `yaml:"zone"`
	Paths        profilePaths        `yaml:"paths"`
	Token        profileToken        `yaml:"token"`
	Notification profileNotification `yaml:"notification"`
	Key          profileKey          `yaml:"key"`
	Lists        profileLists        `yaml:"lists"`
	Power        profilePower        `yaml:"power"`
	Stop         profileStop         `yaml:"stop"`
	Instruction  instructionFields   `yaml:"instruction"`
	Obligation   obligationFields    `yaml:"obligation"`
	Asset        assetFields         `yaml:"asset"`
	Competition  competitionFields   `yaml:"competition"`
	Response     profileResponse     `yaml:"response"`
	Subscription profileSubscription `yaml:"subscription"`
	Availability profileAvailability `yaml:"availability"`
}

type profilePaths struct {
	Token            fixedPath `yaml:"token"`
	PublicKey        fixedPath `yaml:"public_key"`
	Obligations      fixedPath `yaml:"obligations"`
	ObligationAssets idPath    `yaml:"obligation_assets"`
	Asset            idPath    `yaml:"asset"`
	Competition      idPath    `yaml:"competition"`
	Instructions     fixedPath `yaml:"instructions"`
}

type profileToken struct {
	ClientID word     `yaml:"client_id"`
	APIKey   word     `yaml:"api_key"`
	Pointer  pointers `yaml:"pointer"`
}

type profileNotification struct {
	Field      pointers    `yaml:"field"`
	Algorithms []algorithm `yaml:"algorithms"`
	EventName  word        `yaml:"event_name"`
	Event      pointers    `yaml:"event"`
	DataURL    pointers    `yaml:"data_url"`
	Count      pointers    `yaml:"count"`
	Skew       span        `yaml:"skew"`
}

type profileKey struct {
	TTL    span `yaml:"ttl"`
	Grace  span `yaml:"grace"`
	MinGap span `yaml:"min_gap"`
}

type profileLists struct {
	Items             pointers `yaml:"items"`
	Paging            paging   `yaml:"paging"`
	Next              pointers `yaml:"next"`
	MaxPages          count    `yaml:"max_pages"`
	ObligationsSince  string   `yaml:"obligations_since"`
	ObligationsTo     string   `yaml:"obligations_to"`
	InstructionsSince string   `yaml:"instructions_since"`
}

type profilePower struct {
	Unit          unit       `yaml:"unit"`
	CapacityOf    capacityOf `yaml:"capacity_of"`
	DirectionFrom []from     `yaml:"direction_from"`
	ExportWords   words      `yaml:"export_words"`
	ImportWords   words      `yaml:"import_words"`
}

type profileStop struct {
	TypeWords    words `yaml:"type_words"`
	StatusWords  words `yaml:"status_words"`
	CapacityZero bool  `yaml:"capacity_zero"`
}

type instructionFields struct {
	ID          pointers `yaml:"id"`
	Revision    pointers `yaml:"revision"`
	Type        pointers `yaml:"type"`
	StartWords  words    `yaml:"start_words"`
	Obligation  pointers `yaml:"obligation"`
	Competition pointers `yaml:"competition"`
	Assets      pointers `yaml:"assets"`
	Stops       pointers `yaml:"stops"`
	Capacity    pointers `yaml:"capacity"`
	Direction   pointers `yaml:"direction"`
	Start       pointers `yaml:"start"`
	End         pointers `yaml:"end"`
	Status      pointers `yaml:"status"`
	Signature   pointers `yaml:"signature"`
	Operator    pointers `yaml:"operator"`
}

type obligationFields struct {
	ID           pointers `yaml:"id"`
	Competition  pointers `yaml:"competition"`
	Bid          pointers `yaml:"bid"`
	Operator     pointers `yaml:"operator"`
	Assets       pointers `yaml:"assets"`
	Capacity     pointers `yaml:"capacity"`
	Direction    pointers `yaml:"direction"`
	StartDate    pointers `yaml:"start_date"`
	EndDate      pointers `yaml:"end_date"`
	Days         pointers `yaml:"days"`
	BankHolidays pointers `yaml:"bank_holidays"`
	StartTime    pointers `yaml:"start_time"`
	EndTime      pointers `yaml:"end_time"`
	MaxRuntime   pointers `yaml:"max_runtime"`
}

type assetFields struct {
	ID          pointers `yaml:"id"`
	Ref         pointers `yaml:"ref"`
	Name        pointers `yaml:"name"`
	Status      pointers `yaml:"status"`
	Import      pointers `yaml:"import"`
	Export      pointers `yaml:"export"`
	ImportMeter pointers `yaml:"import_meter"`
	ExportMeter pointers `yaml:"export_meter"`
	MinRuntime  pointers `yaml:"min_runtime"`
	MaxRuntime  pointers `yaml:"max_runtime"`
	Recovery    pointers `yaml:"recovery"`
	Response    pointers `yaml:"response"`
}

type competitionFields struct {
	ID          pointers `yaml:"id"`
	Name        pointers `yaml:"name"`
	Operator    pointers `yaml:"operator"`
	ServiceType pointers `yaml:"service_type"`
	Direction   pointers `yaml:"direction"`
}

// LoadProfile gives the embedded profile ("piclo" or ""), or reads a file on
// top of it. The error lists every problem with its line.
func LoadProfile(name string) (*Profile, error) {
	p := &Profile{}
	if err := p.overlay("piclo.yaml", embedded); err != nil {
		return nil, err
	}
	if name == "" || name == p.Name {
		return p, nil
	}
	raw, err := readBounded(name)
	if err != nil {
		return nil, fmt.Errorf("market profile %q is neither embedded (piclo) nor a readable file: %w", name, err)
	}
	if err := p.overlay(name, raw); err != nil {
		return nil, err
	}
	return p, nil
}

func readBounded(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // read only
	raw, err := io.ReadAll(io.LimitReader(f, maxProfile+1))
	if err == nil && len(raw) > maxProfile {
		err = fmt.Errorf("larger than %d bytes", maxProfile)
	}
	return raw, err
}

// later are options that the profile will have and this version has not.
var later = [...]string{
	"so_signature", "second_webhook", "notification.header", "notification.serialization",
	"notification.require", "notification.audience", "key.format", "key.pointer", "power.sign", "time",
}

// overlay reads raw on top of what is there, strictly.
func (p *Profile) overlay(file string, raw []byte) error {
	var problems []string
	var tree yaml.Node
	if err := yaml.Unmarshal(raw, &tree); err != nil {
		return fmt.Errorf("market profile %s: %s", file, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	for _, path := range later {
		if n := nodeAt(&tree, strings.Split(path, ".")); n != nil {
			problems = append(problems, fmt.Sprintf("line %d: %s is not implemented in this version: remove it", n.Line, path))
		}
	}
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	dec.KnownFields(true)
	err := dec.Decode(p)
	var typed *yaml.TypeError
	switch {
	case errors.As(err, &typed):
		problems = append(problems, readable(typed.Errors)...)
	case err != nil && !errors.Is(err, io.EOF):
		problems = append(problems, err.Error())
	}
	problems = append(problems, p.missing()...)
	if len(problems) > 0 {
		return fmt.Errorf("market profile %s:\n  %s", file, strings.Join(problems, "\n  "))
	}
	return nil
}

var (
	unknownField = regexp.MustCompile(`field (\S+) not found in type \S+`)
	wrongKind    = regexp.MustCompile(`cannot unmarshal !!(\w+)(.*) into \S+`)
)

// readable puts the decoder's messages into the words of the file; a key
// that was named as not implemented already is not named again.
func readable(messages []string) []string {
	var out []string
	for _, m := range messages {
		if f := unknownField.FindStringSubmatch(m); f != nil && slices.ContainsFunc(later[:], func(l string) bool {
			return l == f[1] || strings.HasSuffix(l, "."+f[1])
		}) {
			continue
		}
		m = unknownField.ReplaceAllString(m, "unknown key $1")
		out = append(out, wrongKind.ReplaceAllString(m, "a value of the kind $1$2 does not belong here"))
	}
	return out
}

// nodeAt walks mappings by key.
func nodeAt(n *yaml.Node, path []string) *yaml.Node {
	if n.Kind == yaml.DocumentNode && len(n.Content) > 0 {
		n = n.Content[0]
	}
	for _, key := range path {
		var found *yaml.Node
		for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == key {
				found = n.Content[i+1]
			}
		}
		if found == nil {
			return nil
		}
		n = found
	}
	return n
}

// missing names what no profile can do without.
func (p *Profile) missing() []string {
	var out []string
	need := func(ok bool, what string) {
		if !ok {
			out = append(out, what)
		}
	}
	need(p.Version == 1, "version must be 1")
	need(p.Name != "", "name must not be empty")
	need(len(p.Notification.Algorithms) > 0, "notification.algorithms must not be empty")
	need(len(p.Notification.DataURL) > 0, "notification.data_url must not be empty")
	need(len(p.Notification.Event) == 0 || p.Notification.EventName != "", "notification.event_name must not be empty")
	need(len(p.Instruction.ID) > 0, "instruction.id must not be empty")
	need(len(p.Instruction.Capacity) > 0, "instruction.capacity must not be empty")
	need(len(p.Instruction.Start) > 0, "instruction.start must not be empty")
	need(len(p.Obligation.ID) > 0, "obligation.id must not be empty")
	need(len(p.Asset.ID) > 0, "asset.id must not be empty")
	need(len(p.Lists.Items) > 0, "lists.items must not be empty")
	out = append(out, p.Response.check()...)
	out = append(out, p.Subscription.check()...)
	return append(out, p.Availability.check()...)
}

// ResolveDirection finds the direction of an instruction in the places that
// the profile names, in their order. Empty means that it stays unresolved and
// the instruction must be refused.
func (p *Profile) ResolveDirection(in flex.Instruction, ob flex.Obligation, comp flex.Competition) flex.Direction {
	for _, place := range p.Power.DirectionFrom {
		var d flex.Direction
		switch place {
		case fromInstruction:
			d = in.Direction
		case fromObligation:
			d = ob.Direction
		case fromCompetition:
			d = comp.Direction
		}
		if d != "" {
			return d
		}
	}
	return ""
}
