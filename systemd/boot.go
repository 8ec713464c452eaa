package systemd

import "os"

// BootID is the id of this boot as our unit hands it over, 32 hexadecimal
// digits; "" without the unit.
func BootID() string { return os.Getenv("FLEXD_BOOT_ID") }
