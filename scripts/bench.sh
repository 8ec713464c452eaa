#!/usr/bin/env bash
# Print the figures that matter. Ratios are taken side by side in one run;
# absolute figures are this machine's.
set -euo pipefail
cd "$(dirname "$0")/.."
bench() { # package, pattern, extra arguments
  go test -run '^$' -bench "$2" -benchtime "${3:-1s}" -count "${4:-1}" "$1" | grep -E '^Benchmark' || true
}
echo "== the door: verify and keep a notification"
bench ./agent/ingress '^BenchmarkWebhookAccept$'
bench ./agent/piclo '^BenchmarkVerify$'
bench ./store '^BenchmarkCommit$'
echo "== transport against three libraries and the bare socket, in turns of one run (a module of its own: it may be fetched first)"
(cd drivers/modbus/testdata/bench && go test -count 1 -run '^TestRead$' -v . | grep 'a read' | sed 's/^ *[^ ]* //' || echo "not measured: the libraries cannot be had")
echo "== a plan for 1, 16, 64 and 256 devices"
bench ./agent/allocate '^BenchmarkDecide'
echo "== one tick of control at 1, 16, 64 and 256 devices"
bench ./agent/control '^BenchmarkTick'
echo "== what the door waits for the disk at 500 notifications a second"
bench ./store '^BenchmarkNoticesAt500$' 2000x
echo "== webhook to first write beside its floor (verify, fetch, one synced commit, read, write), and how far a start is from its second"
bench ./agent '^BenchmarkWebhookToFirstWrite$' 30x
bench ./agent '^BenchmarkStart$' 30x
echo "== memory and processor time of the real program, idle and with 64 devices"
bench ./agent '^BenchmarkResident$' 1x
echo "== binary sizes"
make --no-print-directory cross | grep ' bytes$'
