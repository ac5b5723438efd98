# SPDX-License-Identifier: Apache-2.0
"""Three D-Bus implementations behind one face: systemd's busctl, GLib's GDBus, and python3-dbus-next.
Arguments are plain Python values beside a D-Bus signature; a variant is a pair (signature, value); a
descriptor is an open file's number. Replies come back as plain values without variants."""
import asyncio
import json
import subprocess
import sys
import threading
import time
import pathlib

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))
import dbus_next  # noqa: E402
import dbus_next.aio  # noqa: E402
from gi.repository import Gio, GLib  # noqa: E402
from service import NAME, PATH  # noqa: E402


class Failed(Exception):
    def __init__(self, name, message):
        self.name, self.message = name, message
        super().__init__(f"{name}: {message}")


def split(signature):
    """The complete types of a signature."""
    types, at = [], 0
    while at < len(signature):
        end, depth = at, 0
        while True:
            depth += (signature[end] in "({") - (signature[end] in ")}")
            end += 1
            if depth == 0 and signature[end - 1] != "a":
                break
        types.append(signature[at:end])
        at = end
    return types


# ------------------------------------------------------------------------------- busctl

def words(signature, value):
    if signature == "v":
        return [value[0], *words(*value)]
    if signature[0] == "a":
        items = value.items() if signature[1] == "{" else value
        inner = signature[1:]
        return [str(len(value)), *(w for i in items for w in words(inner, i))]
    if signature[0] in "({":
        return [w for s, v in zip(split(signature[1:-1]), value) for w in words(s, v)]
    return ["true" if value is True else "false" if value is False else str(value)]


def plain_json(signature, value):
    if signature == "v":
        return plain_json(value["type"], value["data"])
    if signature.startswith("a{"):
        inner = split(signature[2:-1])[1]
        return {k: plain_json(inner, v) for k, v in value.items()}
    if signature[0] == "a":
        return [plain_json(signature[1:], v) for v in value]
    if signature[0] == "(":
        return [plain_json(s, v) for s, v in zip(split(signature[1:-1]), value)]
    return value


class Busctl:
    """One process, so one connection, for each call: objects of a connection are out of its reach."""
    name = "busctl"
    keeps_connection = False

    def __init__(self, service):
        self.service = service

    def run(self, *args):
        r = subprocess.run(["busctl", "--user", "--timeout=60", "--json=short", *args], env=self.service.env,
                           capture_output=True, text=True, timeout=90)
        if r.returncode != 0:
            raise Failed("", r.stderr.strip())
        return json.loads(r.stdout) if r.stdout.strip() else {"type": "", "data": []}

    def call(self, interface, member, signature="", values=(), path=PATH):
        line = [w for s, v in zip(split(signature), values) for w in words(s, v)]
        reply = self.run("call", NAME, path, f"{NAME}.{interface}", member,
                         *([signature] if signature else []), "--", *line) if not signature else self.run(
                             "--", "call", NAME, path, f"{NAME}.{interface}", member, signature, *line)
        return [plain_json(s, v) for s, v in zip(split(reply["type"]), reply["data"])]

    def get(self, interface, name, path=PATH):
        reply = self.run("get-property", NAME, path, f"{NAME}.{interface}", name)
        return plain_json(reply["type"], reply["data"])

    def set(self, interface, name, signature, value, path=PATH):
        self.run("set-property", NAME, path, f"{NAME}.{interface}", name, signature, *words(signature, value))

    def close(self):
        pass


# -------------------------------------------------------------------------------- GDBus

