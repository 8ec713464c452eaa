#!/usr/bin/env bash
# Run the tests of every room with these flags of `go test`, and tell how they
# get on (scripts/rooms).
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${GO:-go}" run ./scripts/rooms "$@"
