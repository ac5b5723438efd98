#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The unit in a real `systemd --user`, as an ordinary user: activation by the first call, both layers of
# hardening looked at from outside, restart after kill -9. The manager gets namespaces and a /run of its
# own, so it works without systemd as PID 1 and touches nothing outside. Needs root; skips (77) without.
# Usage: test-user-manager.sh BUILD_DIR SOURCE_DIR
set -eu
build=$1 source=$2
uid=65534
model=${INKLING_TEST_MODEL:-${XDG_DATA_HOME:-$HOME/.local/share}/inkling/models/smollm2-135m-instruct-q4_1.gguf}
[ "$(id -u)" = 0 ] || { echo "needs root"; exit 77; }
[ -e "$model" ] || { echo "the default model is missing: $model"; [ -n "${CI:-}" ] && exit 1 || exit 77; }
[ -x /lib/systemd/systemd ] || { echo "systemd is missing"; exit 77; }
[ -d /sys/fs/cgroup ] || { echo "no /sys/fs/cgroup here"; exit 77; }

if [ "${3:-}" != inside ]; then
    cgroups=$(mktemp -d)
    mount -t cgroup2 none "$cgroups" 2>/dev/null || { rmdir "$cgroups"; echo "no cgroup v2 here"; exit 77; }
    own=$cgroups/inkling-test-$$
    trap 'rmdir "$own" 2>/dev/null || true; umount -l "$cgroups"; rmdir "$cgroups"' EXIT
    mkdir "$own"
    r=0
    (echo $BASHPID >"$own/cgroup.procs" && exec timeout 50 unshare -C -m -p -f --mount-proc \
        bash "$0" "$build" "$source" inside) || r=$?
    # What the manager made below goes with it; folders stay until their processes are reaped.
    for _ in $(seq 20); do
        find "$own" -mindepth 1 -depth -type d -exec rmdir {} + 2>/dev/null || true
        rmdir "$own" 2>/dev/null && break
        sleep 0.1
    done
    exit $r
fi

fail() { echo "FAIL: $*" >&2; exit 1; }
mount --make-rprivate /
umount -l /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 none /sys/fs/cgroup
chown $uid /sys/fs/cgroup /sys/fs/cgroup/cgroup.{procs,subtree_control,threads}
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/systemd/{system,unit-root,inaccessible,propagate} /run/user/$uid /run/programs /run/home
chmod 700 /run/systemd/unit-root /run/user/$uid
cp "$build/daemon/inklingd" "$build/engine/worker/inkling-worker" "$build/clients/inkling" \
    "$build/ipc/libinkling.so.0" /run/programs/
home=/run/home
mkdir -p $home/.local/share/{inkling/models,dbus-1/services} $home/.config/systemd/user
cp "$model" $home/.local/share/inkling/models/
sed "s|@inklingd@|/run/programs/inklingd --worker=/run/programs/inkling-worker|" \
    "$source/systemd/inkling.service.in" >$home/.config/systemd/user/inkling.service
sed "s|@inklingd@|/bin/false|" "$source/systemd/org.inkling.Inkling1.service.in" \
    >$home/.local/share/dbus-1/services/org.inkling.Inkling1.service
chown -R $uid $home /run/user/$uid
export HOME=$home XDG_RUNTIME_DIR=/run/user/$uid XDG_DATA_HOME=$home/.local/share
export XDG_CONFIG_HOME=$home/.config XDG_CACHE_HOME=$home/.cache
export DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/$uid/bus
as_user() { setpriv --reuid=$uid --clear-groups "$@"; }
as_user /lib/systemd/systemd --user >/run/manager.log 2>&1 &
for _ in $(seq 100); do
    [ "$(as_user systemctl --user is-system-running 2>/dev/null)" = running ] && break
    sleep 0.1
done
[ "$(as_user systemctl --user is-system-running)" = running ] ||
    { cat /run/manager.log; echo "the user manager does not start here"; exit 77; }

complete() {
    as_user busctl --user call org.inkling.Inkling1 /org/inkling/Inkling1 org.inkling.Inkling1.Text \
        Complete 'sa{sv}' "1, 2, 3, 4, 5, 6, 7," 2 max-tokens u 4 temperature d 0
}
bus_pid() {
    as_user busctl --user call org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus \
        GetConnectionUnixProcessID s org.inkling.Inkling1 2>/dev/null | cut -d' ' -f2
}
main_pid() { as_user systemctl --user show -p MainPID --value inkling.service; }
locked_in() { # PID
    grep -q '^NoNewPrivs:[[:space:]]*1' "/proc/$1/status" || fail "new privileges are possible"
    grep -q '^Seccomp:[[:space:]]*2' "/proc/$1/status" || fail "no filter"
}

