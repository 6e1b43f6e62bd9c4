#!/usr/bin/env bash
# Installs what the tests need and this machine lacks. With apt and root (or
# passwordless sudo) it installs; elsewhere it says what to install and fails.
set -euo pipefail

want=()
command -v gcc >/dev/null || want+=(gcc libc6-dev)
command -v npm >/dev/null || want+=(npm)
command -v redis-server >/dev/null || want+=(redis-server)
if ! command -v chromium >/dev/null && ! command -v chromium-browser >/dev/null && ! command -v google-chrome >/dev/null; then
	want+=(chromium)
fi
# Tests start servers of their own. Those that Debian's packages start on
# installation are not used and may be stopped.
if ! command -v initdb >/dev/null && ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; then
	want+=(postgresql)
fi
if ! PATH=$PATH:/usr/sbin command -v mariadbd >/dev/null; then
	want+=(mariadb-server)
fi
[ ${#want[@]} -eq 0 ] && exit 0

sudo=
if [ "$(id -u)" -ne 0 ]; then
	sudo="sudo -n"
	$sudo true 2>/dev/null || sudo=no
fi
if ! command -v apt-get >/dev/null || [ "$sudo" = no ]; then
	echo "The tests need programs this machine lacks. Please install: ${want[*]}" >&2
	exit 1
fi

export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "Installing: ${want[*]}"
if ! { $sudo apt-get update && $sudo apt-get install -y --no-install-recommends "${want[@]}"; } >"$log" 2>&1; then
	tail -n 30 "$log" >&2
	exit 1
fi
