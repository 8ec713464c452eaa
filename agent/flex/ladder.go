package flex

// NoticeState is the notification's ladder.
type NoticeState string

// notified → verified → fetched, or invalid.
const (
	NoticeNotified NoticeState = "notified"
	NoticeVerified NoticeState = "verified"
	NoticeFetched  NoticeState = "fetched"
	NoticeInvalid  NoticeState = "invalid"
)

// State is the instruction's ladder. (waiting →) admitted → (pending →
// accepted) → scheduled → active → completed, with the exits below. Words, not
// numbers: they are what the store keeps, the broker carries and people read.
type State string

// The ladder and its exits. Completed means that the window is over and the
// release is proven; until then it stays active with ReleaseOwed.
const (
	Waiting    State = "waiting" // cannot be admitted for a reason that may pass
	Admitted   State = "admitted"
	Pending    State = "pending"  // waits for our answer to the market
	Accepted   State = "accepted" // the answer is yes
	Scheduled  State = "scheduled"
	Active     State = "active"
	Completed  State = "completed"
	Refused    State = "refused"
	Expired    State = "expired"
	Cancelled  State = "cancelled" // stopped before its start
	Stopped    State = "stopped"   // stopped while active, and released
	Superseded State = "superseded"
)

// Final tells whether no further transition is possible in this ladder.
func (s State) Final() bool {
	switch s {
	case Completed, Refused, Expired, Cancelled, Stopped, Superseded:
		return true
	case Waiting, Admitted, Pending, Accepted, Scheduled, Active:
		return false
	}
	return false
}

// Condition accompanies a state and never replaces it.
type Condition string

// The conditions.
const (
	Partial       Condition = "partial"
	Overridden    Condition = "overridden"
	LateStart     Condition = "late_start"
	NotDelivering Condition = "not_delivering"
	DeviceFailed  Condition = "device_failed"
	ReleaseOwed   Condition = "release_owed"
	// Observed marks a dispatch of an asset in control: observe: everything
	// ran, nothing was written.
	Observed Condition = "observed"
	// Unverified marks an instruction whose operator signature could not be
	// checked for want of a key.
	Unverified Condition = "so_signature_unverified"
)

// Reason is a machine-readable code that goes with a refusal, an exit or a
// condition.
type Reason string

// Reasons, in the words the neighbouring standards use where they have one.
const (
	ReasonUnknownAsset        Reason = "unknown_asset"
	ReasonUnknownObligation   Reason = "unknown_obligation"
	ReasonNotOurs             Reason = "not_ours"
	ReasonOutsideWindow       Reason = "outside_window"
	ReasonAboveCapacity       Reason = "above_capacity"
	ReasonDirectionUnresolved Reason = "direction_unresolved"
	ReasonUnitUnresolved      Reason = "unit_unresolved"
	ReasonBadField            Reason = "bad_field"
	ReasonOverlap             Reason = "overlap"
	ReasonOutranked           Reason = "outranked" // one of a higher priority has the asset
	ReasonTooLate             Reason = "too_late"
	ReasonConflict            Reason = "conflict" // same id and revision, other content
	ReasonOldRevision         Reason = "old_revision"
	ReasonSignatureMissing    Reason = "signature_missing"
	ReasonSignatureInvalid    Reason = "signature_invalid"
	ReasonDeviceUnavailable   Reason = "device_unavailable"
	ReasonEnergyInsufficient  Reason = "energy_insufficient"
	ReasonLocalHold           Reason = "local_hold"
	ReasonShareUnresolved     Reason = "share_unresolved"
	ReasonNoEnd               Reason = "no_end"
	ReasonClockUntrusted      Reason = "clock_untrusted"
	ReasonLimitSetByOthers    Reason = "limit_set_by_others"
	ReasonUnsupported         Reason = "unsupported"
	ReasonUncontrollable      Reason = "uncontrollable"
	ReasonStopped             Reason = "stopped"       // by the operator
	ReasonStoppedLocal        Reason = "stopped_local" // by a person at the site
	ReasonSuperseded          Reason = "superseded"
	ReasonStatus              Reason = "withdrawn"         // the market's own status word says so
	ReasonNotForExecution     Reason = "not_for_execution" // a draft, a test, an offer: no order
	ReasonRejected            Reason = "rejected"          // by a person at the site
	ReasonNoAnswer            Reason = "no_answer"         // the market's deadline for an answer passed
	ReasonUnavailable         Reason = "declared_unavailable"
	ReasonMinRun              Reason = "below_min_run" // the window is shorter than the asset runs
	ReasonRecovery            Reason = "recovering"    // the asset has not rested since its last dispatch
	ReasonNoBaseline          Reason = "baseline_unavailable"
	// Reasons why less than the share is given now.
	ReasonRating     Reason = "rating"
	ReasonSiteLimit  Reason = "site_limit"
	ReasonOwnerLimit Reason = "owner_limit"

	// ReasonWriteBudget: memory of the device would be written too often in a day.
	ReasonWriteBudget Reason = "write_budget"
	// ReasonDuplicateDevice: two entries of the configuration are one device.
	ReasonDuplicateDevice Reason = "duplicate_device"
	// ReasonContraryPower: the device did the contrary of what it was told.
	ReasonContraryPower Reason = "contrary_power"

	// Reasons for a refused notification.
	ReasonMalformed  Reason = "malformed"
	ReasonTooLarge   Reason = "too_large"
	ReasonTooMany    Reason = "too_many"
	ReasonForeignURL Reason = "foreign_url"
	ReasonMovedURL   Reason = "moved_url" // at an origin that may be the market's new one
	ReasonEvent      Reason = "unknown_event"
	ReasonNoKey      Reason = "key_unavailable" // cannot judge now: ask again later
	ReasonStaleTime  Reason = "bad_time"        // iat in the future or expired
)
