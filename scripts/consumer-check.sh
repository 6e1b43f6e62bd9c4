#!/usr/bin/env bash
# Builds the published modules as an outsider would get them: from a tagged
# clone of HEAD, without our workspace and replaces, with a module cache of its
# own.
set -euo pipefail
cd "$(dirname "$0")/.."
module=$(go list -m -f '{{.Path}}' 2>/dev/null | head -n 1)
version=v0.0.1-check

# The adapters, modules of their own, and what each is for: a consumer of one
# has that driver and none of the others.
adapters="session/redisstore=redis realtime/redisbroker=redis"
drivers='redis|nats|sqlite|pgx|chromedp'

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
git clone -q --bare . "$tmp/repo.git"
git -C "$tmp/repo.git" tag -f "$version" HEAD >/dev/null
# A module in a folder is tagged with the folder in front.
for adapter in $adapters; do
	git -C "$tmp/repo.git" tag -f "${adapter%=*}/$version" HEAD >/dev/null
done

export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0="url.file://$tmp/repo.git.insteadOf" GIT_CONFIG_VALUE_0="https://$module"
export GOPRIVATE=$module GOWORK=off GOMODCACHE="$tmp/mod" GOFLAGS=-modcacherw

# consumer PACKAGE DRIVER MODULE...: a module that imports the package builds
# with these modules at their tags, and needs no driver but this one.
consumer() {
	local pkg=$1 driver=$2 found
	shift 2
	mkdir -p "$tmp/use/$pkg"
	cd "$tmp/use/$pkg"
	printf 'module consumer\n\ngo 1.26.0\n' >go.mod
	printf 'package consumer\n\nimport _ "%s/%s"\n' "$module" "$pkg" >use.go
	go get "${@/%/@$version}" >/dev/null 2>"$tmp/log" || { cat "$tmp/log" >&2; exit 1; }
	go mod tidy >/dev/null 2>"$tmp/log" || { cat "$tmp/log" >&2; exit 1; }
	go vet ./...
	# Our own modules are named after what they adapt to; they don't count.
	if found=$(grep -v "$module" go.mod | grep -oE "$drivers" | grep -vx "$driver" | sort -u); then
		echo "consumer of $pkg: a driver or a test tool is in its go.mod:" $found >&2
		exit 1
	fi
	if [ "$driver" != none ] && ! grep -v "$module" go.mod | grep -q "$driver"; then
		echo "consumer of $pkg: $driver is not in its go.mod" >&2
		exit 1
	fi
	echo "consumer of $pkg: builds with $(grep -c ' v' go.mod) requirements"
}

# One consumer a package of the core.
for pkg in password session session/sqlstore jwt oidc realtime realtime/realtimetest auth auth/accounts auth/accounts/sqlstore; do
	consumer "$pkg" none "$module/$pkg"
done

# One an adapter. An adapter in this repository requires the root at v0.0.0-0…,
# which exists nowhere: a replace that outsiders do not see stands in for it, so
# that both can change in one commit. A release gives that line the root's real
# version; what is checked here is everything but that line, with the consumer
# naming the root's version instead. The zero version is the lowest there is, so
# the consumer's wins.
for adapter in $adapters; do
	pkg=${adapter%=*}
	consumer "$pkg" "${adapter#*=}" "$module/$pkg" "$module"
done
