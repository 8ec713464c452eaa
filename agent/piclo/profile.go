package piclo

import (
	"errors"
	"flexd/agent/flex"
)

// Profile is a market profile, read and checked. See piclo.yaml for what
// each setting means.
type Profile struct {
	Version      int                 `yaml:"version"`
	Name         string              `yaml:"name"`
	Zone         zone                `yaml:"zone"`
	API          profileAPI          `yaml:"api"`
	Time         profileTime         `yaml:"time"`
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

	unknownStops bool // of the site's configuration, not of the market's file
}

// profileAPI is where the market is, besides market.base_url.
type profileAPI struct {
	Origins []address `yaml:"origins"`
	Related words     `yaml:"related"`
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

// profileTime is how times are written where a field does not say.
type profileTime struct {
	Format   timeFormat  `yaml:"format"`
	Date     dateFormat  `yaml:"date"`
	Clock    clockFormat `yaml:"clock"`
	Duration spanFormat  `yaml:"duration"`
}

type profileToken struct {
	Kind     tokenKind `yaml:"kind"`
	ClientID word      `yaml:"client_id"`
	APIKey   word      `yaml:"api_key"`
	Pointer  pointers  `yaml:"pointer"`
}

type profileNotification struct {
	Signature     signing           `yaml:"signature"`
	Location      []place           `yaml:"location"`
	Field         pointers          `yaml:"field"`
	Header        headerName        `yaml:"header"`
	Serialization serialization     `yaml:"serialization"`
	Payload       pointers          `yaml:"payload"`
	Algorithms    []algorithm       `yaml:"algorithms"`
	EventName     word              `yaml:"event_name"`
	OtherEvents   map[word]eventUse `yaml:"other_events"`
	Event         pointers          `yaml:"event"`
	DataURL       pointers          `yaml:"data_url"`
	Count         pointers          `yaml:"count"`
	Skew          span              `yaml:"skew"`
	Require       []claim           `yaml:"require"`
	Audience      []word            `yaml:"audience"`
}

type profileKey struct {
	Format  keyFormat `yaml:"format"`
	Pointer pointer1  `yaml:"pointer"`
	TTL     span      `yaml:"ttl"`
	Grace   span      `yaml:"grace"`
	MinGap  span      `yaml:"min_gap"`
}

type profileLists struct {
	Items             pointers    `yaml:"items"`
	Single            pointers    `yaml:"single"`
	Paging            paging      `yaml:"paging"`
	Next              pointers    `yaml:"next"`
	Page              string      `yaml:"page"`
	FirstPage         int         `yaml:"first_page"`
	MaxPages          count       `yaml:"max_pages"`
	ObligationsSince  string      `yaml:"obligations_since"`
	ObligationsTo     string      `yaml:"obligations_to"`
	InstructionsSince string      `yaml:"instructions_since"`
	SinceFormat       sinceFormat `yaml:"since_format"`
}

type profilePower struct {
	Unit          unit       `yaml:"unit"`
	Sign          positive   `yaml:"sign"`
	CapacityOf    capacityOf `yaml:"capacity_of"`
	DirectionFrom []from     `yaml:"direction_from"`
	ExportWords   words      `yaml:"export_words"`
	ImportWords   words      `yaml:"import_words"`
}

type profileStop struct {
	TypeWords       words `yaml:"type_words"`
	StatusWords     words `yaml:"status_words"`
	CapacityZero    bool  `yaml:"capacity_zero"`
	EndMovedEarlier bool  `yaml:"end_moved_earlier"`
}

type instructionFields struct {
	ID          pointers    `yaml:"id"`
	Revision    pointers    `yaml:"revision"`
	Type        pointers    `yaml:"type"`
	StartWords  words       `yaml:"start_words"`
	StatusWords words       `yaml:"status_words"`
	DraftWords  words       `yaml:"draft_words"`
	Obligation  pointers    `yaml:"obligation"`
	Competition pointers    `yaml:"competition"`
	Assets      pointers    `yaml:"assets"`
	Stops       pointers    `yaml:"stops"`
	Capacity    powerAt     `yaml:"capacity"`
	Direction   directionAt `yaml:"direction"`
	Start       timeAt      `yaml:"start"`
	End         timeAt      `yaml:"end"`
	Status      pointers    `yaml:"status"`
	Signature   pointers    `yaml:"signature"`
	Operator    pointers    `yaml:"operator"`
}

type obligationFields struct {
	ID           pointers      `yaml:"id"`
	Competition  pointers      `yaml:"competition"`
	Bid          pointers      `yaml:"bid"`
	Operator     pointers      `yaml:"operator"`
	Assets       pointers      `yaml:"assets"`
	Capacity     powerAt       `yaml:"capacity"`
	Direction    directionAt   `yaml:"direction"`
	StartDate    dateAt        `yaml:"start_date"`
	EndDate      dateAt        `yaml:"end_date"`
	Days         daysAt        `yaml:"days"`
	BankHolidays holidaysAt    `yaml:"bank_holidays"`
	StartTime    clockAt       `yaml:"start_time"`
	EndTime      clockAt       `yaml:"end_time"`
	MaxRuntime   spanAt        `yaml:"max_runtime"`
	Region       regionAt      `yaml:"region"`
	Holidays     holidayRegion `yaml:"holidays"`
}

type assetFields struct {
	ID          pointers `yaml:"id"`
	Ref         pointers `yaml:"ref"`
	Name        pointers `yaml:"name"`
	Status      pointers `yaml:"status"`
	Import      powerAt  `yaml:"import"`
	Export      powerAt  `yaml:"export"`
	ImportMeter pointers `yaml:"import_meter"`
	ExportMeter pointers `yaml:"export_meter"`
	MinRuntime  spanAt   `yaml:"min_runtime"`
	MaxRuntime  spanAt   `yaml:"max_runtime"`
	Recovery    spanAt   `yaml:"recovery"`
	Response    spanAt   `yaml:"response"`
}

type competitionFields struct {
	ID          pointers    `yaml:"id"`
	Name        pointers    `yaml:"name"`
	Operator    pointers    `yaml:"operator"`
	ServiceType pointers    `yaml:"service_type"`
	Direction   directionAt `yaml:"direction"`
}

// ResolveDirection finds the direction of an instruction in the places that
// the profile names, in their order. Empty means that it stays unresolved and
// the instruction must be refused.
func (p *Profile) ResolveDirection(in flex.Instruction, ob flex.Obligation, comp flex.Competition) flex.Direction {
	d, _ := p.resolveDirection(in, ob, comp)
	return d
}

// resolveDirection tells the place as well.
func (p *Profile) resolveDirection(in flex.Instruction, ob flex.Obligation, comp flex.Competition) (flex.Direction, from) {
	for _, place := range p.Power.DirectionFrom {
		var d flex.Direction
		switch place {
		case fromInstruction, fromField, fromSign:
			d = in.Direction
		case fromObligation:
			d = ob.Direction
		case fromCompetition:
			d = comp.Direction
		}
		if d != "" {
			return d, place
		}
	}
	return "", ""
}

// Suits tells whether an account without a client id will do.
func (p *Profile) Suits(clientID string) error {
	if clientID == "" && p.Token.Kind != tokenStatic {
		return errors.New("market.client_id is missing: write the machine user's client id, the profile logs in with it")
	}
	return nil
}

// EndInPastStops tells whether an amendment that moves the end of a known
// instruction into the past is meant as a stop. What is known is not known
// here: whoever holds the earlier revision applies the rule.
func (p *Profile) EndInPastStops() bool { return p.Stop.EndMovedEarlier }
