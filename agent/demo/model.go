package demo

import "time"

// The market's objects as they go over the wire. They are written down here
// a second time on purpose; see the package comment.

// Obligation is a contract won at market.
type Obligation struct {
	ID           string   `json:"id"`
	Competition  string   `json:"competition_id"`
	Bid          string   `json:"bid_id"`
	Operator     string   `json:"operator"`
	Assets       []string `json:"asset_ids"`
	Capacity     string   `json:"capacity"`  // MW, decimal text
	Direction    string   `json:"direction"` // export or import
	StartDate    string   `json:"start_date"`
	EndDate      string   `json:"end_date"` // exclusive
	ServiceDays  []string `json:"service_days"`
	BankHolidays string   `json:"bank_holidays"` // include or exclude
	StartTime    string   `json:"start_time"`    // local to Europe/London
	EndTime      string   `json:"end_time"`
	MaxRuntime   string   `json:"max_runtime"` // HH:mm:ss
}

// Competition is the tender behind an obligation.
type Competition struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	Operator    string `json:"operator"`
	ServiceType string `json:"service_type"`
	Direction   string `json:"direction"`
}

// Asset is a sold resource as the market knows it.
type Asset struct {
	ID               string  `json:"id"`
	Ref              string  `json:"ref"`
	Name             string  `json:"name"`
	Status           string  `json:"status"`
	Category         string  `json:"asset_category"`
	Type             string  `json:"asset_type"`
	VoltageLevel     string  `json:"voltage_level"`
	CountryCode      string  `json:"country_code"`
	Postcode         string  `json:"postcode"`
	Latitude         float64 `json:"latitude"`
	Longitude        float64 `json:"longitude"`
	ImportMeterID    string  `json:"import_meter_id"`
	ExportMeterID    string  `json:"export_meter_id"`
	ActiveImport     string  `json:"active_import_capacity"` // MW, decimal text
	ActiveExport     string  `json:"active_export_capacity"`
	MaxImport        string  `json:"max_import_capacity"`
	MaxExport        string  `json:"max_export_capacity"`
	ResponseTime     string  `json:"response_time"` // HH:mm:ss
	MinRuntime       string  `json:"min_runtime"`
	MaxRuntime       string  `json:"max_runtime"`
	RecoveryTime     string  `json:"recovery_time"`
	MeterInterval    string  `json:"meter_interval"`
	MeteringPoint    string  `json:"metering_point"`
	ReactiveCapacity *string `json:"reactive_capacity"`
}

// Instruction is the operator's request.
type Instruction struct {
	ID          string     `json:"id"`
	Revision    int        `json:"revision"`
	Type        string     `json:"type"` // start or stop
	Obligation  string     `json:"obligation_id"`
	Competition string     `json:"competition_id"`
	Assets      []string   `json:"asset_ids"`
	Capacity    string     `json:"capacity"` // MW, decimal text, total over the assets
	Direction   string     `json:"direction"`
	Start       time.Time  `json:"start"`
	End         *time.Time `json:"end"` // nil: until stopped
	Status      string     `json:"status"`
	Signature   *string    `json:"signature"`
	Operator    string     `json:"operator"`
	Stops       []string   `json:"stops,omitempty"` // other instructions that a stop names
}

// At is an end for an Instruction.
func At(t time.Time) *time.Time { return &t }
