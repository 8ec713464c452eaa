#!/usr/bin/env bash
# Install the foreign parts that the whole-path tests speak to: a Modbus stack,
# a broker, a browser and a shell linter, none of them ours. Without root or a
# package manager the tests that need them are skipped, loudly; with CI set
# they must be there.
set -euo pipefail
declare -A need=([mosquitto]=mosquitto [chromium]=chromium [shellcheck]=shellcheck)
missing=()
for program in "${!need[@]}"; do
  PATH="$PATH:/usr/sbin" command -v "$program" >/dev/null || missing+=("${need[$program]}")
done
# The server half of Debian's pymodbus imports what the package only recommends.
/usr/bin/python3 -c 'import pymodbus.server' 2>/dev/null || missing+=(python3-pymodbus python3-serial python3-serial-asyncio)
command -v gcc >/dev/null || missing+=(gcc libc6-dev) # for the race detector
PATH="$PATH:/usr/sbin" command -v systemd-analyze >/dev/null || missing+=(systemd)
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "installing for the tests: ${missing[*]}"
  log=$(mktemp)
  if apt-get update >"$log" 2>&1 &&
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" >>"$log" 2>&1; then
    rm -f "$log"
    exit 0
  fi
  tail -5 "$log"
fi
echo "NOT INSTALLED: ${missing[*]}: the tests that need them will be skipped" >&2
[ -z "${CI:-}" ]
