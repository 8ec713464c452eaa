#!/usr/bin/env bash
# Install flexd on a bare Debian, or take it off again. Running it twice
# changes nothing the second time.
#
#   scripts/install.sh [BINARY]        install (default bin/flexd) and enable
#   scripts/install.sh --uninstall     stop and remove; keeps configuration and state
#   scripts/install.sh --purge         remove configuration and state as well
#
# DESTDIR=folder lays the files down there and touches no running system.
set -euo pipefail
cd "$(dirname "$0")/.."
dest=${DESTDIR:-}
bin=$dest/usr/lib/flexd/flexd
live() { [ -z "$dest" ] && [ -d /run/systemd/system ]; }
die() { echo "install: $*" >&2; exit 1; }

[ -n "$dest" ] || [ "$(id -u)" = 0 ] || die "needs root"

uninstall() {
  if live; then systemctl disable --now flexd.service flexd-relay.service 2>/dev/null || true; fi
  rm -f "$bin" "$dest/usr/bin/flexd" "$dest/etc/systemd/system/flexd.service" \
    "$dest/etc/systemd/system/flexd-relay.service" \
    "$dest/usr/lib/sysusers.d/flexd.conf" "$dest/usr/lib/tmpfiles.d/flexd.conf"
  rmdir "$dest/usr/lib/flexd" 2>/dev/null || true
  if live; then systemctl daemon-reload; fi
  if [ "$1" = --purge ]; then rm -rf "$dest/etc/flexd" "$dest/var/lib/flexd"; fi
  echo "flexd is removed"
}

case ${1:-} in
--uninstall | --purge) uninstall "$1"; exit 0 ;;
-*) die "unknown option $1; see the head of this script" ;;
esac

source=${1:-bin/flexd}
[ -x "$source" ] || die "$source is not a program: run \`make build\` first"
"$source" version >/dev/null || die "$source does not run on this machine: take the build for $(uname -m)"

install -D -m 0755 "$source" "$bin.new"
mv -f "$bin.new" "$bin" # a running agent keeps its old file
install -d -m 0755 "$dest/usr/bin"
ln -sfn ../lib/flexd/flexd "$dest/usr/bin/flexd"
install -D -m 0644 systemd/units/flexd.service "$dest/etc/systemd/system/flexd.service"
# Not enabled: a relay is a machine of its own. It needs /etc/flexd/relay.yaml.
install -D -m 0644 systemd/units/flexd-relay.service "$dest/etc/systemd/system/flexd-relay.service"
install -d -m 0700 "$dest/etc/flexd/relay-keys"
install -D -m 0644 systemd/units/flexd.sysusers "$dest/usr/lib/sysusers.d/flexd.conf"
install -D -m 0644 systemd/units/flexd.tmpfiles "$dest/usr/lib/tmpfiles.d/flexd.conf"
if [ -z "$dest" ]; then
  systemd-sysusers flexd.conf
  systemd-tmpfiles --create flexd.conf
else
  install -d -m 0755 "$dest/etc/flexd" "$dest/var/lib/flexd"
  install -d -m 0700 "$dest/etc/flexd/keys"
fi
if [ ! -e "$dest/etc/flexd/flexd.yaml" ]; then
  "$source" config reference >"$dest/etc/flexd/flexd.yaml.example"
  echo "write /etc/flexd/flexd.yaml (an example lies beside it), then: flexd check && systemctl start flexd"
fi
if live; then
  systemctl daemon-reload
  systemctl enable flexd.service
  for unit in flexd flexd-relay; do
    if systemctl is-active --quiet "$unit.service"; then systemctl restart "$unit.service"; fi
  done
fi
echo "flexd is installed: $("$source" version)"
