// Package config reads the site's configuration file.
//
// In: YAML bytes and the name to quote in messages. Out: a typed, complete and
// checked Config, or every problem at once, each with file, line, column,
// value and remedy. It is strict: an unknown key, a missing unit, a value that
// this version does not implement, or an impossible combination is a problem,
// never a silent default. It opens no device and no connection, and reads no
// secret; it only says where secrets are.
package config

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"flexd/agent/flex"
)

// DefaultPath is where the installer puts the file.
const DefaultPath = "/etc/flexd/flexd.yaml"

// DefaultData is where the agent keeps its state.
const DefaultData = "/var/lib/flexd/state"

// Config is a whole, checked configuration with every default filled in.
type Config struct {
	Site      Site
	Market    Market
	Ingress   Ingress
	MQTT      *MQTT // nil: no fleet connection
	Clock     Clock
	Maps      string // folder of register maps of one's own; "" for none
	Devices   []Device
	Assets    []Asset
	Preflight Preflight
	Local     Local
	Data      string
	// RequireCommissioning forbids control of a device whose direction was not
	// proven at the site (`flexd device commission`).
	RequireCommissioning bool

	// Raw is the text this was read from.
	Raw []byte
}

// Site is the grid connection.
type Site struct {
	ID          flex.SiteID
	Timezone    *time.Location
	Meter       flex.DeviceID // "" when there is none
	ImportLimit flex.Watts    // magnitude, 0: none
	ExportLimit flex.Watts    // magnitude, 0: none
}

// Market is the marketplace account.
type Market struct {
	Profile  string // embedded name, or a path
	BaseURL  string
	Origins  []string // others to which the market may point
	ClientID string   // "" where the profile's market needs none
	APIKey   Secret
	Poll     time.Duration // at rest
	PollNear time.Duration // near and in service windows; never above Poll
	Sync     time.Duration
	Insecure bool
	Answers  string // policy for operators that are not listed
	// UnknownWord is what becomes of an instruction whose type or status nobody
	// understands, where it concerns an open dispatch.
	UnknownWord string
	KeepRaw     time.Duration // how long what the market sent is kept as it came
	Operators   []Operator
	Contracts   []Contract
}

// Contract is the provider's own word on one contract, or on all of a
// competition.
type Contract struct {
	ID        string // of the obligation or the competition
	Priority  int
	Emergency bool
}

// Operator is what was agreed with one system operator off the platform.
type Operator struct {
	Name      string
	Aliases   []string // what else the market calls it
	Signature string   // require, verify-if-present, ignore
	Scheme    string   // ed25519, ecdsa-p256, rsa-pss, hmac-sha256; "": no key
	Keys      []Secret
	Fields    []string // JSON pointers of what is signed, in order; none: RFC 8785
	Separator string
	Encoding  string // of the signature: base64, base64url, hex
	Answers   string
	Holidays  string // the bank holidays that its contracts mean; "": the profile's
}

// Is tells whether a name is one of the operator's, in any case.
func (o Operator) Is(name string) bool {
	return slices.ContainsFunc(append([]string{o.Name}, o.Aliases...), func(own string) bool {
		return strings.EqualFold(strings.TrimSpace(own), strings.TrimSpace(name))
	})
}

// Operator gives the settings for an operator; those not listed are
// verify-if-present.
func (m Market) Operator(name string) Operator {
	for _, o := range m.Operators {
		if o.Is(name) {
			return o
		}
	}
	return Operator{Name: name, Signature: VerifyIfPresent, Answers: m.Answers}
}

// Policy gives the signature policy for an operator.
func (m Market) Policy(operator string) string { return m.Operator(operator).Signature }

// Signature policies.
const (
	Require         = "require"
	Ignore          = "ignore"
	VerifyIfPresent = "verify-if-present"
)

// Policies for answers: accept all that is admitted; accept what can be
// delivered in full and reject the rest; ask a person; leave answers to others.
const (
	AnswerAuto          = "auto"
	AnswerIfDeliverable = "auto-if-deliverable"
	AnswerAsk           = "ask"
	AnswerNone          = "none"
)

// What becomes of a type or status that nobody understands.
const (
	UnknownAlarm = "alarm"
	UnknownStop  = "stop"
)

// Secret says where a secret is: a systemd credential or a file. Exactly one
// is set.
type Secret struct {
	Credential string
	File       string
}

