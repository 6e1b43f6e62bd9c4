#!/usr/bin/env bash
# Runs each fuzz target of every module for a while: fuzz.sh [10s].
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-10s}
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# fuzz DIR TARGET. Go 1.26 now and then reports its own time limit as a failure,
# "context deadline exceeded" (go.dev/issue/75804, mended in 1.27). That is no
# finding: no input is written down. Only then is the target run again.
fuzz() {
	for try in 1 2 3; do
		echo "fuzz $1 $2"
		if (cd "$1" && go test -run '^$' -fuzz "^$2\$" -fuzztime "$time" .) >"$log" 2>&1; then
			tail -n 1 "$log"
			return 0
		fi
		cat "$log"
		grep -q '^ *context deadline exceeded$' "$log" || return 1
		! grep -qE 'Failing input|panic:|--- FAIL: [^ ]+/' "$log" || return 1
	done
	return 1
}

# -fuzz takes one target of one package at a time.
grep -rlE --include='*_test.go' '^func Fuzz' . | xargs -rn1 dirname | sort -u | while read -r dir; do
	grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$dir"/*_test.go | sed 's/^func //' | sort -u | while read -r target; do
		fuzz "$dir" "$target"
	done
done
