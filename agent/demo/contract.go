package demo

import (
	"fmt"
	"net"
	"time"
)

// Contract makes the market know the demo site: one asset, one competition,
// one obligation of 5 kW export, every day, all day, around now.
func (m *Market) Contract(now time.Time) Obligation {
	m.SetCompetition(Competition{ID: "c3Kd91A", Name: "Demo: evening peak", Operator: "DEMO",
		ServiceType: "secure", Direction: "export"})
	m.AddAsset(Asset{ID: AssetName, Ref: "CELLAR-20", Name: "Battery in the cellar", Status: "operational",
		Category: "storage", Type: "battery", VoltageLevel: "LV", CountryCode: "GB", Postcode: "OX11 0QX",
		Latitude: 51.57, Longitude: -1.31, ImportMeterID: "2000000000001", ExportMeterID: "2000000000002",
		ActiveImport: "0.01000", ActiveExport: "0.01000", MaxImport: "0.01000", MaxExport: "0.01000",
		ResponseTime: "00:00:10", MinRuntime: "00:00:01", MaxRuntime: "04:00:00", RecoveryTime: "00:00:00",
		MeterInterval: "00:30:00", MeteringPoint: "grid"})
	o := Obligation{ID: "ob7Qx2M", Competition: "c3Kd91A", Bid: "b1dF00d", Operator: "DEMO", Assets: []string{AssetName},
		Capacity: "0.00500", Direction: "export",
		StartDate: now.AddDate(0, 0, -2).Format(time.DateOnly), EndDate: now.AddDate(0, 0, 8).Format(time.DateOnly),
		ServiceDays: []string{"mon", "tue", "wed", "thu", "fri", "sat", "sun"}, BankHolidays: "include",
		StartTime: "00:00", EndTime: "24:00", MaxRuntime: "04:00:00"}
	m.SetObligation(o)
	return o
}

// Dispatch is an instruction under the contract.
func (o Obligation) Dispatch(id string, megawatts string, start, end time.Time) Instruction {
	return Instruction{ID: id, Type: "start", Obligation: o.ID, Competition: o.Competition, Assets: o.Assets,
		Capacity: megawatts, Direction: o.Direction, Start: start.UTC(), End: At(end.UTC()), Status: "issued", Operator: o.Operator}
}

// FreeAddr is a loopback host:port that nobody listened on a moment ago.
func FreeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("cannot find a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}
