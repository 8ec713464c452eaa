#!/usr/bin/env bash
# Check the unit and its hardening with systemd's own tools, where they are.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! command -v systemd-analyze >/dev/null; then
  echo "systemd-analyze is not installed: the unit was NOT checked" >&2
  [ -z "${CI:-}" ]
  exit
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The program need not be installed here; everything else must be right.
sed 's,^ExecStart=/usr/lib/flexd/flexd,ExecStart=/bin/true,' systemd/units/flexd.service >"$work/flexd.service"
systemd-analyze verify --man=no "$work/flexd.service"
systemd-analyze security --offline=true --threshold=15 --no-pager "$work/flexd.service" | tail -1
