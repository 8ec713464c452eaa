#!/usr/bin/env bash
# Install the foreign parts that the whole-path tests speak to: two Modbus
# stacks, two brokers, a browser, a reader of wire captures, a tracer that
# slows a disk, a shell linter and the
# tool that makes and breaks network links,
# none of them ours. Without root or a package manager the tests that need them
# are skipped, loudly; with CI set they must be there.
set -euo pipefail
declare -A need=([mosquitto]=mosquitto [chromium]=chromium [shellcheck]=shellcheck [node]=nodejs [npm]=npm [tshark]=tshark [ip]=iproute2 [strace]=strace [nats-server]=nats-server)
missing=()
for program in "${!need[@]}"; do
  PATH="$PATH:/usr/sbin" command -v "$program" >/dev/null || missing+=("${need[$program]}")
done
# The server half of Debian's pymodbus imports what the package only recommends.
/usr/bin/python3 -c 'import pymodbus.server' 2>/dev/null || missing+=(python3-pymodbus python3-serial python3-serial-asyncio)
command -v gcc >/dev/null || missing+=(gcc libc6-dev) # for the race detector
PATH="$PATH:/usr/sbin" command -v systemd-analyze >/dev/null || missing+=(systemd)
absent=() # what could not be installed

system() {
  [ ${#missing[@]} -eq 0 ] && return 0
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing for the tests: ${missing[*]}"
    local log
    log=$(mktemp)
    if apt-get update >"$log" 2>&1 &&
      DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" >>"$log" 2>&1; then
      rm -f "$log"
      return 0
    fi
    tail -5 "$log"
  fi
  absent+=("${missing[@]}")
}

# The second Modbus stack comes from npm, into a directory of the user's, where
# the tests look for it. It runs no install scripts and takes no serial port.
node_modules() {
  local dir=${XDG_CACHE_HOME:-$HOME/.cache}/flexd-test
  command -v node >/dev/null && NODE_PATH="$dir/node_modules${NODE_PATH:+:$NODE_PATH}" node -e 'require("modbus-serial")' 2>/dev/null && return 0
  if command -v node >/dev/null && command -v npm >/dev/null; then
    echo "installing for the tests: npm modbus-serial"
    mkdir -p "$dir"
    npm install --prefix "$dir" --no-save --ignore-scripts --omit=optional --no-audit --no-fund --loglevel=error modbus-serial@8.0.25 && return 0
  fi
  absent+=("npm modbus-serial")
}

system
node_modules
[ ${#absent[@]} -eq 0 ] && exit 0
echo "NOT INSTALLED: ${absent[*]}: the tests that need them will be skipped" >&2
[ -z "${CI:-}" ]
