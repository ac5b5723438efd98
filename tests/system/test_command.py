#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The command `inkling` as a person and a script use it: output, streams, exit codes, Ctrl-C."""
import json
import os
import pty
import signal
import subprocess
import time
import unittest

from service import COUNTING, MODEL_NAME, NAME, PATH, SANITIZED, Service, cpu_ticks, programs


class CommandTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.service = Service()
        cls.addClassCleanup(cls.service.close)

    def ok(self, *args, **kwargs):
        r = self.service.inkling(*args, **kwargs)
        self.assertEqual(r.returncode, 0, r.stderr)
        return r.stdout

    def test_complete(self):
        greedy = ("--max-tokens", 12, "--temperature", 0)
        a = self.ok("complete", *greedy, "Once upon a time")
        self.assertTrue(a.endswith("\n"))
        self.assertEqual(a, self.ok("complete", *greedy, stdin=None, input="Once upon a time"))
        self.assertEqual(a, self.ok("complete", *greedy, "-", stdin=None, input="Once upon a time"))
        self.assertEqual(a, self.ok("complete", *greedy, "--raw", "Once upon a time") + "\n")
        lines = [json.loads(x) for x in self.ok("complete", "--json", *greedy, "Once upon a time").split("\n") if x]
        self.assertEqual("".join(x["text"] for x in lines if "text" in x) + "\n", a)
        self.assertEqual(lines[-1]["finished"]["output-tokens"], 12)
        r = self.service.inkling("complete", "--stats", *greedy, "Once upon a time")
        self.assertIn("tokens/s", r.stderr)
        self.assertIn(MODEL_NAME, r.stderr)
        self.assertEqual(self.ok("complete", "--max-tokens=3", "--", "--dashes are text").count("\n") > 0, True)

    def test_chat(self):
        out = self.ok("chat", "--temperature", 0, "--max-tokens", 40, "What is the capital of France?")
        self.assertIn("Paris", out)
        out = self.ok("chat", "--temperature", 0, "--max-tokens", 40, "--system",
                      "You are a helpful assistant.", "What is the capital of France?")
        self.assertIn("Paris", out)

    def test_errors_cannot_steer_the_terminal(self):
        word = "\x1b[31m\u009b31m\u202e"
        for args in (["app", "allow", "x", word], [word], ["complete", "--" + word]):
            main, child = pty.openpty()
            p = subprocess.Popen([programs()["inkling"], *args], env=self.service.env, stdin=subprocess.DEVNULL,
                                 stdout=child, stderr=child)
            os.close(child)
            out = b""
            try:
                while chunk := os.read(main, 4096):
                    out += chunk
            except OSError:  # the end of a terminal
                pass
            os.close(main)
            self.assertEqual(p.wait(30), 2)
            for control in ("\x1b", "\u009b", "\u202e"):
                self.assertNotIn(control.encode(), out, args)
            self.assertIn(b"<U+001B>[31m", out)

    def test_chat_dialogue_on_a_terminal(self):
        main, child = pty.openpty()
        p = subprocess.Popen([programs()["inkling"], "chat", "--temperature", "0", "--max-tokens", "30"],
                             env=self.service.env, stdin=child, stdout=child, stderr=child, close_fds=True)
        os.close(child)
        out = b""

        def until(text):
            nonlocal out
            end = time.monotonic() + 30
            while text not in out and time.monotonic() < end:
                out += os.read(main, 4096)
            self.assertIn(text, out)
        until(b"> ")
        os.write(main, b"My name is Zebulon. Say hello to me by name.\n")
        while out.count(b"> ") < 2:
            out += os.read(main, 4096)
        os.write(main, b"What is my name?\n")
        while out.count(b"> ") < 3:
            out += os.read(main, 4096)
        os.write(main, b"/help\n")
        until(b"/new or /quit")
        os.write(main, b"\x04")
        self.assertEqual(p.wait(10), 0)
        os.close(main)
        self.assertIn(b"Zebulon", out.split(b"What is my name?")[1])

    def test_tokens(self):
        self.assertEqual(self.ok("tokens", "one two three").strip(), "3")
        ids = [int(x) for x in self.ok("tokens", "--ids", "one two three").split()]
        self.assertEqual(len(ids), 3)
        self.assertEqual(json.loads(self.ok("tokens", "--json", "--ids", "one two three"))["ids"], ids)
        self.assertEqual(self.ok("tokens", "--pieces", "one two").count("\n"), 2)
        self.assertGreater(int(self.ok("tokens", "--chat", "one two three")), 10)

    def test_memory_observe_suggest(self):
        with Service(model=False) as s:
            self.assertEqual(s.inkling("memory", "on").stdout, "memory is on\n")
            for command in ("make check", "git log"):
                self.assertEqual(s.inkling("observe", "ran", command).returncode, 0)
            self.assertEqual(s.inkling("observe", "opened", "/tmp/a b.txt").returncode, 0)
            out = s.inkling("suggest", "command", "make", "--explain")
            self.assertIn("make check", out.stdout)
            self.assertNotIn("git log", out.stdout)
            files = [json.loads(x) for x in s.inkling("--json", "suggest", "file").stdout.split("\n") if x]
            self.assertEqual(files[0]["uri"], "file:///tmp/a%20b.txt")
            r = s.inkling("suggest", "--feedback", files[0]["id"], "accepted")
            self.assertEqual(r.returncode, 0, r.stderr)
            self.assertEqual(s.inkling("suggest", "--feedback", "nothing", "accepted").returncode, 8)
            r = s.inkling("suggest", "file", "--candidates", "-", stdin=None, input="/tmp/x\n/tmp/a b.txt\n")
            self.assertEqual(r.stdout.count("\n"), 2, r.stdout + r.stderr)
            self.assertEqual(s.inkling("memory", "off").stdout, "memory is off\n")

    def test_status_version_doctor(self):
        with Service(model=False) as s:
            for verb in ("status", "doctor"):
                self.assertEqual(s.inkling(verb).returncode, 3)
            self.assertEqual(s.inkling("version").returncode, 0)
            self.assertIsNone(s.daemon_pid(), "asking must not start the service")
            s.inkling("memory", "off")
            r = s.inkling("doctor")
            self.assertEqual(r.returncode, 1)
            self.assertIn("none installed", r.stdout)
        self.ok("complete", "--max-tokens", 1, "Hi")
        self.assertIn("ready", self.ok("status"))
        self.assertEqual(json.loads(self.ok("status", "--json"))["model"], MODEL_NAME)
        self.assertNotIn("fail", self.ok("doctor"))
        self.assertEqual(self.ok("version").count("0.1.0"), 2)

    def test_doctor_without_a_model_blames_the_model_alone(self):
        with Service(model=False) as empty:
            self.assertEqual(empty.inkling("complete", "x").returncode, 5)  # starts it
            r = empty.inkling("doctor", "--json")
        self.assertEqual(r.returncode, 1)
        verdicts = {c["check"]: c["verdict"] for c in map(json.loads, r.stdout.splitlines())}
        self.assertEqual([c for c, v in verdicts.items() if v == "fail"], ["model"], r.stdout)

    def test_wrong_use(self):
        for args, words in [(["complte", "x"], "complete"), (["complete", "--wibble", "x"], "--wibble"),
                            (["complete", "--max-tokens", "lots", "x"], "max-tokens"),
                            (["complete", "--max-tokens", "-1", "x"], "max-tokens"),
                            (["complete", "--max-tokens", "99999", "x"], "max-tokens"),
                            (["complete", "--temperature", "nan", "x"], "temperature"),
                            (["complete", "a", "b"], "quote"), (["model", "import", "a", "b", "c"], "inkling model --help"),
                            (["complete", ""], "prompt"),
                            (["tokens", "--ids", "--chat", "x"], "--chat"), (["observe", "ate", "x"], "kind"),
                            (["suggest"], "KIND"), (["memory", "maybe"], "on")]:
            r = self.service.inkling(*args)
            self.assertEqual(r.returncode, 2, f"{args}: {r.stderr}")
            self.assertIn(words, r.stderr)
            self.assertEqual(r.stdout, "")
        r = self.service.inkling("frobnicate")  # nothing is near enough to be proposed
        self.assertEqual(r.returncode, 2)
        self.assertNotIn("did you mean", r.stderr)
        self.assertIn("inkling --help", r.stderr)
        r = self.service.inkling("complete", "--json", "--wibble", "x")
        self.assertIn("--wibble", json.loads(r.stderr)["error"]["message"])
        r = self.service.inkling("--json", "complete", "--max-tokens", "0", "x")
        self.assertEqual(json.loads(r.stderr)["error"]["name"], "org.freedesktop.DBus.Error.InvalidArgs")

    def test_exit_codes(self):
        s = self.service
        self.assertEqual(s.inkling("complete", "word " * 20_000).returncode, 6)
        self.assertEqual(s.inkling("complete", "--model", "nothing", "x").returncode, 5)
        self.assertEqual(s.inkling("complete", "--require-complete", "--max-tokens", 2, "x y").returncode, 7)
        self.assertEqual(s.inkling("complete", "--timeout", "200ms", "--temperature", 0, "--max-tokens", 4000,
                                   COUNTING).returncode, 124)
        env = {**s.env, "DBUS_SESSION_BUS_ADDRESS": "unix:path=/nonexistent"}
        r = subprocess.run([programs()["inkling"], "complete", "x"], env=env, capture_output=True, text=True,
                           stdin=subprocess.DEVNULL)
        self.assertEqual(r.returncode, 3, r.stderr)

    def test_ctrl_c_cancels_in_the_service(self):
        s = self.service
        p = subprocess.Popen([programs()["inkling"], "complete", "--max-tokens", "4000", "--temperature", "0", COUNTING],
                             env=s.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertTrue(p.stdout.read(1))
        begin = time.monotonic()
        p.send_signal(signal.SIGINT)
        p.communicate(timeout=10)
        took = time.monotonic() - begin
        print(f"Ctrl-C to the end of the command: {took * 1e3:.0f} ms")
        self.assertEqual(p.returncode, 130)
        self.assertLess(took, 1)
        worker = s.worker_pid()
        time.sleep(0.05)
        before = cpu_ticks(worker)
        time.sleep(0.2)
        self.assertLessEqual(cpu_ticks(worker) - before, 1)

    def test_closed_pipe_cancels_quietly(self):
        s = self.service
        r = subprocess.run(["bash", "-c", f'"{programs()["inkling"]}" complete --max-tokens 4000 --temperature 0 "{COUNTING}" '
                            '| head -c 5; echo " ${PIPESTATUS[0]}"'], env=s.env, capture_output=True,
                           text=True, stdin=subprocess.DEVNULL, timeout=30)
        self.assertTrue(r.stdout.strip().endswith("141"), r.stdout)
        self.assertEqual(r.stderr, "")

    @unittest.skipIf(SANITIZED, "a sanitizer starts slowly")
    def test_help_is_quick_and_complete(self):
        out = self.ok("--help")
        for verb in ("complete", "chat", "tokens", "suggest", "observe", "memory", "app", "model", "status", "doctor",
                     "version"):
            self.assertIn(f"\n  {verb}", out)
            text = self.ok(verb, "--help")
            self.assertIn("Examples:", text)
            for line in (out + text).splitlines():
                self.assertEqual(line, line.rstrip())
        times = []
        for _ in range(10):
            begin = time.monotonic()
            self.ok("--version")
            times.append(time.monotonic() - begin)
        print(f"inkling --version: {sorted(times)[5] * 1e3:.1f} ms")


if __name__ == "__main__":
    unittest.main(verbosity=2, warnings="ignore")
