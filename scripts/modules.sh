#!/usr/bin/env bash
# Checks every module of the workspace with the workspace off: a committed
# go.work hides a requirement that a module has forgotten.
set -euo pipefail
cd "$(dirname "$0")/.."

go list -m -f '{{.Dir}}' | while read -r dir; do
	echo "module ${dir#"$PWD"}"
	(
		cd "$dir"
		export GOWORK=off
		go mod tidy -diff
		go vet ./...
		GATEWIRE_REQUIRE_TOOLS=1 go test -timeout 15m ./...
	)
done
