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
echo "== transport against the bare library, alternating; compare the medians"
for _ in 1 2 3 4 5; do
  bench ./drivers/modbus '^BenchmarkBareGoburrow$'
  bench ./drivers/modbus '^BenchmarkTransport$'
done | awk '{ v[$1] = v[$1] " " $3; print } END { for (n in v) { c = split(v[n], a, " "); for (i = 1; i <= c; i++) for (j = i + 1; j <= c; j++) if (a[j] + 0 < a[i] + 0) { t = a[i]; a[i] = a[j]; a[j] = t }; print "median", n, a[int((c + 1) / 2)], "ns/op" } }'
echo "== a plan for 1, 16, 64 and 256 devices"
bench ./agent/allocate '^BenchmarkDecide'
echo "== one tick of control at 1, 16, 64 and 256 devices"
bench ./agent/control '^BenchmarkTick'
echo "== webhook to first write, and how far a start is from its second"
bench ./agent '^BenchmarkWebhookToFirstWrite$' 30x
bench ./agent '^BenchmarkStart$' 30x
echo "== memory and processor time of the real program, idle and with 64 devices"
bench ./agent '^BenchmarkResident$' 1x
echo "== binary sizes"
make --no-print-directory cross | grep ' bytes$'
