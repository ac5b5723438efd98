#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""No network, no user text in logs, a worker that is locked in: seen from outside."""
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import unittest

from service import COUNTING, NAME, PATH, SANITIZED, SOURCE, Client, Error, Service, Variant, alive, run

CANARY = "zyzzyva-canary-7351"


async def refused(c, *args, **kwargs):
    try:
        await c.call(*args, **kwargs)
    except Error as e:
        return e
    raise AssertionError(f"not refused: {args[:2]}")


@unittest.skipIf(SANITIZED, "the seal is relaxed in sanitizer builds")
class PrivacyTest(unittest.TestCase):
    def exercise(self, s):
        async def body():
            async with Client(s) as c:
                await c.call("Text", "Complete", "sa{sv}", [f"{CANARY} is", {"max-tokens": Variant("u", 8)}])
                await c.call("Text", "Chat", "a(ss)a{sv}", [[["user", f"Say {CANARY}"]],
                                                            {"max-tokens": Variant("u", 8)}])
                await c.call("Text", "CountTokens", "sa{sv}", [CANARY, {}])
                await c.call("Recommendation", "Suggest", "sa{sv}a{sv}",
                             ["file", {"text-before": Variant("s", CANARY)}, {}])
                for bad in ([CANARY * 10000, {}], [CANARY, {CANARY: Variant("u", 1)}],
                            [CANARY, {"model": Variant("s", CANARY)}]):
                    try:
                        await c.call("Text", "Complete", "sa{sv}", bad)
                    except Error:
                        pass
                await self.exercise_sessions(s, c)
                await self.exercise_ends(s, c)
                await self.exercise_names(c)
                self.exercise_programs(s)
                path = await c.start(f"{CANARY} {COUNTING}", max_tokens=2000, temperature=0.0, stream="delta")
                while not any(m == "Delta" for _, m, _ in c.signals):
                    import asyncio
                    await asyncio.sleep(0.01)
                os.kill(s.worker_pid(), signal.SIGKILL)
                await c.wait(path)
                await c.call("Text", "CountTokens", "sa{sv}", [CANARY, {}])
        run(body())

    async def exercise_sessions(self, s, c):
        """Names, system texts, turns, and every refusal that has one of them at hand."""
        options = {"system": Variant("s", CANARY), "persistent": Variant("b", True), "name": Variant("s", CANARY)}
        path = (await c.call("Manager", "CreateSession", "a{sv}", [options]))[0]
        few = {"max-tokens": Variant("u", 4)}
        await c.call("Session", "Prompt", "sa{sv}", [CANARY, few], path=path)
        await c.call("Session", "Append", "a(ss)a{sv}", [[["user", CANARY]], {}], path=path)
        request = (await c.call("Session", "StartPrompt", "sa{sv}", [
            f"{CANARY} {COUNTING}", {"max-tokens": Variant("u", 2000), "temperature": Variant("d", 0.0)}],
            path=path))[0]
        await refused(c, "Session", "Prompt", "sa{sv}", [CANARY, few], path=path)
        await refused(c, "Session", "Rewind", "u", [4711], path=path)
        await refused(c, "Session", "Append", "a(ss)a{sv}", [[[CANARY, CANARY]], {}], path=path)
        await refused(c, "Session", "Prompt", "sa{sv}", [CANARY, {CANARY: Variant("b", True)}], path=path)
        await c.call("Session", "Close", path=path)
        await c.wait(request)
        await refused(c, "Session", "Prompt", "sa{sv}", [CANARY, few], path=path)
        await refused(c, "Manager", "CreateSession", "a{sv}", [{"overflow": Variant("s", CANARY)}])
        await refused(c, "Manager", "CreateSession", "a{sv}", [{"name": Variant("s", CANARY)}])

    async def exercise_names(self, c):
        """What people call their models, sessions and programs, where it fits nothing."""
        empty = {}
        await refused(c, "Manager", "InspectModel", "sa{sv}", [CANARY, empty])
        await refused(c, "Manager", "RemoveModel", "sa{sv}", [CANARY, empty])
        await refused(c, "Manager", "SetDefaultModel", "sa{sv}", [CANARY, empty])
        await refused(c, "Manager", "Load", "sa{sv}", [CANARY, {CANARY: Variant("u", 1)}])
        await c.call("Manager", "GetAvailability", "sa{sv}", [CANARY, empty])
        await refused(c, "Manager", "GetAvailability", "sa{sv}", ["complete", {"model": Variant("s", CANARY)}])
        for decision in ("deny", "allow", "reset"):
            await c.call("Manager", "SetPermission", "sss", [f"exe:{CANARY}", "text", decision])
        await refused(c, "Manager", "SetPermission", "sss", [CANARY, "text", "allow"])
        await refused(c, "Manager", "SetPermission", "sss", [f"exe:{CANARY}", CANARY, CANARY])
        await refused(c, "Text", "Chat", "a(ss)a{sv}", [[[CANARY, CANARY]], empty])
        await refused(c, "Text", "Chat", "a(ss)a{sv}", [[["user", f"{CANARY} " * 5000]], empty])
        path = (await c.call("Manager", "CreateSession", "a{sv}", [{
            "overflow": Variant("s", "error"), "context-limit": Variant("u", 256)}]))[0]
        await refused(c, "Session", "Prompt", "sa{sv}", [f"{CANARY} " * 500, empty], path=path)
        await c.call("Session", "MeasureUsage", "s", [CANARY], path=path)
        await c.call("Session", "Close", path=path)

    def exercise_programs(self, s):
        """The command line: a kept dialogue, what is observed, and models that come and do not come."""
        def ok(*args):
            r = s.inkling(*args)
            self.assertEqual(r.returncode, 0, (args, r.stderr))
            return r.stdout
        ok("chat", "--max-tokens", 4, "--system", CANARY, f"Say {CANARY}")
        ok("chat", "--max-tokens", 4, "--session", CANARY, f"Say {CANARY}")
        ok("chat", "--max-tokens", 4, "--session", CANARY, f"And {CANARY}")
        ok("memory", "on")
        ok("observe", "ran", CANARY)
        self.assertIn(CANARY, ok("suggest", "command"))
        with tempfile.TemporaryDirectory(prefix=CANARY) as folder:
            bad, good = pathlib.Path(folder) / f"{CANARY}-bad.gguf", pathlib.Path(folder) / f"{CANARY}.gguf"
            bad.write_bytes(CANARY.encode() * 100)
            shutil.copy(SOURCE / "tests/data/toy-llama-q.gguf", good)
            self.assertNotEqual(s.inkling("model", "import", CANARY, bad).returncode, 0)
            self.assertNotEqual(s.inkling("model", "import", CANARY, good, "--sha256", "0" * 64).returncode, 0)
            self.assertNotEqual(s.inkling("model", "import", CANARY + "!", good).returncode, 0)
            ok("model", "import", CANARY, good)
            self.assertNotEqual(s.inkling("model", "import", CANARY, good).returncode, 0)
        ok("complete", "--model", CANARY, "--max-tokens", 2, "abc")
        os.truncate(s.models / f"{CANARY}.gguf", 4096)
        self.assertNotEqual(s.inkling("model", "verify", CANARY).returncode, 0)
        self.assertNotEqual(s.inkling("complete", "--model", CANARY, "abc").returncode, 0)
        ok("model", "remove", CANARY, "-y")

    async def exercise_ends(self, s, c):
        """Cancelled, superseded, refused, and a configuration that says things."""
        keys = dict(max_tokens=2000, temperature=0.0, supersede_key=CANARY)
        first = await c.start(f"{CANARY} {COUNTING}", **keys)
        second = await c.start(f"{CANARY} {COUNTING}", **keys)
        await c.wait(first)
        await c.call("Request", "Cancel", path=second)
        _, fd = await c.start_pipe(f"{CANARY} {COUNTING}", max_tokens=2000, temperature=0.0)
        os.close(fd)
        await c.wait(await c.start(f"{CANARY} {COUNTING}", max_tokens=2000, temperature=0.0, deadline_usec=50000))
        await refused(c, "Text", "Start", "sa{sv}a{sv}", [
            "complete", {"prompt": Variant("s", CANARY)}, {"handle-token": Variant("s", CANARY + "!")}])
        waiting = [await c.start(f"{CANARY} {COUNTING}", max_tokens=2000, temperature=0.0) for _ in range(16)]
        for _ in range(8):
            try:
                waiting.append(await c.start(f"{CANARY} {COUNTING}", max_tokens=2000, temperature=0.0))
            except Error as e:
                self.assertTrue(e.name.endswith("Busy"))
        for path in waiting:
            await c.call("Request", "Cancel", path=path)
        (s.root / "config/inkling/inkling.conf").write_text(f"[model]\nmodel={CANARY} {CANARY}\nisa={CANARY}\n")
        await refused(c, "Manager", "Reload")
        os.kill(s.daemon_pid(), signal.SIGHUP)
        self.assertTrue(s.wait_for(lambda: "line 2: model" in s.log_text(), 5))

    def test_no_user_text_in_the_log(self):
        with Service() as s:
            self.exercise(s)
            pid = s.daemon_pid()
            os.kill(pid, signal.SIGTERM)
            s.wait_for(lambda: not alive(pid), 5)
            log = s.log_text()
            self.assertIn("worker", log, "the worker's death is worth a line")
            self.assertNotIn(CANARY, log)
            self.assertNotIn("zyzzyva", log)
            for path in s.root.rglob("*"):
                self.assertNotIn("zyzzyva", str(path))

    def test_only_unix_sockets_and_only_messages_after_the_seal(self):
        if not shutil.which("strace"):
            self.fail("strace is missing; ./dev test installs it")
        with Service(exec_prefix="strace -f -qq -o $XDG_RUNTIME_DIR/trace -e "
                                 "trace=%network,execve,openat,seccomp,io_uring_setup") as s:
            self.exercise(s)
            pid = s.daemon_pid()
            os.kill(pid, signal.SIGTERM)
            s.wait_for(lambda: not alive(pid), 10)
            trace = (s.root / "run/trace").read_text(errors="replace").split("\n")
        families = set(re.findall(r"socket(?:pair)?\((\w+)", "\n".join(trace)))
        self.assertTrue(families)
        self.assertLessEqual(families, {"AF_UNIX"}, families)
        self.assertFalse([x for x in trace if "io_uring_setup" in x])
        workers = {x.split()[0] for x in trace if re.search(r'execve\("[^"]*inkling-worker', x)}
        self.assertTrue(workers)
        for worker in workers:
            lines = [x for x in trace if x.split(" ")[0] == worker]
            sealed = max(i for i, x in enumerate(lines) if "seccomp(" in x)
            after = lines[sealed + 1:]
            calls = set()
            for x in after:
                m = re.match(r"\d+\s+(\w+)\(", x)
                if m:
                    calls.add(m[1])
            self.assertLessEqual(calls, {"sendmsg", "recvmsg"}, f"calls after the seal: {calls}")
            descriptors = set(re.findall(r"(?:sendmsg|recvmsg)\((\d+)", "\n".join(after)))
            self.assertEqual(len(descriptors), 1, descriptors)

    def test_every_process_proves_that_it_is_offline(self):
        with Service() as s:
            self.assertEqual(s.inkling("doctor", "--offline").returncode, 3, "not running: nothing to prove")
            s.busctl("call", NAME, PATH, f"{NAME}.Text", "CountTokens", "sa{sv}", "x", 0)
            r = s.inkling("doctor", "--offline", "--json")
            self.assertEqual(r.returncode, 0, r.stdout + r.stderr)
            rows = [json.loads(line) for line in r.stdout.splitlines()]
            self.assertEqual([row["pid"] for row in rows], [s.daemon_pid(), s.worker_pid()])
            for row in rows:
                self.assertTrue(row["proven"])
                self.assertEqual((row["tries"], row["refused"], row["seccomp"]), (9, 9, 2))
            text = s.inkling("doctor", "--offline").stdout
            self.assertIn("socket AF_INET, stream: E", text)
            self.assertEqual(text.count("\nok"), 1)

    def test_processes_are_locked_in(self):
        with Service() as s:
            s.busctl("call", NAME, PATH, f"{NAME}.Text", "CountTokens", "sa{sv}", "x", 0)
            for pid in (s.daemon_pid(), s.worker_pid()):
                status = pathlib.Path(f"/proc/{pid}/status").read_text()
                self.assertRegex(status, r"NoNewPrivs:\s+1")
                self.assertRegex(status, r"Seccomp:\s+2")
            fds = os.listdir(f"/proc/{s.worker_pid()}/fd") if os.geteuid() == 0 else []
            self.assertLessEqual(len(fds), 4, "standard descriptors and one socket")
            # Another process of the same user may not look into it (root may, so ask as nobody).
            if os.geteuid() == 0 and shutil.which("setpriv"):
                r = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "cat",
                                    f"/proc/{s.worker_pid()}/maps"], capture_output=True)
                self.assertNotEqual(r.returncode, 0)


if __name__ == "__main__":
    unittest.main(verbosity=2, warnings="ignore")
