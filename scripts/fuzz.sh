#!/usr/bin/env bash
# Runs each fuzz target of every module for a while: fuzz.sh [10s].
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-10s}

# -fuzz takes one target of one package at a time.
grep -rlE --include='*_test.go' '^func Fuzz' . | xargs -rn1 dirname | sort -u | while read -r dir; do
	grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$dir"/*_test.go | sed 's/^func //' | sort -u | while read -r target; do
		echo "fuzz $dir $target"
		(cd "$dir" && go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" .)
	done
done
