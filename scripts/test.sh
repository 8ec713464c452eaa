#!/usr/bin/env bash
# Run the tests given as arguments of `go test`, and say every 20 seconds that
# they run and which rooms are done, so that nobody takes a long one for a
# hanging one.
set -euo pipefail
out=$(mktemp)
trap 'rm -f "$out"; kill "$beat" 2>/dev/null || true' EXIT
begin=$SECONDS
(
  while sleep 20; do
    echo "... $((SECONDS - begin)) s, $(grep -cE '^(ok|FAIL|---)' "$out" || true) rooms done"
  done
) &
beat=$!
"${GO:-go}" test "$@" 2>&1 | tee "$out" | grep --line-buffered -v 'no test files'