# Every process tries to reach a network from inside the unit.
proves_offline() {
    as_user env LD_LIBRARY_PATH=/run/programs /run/programs/inkling doctor --offline >/run/proof ||
        fail "offline: $(cat /run/proof)"
    [ "$(grep -c '9 of 9 doors to a network are shut' /run/proof)" = 2 ] || fail "offline: $(cat /run/proof)"
}

# A model comes and goes: nameless files, their names, the room of the disk, the helper.
imports() {
    as_user env LD_LIBRARY_PATH=/run/programs /run/programs/inkling model import toy /run/toy.gguf --sha256 "$toy_sum" \
        >/run/imported 2>&1 || fail "import: $(cat /run/imported)"
    [ "$(stat -c '%u %a' $home/.local/share/inkling/models/toy.gguf)" = "$uid 600" ] || fail "the imported file"
    as_user env LD_LIBRARY_PATH=/run/programs /run/programs/inkling model verify toy | grep -q '^ok ' || fail "verify"
    as_user env LD_LIBRARY_PATH=/run/programs /run/programs/inkling model remove toy -y >/dev/null || fail "remove"
    [ "$(ls -A $home/.local/share/inkling/models | wc -l)" = 1 ] || fail "something is left in the models folder"
}
cp "$source/tests/data/toy-llama-q.gguf" /run/toy.gguf
chmod 644 /run/toy.gguf
toy_sum=$(sha256sum </run/toy.gguf | cut -d' ' -f1)

complete | grep -q '"output-tokens" u 4' || fail "the first call through systemd"
[ "$(as_user systemctl --user is-active inkling.service)" = active ] || fail "the unit is not active"
first=$(main_pid)
locked_in "$first"
proves_offline
imports
echo "first layer: activated by the first call; proves that it is offline; imports a model"

mkdir -p $home/.config/inkling
echo "[memory]
idle-minutes=none" >$home/.config/inkling/inkling.conf
as_user systemctl --user reload inkling.service || fail "reload"
echo "[memory]
resident=on-demand" >$home/.config/inkling/inkling.conf
as_user systemctl --user reload inkling.service || fail "reload"
complete | grep -q '"output-tokens" u 4' || fail "a call after reload"
[ "$(main_pid)" = "$first" ] || fail "reload is no restart"
as_user busctl --user call org.inkling.Inkling1 /org/inkling/Inkling1 org.inkling.Inkling1.Manager \
    Unload 'a{sv}' 0
for _ in $(seq 100); do
    [ "$(as_user systemctl --user is-active inkling.service)" = inactive ] && break
    sleep 0.1
done
[ "$(as_user systemctl --user is-active inkling.service)" = inactive ] || fail "on-demand does not leave"
[ "$(as_user systemctl --user show -p Result --value inkling.service)" = success ] || fail "leaving is no success"
rm $home/.config/inkling/inkling.conf
complete | grep -q '"output-tokens" u 4' || fail "the call after leaving"
first=$(main_pid)
echo "reloaded, left when nothing was left to do, and came back"

kill -9 "$first"
# A call that reaches the bus before the bus has seen the death is lost with the dead: wait for it.
for _ in $(seq 100); do
    [ "$(bus_pid)" != "$first" ] && break
    sleep 0.02
done
complete | grep -q '"output-tokens" u 4' || fail "the call after kill -9"
[ "$(main_pid)" != "$first" ] || fail "the same process after kill -9"
[ "$(as_user systemctl --user show -p NRestarts --value inkling.service)" = 1 ] || fail "NRestarts is not 1"
echo "restarted after kill -9"

mkdir -p $home/.config/systemd/user/inkling.service.d
cp "$source/systemd/inkling.service.d/50-namespaces.conf" $home/.config/systemd/user/inkling.service.d/
as_user systemctl --user daemon-reload
if as_user unshare -rn true 2>/dev/null; then
    as_user systemctl --user restart inkling.service || fail "the unit with namespaces"
    complete | grep -q '"output-tokens" u 4' || fail "a call with namespaces"
    second=$(main_pid)
    locked_in "$second"
    [ "$(readlink "/proc/$second/ns/net")" != "$(readlink /proc/self/ns/net)" ] || fail "no own network"
    [ "$(grep -c : "/proc/$second/net/dev")" = 1 ] || fail "more than the loopback device"
    proves_offline
    imports
    grep -q '^CapBnd:[[:space:]]*0*$' "/proc/$second/status" || fail "capabilities are left"
    echo "second layer: own network with lo only, no capabilities"
fi
as_user systemctl --user stop inkling.service
[ "$(as_user systemctl --user show -p Result --value inkling.service)" = success ] || fail "the end is no success"
