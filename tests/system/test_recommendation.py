#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Observe, Suggest, Feedback and the memory switch through the real daemon and store."""
import asyncio
import os
import pathlib
import signal
import sqlite3
import subprocess
import unittest

from service import FULL, NAME, PATH, Client, Error, Service, Variant, alive, run


def ran(text, **more):
    return {"kind": Variant("s", "ran"), "text": Variant("s", text),
            **{k: Variant("s" if isinstance(v, str) else "t", v) for k, v in more.items()}}


async def set_memory(client, on):
    from dbus_next import Message
    reply = await client.bus.call(Message(
        destination=NAME, path=PATH, interface="org.freedesktop.DBus.Properties", member="Set",
        signature="ssv", body=[f"{NAME}.Memory", "Enabled", Variant("b", on)]))
    assert reply.error_name is None, reply.body


class RecommendationTest(unittest.TestCase):
    def setUp(self):
        self.service = Service(model=False)
        self.addCleanup(self.service.close)

    def database_bytes(self):
        folder = self.service.root / "data/inkling"
        return {p.name: p.read_bytes() for p in folder.glob("inkling.db*") if p.is_file()}

    def test_off_writes_nothing(self):
        async def body():
            async with Client(self.service) as c:
                await c.call("Recommendation", "Suggest", "sa{sv}a{sv}", ["command", {}, {}])
                before = self.database_bytes()
                n = (await c.call("Recommendation", "Observe", "aa{sv}a{sv}",
                                  [[ran("zanzibar-canary")], {}]))[0]
                self.assertEqual(n, 0)
                after = self.database_bytes()
                self.assertEqual({k: len(v) for k, v in before.items()},
                                 {k: len(v) for k, v in after.items()})
                self.assertFalse(any(b"zanzibar" in v for v in after.values()))
        run(body())

    def test_observe_suggest_feedback(self):
        async def body():
            async with Client(self.service) as c:
                await set_memory(c, True)
                for command in ["make check"] * 3 + ["git status"]:
                    n = (await c.call("Recommendation", "Observe", "aa{sv}a{sv}", [[ran(command)], {}]))[0]
                    self.assertIn(n, (0, 1))  # repeats within a second are one
                items, result = await c.call("Recommendation", "Suggest", "sa{sv}a{sv}",
                                             ["command", {}, {"explain": Variant("b", True)}])
                texts = [i["text"].value for i in items]
                self.assertEqual(set(texts), {"make check", "git status"})
                self.assertIn("reason", items[0])
                self.assertGreaterEqual(result["considered"].value, 2)
                for item in items:
                    self.assertTrue(0 <= item["score"].value <= 1)
                await c.call("Recommendation", "Feedback", "ssa{sv}", [items[0]["id"].value, "accepted", {}])
                with self.assertRaises(Error) as e:
                    await c.call("Recommendation", "Feedback", "ssa{sv}", ["nonsense", "accepted", {}])
                self.assertTrue(e.exception.name.endswith("NoSuchItem"))
                with self.assertRaises(Error) as e:
                    await c.call("Recommendation", "Suggest", "sa{sv}a{sv}", ["dinner", {}, {}])
                self.assertTrue(e.exception.name.endswith("InvalidArgs"))
        run(body())

    def test_a_bad_event_refuses_the_whole_call(self):
        async def body():
            async with Client(self.service) as c:
                await set_memory(c, True)
                for bad, word in [({"kind": Variant("s", "ate")}, "kind"),
                                  ({"kind": Variant("s", "ran")}, "text"),
                                  (ran("x" * 70_000), "text"),
                                  ({**ran("x"), "colour": Variant("s", "red")}, "colour"),
                                  (ran("x", **{"time-usec": 1 << 62}), "time-usec")]:
                    with self.assertRaises(Error) as e:
                        await c.call("Recommendation", "Observe", "aa{sv}a{sv}", [[ran("good"), bad], {}])
                    self.assertIn("1", e.exception.message)
                    self.assertIn(word, e.exception.message)
                items, _ = await c.call("Recommendation", "Suggest", "sa{sv}a{sv}", ["command", {}, {}])
                self.assertEqual(items, [])
        run(body())

    def test_acknowledged_events_survive_kill_9(self):
        for round_number in range(10 if FULL else 2):
            async def body():
                acknowledged = []
                async with Client(self.service) as c:
                    await set_memory(c, True)
                    pid = self.service.daemon_pid()
                    stop_at = 150 + 80 * round_number

                    async def observe(i):
                        text = f"command {round_number}-{i}"
                        try:
                            n = (await c.call("Recommendation", "Observe", "aa{sv}a{sv}", [[ran(text)], {}]))[0]
                        except Error as e:  # not acknowledged: it may be there or not
                            assert "NoReply" in e.name or "Disconnected" in e.name, e
                            return
                        assert n == 1
                        acknowledged.append(text)
                        if len(acknowledged) == stop_at:
                            os.kill(pid, signal.SIGKILL)
                    # The bus starts a new daemon in the middle; all 1,000 are asked for.
                    for begin in range(0, 1000, 20):
                        await asyncio.gather(*[observe(begin + j) for j in range(20)])
                    return acknowledged, pid
            acknowledged, pid = run(body())
            self.assertTrue(self.service.wait_for(lambda: not alive(pid), 5), "it was not killed")
            self.assertGreaterEqual(len(acknowledged), 900)
            print(f"{len(acknowledged)} of 1000 events acknowledged around a kill -9")
            self.assertEqual(self.service.property("Memory", "Enabled"), True)  # a new daemon
            db = sqlite3.connect(f"file:{self.service.root}/data/inkling/inkling.db?mode=ro", uri=True)
            self.assertEqual(db.execute("pragma integrity_check").fetchone()[0], "ok")
            stored = {r[0] for r in db.execute("select text from events")}
            db.close()
            missing = [t for t in acknowledged if t not in stored]
            self.assertEqual(missing, [])

    def test_full_and_read_only_disk(self):
        if os.geteuid() != 0:
            self.skipTest("mounting a small tmpfs needs root")
        folder = self.service.root / "data"
        r = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", str(folder)],
                           capture_output=True, text=True)
        if r.returncode != 0:
            self.skipTest(f"no mount here: {r.stderr}")
        (folder / "inkling/models").mkdir(parents=True, mode=0o700)
        (folder / "inkling").chmod(0o700)
        try:
            async def body():
                async with Client(self.service) as c:
                    await set_memory(c, True)
                    (folder / "filler").write_bytes(b"x" * 100)
                    with open(folder / "filler", "wb") as f:
                        try:
                            while True:
                                f.write(b"x" * 65536)
                                f.flush()
                        except OSError:
                            pass
                    refused, stored = 0, 0
                    for i in range(400):
                        try:
                            stored += (await c.call("Recommendation", "Observe", "aa{sv}a{sv}",
                                                    [[ran(f"{i} " + "y" * 2000)], {}]))[0]
                        except Error as e:
                            self.assertEqual(e.name, f"{NAME}.Error.StorageFailed", e.message)
                            self.assertIn("full", e.message)
                            self.assertNotIn("yyyy", e.message)
                            refused += 1
                            break
                    self.assertEqual(refused, 1)
                    items, _ = await c.call("Recommendation", "Suggest", "sa{sv}a{sv}", ["command", {}, {}])
                    os.unlink(folder / "filler")
                    await asyncio.sleep(0.1)
                    n = (await c.call("Recommendation", "Observe", "aa{sv}a{sv}", [[ran("after")], {}]))[0]
                    self.assertEqual(n, 1, "works again when space returns")
                    stored += 1
                    # A file system with open files cannot become read-only: the next daemon meets it.
                    pid = self.service.daemon_pid()
                    os.kill(pid, signal.SIGTERM)
                    self.service.wait_for(lambda: not alive(pid), 5)
                    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
                    with self.assertRaises(Error) as e:
                        await c.call("Recommendation", "Observe", "aa{sv}a{sv}", [[ran("read only")], {}])
                    self.assertEqual(e.exception.name, f"{NAME}.Error.StorageFailed", e.exception.message)
                    subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
                    n = 0
                    for _ in range(60):  # it looks again every few seconds, without a restart
                        try:
                            n = (await c.call("Recommendation", "Observe", "aa{sv}a{sv}", [[ran("writable")], {}]))[0]
                            break
                        except Error:
                            await asyncio.sleep(0.2)
                    self.assertEqual(n, 1)
                    stored += 1
                    db = sqlite3.connect(f"file:{folder}/inkling/inkling.db?mode=ro", uri=True)
                    self.assertEqual(db.execute("pragma integrity_check").fetchone()[0], "ok")
                    self.assertEqual(db.execute("select count(*) from events").fetchone()[0], stored)
                    db.close()
            run(body())
        finally:
            pid = self.service.daemon_pid()
            if pid:
                os.kill(pid, signal.SIGTERM)
                self.service.wait_for(lambda: not alive(pid), 5)
            subprocess.run(["umount", "-l", str(folder)], check=False)


if __name__ == "__main__":
    unittest.main(verbosity=2, warnings="ignore")
