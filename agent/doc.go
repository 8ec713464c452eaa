// Package agent builds the parts of flexd from a configuration, starts them
// in order, and stops them in the reverse one.
//
// In: a configuration file. Out: a running agent, the same for the command,
// the demonstration and the whole-path tests. It is the only place where the
// rooms meet: they know one another by small interfaces, and here those are
// satisfied. It decides nothing about dispatches or devices.
package agent
