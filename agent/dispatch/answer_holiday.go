package dispatch

import "flexd/agent/flex"

// holiday tells whether the local day (YYYY-MM-DD) is a bank holiday where
// the obligation is.
func holiday(ob flex.Obligation, day string) bool { return BankHoliday(ob.Region, day) }
