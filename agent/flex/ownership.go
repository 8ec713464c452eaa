package flex

import "time"

// Ownership is what to do when somebody else writes to a device that we
// control.
type Ownership string

// OwnYield gives our claim up and tries again after a rest. OwnContest writes
// again, so many times, then yields. OwnAlarm leaves it and says so.
const (
	OwnYield   Ownership = "yield"
	OwnContest Ownership = "contest"
	OwnAlarm   Ownership = "alarm"
)

// Cause is who or what changed a device under control, as far as can be told.
type Cause string

// The causes: another controller writes, the device fell back by itself, it
// was away and came back, others have set a lower limit.
const (
	CauseController Cause = "another_controller"
	CauseReverted   Cause = "fell_back"
	CauseRestarted  Cause = "restarted"
	CauseLimit      Cause = "limit_by_others"
)

// Interference is the latest change of a device that was not ours.
type Interference struct {
	At    time.Time `json:"at"`
	Cause Cause     `json:"cause"`
	Text  string    `json:"text"`
	// Policy is what applies to the device.
	Policy Ownership `json:"policy"`
	// Contests is how often we have written again within the last ten minutes.
	Contests int `json:"contests,omitempty"`
	// HandsOff tells that the device is left to the others (policy alarm).
	HandsOff bool `json:"hands_off,omitempty"`
	// Until is how long our claim rests after we have yielded.
	Until time.Time `json:"until,omitzero"`
}

// Distrust is a device that did the opposite of what it was told, or more: it
// is not controlled until somebody has looked.
type Distrust struct {
	Device DeviceID        `json:"device"`
	Serial string          `json:"serial,omitempty"`
	At     Stamp           `json:"at"`
	Text   string          `json:"text"`
	For    []InstructionID `json:"for,omitempty"`
}

// DayEnergy is what a device has discharged on a day of the site.
type DayEnergy struct {
	Device     DeviceID   `json:"device"`
	Day        string     `json:"day"` // YYYY-MM-DD, local
	Discharged WattHours  `json:"discharged_wh"`
	Left       *WattHours `json:"left_wh,omitempty"` // that the owner still allows
}

// Wear is how often a persistent register was written in a day.
type Wear struct {
	Device   DeviceID `json:"device"`
	Register string   `json:"register"` // name and wire address
	Day      string   `json:"day"`      // 2006-01-02, UTC
	N        int      `json:"n"`
	Limit    int      `json:"limit"` // writes a day
}

// Toll is how often dispatches write a persistent register at most.
type Toll struct {
	Register Register `json:"register"` // its name and address
	Dispatch int      `json:"dispatch"` // from take-over to hand-back
	// Day bounds what a day of dispatches writes, however many; 0: nothing does.
	Day int `json:"day,omitempty"`
	// Charge tells that only a dispatch that charges from the grid writes it.
	Charge bool `json:"charge,omitempty"`
}
