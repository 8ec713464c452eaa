// Package commission proves a device by trying it, with a person watching:
// small nudges of its setpoint, judged by the meter, and a signed record of
// what was measured. It also keeps what a technician wrote by hand, so that
// it can be taken back.
//
// In: a person's consent, readings of device and meter, and a way to ask
// control for a setpoint. Out: steps, judgements, a Record with an ed25519
// signature of the site, and what of it control should use. It never talks to
// a device itself, never overrides a dispatch or a hold, and whatever happens
// it ends in a release that is proven or told to be missing.
package commission
