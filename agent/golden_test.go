package agent

import (
	"testing"

	"flexd/agent/flex"
	"flexd/agent/shown/golden"
	"flexd/agent/telemetry"
)

// What is sent to the fleet is read by other programs: every body is pinned,
// each of its fields filled. The envelope is pinned where it is made.
func TestGoldenBodiesOfTheMessages(t *testing.T) {
	golden.Check[flex.Ack](t, "up_ack")
	golden.Check[flex.Event](t, "up_event")
	golden.Check[upBirth](t, "up_birth")
	golden.Check[upState](t, "up_state")
	b := telemetry.Batch{}
	golden.Fill(&b)
	b.Tracks = []*telemetry.Track{{Device: "bat1", Offset: []float64{0, 1}, Power: []*flex.Watts{new(flex.Watts), nil}, SoC: []*flex.Percent{new(flex.Percent), nil}}}
	golden.CheckValue(t, "up_tele", b)
}
