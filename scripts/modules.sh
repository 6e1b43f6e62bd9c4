#!/usr/bin/env bash
# Checks every module of the workspace with the workspace off: a committed
# go.work hides a requirement that a module has forgotten. The tests of those
# that nobody can import run in the workspace alone, except for what counts
# allocations or bytes, which the race detector bends.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD

go list -m -f '{{.Dir}}' | while read -r dir; do
	echo "module ${dir#"$root"}"
	(
		cd "$dir"
		export GOWORK=off
		go mod tidy -diff
		go vet ./...
		case "${dir#"$root"}" in
		/internal/bench) go test -count=1 -run 'Allocates|Bytes' ./... ;;
		/examples | /internal/*) ;;
		*) GATEWIRE_REQUIRE_TOOLS=1 go test -timeout 15m ./... ;;
		esac
	)
done
