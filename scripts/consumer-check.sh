#!/usr/bin/env bash
# Builds the published module as an outsider would get it: from a tagged clone
# of HEAD, without our workspace and replaces, with a module cache of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
module=$(go list -m -f '{{.Path}}' 2>/dev/null | head -n 1)
version=v0.0.1-check

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
git clone -q --bare . "$tmp/repo.git"
git -C "$tmp/repo.git" tag -f "$version" HEAD >/dev/null

export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0="url.file://$tmp/repo.git.insteadOf" GIT_CONFIG_VALUE_0="https://$module"
export GOPRIVATE=$module GOWORK=off GOMODCACHE="$tmp/mod" GOFLAGS=-modcacherw

# One consumer a package: each must build, and with the core's own
# requirements alone.
for pkg in password session session/sqlstore jwt oidc realtime auth auth/accounts auth/accounts/sqlstore; do
	mkdir -p "$tmp/use/$pkg"
	cd "$tmp/use/$pkg"
	printf 'module consumer\n\ngo 1.26.0\n' >go.mod
	printf 'package consumer\n\nimport _ "%s/%s"\n' "$module" "$pkg" >use.go
	go get "$module/$pkg@$version" >/dev/null 2>"$tmp/log" || { cat "$tmp/log" >&2; exit 1; }
	go mod tidy >/dev/null 2>"$tmp/log" || { cat "$tmp/log" >&2; exit 1; }
	go vet ./...
	if grep -E 'redis|nats|sqlite|pgx|chromedp' go.mod; then
		echo "consumer of $pkg: a driver or a test tool is in its go.mod" >&2
		exit 1
	fi
	echo "consumer of $pkg: builds with $(grep -c ' v' go.mod) requirements"
done
