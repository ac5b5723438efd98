#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The unit files as a systemd of this machine reads them, and the activation file.
# Usage: test-units.sh BUILD_DIR SOURCE_DIR
set -eu
build=$1 source=$2
command -v systemd-analyze >/dev/null || { echo "systemd-analyze is missing"; exit 77; }
temp=$(mktemp -d)
trap 'rm -rf "$temp"' EXIT
export XDG_RUNTIME_DIR=$temp/run HOME=$temp/home
export XDG_CONFIG_HOME=$temp/home/.config XDG_DATA_HOME=$temp/home/.local/share
mkdir -p -m 0700 "$temp/run" "$temp/home" "$temp/plain" "$temp/full/inkling.service.d"
fail() { echo "FAIL: $*" >&2; exit 1; }

# verify wants a program that exists.
program=$build/daemon/inklingd
[ -x "$program" ] || program=/bin/true
sed "s|@inklingd@|$program|" "$source/systemd/inkling.service.in" >"$temp/plain/inkling.service"
cp "$temp/plain/inkling.service" "$temp/full/"
cp "$source/systemd/inkling.service.d/50-namespaces.conf" "$temp/full/inkling.service.d/"

for layer in plain full; do
    out=$(systemd-analyze verify --user --man=no "$temp/$layer/inkling.service" 2>&1) ||
        fail "verify of the $layer unit: $out"
    ! grep -q inkling <<<"$out" || fail "verify of the $layer unit complains: $out"
done

# exposure LAYER THRESHOLD: at most this many tenths.
exposure() {
    systemd-analyze security --user --offline=true --threshold="$2" --no-pager \
        "$temp/$1/inkling.service" >"$temp/out" 2>&1 ||
        fail "exposure of the $1 unit: $(tail -n 1 "$temp/out")"
    echo "$1 unit: $(sed -n 's/.*\(exposure level.*: [0-9.]*\).*/\1/p' "$temp/out")"
}
exposure plain 60
exposure full 15
# The measure can fail.
printf '[Service]\nExecStart=%s\n' "$program" >"$temp/bare.service"
! systemd-analyze security --user --offline=true --threshold=60 --no-pager "$temp/bare.service" \
    >/dev/null 2>&1 || fail "a bare unit passes as well"

# Both ways of activation, of the same program as the unit, under the name that the code uses.
made=$build/systemd/org.inkling.Inkling1.service
grep -qx 'SystemdService=inkling.service' "$made" || fail "no SystemdService="
exec_line=$(sed -n 's/^Exec=//p' "$made")
[ "$exec_line" = "$(sed -n 's/^ExecStart=//p' "$build/systemd/inkling.service")" ] ||
    fail "Exec= and ExecStart= differ"
name=$(sed -n 's/^#define INK_BUS_NAME *"\(.*\)"$/\1/p' "$source/ipc/names.h")
[ -n "$name" ] && grep -qx "Name=$name" "$made" || fail "the name is not $name"
echo "unit files: ok"
