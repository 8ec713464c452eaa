// Package meter turns readings into intervals and intervals into baselines.
//
// In: every reading of every device, the dispatches and declarations that
// disturb an asset, what a person nominated. Out: intervals of 1 and of 15
// minutes for each asset, kept in one transaction every five minutes, and the
// baseline that a dispatch is held against, computed once and frozen with it.
// It never talks to a device, and nobody who hands it a reading waits for a
// disk.
//
// An interval is labelled by its start, in UTC. Half-hours and the 46, 48 or 50
// of them that make a local day are put together from quarters when they are
// asked for. An asset's intervals are those of its meter; where it has none,
// the sum of its devices.
//
// Between two samples the power is taken to change evenly. A longer silence
// than ten seconds is a gap: it is not measured, and filled with the mean of
// what was. A meter's energy counters go before integrated power where one step
// of theirs is small against the interval's energy, and fill gaps of up to two
// hours, also those of a restart. A counter that goes backwards is not believed
// then, and none is as long as it did not agree with power that was measured
// throughout by a tenth: it may count the other way, or another circuit.
package meter
