#!/usr/bin/env bash
# Run every fuzz target for a time, one after the other.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-20s}
grep -rlE '^func Fuzz' --include='*_test.go' . | while read -r file; do
  grep -oE '^func (Fuzz[A-Za-z0-9]+)' "$file" | awk '{print $2}' | while read -r target; do
    echo "== $(dirname "$file") $target"
    go test -run '^$' -fuzz "^${target}\$" -fuzztime "$time" "$(dirname "$file")"
  done
done
