#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Activation, completion from other languages, idleness, residency, names."""
import asyncio
import json
import os
import pathlib
import re
import signal
import subprocess
import time
import unittest

from service import (BUILD, COUNTING, FULL, MODEL_NAME, NAME, PATH, SANITIZED, SOURCE, Client, Error, Service,
                     alive, cpu_ticks, programs, run, model_file)


class ServiceTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.service = Service()
        cls.addClassCleanup(cls.service.close)

    def test_first_call_starts_the_daemon_and_completes(self):
        with Service() as s:
            self.assertIsNone(s.daemon_pid())
            r = s.busctl("call", NAME, PATH, f"{NAME}.Text", "Complete", "sa{sv}",
                         COUNTING, 2, "max-tokens", "u", 16, "temperature", "d", 0)
            self.assertRegex(r.stdout, r'^sa\{sv\} ".+" \d+ ')
            self.assertIn('"output-tokens" u 16', r.stdout)
            self.assertIsNotNone(s.daemon_pid())

    def test_greedy_answer_equals_the_engine_on_its_own(self):
        prompt = "The capital of France is"
        r = subprocess.run([programs()["eval"], "greedy", "--tokens", "24", model_file()],
                           input=prompt, capture_output=True, text=True, timeout=120)
        self.assertEqual(r.returncode, 0, r.stderr)
        alone = json.loads(r.stdout.strip().split("\n")[-1])["text"]
        body = json.loads(self.service.busctl(
            "--json=short", "call", NAME, PATH, f"{NAME}.Text", "Complete", "sa{sv}", prompt, 2,
            "max-tokens", "u", 24, "temperature", "d", 0).stdout)
        self.assertEqual(body["data"][0], alone)

    def test_python_example_streams(self):
        r = subprocess.run(["/usr/bin/python3", SOURCE / "clients/examples/stream.py", "Dear Sir,"],
                           env=self.service.env, capture_output=True, text=True, timeout=60)
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertRegex(r.stdout, r"\S[\s\S]*\n\[\d+ tokens\]\n$")

    def test_properties_and_models(self):
        s = self.service
        s.busctl("call", NAME, PATH, f"{NAME}.Text", "CountTokens", "sa{sv}", "hello", 0)
        self.assertEqual(s.property("Manager", "State"), "ready")
        self.assertEqual(s.property("Manager", "Model"), MODEL_NAME)
        self.assertEqual(s.property("Manager", "ContextWindow"), 8192)
        self.assertEqual(s.property("Manager", "NetworkGuard"), "seccomp")
        self.assertGreater(s.property("Manager", "MemoryResident"), 1 << 20)
        models = json.loads(s.busctl("--json=short", "call", NAME, PATH, f"{NAME}.Manager",
                                     "ListModels").stdout)["data"][0]
        self.assertEqual([m["name"]["data"] for m in models], [MODEL_NAME])
        self.assertTrue(models[0]["default"]["data"] and models[0]["loaded"]["data"])
        self.assertEqual(models[0]["architecture"]["data"], "llama")

    def test_availability_never_loads(self):
        with Service() as s:
            call = ("--json=short", "call", NAME, PATH, f"{NAME}.Manager", "GetAvailability", "sa{sv}")
            state, details = json.loads(s.busctl(*call, "complete", 0).stdout)["data"]
            self.assertEqual(state, "on-demand")
            self.assertIsNone(s.worker_pid())
            self.assertEqual(json.loads(s.busctl(*call, "embed", 0).stdout)["data"][0], "unsupported")

    def test_tokens_round_trip(self):
        s = self.service
        text = "naïve café 12345 \u2028 <|im_end|> 👩‍👩‍👧"
        ids = json.loads(s.busctl("--json=short", "call", NAME, PATH, f"{NAME}.Text", "Tokenize",
                                  "sa{sv}", text, 0).stdout)["data"][0]
        self.assertNotIn(2, ids, "a control token in text of the user must stay text")
        n = json.loads(s.busctl("--json=short", "call", NAME, PATH, f"{NAME}.Text", "CountTokens",
                                "sa{sv}", text, 0).stdout)["data"][0]
        self.assertEqual(n, len(ids))
        back = json.loads(s.busctl("--json=short", "call", NAME, PATH, f"{NAME}.Text", "Detokenize",
                                   "aua{sv}", len(ids), *ids, 0).stdout)["data"][0]
        self.assertEqual(back, text)
        special = json.loads(s.busctl("--json=short", "call", NAME, PATH, f"{NAME}.Text", "Tokenize",
                                      "sa{sv}", "<|im_end|>", 1, "special", "b", "true").stdout)["data"][0]
        self.assertEqual(special, [2])
        chat = json.loads(s.busctl("--json=short", "call", NAME, PATH, f"{NAME}.Text", "CountTokens",
                                   "sa{sv}", "hello", 1, "as", "s", "chat").stdout)["data"][0]
        self.assertGreater(chat, 10)

    def test_live_introspection_is_the_shipped_xml(self):
        import xml.etree.ElementTree as ET

        def interfaces(text):
            found = {}
            for i in ET.fromstring(text).iter("interface"):
                if not i.get("name").startswith(NAME):
                    continue
                members = set()
                for m in i:
                    if m.tag == "annotation":
                        continue
                    args = tuple((a.get("name"), a.get("type"), a.get("direction", "out"))
                                 for a in m.iter("arg"))
                    members.add((m.tag, m.get("name"), m.get("type"), m.get("access"), args))
                found[i.get("name")] = members
            return found

        shipped = interfaces((SOURCE / "ipc/org.inkling.Inkling1.xml").read_text())
        live = json.loads(self.service.busctl("--json=short", "call", NAME, PATH,
                                              "org.freedesktop.DBus.Introspectable", "Introspect").stdout)
        live = interfaces(live["data"][0])

        async def request_interface():
            async with Client(self.service) as c:
                path = await c.start("Hello", max_tokens=1)
                from dbus_next import Message
                found = {}
                for path in (path, (await c.call("Manager", "CreateSession", "a{sv}", [{}]))[0]):
                    reply = await c.bus.call(Message(destination=NAME, path=path,
                                                     interface="org.freedesktop.DBus.Introspectable",
                                                     member="Introspect"))
                    found.update(interfaces(reply.body[0]))
                return found

        live.update(run(request_interface()))
        self.assertEqual(set(live), set(shipped))
        for name in shipped:
            self.assertEqual(live[name], shipped[name], name)

    @unittest.skipIf(SANITIZED, "a sanitizer's own threads use time")
    def test_idle_costs_nothing(self):
        s = self.service
        s.busctl("call", NAME, PATH, f"{NAME}.Text", "Complete", "sa{sv}", "Hi", 1, "max-tokens", "u", 4)
        time.sleep(0.5)
        pids = [s.daemon_pid(), s.worker_pid()]
        before = [cpu_ticks(p) for p in pids]

        def switches():
            total = 0
            for p in pids:
                for task in os.listdir(f"/proc/{p}/task"):
                    for line in open(f"/proc/{p}/task/{task}/status"):
                        if "ctxt_switches" in line:
                            total += int(line.split()[1])
            return total

        woken = switches()
        time.sleep(60 if FULL else 3)
        self.assertEqual([cpu_ticks(p) for p in pids], before, "ticks of 10 ms while idle")
        self.assertLessEqual(switches() - woken, 3, "wake-ups while idle")

    def test_twenty_racing_first_callers_are_all_served(self):
        with Service() as s:
            calls = [subprocess.Popen(["busctl", "--user", "--timeout=50", "call", NAME, PATH, f"{NAME}.Text",
                                       "CountTokens", "sa{sv}", "one two three", "0"], env=s.env,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                     for _ in range(20)]
            answers = [c.communicate(timeout=60) for c in calls]
            self.assertEqual([a[0] for a in answers], ["u 3\n"] * 20, answers[0][1])

    def test_second_daemon_on_the_same_bus_and_data_gives_way(self):
        s = self.service
        s.busctl("call", NAME, PATH, f"{NAME}.Text", "CountTokens", "sa{sv}", "x", 0)
        r = subprocess.run([programs()["daemon"], f"--worker={programs()['worker']}"], env=s.env,
                           capture_output=True, text=True, timeout=20)
        self.assertEqual(r.returncode, 75, r.stderr)
        self.assertIsNotNone(s.daemon_pid())

    def test_sigterm_ends_cleanly_and_the_next_call_starts_anew(self):
        with Service() as s:
            call = ("call", NAME, PATH, f"{NAME}.Text", "CountTokens", "sa{sv}", "x", 0)
            s.busctl(*call)
            daemon, worker = s.daemon_pid(), s.worker_pid()
            os.kill(daemon, signal.SIGTERM)
            self.assertTrue(s.wait_for(lambda: not alive(daemon) and not alive(worker), 5))
            s.busctl(*call)
            self.assertNotEqual(s.daemon_pid(), daemon)

    def test_sigterm_tells_the_readers_of_pipes(self):
        async def body(s):
            async with Client(s) as c:
                _, fd = await c.start_pipe(COUNTING, max_tokens=4096, temperature=0.0)
                loop = asyncio.get_running_loop()
                data = await loop.run_in_executor(None, os.read, fd, 65536)
                os.kill(s.daemon_pid(), signal.SIGTERM)
                while piece := await loop.run_in_executor(None, os.read, fd, 65536):
                    data += piece
                os.close(fd)
                last = json.loads(data.decode().strip().split("\n")[-1])
                self.assertEqual(last["finished"]["status"], 1)
                self.assertIn("stopping", last["finished"]["error-message"])
        with Service() as s:
            run(body(s))

    def test_sigterm_while_starting_ends_in_order(self):
        """As soon as the signal is not the end by itself; the name is never taken then."""
        met = 0
        with Service() as s:
            for _ in range(40):  # it is a race with a start of some milliseconds
                if met:
                    break
                daemon = subprocess.Popen([programs()["daemon"], f"--worker={programs()['worker']}"], env=s.env,
                                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
                status = pathlib.Path(f"/proc/{daemon.pid}/status")
                while not int(re.search(r"SigBlk:\s*(\w+)", status.read_text())[1], 16) & 1 << signal.SIGTERM - 1:
                    self.assertIsNone(daemon.poll())
                daemon.terminate()
                _, log = daemon.communicate(timeout=20)
                self.assertEqual(daemon.returncode, 0, log)
                met += "asked to end while starting" in log
        self.assertGreater(met, 0)

    def test_the_worker_ends_and_returns(self):
        s = self.service
        s.busctl("call", NAME, PATH, f"{NAME}.Text", "CountTokens", "sa{sv}", "x", 0)
        worker = s.worker_pid()
        s.busctl("call", NAME, PATH, f"{NAME}.Manager", "Unload", "a{sv}", 0)
        self.assertTrue(s.wait_for(lambda: not alive(worker), 5))
        self.assertEqual(s.property("Manager", "State"), "idle")
        begin = time.monotonic()
        s.busctl("call", NAME, PATH, f"{NAME}.Text", "Complete", "sa{sv}", "Hi", 1, "max-tokens", "u", 1)
        cached = list((s.root / "cache/inkling").glob("*.pack"))
        self.assertEqual(len(cached), 1, "a new user has no cache folder; it is made")
        maps = open(f"/proc/{s.worker_pid()}/smaps_rollup").read() if os.geteuid() == 0 else ""
        for line in maps.split("\n"):
            if line.startswith("Private_Dirty:"):
                self.assertLess(int(line.split()[1]), 60 * 1024, "weights are mapped, not copied")
        print(f"return of the worker to the first token: {(time.monotonic() - begin) * 1e3:.0f} ms")
        self.assertEqual(s.property("Manager", "State"), "ready")

    def test_files_are_private(self):
        s = self.service
        s.busctl("call", NAME, PATH, f"{NAME}.Text", "CountTokens", "sa{sv}", "x", 0)
        for folder in (s.root / "data/inkling", s.root / "cache/inkling"):
            for path in [folder, *folder.rglob("*")]:
                if path.suffix != ".gguf":
                    self.assertEqual(path.stat().st_mode & 0o077, 0, path)


if __name__ == "__main__":
    unittest.main(verbosity=2, warnings="ignore")