class Gdbus:
    name = "GDBus"
    keeps_connection = True

    def __init__(self, service):
        flags = Gio.DBusConnectionFlags
        self.signals = []
        self.bus = Gio.DBusConnection.new_for_address_sync(
            service.address, flags.AUTHENTICATION_CLIENT | flags.MESSAGE_BUS_CONNECTION, None, None)
        self.bus.signal_subscribe(NAME, None, None, None, None, Gio.DBusSignalFlags.NONE,
                                  lambda _b, _s, path, _i, member, body: self.signals.append(
                                      (path, member, body.unpack())))

    def variant(self, signature, value, fds):
        if signature == "h":
            return GLib.Variant("h", fds.append(value))
        if signature == "v":
            return GLib.Variant("v", self.variant(*value, fds))
        if signature.startswith("a{"):
            key, inner = split(signature[2:-1])
            entries = [GLib.Variant.new_dict_entry(GLib.Variant(key, k), self.variant(inner, v, fds))
                       for k, v in value.items()]
            return GLib.Variant.new_array(GLib.VariantType(signature[1:]), entries)
        if signature[0] == "a":
            return GLib.Variant.new_array(GLib.VariantType(signature[1:]),
                                          [self.variant(signature[1:], v, fds) for v in value])
        if signature[0] == "(":
            return GLib.Variant.new_tuple(*[self.variant(s, v, fds)
                                            for s, v in zip(split(signature[1:-1]), value)])
        return GLib.Variant(signature, value)

    def raw(self, interface, member, body, path, fds=None):
        try:
            reply, out = self.bus.call_with_unix_fd_list_sync(
                NAME, path, interface, member, body, None, Gio.DBusCallFlags.NONE, 90000, fds, None)
        except GLib.Error as e:
            name = Gio.DBusError.get_remote_error(e) or ""
            Gio.DBusError.strip_remote_error(e)
            raise Failed(name, e.message) from None
        self.fds = out.steal_fds() if out else []
        return list(reply.unpack())

    def call(self, interface, member, signature="", values=(), path=PATH):
        fds = Gio.UnixFDList()
        body = GLib.Variant.new_tuple(*[self.variant(s, v, fds) for s, v in zip(split(signature), values)])
        return self.raw(f"{NAME}.{interface}", member, body, path, fds)

    def get(self, interface, name, path=PATH):
        return self.raw("org.freedesktop.DBus.Properties", "Get",
                        GLib.Variant("(ss)", (f"{NAME}.{interface}", name)), path)[0]

    def set(self, interface, name, signature, value, path=PATH):
        self.raw("org.freedesktop.DBus.Properties", "Set", GLib.Variant.new_tuple(
            GLib.Variant("s", f"{NAME}.{interface}"), GLib.Variant("s", name),
            GLib.Variant("v", self.variant(signature, value, None))), path)

    def wait_signal(self, path, member, seconds=30):
        end = time.monotonic() + seconds
        context = GLib.MainContext.default()
        while time.monotonic() < end:
            for at, (p, m, body) in enumerate(self.signals):
                if p == path and m == member:
                    return self.signals.pop(at)[2]
            context.iteration(False)
            time.sleep(0.002)
        raise AssertionError(f"no signal {member}")

    def close(self):
        self.bus.close_sync(None)


# ---------------------------------------------------------------------------- dbus-next

def unwrap(value):
    if isinstance(value, dbus_next.Variant):
        return unwrap(value.value)
    if isinstance(value, dict):
        return {k: unwrap(v) for k, v in value.items()}
    return [unwrap(v) for v in value] if isinstance(value, list) else value


class DbusNext:
    name = "dbus-next"
    keeps_connection = True

    def __init__(self, service):
        self.signals = []
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

        async def connect():
            bus = await dbus_next.aio.MessageBus(bus_address=service.address, negotiate_unix_fd=True).connect()
            bus.add_message_handler(self.on_message)
            return bus
        self.bus = self.wait(connect())

    def wait(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(90)

    def on_message(self, m):
        if m.message_type == dbus_next.MessageType.SIGNAL and m.path and m.path.startswith(PATH):
            self.signals.append((m.path, m.member, unwrap(m.body)))

    def typed(self, signature, value, fds):
        if signature == "h":
            fds.append(value)
            return len(fds) - 1
        if signature == "v":
            return dbus_next.Variant(value[0], self.typed(*value, fds))
        if signature.startswith("a{"):
            inner = split(signature[2:-1])[1]
            return {k: self.typed(inner, v, fds) for k, v in value.items()}
        if signature[0] == "a":
            return [self.typed(signature[1:], v, fds) for v in value]
        if signature[0] == "(":
            return [self.typed(s, v, fds) for s, v in zip(split(signature[1:-1]), value)]
        return value

    def raw(self, interface, member, signature, body, path, fds=()):
        reply = self.wait(self.bus.call(dbus_next.Message(
            destination=NAME, path=path, interface=interface, member=member, signature=signature, body=body,
            unix_fds=list(fds))))
        if reply.message_type == dbus_next.MessageType.ERROR:
            raise Failed(reply.error_name, reply.body[0] if reply.body else "")
        self.fds = reply.unix_fds
        return unwrap(reply.body)

    def call(self, interface, member, signature="", values=(), path=PATH):
        fds = []
        body = [self.typed(s, v, fds) for s, v in zip(split(signature), values)]
        return self.raw(f"{NAME}.{interface}", member, signature, body, path, fds)

    def get(self, interface, name, path=PATH):
        return self.raw("org.freedesktop.DBus.Properties", "Get", "ss", [f"{NAME}.{interface}", name], path)[0]

    def set(self, interface, name, signature, value, path=PATH):
        self.raw("org.freedesktop.DBus.Properties", "Set", "ssv",
                 [f"{NAME}.{interface}", name, dbus_next.Variant(signature, value)], path)

    def wait_signal(self, path, member, seconds=30):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for at, (p, m, body) in enumerate(list(self.signals)):
                if p == path and m == member:
                    return self.signals.pop(at)[2]
            time.sleep(0.002)
        raise AssertionError(f"no signal {member}")

    def close(self):
        self.loop.call_soon_threadsafe(self.bus.disconnect)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)