// None tells that no secret is given.
func (s Secret) None() bool { return s == Secret{} }

// Ingress are the doors besides polling.
type Ingress struct {
	Webhook *Webhook // nil: no webhook door
	Relay   *Relay   // nil: no relay door
}

// Relay is the door for envelopes that a relay publishes on the broker.
type Relay struct {
	Shared string // name of a topic shared with other sites, next to our own; "" for none
}

// Webhook is the HTTPS door.
type Webhook struct {
	Listen    string
	Path      string
	Plain     bool // behind a proxy on this machine or in a trusted network
	Cert, Key Secret
	PublicURL string // how the market reaches it, for `flexd check`
	// TrustedProxies are the networks whose word on a request's source counts.
	TrustedProxies []netip.Prefix
}

// MQTT is the fleet connection.
type MQTT struct {
	Broker        string // mqtts://host:port or mqtt://host:port
	CA, Cert, Key Secret
	Insecure      bool
	Telemetry     time.Duration
	Group         string // of sites that share contracts: they compare their shares; "": none
	BackendAcks   bool   // outbox rows wait for down/ack instead of PUBACK
}

// Clock is how the wall clock is checked, besides by the kernel's word.
type Clock struct {
	NTP []string // time servers, host or host:port; none: nobody is asked
}

// Device is one inverter, battery or meter.
type Device struct {
	ID           flex.DeviceID
	Driver       string
	Map          string    // with driver: map, a name or a path
	Role         flex.Role // "" when it is to be derived
	Sign         string    // meters: export_positive, import_positive
	Address      string
	Unit         uint8 // 0: the map's, unless UnitZero
	UnitZero     bool  // unit 0 is meant
	AnyUnit      bool  // its answers bear another unit than was asked
	WriteFunc    int   // function code of all writes, 6 or 16; 0: 16, and 6 for what is refused by that
	Reserve      flex.Percent
	MaxSoC       flex.Percent // 0: full
	Owner        Owner
	Ramp         flex.Watts     // changes by at most so much a second; 0: not known
	Lead         *time.Duration // told so much before a start; nil: as measured at commissioning
	GridCharge   bool
	AdoptLimit   bool
	MaxPower     flex.Watts    // magnitude, 0: the device's own rating
	MaxCharge    flex.Watts    // what 100 % of a rate of SunSpec model 124 stands for, 0: by the device
	Timeout      time.Duration // 0: the transport's default, as below
	Gap          time.Duration // negative: none
	UnitGap      time.Duration
	ConnectDelay time.Duration
	IdleClose    time.Duration
	MaxRead      int // registers in one request; 0: the default
	MaxWrite     int
	BusyRetries  int
	Ownership    flex.Ownership // what to do when others write under our control
	Contests     int            // how often in ten minutes we write again
	Rest         time.Duration  // of our claim once we have yielded
	WriteBudget  int            // writes a day to a persistent register where the driver knows no number
}

// Asset maps a sold resource to devices.
type Asset struct {
	MarketID    flex.AssetID
	Devices     []flex.DeviceID
	Meter       flex.DeviceID
	Control     string    // setpoint, meter, observe
	Baseline    *Baseline // nil: reference zero
	Free        bool      // over_delivery: free
	MaxDispatch flex.Watts
	// What is off by more than the tolerance (a part of what is asked, or a
	// power; 0: 5 %) for longer than MissAfter is not delivered.
	MissPart  flex.Percent
	MissPower flex.Watts
	MissAfter time.Duration
	// Once started the asset runs for MinRun at least; before it starts again
	// it rests for Recovery. 0: nothing of the kind.
	MinRun, Recovery time.Duration
}

// Baseline says what an asset's dispatches are held against. The zero value of
// what its method does not use is 0.
type Baseline struct {
	Method   string        // zero, nominated, recent, 10-of-10
	Fallback string        // refuse, zero, recent
	Span     time.Duration // recent: whole minutes before the notice

	Step     time.Duration // 10-of-10
	Days     int           // working days that are averaged
	RestDays int           // the same of weekends and bank holidays
	Lookback int           // calendar days
	Adjust   flex.Percent  // cap of the same-day adjustment; 0: none
	Holidays string        // region of the bank holidays
}

// Local is the page and the command socket.
type Local struct {
	Listen string   // "" when off
	Names  []string // under which browsers may open the page, besides its address
	Socket string   // "" for the default path
}
