// Package control makes devices follow the plan, proves it, and hands them
// back. It is the only caller of Apply.
//
// In: the dispatches and holds on the board, the planner's answer, readings.
// Out: writes to devices, a journal of what is owed to them, and facts: first
// write, echo, acting, delivered, released.
//
// A setpoint is a lease:
//   - what was found on a device is on disk before the first write;
//   - the device's own timer is armed with every write and refreshed within a
//     third of its time;
//   - when nobody asks any more the device is released, and its journal entry
//     is closed only when reading back has proven the release, for ever if
//     need be;
//   - what others have set is not ours: it is neither written above nor undone;
//   - another controller's setpoint is answered by the device's policy, and
//     never without bound;
//   - writes that wear out memory are counted by day, and beyond their budget
//     only what hands the device back is written.
//
// A device is never under our control without an open entry. After a broken
// connection the entry stays, marked as released, so that a write that arrives
// late is known for ours.
//
// The planner never waits for a device or a disk. Each endpoint and unit has
// one reconciler and one reader; a stop cuts into whatever they are waiting
// for. The journal is written by a goroutine of its own, all devices' entries in
// one commit, so that a disk that hangs changes no watts and delays no release:
// only the first write on a device waits for one, and not where what is found
// on it was journaled before.
//
// It must never decide who gets how much, nor repeat a write because the watts
// do not come.
package control
