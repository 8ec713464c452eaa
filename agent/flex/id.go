package flex

// Identifiers are named strings, so that the compiler notices when two kinds
// are mixed up. The market's ids are short and opaque; ours are chosen in the
// site's configuration.
type (
	// SiteID names this gateway's site: [a-z0-9-]{1,36}.
	SiteID string
	// DeviceID names one inverter, battery or meter of the site.
	DeviceID string
	// AssetID is the market's id of a sold resource.
	AssetID string
	// ObligationID is the market's id of a contract won.
	ObligationID string
	// CompetitionID is the market's id of the tender behind an obligation.
	CompetitionID string
	// InstructionID is the operator's id of one request.
	InstructionID string
	// NotificationID is ours: the hex SHA-256 of the notification's signed
	// payload, or "poll" for what was found by listing.
	NotificationID string
)
