#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Installed models with the real programs and the real model: coming, being looked at, switched under
load, going; hostile files, a full disk, and ends in the middle."""
import asyncio
import hashlib
import json
import os
import pathlib
import pty
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

from dbus_next import Message, MessageType

from service import (COUNTING, Client, Error, FULL, MODEL_NAME, NAME, PATH, SOURCE, Service, Variant, alive, model_file,
                     programs, run)

TOY = SOURCE / "tests/data/toy-llama-q.gguf"


def files(service):
    """Everything in the models folder, hidden files included."""
    return sorted(p.name for p in service.models.iterdir())


def helpers(service):
    """Processes of role inspect of this service."""
    daemon, found = service.daemon_pid(), []
    for entry in pathlib.Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and b"--role=inspect" in (entry / "cmdline").read_bytes():
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                if parent == daemon:
                    found.append(int(entry.name))
        except (OSError, ValueError):
            pass
    return found


async def start_import(client, name, path, **options):
    fd = os.open(path, os.O_RDONLY)
    try:
        reply = await client.bus.call(Message(
            destination=NAME, path=PATH, interface=f"{NAME}.Manager", member="ImportModel", signature="sha{sv}",
            body=[name, 0, options], unix_fds=[fd]))
        if reply.message_type == MessageType.ERROR:
            raise Error(reply)
        return reply.body[0]
    finally:
        os.close(fd)


class ModelsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = model_file()
        cls.sha256 = hashlib.sha256(cls.model.read_bytes()).hexdigest()

    def setUp(self):
        self.scratch = pathlib.Path(tempfile.mkdtemp(prefix="inkling-models-"))
        self.addCleanup(shutil.rmtree, self.scratch, ignore_errors=True)

    def service(self, **kwargs):
        s = Service(**kwargs)
        self.addCleanup(s.close)
        return s

    def ok(self, s, *args):
        r = s.inkling(*args, timeout=120)
        self.assertEqual(r.returncode, 0, r.stderr + s.log_text())
        return r.stdout

    def fails(self, s, code, *args):
        r = s.inkling(*args, timeout=120)
        self.assertEqual(r.returncode, code, r.stdout + r.stderr)
        return r.stderr

    # ------------------------------------------------------------ a life
    def test_a_model_comes_is_used_checked_and_goes(self):
        s = self.service(model=False)
        self.assertEqual(json.loads(self.ok(s, "model", "list", "--json")), [])
        self.assertEqual(s.property("Manager", "State"), "no-model")
        line = self.ok(s, "model", "import", "my-model.1", self.model, "--sha256", self.sha256)
        self.assertIn("my-model.1", line)
        self.assertEqual(files(s), ["my-model.1.gguf"])
        self.assertEqual((s.models / "my-model.1.gguf").stat().st_mode & 0o777, 0o600)
        self.assertEqual(s.property("Manager", "Model"), "my-model.1")
        self.assertEqual(s.property("Manager", "ContextWindow"), 8192)  # before anybody has loaded it

        row, = json.loads(self.ok(s, "model", "list", "--json"))
        self.assertEqual(row["sha256"], self.sha256)
        self.assertEqual((row["features"], row["default"], row["loaded"], row["license"]),
                         (["complete", "chat"], True, False, "apache-2.0"))
        info = json.loads(self.ok(s, "model", "info", "--json"))
        self.assertEqual((info["layers"], info["embedding-length"], info["heads"], info["kv-heads"],
                          info["vocabulary"], info["tokenizer"], info["chat-template"]),
                         (30, 576, 9, 3, 49152, "gpt2", True))
        self.assertEqual(info["warnings"], [])
        self.assertLess(sum(info["tensor-types"].values()), info["size"])
        self.assertIn("ok ", self.ok(s, "model", "verify"))
        self.assertTrue(self.ok(s, "complete", "--max-tokens", 4, "Once upon a time").strip())
        row, = json.loads(self.ok(s, "model", "list", "--json"))
        self.assertTrue(row["loaded"])

        # A person says -y where nothing can be asked; a terminal is asked.
        self.assertIn("-y", self.fails(s, 2, "model", "remove", "my-model.1"))
        self.assertEqual(self.on_terminal(s, b"n\n", "model", "remove", "my-model.1"), 1)
        self.assertEqual(files(s), ["my-model.1.gguf"])
        self.assertEqual(self.on_terminal(s, b"y\n", "model", "remove", "my-model.1"), 0)
        self.assertEqual(files(s), [])
        self.assertEqual(s.property("Manager", "State"), "no-model")
        self.assertFalse([p for p in (s.root / "cache/inkling").iterdir() if p.suffix == ".pack"])
        self.assertIn("no model is installed", self.fails(s, 5, "complete", "hello"))
        self.fails(s, 5, "model", "remove", "my-model.1", "-y")

    def on_terminal(self, s, answer, *args):
        main, child = pty.openpty()
        p = subprocess.Popen([programs()["inkling"], *args], env=s.env, stdin=child, stdout=child, stderr=child)
        os.close(child)
        seen = b""
        while b"[y/N]" not in seen:
            seen += os.read(main, 4096)
        os.write(main, answer)
        code = p.wait(30)
        os.close(main)
        return code

    def test_progress_is_drawn_on_a_terminal_only(self):
        s = self.service(model=False)
        main, child = pty.openpty()
        p = subprocess.Popen([programs()["inkling"], "model", "import", "a", str(self.model)], env=s.env,
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=child)
        os.close(child)
        seen = b""
        try:
            while chunk := os.read(main, 4096):
                seen += chunk
        except OSError:  # the end of a terminal
            pass
        os.close(main)
        self.assertEqual(p.wait(30), 0)
        self.assertIn(b"storing", seen)
        self.assertIn(b"100 %", seen)
        r = s.inkling("model", "import", "b", TOY)
        self.assertEqual((r.returncode, r.stderr), (0, ""))

    # ------------------------------------------------------------ refusals
    def test_what_is_refused_leaves_nothing(self):
        s = self.service()
        before = files(s)
        bad = self.scratch / "bad.gguf"
        wrong = "0" * 64
        self.assertIn(self.sha256, self.fails(s, 5, "model", "import", "x", self.model, "--sha256", wrong))
        self.fails(s, 2, "model", "import", "x", self.model, "--sha256", "12")
        for name in ("../x", "X", ".x", "x/y", "x y", "", "a..b", "x" * 128):
            self.fails(s, 2, "model", "import", name, self.model)
        self.assertIn("already", self.fails(s, 1, "model", "import", MODEL_NAME, self.model))

        size = self.model.stat().st_size
        shutil.copy(self.model, bad)
        os.truncate(bad, size // 2)
        self.assertIn("tensor", self.fails(s, 5, "model", "import", "x", bad))
        bad.write_bytes(b"")
        self.assertIn("0 bytes", self.fails(s, 5, "model", "import", "x", bad))
        bad.write_bytes(os.urandom(1 << 20))
        self.fails(s, 5, "model", "import", "x", bad)
        toy = TOY.read_bytes()
        at = toy.index(b"llama")
        bad.write_bytes(toy[:at] + b"mamba" + toy[at + 5:])
        self.assertIn("mamba", self.fails(s, 5, "model", "import", "x", bad))

        fifo = self.scratch / "fifo"
        os.mkfifo(fifo)
        for path in (fifo, self.scratch, "/dev/zero"):
            self.assertIn("not a regular file", self.fails(s, 2, "model", "import", "x", path))
        self.fails(s, 2, "model", "import", "x", self.scratch / "missing")
        for verb in ("info", "verify", "use"):
            self.fails(s, 5, "model", verb, "missing")
        self.assertEqual(files(s), before)
        self.assertEqual(helpers(s), [])

    def test_hostile_headers_never_hurt(self):
        s = self.service(model=False)
        data, bad = TOY.read_bytes(), self.scratch / "bad.gguf"
        for i in range(120 if FULL else 16):
            at = (i * 2654435761) % 20000
            bad.write_bytes(data[:at] + bytes([data[at] ^ (1 << i % 8)]) + data[at + 1:])
            r = s.inkling("model", "import", f"m{i}", bad)
            self.assertIn(r.returncode, (0, 5), r.stderr)
        self.assertEqual([f for f in files(s) if f.startswith(".")], [])

    def test_verify_sees_one_bit(self):
        s = self.service(model=False)
        self.ok(s, "model", "import", "a", TOY)
        self.ok(s, "model", "verify", "a")
        path = s.models / "a.gguf"
        with open(path, "r+b") as f:
            f.seek(-1, 2)
            byte = f.read(1)[0]
            f.seek(-1, 2)
            f.write(bytes([byte ^ 1]))
        r = s.inkling("model", "verify", "a")
        self.assertEqual(r.returncode, 5)
        self.assertIn("differs", r.stdout)
        # By hand: nothing to compare with, until it was looked at once.
        shutil.copy(TOY, s.models / "hand.gguf")
        self.assertIn("recorded", self.ok(s, "model", "verify", "hand"))
        self.assertIn("ok ", self.ok(s, "model", "verify", "hand"))

    # ------------------------------------------------------------ disks
    @unittest.skipUnless(os.geteuid() == 0, "mounting needs root")
    def test_a_full_disk(self):
        s = self.service(model=False)
        r = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", s.models], capture_output=True)
        if r.returncode != 0:
            self.skipTest("mounting is not possible here")
        self.addCleanup(subprocess.run, ["umount", "-l", s.models])
        error = self.fails(s, 1, "model", "import", "big", self.model)
        self.assertIn(f"needs {self.model.stat().st_size} bytes", error)
        self.assertIn("are free", error)
        self.assertEqual(files(s), [])
        self.ok(s, "model", "import", "small", TOY)  # what fits does
        free = os.statvfs(s.models)
        (s.models / "filler").write_bytes(b"x" * (free.f_bavail * free.f_frsize - 100000))
        self.assertIn("needs", self.fails(s, 1, "model", "import", "other", TOY))
        (s.models / "filler").unlink()  # room again, without a restart
        self.ok(s, "model", "import", "other", TOY)
        self.assertEqual(files(s), ["other.gguf", "small.gguf"])

    # ------------------------------------------------------------ ends in the middle
    def big_file(self):
        """The model with a long tail: sound, and long enough to be met in the middle of its copy."""
        path = self.scratch / "big.gguf"
        shutil.copy(self.model, path)
        with open(path, "r+b") as f:
            f.truncate(self.model.stat().st_size + (400 << 20))  # holes read as zeros
        return path

    def test_cancel_and_a_leaving_caller(self):
        s = self.service(model=False)
        big = self.big_file()

        async def scenario():
            async with Client(s) as c:
                path = await start_import(c, "a", big)
                with self.assertRaises(Error) as busy:
                    await start_import(c, "b", TOY)
                self.assertTrue(busy.exception.name.endswith(".Busy"))
                while not any(b[0] == "storing" for p, m, b in c.signals if m == "Progress"):
                    await asyncio.sleep(0.01)
                rows = await c.call("Manager", "ListRequests", "a{sv}", [{}])
                self.assertEqual(rows[0][0]["kind"].value, "import")
                await c.call("Request", "Cancel", path=path)
                status, results = await c.wait(path)
                self.assertEqual((status, results["finish-reason"]), (1, "cancelled"))
                fractions = [b[1] for p, m, b in c.signals if m == "Progress" and b[0] == "storing"]
                self.assertEqual(fractions, sorted(fractions))
            async with Client(s) as c:
                await start_import(c, "a", big)
                self.assertTrue(s.wait_for(lambda: helpers(s)))
        run(scenario())  # and leaves
        self.assertTrue(s.wait_for(lambda: not helpers(s)))
        self.assertEqual(files(s), [])
        # Ctrl-C
        p = subprocess.Popen([programs()["inkling"], "model", "import", "a", str(big)], env=s.env,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.assertTrue(s.wait_for(lambda: helpers(s)))
        p.send_signal(signal.SIGINT)
        self.assertEqual(p.wait(20), 130)
        self.assertTrue(s.wait_for(lambda: not helpers(s)))
        self.assertEqual(s.inkling("--quiet", "model", "import", "a", big, "--timeout", "200ms").returncode, 124)
        self.assertEqual(files(s), [])

    def test_kill_of_the_daemon_leaves_nothing_or_all(self):
        s = self.service(model=False)
        big, whole = self.big_file(), 0
        for i in range(20 if FULL else 4):
            s.busctl("call", NAME, PATH, f"{NAME}.Manager", "ListModels")
            p = subprocess.Popen([programs()["inkling"], "model", "import", "a", str(big if i % 2 else self.model)],
                                 env=s.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self.assertTrue(s.wait_for(lambda: helpers(s)))
            helper, daemon = helpers(s), s.daemon_pid()
            time.sleep(0.02 + 0.09 * i % 0.7)
            os.kill(daemon, signal.SIGKILL)
            self.assertIn(p.wait(30), (0, 3))
            for pid in helper + [daemon]:  # it dies with the daemon
                self.assertTrue(s.wait_for(lambda: not alive(pid)))
            self.assertTrue(s.wait_for(lambda: s.daemon_pid() != daemon))  # and the bus has seen it
            self.assertLessEqual(set(files(s)), {"a.gguf"})
            if files(s):
                whole += 1
                self.assertIn((s.models / "a.gguf").stat().st_size, (self.model.stat().st_size, big.stat().st_size))
                self.ok(s, "model", "remove", "a", "-y")
        self.assertEqual(files(s), [])

    # ------------------------------------------------------------ two of them
    def test_switching_under_load_and_removing_in_use(self):
        s = self.service()
        second = self.scratch / "second.gguf"
        shutil.copy(self.model, second)
        self.ok(s, "model", "import", "second", second)
        told = []

        def remember(m):
            if m.message_type == MessageType.SIGNAL and m.member == "PropertiesChanged":
                told.extend(m.body[1].get("Model") and [m.body[1]["Model"].value] or [])

        async def scenario():
            async with Client(s) as c:
                await c.bus.call(Message(
                    destination="org.freedesktop.DBus", path="/org/freedesktop/DBus",
                    interface="org.freedesktop.DBus", member="AddMatch", signature="s",
                    body=[f"type='signal',sender='{NAME}',member='PropertiesChanged',path='{PATH}'"]))
                c.bus.add_message_handler(remember)
                long = await c.start(COUNTING, max_tokens=300, temperature=0.0)
                while s.property("Manager", "State") != "ready":
                    await asyncio.sleep(0.02)
                with self.assertRaises(Error) as busy:
                    await c.call("Manager", "SetDefaultModel", "sa{sv}", ["second", {}])
                self.assertTrue(busy.exception.name.endswith(".Busy"))
                with self.assertRaises(Error) as busy:
                    await c.call("Manager", "RemoveModel", "sa{sv}", [MODEL_NAME, {}])
                self.assertTrue(busy.exception.name.endswith(".Busy"))
                await c.call("Manager", "SetDefaultModel", "sa{sv}", ["second", {"force": Variant("b", True)}])
                flood = [await c.start("The sea", max_tokens=8, temperature=0.0, seed=i) for i in range(12)]
                status, results = await c.wait(long)
                self.assertEqual((status, results["model"], results["output-tokens"]), (0, MODEL_NAME, 300))
                texts = set()
                for path in flood:
                    status, results = await c.wait(path)
                    self.assertEqual((status, results["model"]), (0, "second"))
                    texts.add(results["text"])
                self.assertEqual(len(texts), 1)
                self.assertEqual(s.property("Manager", "Model"), "second")

                running = await c.start(COUNTING, max_tokens=4000, temperature=0.0)
                while not any(p == running and m == "Progress" and b[0] == "decode" for p, m, b in c.signals):
                    await asyncio.sleep(0.02)
                await c.call("Manager", "RemoveModel", "sa{sv}", ["second", {"force": Variant("b", True)}])
                status, results = await c.wait(running)
                self.assertEqual(status, 1)
                self.assertEqual(s.property("Manager", "Model"), MODEL_NAME)
                status, results = await c.wait(await c.start("The sea", max_tokens=4))
                self.assertEqual((status, results["model"]), (0, MODEL_NAME))
        run(scenario())
        self.assertEqual(told[-2:], ["second", MODEL_NAME])
        self.assertEqual(files(s), [MODEL_NAME + ".gguf"])

    def test_the_choice_outlives_the_service_and_the_configuration_goes_first(self):
        s = self.service(model=False)
        self.ok(s, "model", "import", "a", TOY)
        self.ok(s, "model", "import", "b", TOY)
        self.ok(s, "model", "use", "b")
        os.kill(s.daemon_pid(), signal.SIGTERM)
        self.assertTrue(s.wait_for(lambda: not s.daemon_pid()))
        rows = {r["name"]: r["default"] for r in json.loads(self.ok(s, "model", "list", "--json"))}
        self.assertEqual(rows, {"a": False, "b": True})
        os.kill(s.daemon_pid(), signal.SIGTERM)
        self.assertTrue(s.wait_for(lambda: not s.daemon_pid()))
        (s.root / "config/inkling/inkling.conf").write_text("[model]\nmodel=a\n")
        rows = {r["name"]: r["default"] for r in json.loads(self.ok(s, "model", "list", "--json"))}
        self.assertEqual(rows, {"a": True, "b": False})
        self.assertIn("inkling.conf", self.fails(s, 2, "model", "use", "b"))


if __name__ == "__main__":
    unittest.main()
