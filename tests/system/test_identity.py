#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Sandboxed applications at the real daemon: bubblewrap and xdg-dbus-proxy as Flatpak uses them, the
proxy in a root of its own that has the /.flatpak-info of its application."""
import contextlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import unittest

from dbus_next import Message

from service import COUNTING, NAME, PATH, Client, Error, Service, Variant, run

ONE, TWO = "org.example.One", "org.example.Two"
DENIED = "org.freedesktop.DBus.Error.AccessDenied"
UNKNOWN_OBJECT = "org.freedesktop.DBus.Error.UnknownObject"
PERMISSIONS = ["text", "embedding", "recommendation", "memory", "memory-shared", "personalize", "manage"]


def require_tools():
    missing = [t for t in ("bwrap", "xdg-dbus-proxy") if not shutil.which(t)]
    if missing:
        raise AssertionError(f"{missing} missing; ./dev test installs them")
    r = subprocess.run(["bwrap", "--ro-bind", "/", "/", "true"], capture_output=True, text=True)
    if r.returncode != 0:  # a container may forbid it, and no package helps
        raise unittest.SkipTest(f"no sandboxes here: {r.stderr.strip()}")


def info_of(app_id, instance="1234567"):
    return f"[Application]\nname={app_id}\nruntime=runtime/org.example.Platform/x86_64/1\n\n" \
           f"[Instance]\ninstance-id={instance}\napp-path=/app\n\n[Context]\nshared=ipc;\n"


class Sandbox:
    """A proxy inside of a sandbox; `address` is what its application gets to see as the bus."""
    count = 0

    def __init__(self, service, info, symlink=False, talk=(NAME,)):
        Sandbox.count += 1
        self.folder = service.root / f"sandbox-{Sandbox.count}"
        self.folder.mkdir()
        (self.folder / "info").write_text(info)
        self.service = service
        self.symlink = symlink
        self.socket = self.folder / "bus"
        self.address = f"unix:path={self.socket}"
        self.ready, far_end = os.pipe()
        self.process = subprocess.Popen(
            [*self.bwrap(far_end), "xdg-dbus-proxy", f"--fd={far_end}", service.address,
             str(self.socket), "--filter", *[f"--talk={t}" for t in talk]],
            pass_fds=[far_end], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        os.close(far_end)
        if os.read(self.ready, 1) != b"x":
            raise AssertionError(f"the proxy does not start: {self.process.stderr.read()}")

    def bwrap(self, *_):
        command = ["bwrap", "--die-with-parent", "--unshare-user", "--ro-bind", "/usr", "/usr"]
        for name in ("bin", "lib", "lib64", "sbin"):
            if os.path.islink("/" + name):
                command += ["--symlink", os.readlink("/" + name), "/" + name]
            elif os.path.exists("/" + name):
                command += ["--ro-bind", "/" + name, "/" + name]
        command += ["--ro-bind", "/etc", "/etc", "--proc", "/proc", "--dev", "/dev",
                    "--bind", str(self.service.root), str(self.service.root)]
        if self.symlink:
            return command + ["--symlink", str(self.folder / "info"), "/.flatpak-info"]
        return command + ["--ro-bind", str(self.folder / "info"), "/.flatpak-info"]

    def close(self):
        os.close(self.ready)  # the proxy ends when nobody holds this
        self.process.wait(timeout=10)
        self.process.stderr.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


async def refusal(client, *args, **kwargs):
    try:
        await client.call(*args, **kwargs)
    except Error as e:
        return e
    raise AssertionError(f"{args[:2]} was answered")


async def set_memory(client, on):
    return await client.bus.call(Message(
        destination=NAME, path=PATH, interface="org.freedesktop.DBus.Properties", member="Set",
        signature="ssv", body=[f"{NAME}.Memory", "Enabled", Variant("b", on)]))


EVENT = {"kind": Variant("s", "ran"), "text": Variant("s", "make zanzibar")}
CALLS = {  # permission: calls that need it, and the error once they have it (None = answered)
    "text": [(("Text", "Complete", "sa{sv}", ["Hi", {}]), "NoModel"),
             (("Text", "Chat", "a(ss)a{sv}", [[["user", "Hi"]], {}]), "NoModel"),
             (("Text", "Start", "sa{sv}a{sv}", ["complete", {"prompt": Variant("s", "Hi")}, {}]), "NoModel"),
             (("Text", "StartPipe", "sa{sv}a{sv}", ["complete", {"prompt": Variant("s", "Hi")}, {}]), "NoModel"),
             (("Text", "CountTokens", "sa{sv}", ["Hi", {}]), "NoModel"),
             (("Text", "Tokenize", "sa{sv}", ["Hi", {}]), "NoModel"),
             (("Text", "Detokenize", "aua{sv}", [[1], {}]), "NoModel"),
             (("Manager", "Load", "sa{sv}", ["", {}]), "NoModel"),
             (("Manager", "ListModels"), None),
             (("Manager", "ListRequests", "a{sv}", [{}]), None)],
    "recommendation": [(("Recommendation", "Suggest", "sa{sv}a{sv}", ["command", {}, {}]), None),
                       (("Recommendation", "Feedback", "ssa{sv}", ["none", "shown", {}]), "NoSuchItem")],
    "memory": [(("Recommendation", "Observe", "aa{sv}a{sv}", [[EVENT], {}]), None)],
}
MANAGE = [("Manager", "Unload", "a{sv}", [{}]),
          ("Manager", "SetPermission", "sss", [ONE, "text", "allow"])]


class PermissionTest(unittest.TestCase):
    def setUp(self):
        require_tools()
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)
        self.service = self.stack.enter_context(Service(model=False))

    def sandbox(self, app_id, **kwargs):
        return self.stack.enter_context(Sandbox(self.service, info_of(app_id), **kwargs))

    def app(self, *args):
        return self.service.inkling("app", *args)

    def kill_daemon(self):
        pid = self.service.daemon_pid()
        os.kill(pid, signal.SIGKILL)
        self.assertTrue(self.service.wait_for(lambda: self.service.daemon_pid() is None))

    def test_nothing_until_it_is_allowed(self):
        one = self.sandbox(ONE)

        async def body():
            async with Client(one) as c:
                for permission, calls in CALLS.items():
                    for call, _ in calls:
                        e = await refusal(c, *call)
                        self.assertEqual(e.name, DENIED, call)
                        self.assertIn(f"inkling app allow {ONE} {permission}", e.message)
                for call in MANAGE:
                    e = await refusal(c, *call)
                    self.assertEqual(e.name, DENIED, call)
                    self.assertIn("never", e.message)
                reply = await set_memory(c, True)
                self.assertEqual(reply.error_name, DENIED)
                # Wrong arguments do not get as far as being read.
                e = await refusal(c, "Text", "Complete", "sa{sv}", ["Hi", {"nonsense": Variant("u", 1)}])
                self.assertEqual(e.name, DENIED)
                # What is open to everybody.
                for feature in ("text", "complete", "suggest", "observe", "memory", "manage"):
                    state, details = await c.call("Manager", "GetAvailability", "sa{sv}", [feature, {}])
                    self.assertEqual(state, "denied", feature)
                    self.assertTrue(details["reason"].value)
                rows = (await c.call("Manager", "ListPermissions"))[0]
                self.assertEqual(rows, [[ONE, p, "default-deny"] for p in PERMISSIONS])
        run(body())
        self.assertFalse(self.service.property("Memory", "Enabled"))

    def test_every_member_is_behind_the_gate(self):
        """Also those that come later: whatever the service offers is called as it wants to be called."""
        one = self.sandbox(ONE)
        examples = {"s": "x", "u": 0, "t": 0, "b": False, "d": 0.0, "h": 0}

        async def body():
            seen = {}
            async with Client(one) as c:
                tree = await c.bus.introspect(NAME, PATH)
                for interface in tree.interfaces:
                    if not interface.name.startswith(NAME):
                        continue
                    for method in interface.methods:
                        signature = "".join(a.signature for a in method.in_args)
                        values = [examples.get(a.signature, [] if not a.signature.startswith("a{") else {})
                                  for a in method.in_args]
                        with open("/dev/null") as null:
                            reply = await c.bus.call(Message(
                                destination=NAME, path=PATH, interface=interface.name, member=method.name,
                                signature=signature, body=values,
                                unix_fds=[null.fileno()] if "h" in signature else []))
                        seen[method.name] = reply.error_name
            self.assertGreater(len(seen), 15)
            self.assertEqual({m for m, e in seen.items() if e != DENIED}, {"GetAvailability", "ListPermissions"})
        run(body())

    def test_a_decision_holds_for_the_next_call_and_the_next_life(self):
        one, two = self.sandbox(ONE), self.sandbox(TWO)

        async def check(c, allowed):
            for permission, calls in CALLS.items():
                for call, error in calls:
                    if permission not in allowed:
                        self.assertEqual((await refusal(c, *call)).name, DENIED)
                    elif error is None:
                        await c.call(*call)
                    else:
                        e = await refusal(c, *call)
                        self.assertTrue(e.name.endswith(error), f"{call}: {e}")

        async def body():
            async with Client(one) as a, Client(two) as b:
                await check(a, [])
                for permission in CALLS:
                    r = self.app("allow", ONE, permission)
                    self.assertEqual((r.returncode, r.stdout.split()), (0, [ONE, permission, "allow"]), r.stderr)
                    await check(a, [permission])
                    await check(b, [])
                    self.assertEqual(self.app("deny", ONE, permission).returncode, 0)
                    await check(a, [])
                    self.assertEqual(self.app("allow", ONE, permission).returncode, 0)
                    self.assertEqual(self.app("reset", ONE, permission).returncode, 0)
                    await check(a, [])
                self.assertEqual(self.app("allow", ONE, "text").returncode, 0)
                rows = (await b.call("Manager", "ListPermissions"))[0]
                self.assertEqual({row[0] for row in rows}, {TWO}, "others' rows are for manage")
        run(body())
        self.kill_daemon()

        async def later():
            async with Client(one) as a, Client(two) as b:
                await check(a, ["text"])
                await check(b, [])
        run(later())

    def test_manage_is_never_given(self):
        one = self.sandbox(ONE)
        r = self.app("allow", ONE, "manage")
        self.assertEqual(r.returncode, 4, r.stderr)
        self.assertIn("never", r.stderr)
        self.assertEqual(self.app("allow", "snap.thing", "manage").returncode, 4)
        self.assertEqual(self.app("allow", "unknown", "text").returncode, 4)
        self.assertEqual(self.app("allow", "no such/app", "text").returncode, 2)
        self.assertEqual(self.app("allow", ONE, "everything").returncode, 2)
        # Nor by a row that found its way into the file.
        self.assertEqual(self.app("allow", ONE, "text").returncode, 0)
        self.kill_daemon()
        db = sqlite3.connect(self.service.root / "data/inkling/inkling.db")
        db.execute("UPDATE permissions SET permission = 7")
        db.commit()
        db.close()

        async def body():
            async with Client(one) as c:
                self.assertEqual((await refusal(c, *MANAGE[0])).name, DENIED)
        run(body())

    def test_the_command_lists_and_resets(self):
        me = json.loads(self.app("list", "--json").stdout)[0]["app-id"]
        self.assertTrue(me.startswith(("exe:inkling", "app:", "unit:")), me)
        self.assertEqual(self.app("allow", TWO, "memory").returncode, 0)
        self.assertEqual(self.app("deny", "exe:curl", "text").returncode, 0)
        rows = json.loads(self.app("list", "--json").stdout)
        table = {(r["app-id"], r["permission"]): r["decision"] for r in rows}
        self.assertEqual(table[TWO, "memory"], "allow")
        self.assertEqual(table[TWO, "text"], "default-deny")
        self.assertEqual(table["exe:curl", "text"], "deny")
        self.assertEqual(table[me, "manage"], "default-allow")
        self.assertEqual(table[me, "memory-shared"], "default-deny")
        r = self.app("list", TWO)
        self.assertEqual([line.split()[0] for line in r.stdout.splitlines()], [TWO] * len(PERMISSIONS))
        r = self.app("reset", TWO)
        self.assertEqual(r.returncode, 0)
        self.assertNotIn("allow", r.stdout)
        self.assertNotIn(TWO, {r["app-id"] for r in json.loads(self.app("list", "--json").stdout)})

    def test_a_denied_host_program_is_denied(self):
        me = json.loads(self.app("list", "--json").stdout)[0]["app-id"]  # nobody else is there
        self.assertEqual(self.app("deny", me, "recommendation").returncode, 0)
        r = self.service.inkling("suggest", "command")
        self.assertEqual(r.returncode, 4)
        self.assertIn(f"inkling app allow {me} recommendation", r.stderr)
        self.assertEqual(self.app("reset", me).returncode, 0)
        self.assertEqual(self.service.inkling("suggest", "command").returncode, 0)

    def test_the_command_says_who_helps_when_it_may_not_manage(self):
        me = json.loads(self.app("list", "--json").stdout)[0]["app-id"]
        if me != "exe:inkling":
            self.skipTest("here the command and this test are one application")
        self.assertEqual(self.app("deny", me, "manage").returncode, 0)
        r = self.app("allow", me, "manage")
        self.assertEqual(r.returncode, 4)
        self.assertIn("SetPermission sss ID manage reset", r.stderr)

        async def body():
            async with Client(self.service) as host:
                await host.call("Manager", "SetPermission", "sss", [me, "manage", "reset"])
        run(body())
        self.assertEqual(self.app("reset", me).returncode, 0)

    def test_scopes_do_not_leak(self):
        one, two = self.sandbox(ONE), self.sandbox(TWO)
        again = self.sandbox(ONE)  # another instance of the same application
        for app_id in (ONE, TWO):
            for permission in ("memory", "recommendation"):
                self.assertEqual(self.app("allow", app_id, permission).returncode, 0)
        self.assertEqual(self.service.inkling("memory", "on").returncode, 0)

        async def suggest(c, **options):
            items, _ = await c.call("Recommendation", "Suggest", "sa{sv}a{sv}", ["command", {}, options])
            return [i["text"].value for i in items], [i["id"].value for i in items]

        async def observe(c, text, **more):
            event = {"kind": Variant("s", "ran"), "text": Variant("s", text)}
            return (await c.call("Recommendation", "Observe", "aa{sv}a{sv}", [[event], more]))[0]

        async def body():
            async with Client(one) as a, Client(two) as b, Client(self.service) as host, Client(again) as same:
                self.assertEqual(await observe(a, "make zanzibar"), 1)
                self.assertEqual(await observe(host, "make host"), 1)
                texts, ids = await suggest(a)
                self.assertEqual(texts, ["make zanzibar"])
                self.assertEqual((await suggest(same))[0], ["make zanzibar"])
                self.assertEqual((await suggest(b))[0], [])
                self.assertEqual((await suggest(host))[0], ["make host"])
                # An id of a suggestion is worth nothing to another, who learns nothing from trying.
                e = await refusal(b, "Recommendation", "Feedback", "ssa{sv}", [ids[0], "accepted", {}])
                missing = await refusal(b, "Recommendation", "Feedback", "ssa{sv}", ["0" * 32, "accepted", {}])
                self.assertEqual((e.name, e.message), (missing.name, missing.message))
                # Who somebody is, is not taken from what they say.
                for key in ("app-id", "app", "sender", "scope"):
                    e = await refusal(b, "Recommendation", "Suggest", "sa{sv}a{sv}",
                                      ["command", {}, {key: Variant("s", ONE)}])
                    self.assertTrue(e.name.endswith("InvalidArgs"), e)
                self.assertEqual((await suggest(b, **{"x-app-id": Variant("s", ONE)}))[0], [])
                event = {"kind": Variant("s", "focused"), "app-id": Variant("s", ONE)}
                await b.call("Recommendation", "Observe", "aa{sv}a{sv}", [[event], {}])
                self.assertEqual((await suggest(a))[0], ["make zanzibar"])
        run(body())

    def test_what_cannot_be_read_is_unknown(self):
        good = info_of(ONE)
        for name, info, symlink in [
                ("a link", good, True), ("empty", "", False), ("no name", "[Application]\n", False),
                ("another name twice", good.replace("runtime=", "name=org.example.Two\nruntime="), False),
                ("not an id", info_of("exe:bash"), False), ("a host's id", info_of("app:org.example.One"), False),
                ("a snap's id", info_of("snap.firefox.x"), False), ("a path", info_of("../../etc"), False),
                ("long", info_of("a." + "b" * 300), False), ("huge", good + "#" * 70000, False),
                ("a NUL", good + "\0", False), ("escaped", info_of("org.example.\\x4fne"), False)]:
            with self.subTest(name), Sandbox(self.service, info, symlink=symlink) as box:
                async def body():
                    async with Client(box) as c:
                        e = await refusal(c, "Text", "CountTokens", "sa{sv}", ["Hi", {}])
                        self.assertEqual(e.name, DENIED)
                        self.assertIn("does not tell as what", e.message)
                        rows = (await c.call("Manager", "ListPermissions"))[0]
                        self.assertEqual({row[0] for row in rows}, {"unknown"})
                run(body())

    def test_without_a_proxy_the_program_itself_is_looked_at(self):
        box = self.sandbox(ONE)
        self.assertEqual(self.app("allow", ONE, "recommendation").returncode, 0)
        for member, signature, args, permitted in [
                ("Suggest", "sa{sv}a{sv}", ["command", 0, 0], True),
                ("Observe", "aa{sv}a{sv}", [0, 0], False)]:
            r = subprocess.run([*box.bwrap(), "busctl", "--user", "call", NAME, PATH, f"{NAME}.Recommendation",
                                member, signature, *map(str, args)],
                               env=self.service.env, capture_output=True, text=True, timeout=30)
            self.assertEqual(r.returncode == 0, permitted, r.stderr)
            if not permitted:
                self.assertIn("Access denied", r.stderr)


class LockedInTest(unittest.TestCase):
    """The service in a user namespace, as PrivateUsers= of the unit makes one: it may look into nobody."""

    def test_host_programs_are_known_and_sandboxed_ones_denied(self):
        require_tools()
        with Service(model=False, exec_prefix="unshare --user --map-current-user --mount") as s:
            with Sandbox(s, info_of(ONE)) as box:
                r = s.inkling("app", "list")
                self.assertEqual(r.returncode, 0, r.stderr + s.log_text())
                self.assertIn("allow", r.stdout)
                self.assertEqual(s.inkling("suggest", "command").returncode, 0)
                self.assertEqual(s.inkling("app", "allow", ONE, "recommendation").returncode, 0)
                daemon = os.readlink(f"/proc/{s.daemon_pid()}/ns/user")
                self.assertNotEqual(daemon, os.readlink("/proc/self/ns/user"))

                async def body():
                    async with Client(box) as c:
                        e = await refusal(c, "Recommendation", "Suggest", "sa{sv}a{sv}", ["command", {}, {}])
                        self.assertEqual(e.name, DENIED)
                        self.assertIn("does not tell as what", e.message)
                run(body())


class RequestTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        require_tools()
        cls.service = Service()
        cls.addClassCleanup(cls.service.close)
        cls.one, cls.two = (Sandbox(cls.service, info_of(i)) for i in (ONE, TWO))
        cls.addClassCleanup(cls.one.close)
        cls.addClassCleanup(cls.two.close)
        for app_id in (ONE, TWO):
            r = cls.service.inkling("app", "allow", app_id, "text")
            assert r.returncode == 0, r.stderr

    def test_prompts_of_others_are_not_in_the_cache(self):
        prompt = "The quick brown fox jumps over the lazy dog, and then it does so again. " * 8

        async def cached(c):
            _, result = await c.call("Text", "Complete", "sa{sv}", [prompt, {"max-tokens": Variant("u", 1)}])
            return result["cached-tokens"].value

        async def body():
            async with Client(self.one) as a, Client(self.two) as b, Client(self.service) as host:
                self.assertEqual(await cached(a), 0)
                self.assertGreater(await cached(a), 50)
                self.assertEqual(await cached(b), 0)
                self.assertEqual(await cached(host), 0)
                self.assertGreater(await cached(b), 50)
        run(body())

    def test_sessions_of_others_are_not_there(self):
        async def body():
            async with Client(self.one) as a, Client(self.two) as b:
                options = {"handle-token": Variant("s", "mine")}
                path = (await a.call("Manager", "CreateSession", "a{sv}", [options]))[0]
                missing = path[:-len("mine")] + "none"
                for member, signature, args in [
                        ("Close", "", []), ("Forget", "", []), ("GetTranscript", "", []),
                        ("Prompt", "sa{sv}", ["Hi", {}]), ("Nonsense", "", [])]:
                    found = [await refusal(b, "Session", member, signature, args, path=p) for p in (path, missing)]
                    self.assertEqual(found[0].name, UNKNOWN_OBJECT)
                    self.assertEqual(found[0].name, found[1].name)
                    self.assertEqual(found[0].message.replace("mine", "none"), found[1].message)
                self.assertEqual((await b.call("Manager", "ListSessions", "a{sv}", [{}]))[0], [])
                rows = (await a.call("Manager", "ListSessions", "a{sv}", [{}]))[0]
                self.assertEqual([r["path"].value for r in rows], [path])
                # Taken back while it is there: the next call meets it.
                self.assertEqual(self.service.inkling("app", "deny", ONE, "text").returncode, 0)
                e = await refusal(a, "Session", "Prompt", "sa{sv}", ["Hi", {}], path=path)
                self.assertEqual(e.name, DENIED)
                self.assertEqual(self.service.inkling("app", "allow", ONE, "text").returncode, 0)
                await a.call("Session", "Close", path=path)
        run(body())

    def test_requests_of_others_are_not_there(self):
        async def body():
            async with Client(self.one) as a, Client(self.two) as b, Client(self.service) as host:
                path = await a.start(COUNTING, max_tokens=4000, temperature=0.0, handle_token="mine")
                missing = path[:-len("mine")] + "none"
                for interface, member, signature, args in [
                        ("Request", "Cancel", "", []), ("Request", "Wait", "", []),
                        ("Request", "Nonsense", "", [])]:
                    found = [await refusal(b, interface, member, signature, args, path=p) for p in (path, missing)]
                    self.assertEqual(found[0].name, UNKNOWN_OBJECT)
                    self.assertEqual(found[0].name, found[1].name)
                    self.assertEqual(found[0].message.replace("mine", "none"), found[1].message)
                for interface, member, signature, args in [
                        ("Properties", "Get", "ss", [f"{NAME}.Request", "State"]),
                        ("Properties", "GetAll", "s", [f"{NAME}.Request"]),
                        ("Properties", "Set", "ssv", [f"{NAME}.Request", "Priority", Variant("s", "typing")]),
                        ("Introspectable", "Introspect", "", [])]:
                    found = [await b.bus.call(Message(
                        destination=NAME, path=p, interface=f"org.freedesktop.DBus.{interface}",
                        member=member, signature=signature, body=args)) for p in (path, missing)]
                    self.assertEqual(found[0].error_name, found[1].error_name)
                    self.assertEqual(str(found[0].body).replace("mine", "none"), str(found[1].body))
                self.assertEqual((await b.call("Manager", "ListRequests", "a{sv}", [{}]))[0], [])
                tree = await b.bus.introspect(NAME, f"{PATH}/request")
                self.assertEqual([n.name for n in tree.nodes], [])
                mine = (await a.call("Manager", "ListRequests", "a{sv}", [{}]))[0]
                self.assertEqual([(r["path"].value, r["app-id"].value) for r in mine], [(path, ONE)])
                # Who manages sees that it is there, and no more.
                rows = (await host.call("Manager", "ListRequests", "a{sv}", [{}]))[0]
                self.assertEqual([(r["path"].value, r["app-id"].value) for r in rows], [(path, ONE)])
                self.assertNotIn("text", rows[0])
                for member in ("Cancel", "Wait"):
                    self.assertEqual((await refusal(host, "Request", member, path=path)).name, UNKNOWN_OBJECT)
                await a.call("Request", "Cancel", path=path)
                status, results = await a.wait(path)
                self.assertEqual((status, results["finish-reason"]), (1, "cancelled"))
        run(body())


if __name__ == "__main__":
    unittest.main()
