package flex

import "time"

// Sighting is the first time that something came through a door.
type Sighting struct {
	Door Door      `json:"door"`
	At   time.Time `json:"at"`
}

// Sight is a sighting of one content of one instruction. The store keeps the
// first one of each door.
type Sight struct {
	Instruction InstructionID `json:"instruction"`
	Revision    int64         `json:"revision"`
	Sighting
}

// Reply is what the market sent when it was asked for instructions, as it
// came. After the time of retention only Hash and Bytes remain.
type Reply struct {
	Hash         string         `json:"hash"` // hex SHA-256 of the bytes as they came
	Notification NotificationID `json:"notification"`
	At           time.Time      `json:"at"`
	Bytes        int            `json:"bytes"`
	Raw          []byte         `json:"raw,omitempty"` // deflated (RFC 1951); absent when too large to keep
}
