#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Sessions with the real model: turns that remember, what is kept and what is wiped, prefixes that are not read twice."""
import asyncio
import fcntl
import os
import pty
import select
import signal
import subprocess
import termios
import time
import unittest

from service import (COUNTING, NAME, PATH, SANITIZED, SOURCE, Client, Error, MessageType, Service, Variant, alive, programs,
                     run)

GREEDY = {"temperature": Variant("d", 0.0)}


def short(n=24):
    return {**GREEDY, "max-tokens": Variant("u", n)}


class Talker(Client):
    """A client that remembers signals of its sessions too."""

    def _remember(self, message):
        if message.message_type == MessageType.SIGNAL and message.path.startswith(PATH + "/session"):
            self.signals.append((message.path, message.member, message.body))
        else:
            super()._remember(message)

    async def create(self, **options):
        types = {"system": "s", "name": "s", "persistent": "b", "context_limit": "u", "overflow": "s",
                 "messages": "a(ss)", "priority": "s"}
        body = {k.replace("_", "-"): Variant(types[k], v) for k, v in options.items()}
        return (await self.call("Manager", "CreateSession", "a{sv}", [body]))[0]

    async def prompt(self, path, text, options=None, timeout=60):
        text, result = await self.call("Session", "Prompt", "sa{sv}", [text, options or short()],
                                       path=path, timeout=timeout)
        return text, {k: v.value for k, v in result.items()}

    async def start_prompt(self, path, text, options=None):
        return (await self.call("Session", "StartPrompt", "sa{sv}", [text, options or short()],
                                path=path))[0]

    async def transcript(self, path):
        turns = (await self.call("Session", "GetTranscript", path=path))[0]
        return [(role, text) for role, text, _ in turns]

    async def property(self, path, name):
        reply = await self.bus.call(message(path, "org.freedesktop.DBus.Properties", "Get", "ss",
                                            [f"{NAME}.Session", name]))
        return reply.body[0].value

    def heard(self, path):
        return [(member, body) for p, member, body in self.signals if p == path]


def message(path, interface, member, signature="", body=()):
    from dbus_next import Message
    return Message(destination=NAME, path=path, interface=interface, member=member,
                   signature=signature, body=list(body))


class SessionTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.service = Service()
        cls.addClassCleanup(cls.service.close)
        cls.service.busctl("call", NAME, PATH, f"{NAME}.Manager", "Load", "sa{sv}", "", 0)
        cls.service.wait_for(lambda: cls.service.property("Manager", "State") == "ready", 30)

    def refused(self, name, coroutine):
        async def body():
            with self.assertRaises(Error) as caught:
                await coroutine
            self.assertIn(name, caught.exception.name)
            return caught.exception.message
        return body()

    def test_turns_are_a_chat_of_all_before_and_prefixes_are_not_read_twice(self):
        async def body():
            async with Talker(self.service) as c:
                path = await c.create(system="You are a helpful assistant who answers in one sentence.")
                first, r1 = await c.prompt(path, "My name is Ada and I keep bees. What do bees make?")
                second, r2 = await c.prompt(path, "What is my name?")
                turns = await c.transcript(path)
                self.assertEqual([role for role, _ in turns],
                                 ["system", "user", "assistant", "user", "assistant"])
                self.assertEqual(turns[2][1], first)
                self.assertEqual(turns[4][1], second)
                # Exactly what a chat of the same messages gives: nothing else is remembered.
                same, _ = await c.call("Text", "Chat", "a(ss)a{sv}",
                                       [[list(t) for t in turns[:4]], short()])
                self.assertEqual(same, second)
                self.assertGreater(r2["cached-tokens"], r1["prompt-tokens"] - 17)
                self.assertEqual(r2["truncated-tokens"], 0)
                usage = await c.property(path, "ContextUsage")
                self.assertEqual(usage, r2["prompt-tokens"] + r2["output-tokens"])
                self.assertEqual(await c.property(path, "ContextWindow"), 8192)
                self.assertEqual(await c.property(path, "Model"), "smollm2-135m-instruct-q4_1")
        run(body())

    def test_measured_usage_is_what_the_prompt_adds(self):
        async def body():
            async with Talker(self.service) as c:
                path = await c.create(system="Be brief.")
                _, r1 = await c.prompt(path, "Hello there.", short(1))
                text = "How many legs has a spider, and how many has an ant?"
                added = (await c.call("Session", "MeasureUsage", "s", [text], path=path))[0]
                again = (await c.call("Session", "MeasureUsage", "s", [text], path=path))[0]
                self.assertEqual(added, again)
                base = (await c.call("Session", "MeasureUsage", "s", [""], path=path))[0]
                self.assertGreater(added, base + 8)
                _, r2 = await c.prompt(path, text, short(1))
                # The template closes the answer of one token, which the first count had not.
                self.assertLess(abs(r2["prompt-tokens"] - r1["prompt-tokens"] - added), 12)
        run(body())

    def test_second_prompt_is_busy_and_cancelling_leaves_no_trace(self):
        async def body():
            async with Talker(self.service) as c:
                path = await c.create()
                request = await c.start_prompt(path, COUNTING, short(2000))
                await self.refused("SessionBusy", c.prompt(path, "Hello"))
                await self.refused("SessionBusy", c.call("Session", "Rewind", "u", [0], path=path))
                await c.call("Request", "Cancel", path=request)
                status, results = await c.wait(request)
                self.assertEqual((status, results["finish-reason"]), (1, "cancelled"))
                self.assertEqual(await c.transcript(path), [])
                text, _ = await c.prompt(path, "Say hello.")
                self.assertEqual(await c.transcript(path), [("user", "Say hello."), ("assistant", text)])
                # A deadline is an end like another one: what was said is kept.
                span = 8000000 if SANITIZED else 1500000
                request = await c.start_prompt(path, COUNTING, {**short(4000), "deadline-usec": Variant("t", span)})
                status, results = await c.wait(request)
                self.assertEqual((status, results["finish-reason"]), (0, "deadline"))
                self.assertEqual((await c.transcript(path))[-1], ("assistant", results["text"]))
                self.assertGreater(len(results["text"]), 0)
        run(body())

    def test_close_cancels_and_tells(self):
        async def body():
            async with Talker(self.service) as c:
                path = await c.create()
                request = await c.start_prompt(path, COUNTING, short(2000))
                await c.call("Session", "Close", path=path)
                status, results = await c.wait(request)
                self.assertEqual((status, results["finish-reason"]), (1, "cancelled"))
                self.assertEqual([(m, b[0]) for m, b in c.heard(path)], [("Closed", "closed")])
                await self.refused("UnknownObject", c.prompt(path, "Hello"))
        run(body())

    def test_rewind_and_clone_go_on_from_where_they_are(self):
        async def body():
            async with Talker(self.service) as c:
                path = await c.create(system="Be brief.")
                first, _ = await c.prompt(path, "Name a colour.")
                await c.prompt(path, "Name an animal.")
                clone = (await c.call("Session", "Clone", "a{sv}", [{}], path=path))[0]
                await c.call("Session", "Rewind", "u", [2], path=path)
                self.assertEqual((await c.transcript(path))[1:],
                                 [("user", "Name a colour."), ("assistant", first)])
                self.assertEqual(len(await c.transcript(clone)), 5)
                here, _ = await c.prompt(path, "Name a fruit.")
                there, result = await c.prompt(clone, "Name a fruit.")
                self.assertGreater(result["cached-tokens"], 16)
                self.assertEqual(len(await c.transcript(clone)), 7)
                self.assertEqual(len(await c.transcript(path)), 5)
                await c.call("Session", "Rewind", "u", [0], path=path)
                self.assertEqual(await c.transcript(path), [("system", "Be brief.")])
                message = await self.refused("InvalidArgs",
                                             c.call("Session", "Rewind", "u", [1], path=path))
                self.assertIn("turn is 1, the session has 0", message)
        run(body())

    def test_overflow_is_refused_or_drops_the_oldest_turns(self):
        filler = "Write on and on about the sea and the wind and the sand. " * 6

        async def body():
            async with Talker(self.service) as c:
                strict = await c.create(context_limit=256)
                await c.call("Session", "Append", "a(ss)a{sv}",
                             [[["user", filler], ["assistant", filler], ["user", filler]], {}], path=strict)
                message = await self.refused("ContextOverflow", c.prompt(strict, "And now?"))
                self.assertRegex(message, r"\d+.*256|256.*\d+")
                self.assertEqual(len(await c.transcript(strict)), 3)
                # The same session, with a policy for this one prompt.
                _, result = await c.prompt(strict, "And now?",
                                           {**short(8), "overflow": Variant("s", "drop-oldest")})
                self.assertGreater(result["truncated-tokens"], 0)
                self.assertLessEqual(result["prompt-tokens"] + result["output-tokens"], 256)
                (member, (turns, tokens)), = c.heard(strict)
                self.assertEqual(member, "ContextOverflow")
                self.assertGreater(turns, 0)
                self.assertEqual(tokens, result["truncated-tokens"])
                self.assertEqual(len(await c.transcript(strict)), 5, "the transcript keeps what was dropped")
                for policy in ("truncate-head", "truncate-middle"):
                    _, result = await c.prompt(strict, filler * 2,
                                               {**short(4), "overflow": Variant("s", policy)})
                    self.assertGreater(result["truncated-tokens"], 0, policy)
        run(body())

    def test_a_limit_beyond_the_window_is_the_window(self):
        async def body():
            async with Talker(self.service) as c:
                path = await c.create(context_limit=1 << 20)
                await c.prompt(path, "Hello", short(2))
                self.assertEqual(await c.property(path, "ContextWindow"), 8192)
                path = await c.create(context_limit=64)
                self.assertEqual(await c.property(path, "ContextWindow"), 64)
                _, result = await c.prompt(path, "Count on: " + COUNTING, short(200))
                self.assertEqual(result["prompt-tokens"] + result["output-tokens"], 64)
                self.assertEqual(result["finish-reason"], "length")
        run(body())

    def test_prewarm_reads_ahead(self):
        async def body():
            async with Talker(self.service) as c:
                path = await c.create(system="You count things. " * 30)
                start = "Here is a list of what lies on my desk: " + "a pen, a cup, a lamp, " * 10
                request = (await c.call("Session", "Prewarm", "sa{sv}", [start, {}], path=path))[0]
                status, results = await c.wait(request)
                self.assertEqual(status, 0)
                self.assertEqual(results["output-tokens"], 0)
                self.assertEqual(len(await c.transcript(path)), 1)
                _, result = await c.prompt(path, start + "and a book. What is it?", short(4))
                self.assertGreater(result["cached-tokens"], results["prompt-tokens"] - 40)
                # One that a prompt overtakes gives way.
                request = (await c.call("Session", "Prewarm", "sa{sv}", [start * 40, {}], path=path))[0]
                await c.prompt(path, "Hello", short(4))
                status, results = await c.wait(request)
                self.assertIn((status, results.get("finish-reason")), [(1, "superseded"), (0, None)])
        run(body())

    def test_foreign_sessions_do_not_exist(self):
        async def body():
            async with Talker(self.service) as c, Talker(self.service) as other:
                path = await c.create()
                await other.create()
                foreign = await self.refused("UnknownObject", other.transcript(path))
                missing = await self.refused("UnknownObject", other.transcript(PATH + "/session/1_1/x"))
                self.assertEqual(foreign.replace(path, "P"), missing.replace(PATH + "/session/1_1/x", "P"))
                await self.refused("UnknownObject", other.call(
                    "Text", "Start", "sa{sv}a{sv}",
                    ["prompt", {"session": Variant("o", path), "text": Variant("s", "Hi")}, {}]))
                self.assertEqual(await c.transcript(path), [])
        run(body())

    def test_sixteen_sessions_are_the_limit_of_a_program(self):
        async def body():
            async with Talker(self.service) as c:
                paths = [await c.create() for _ in range(16)]
                message = await self.refused("LimitsExceeded", c.create())
                self.assertIn("16", message)
                await c.call("Session", "Close", path=paths[0])
                await c.create()
            # Who leaves has closed all of his.
            async with Talker(self.service) as c:
                for _ in range(100):
                    rows = (await c.call("Manager", "ListSessions", "a{sv}", [{}]))[0]
                    if not rows:
                        break
                    await asyncio.sleep(0.02)
                self.assertEqual(rows, [])
        run(body())

    def test_a_session_outlives_its_worker(self):
        async def body():
            async with Talker(self.service) as c:
                path = await c.create(system="Be brief.")
                await c.prompt(path, "Name a colour.")
                before = await c.transcript(path)
                worker = self.service.worker_pid()
                os.kill(worker, signal.SIGKILL)
                self.service.wait_for(lambda: not alive(worker), 5)
                text, result = await c.prompt(path, "Name an animal.")
                self.assertEqual(await c.transcript(path),
                                 before + [("user", "Name an animal."), ("assistant", text)])
                self.assertEqual(result["cached-tokens"], 0, "a new worker has read nothing yet")
        run(body())

    def test_second_turn_of_a_long_session_is_fast(self):
        """First token of a warm turn against reading it all; the figure is printed."""
        async def body():
            async with Talker(self.service) as c:
                story = "The sea was calm that day. " * (20 if SANITIZED else 80)
                path = await c.create(system="You know this story. " + story)
                _, cold = await c.prompt(path, "What was calm?", short(8))
                self.assertNotEqual(cold["finish-reason"], "deadline")
                _, warm = await c.prompt(path, "And when?", short(8))
                print(f"\nprefill of {cold['prompt-tokens']} tokens {cold['prefill-usec'] / 1000:.1f} ms, "
                      f"then of {warm['prompt-tokens']} ({warm['cached-tokens']} cached) "
                      f"{warm['prefill-usec'] / 1000:.1f} ms")
                self.assertGreater(warm["cached-tokens"], cold["prompt-tokens"] - 32)
                self.assertLess(warm["prefill-usec"], cold["prefill-usec"] / 3)
        run(body())


class PersistentTest(unittest.TestCase):
    def setUp(self):
        self.service = Service()
        self.addCleanup(self.service.close)

    def stored_bytes(self):
        folder = self.service.root / "data/inkling"
        return b"".join(p.read_bytes() for p in folder.glob("inkling.db*"))

    def restart(self, how):
        pid = self.service.daemon_pid()
        os.kill(pid, how)
        self.service.wait_for(lambda: not alive(pid), 10)
        self.service.wait_for(lambda: self.service.daemon_pid() != pid, 10)

    def test_persistent_sessions_survive_the_daemon(self):
        async def first():
            async with Talker(self.service) as c:
                path = await c.create(persistent=True, name="letters", system="Be brief.")
                await c.prompt(path, "Name a colour.")
                await c.prompt(path, "Name a canaryword.")
                return await c.transcript(path)

        async def again():
            async with Talker(self.service) as c:
                path = await c.create(persistent=True, name="letters", system="Be brief.")
                turns = await c.transcript(path)
                self.assertGreater(await c.property(path, "ContextUsage"), 0)
                await c.prompt(path, "And a fruit.")
                return turns
        before = run(first())
        self.restart(signal.SIGKILL)
        self.assertEqual(run(again()), before)
        self.restart(signal.SIGTERM)

        async def last():
            async with Talker(self.service) as c:
                path = await c.create(persistent=True, name="letters")
                self.assertEqual((await c.transcript(path))[:5], before)
                self.assertEqual(len(await c.transcript(path)), 7)
                # One connection at a time; another beginning is refused.
                async with Talker(self.service) as d:
                    with self.assertRaises(Error) as caught:
                        await d.create(persistent=True, name="letters")
                    self.assertIn("Error.Busy", caught.exception.name)
                await c.call("Session", "Close", path=path)
                with self.assertRaises(Error) as caught:
                    await c.create(persistent=True, name="letters", system="Be long.")
                self.assertIn("InvalidArgs", caught.exception.name)
                path = await c.create(persistent=True, name="letters")
                self.assertIn(b"canaryword", self.stored_bytes())
                await c.call("Session", "Forget", path=path)
                await asyncio.sleep(0.05)
                self.assertEqual([(m, b[0]) for m, b in c.heard(path)][-1], ("Closed", "forgotten"))
                self.assertNotIn(b"canaryword", self.stored_bytes())
                path = await c.create(persistent=True, name="letters")
                self.assertEqual(await c.transcript(path), [])
        run(last())

    def test_ordinary_sessions_leave_nothing_on_the_disk_or_in_the_log(self):
        async def body():
            async with Talker(self.service) as c:
                path = await c.create(system="canaryone is the word.")
                await c.prompt(path, "Say canarytwo.")
        run(body())
        stored = self.stored_bytes() + self.service.log_text().encode()
        self.assertNotIn(b"canaryone", stored)
        self.assertNotIn(b"canarytwo", stored)

    def found_in_memory(self, words):
        """Which of the words are in the broker's memory; None where it may not be looked into."""
        pid, found = self.service.daemon_pid(), set()
        try:
            with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
                for line in maps:
                    span, rights = line.split()[:2]
                    if "rw" not in rights:
                        continue
                    begin, end = (int(x, 16) for x in span.split("-"))
                    memory.seek(begin)
                    data = memory.read(end - begin)
                    found.update(w for w in words if w.encode() in data)
        except PermissionError:
            return None
        return found

    @unittest.skipIf(SANITIZED, "a sanitizer keeps terabytes of its own")
    def test_text_is_wiped_from_memory(self):
        words = {"zanzibarone", "zanzibartwo", "zanzibarthree", "zanzibarfour"}

        async def body():
            async with Talker(self.service) as c:
                path = await c.create(system="The word is zanzibarone and nothing else.")
                text, _ = await c.prompt(path, "Repeat exactly: zanzibartwo zanzibartwo")
                self.assertIn("zanzibartwo", text)
                await c.call("Session", "Append", "a(ss)a{sv}", [[["user", "zanzibarthree it is"]], {}],
                             path=path)
                await c.transcript(path)
                await c.call("Session", "MeasureUsage", "s", ["zanzibarfour"], path=path)
                present = self.found_in_memory(words)
                if present is None:
                    self.skipTest("the broker's memory cannot be read by this user")
                self.assertLessEqual({"zanzibarone", "zanzibartwo", "zanzibarthree"}, present)
                await c.call("Session", "Close", path=path)
                self.service.wait_for(lambda: not self.found_in_memory(words), 5)
                self.assertEqual(self.found_in_memory(words), set())
        run(body())

    def test_a_base_model_holds_no_conversation(self):
        toy = (SOURCE / "tests/data/toy-llama.gguf").read_bytes()
        model = self.service.root / "base.gguf"
        model.write_bytes(toy.replace(b"tokenizer.chat_template", b"tokenizer.ch_t_template"))
        base = Service(model_path=model)
        self.addCleanup(base.close)

        async def body():
            async with Talker(base) as c:
                path = await c.create()  # nobody has looked into the file yet
                for attempt in (c.prompt(path, "Hello"), c.create()):
                    with self.assertRaises(Error) as caught:
                        await attempt
                    self.assertIn("NotSupported", caught.exception.name)
                    self.assertIn("chat template", caught.exception.message)
                self.assertEqual(await c.transcript(path), [])
        run(body())

    def test_shutdown_tells_the_owner(self):
        async def body():
            async with Talker(self.service) as c:
                path = await c.create()
                self.restart(signal.SIGTERM)
                for _ in range(100):
                    if c.heard(path):
                        break
                    await asyncio.sleep(0.02)
                self.assertEqual([(m, b[0]) for m, b in c.heard(path)], [("Closed", "shutdown")])
        run(body())


class CommandTest(unittest.TestCase):
    """`inkling chat` in sessions."""

    def setUp(self):
        self.service = Service()
        self.addCleanup(self.service.close)

    def chat(self, *args):
        return self.service.inkling("chat", "--temperature", 0, "--max-tokens", 24, *args)

    def dialogue(self, *args, max_tokens=24):
        main, child = pty.openpty()
        p = subprocess.Popen([programs()["inkling"], "chat", "--temperature", "0", "--max-tokens",
                              str(max_tokens), *args], env=self.service.env, stdin=child, stdout=child,
                             stderr=child, close_fds=True, start_new_session=True,
                             preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(child)
        return Terminal(self, main, p)

    def test_a_named_session_goes_on(self):
        hello = "My name is Zebulon. Say hello to me by name."
        first = self.chat("--session", "bees", "--system", "You are a helpful assistant.", hello)
        self.assertEqual(first.returncode, 0, first.stderr)
        second = self.chat("--session", "bees", "What is my name?")
        self.assertEqual(second.returncode, 0, second.stderr)
        self.assertIn("Zebulon", second.stdout)
        self.assertNotIn("Zebulon", self.chat("--session", "ants", "What is my name?").stdout)
        with self.dialogue("--session", "bees") as t:
            t.until("5 turns so far")
            busy = self.chat("--session", "bees", "Hello")
            self.assertEqual(busy.returncode, 9, busy.stderr)
            self.assertEqual(self.chat("--session", "bees", "--model", "x", "Hello").returncode, 2)
            t.until("> ")
            t.type("/forget")
            self.assertEqual(t.process.wait(10), 0)
        again = self.chat("--session", "bees", hello)
        self.assertEqual(again.returncode, 0, again.stderr)
        self.assertNotIn("Zebulon", self.chat("--session", "ants", "And what is mine?").stdout)

    def test_interrupt_stops_the_answer_and_then_the_dialogue(self):
        with self.dialogue(max_tokens=4000) as t:
            t.until("> ")
            t.type(COUNTING)
            t.until("10, 11, 12")
            t.send(b"\x03")
            t.until("\n> ")
            t.type("/new")
            t.until("> ")
            t.send(b"\x03")
            self.assertEqual(t.process.wait(10), -signal.SIGINT)

    def test_a_dialogue_begins_anew_when_the_service_did(self):
        with self.dialogue() as t:
            t.until("> ")
            t.type("Hello.")
            t.until("\n> ")
            pid = self.service.daemon_pid()
            os.kill(pid, signal.SIGKILL)
            self.service.wait_for(lambda: self.service.daemon_pid() != pid, 10)
            t.type("Hello again.")
            t.until("this begins a new one")
            t.until("\n> ")
            t.send(b"\x04")
            self.assertEqual(t.process.wait(10), 0)

    def test_what_does_not_fit_is_refused_or_left_out_with_a_warning(self):
        toy = Service(model_path=SOURCE / "tests/data/toy-llama.gguf")
        self.addCleanup(toy.close)
        long = "one two three " * 200

        def chat(*args):
            return toy.inkling("chat", "--max-tokens", 2, *args)
        r = chat(long)
        self.assertEqual(r.returncode, 6, r.stderr)
        r = chat("--overflow", "truncate-middle", long)
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertRegex(r.stderr, r"[0-9]+ tokens .* left out")
        self.assertEqual(chat("--overflow", "sometimes", "x").returncode, 2)
        warned = ""
        for _ in range(40):
            r = chat("--session", "short", "one two three")
            self.assertEqual(r.returncode, 0, r.stderr)
            warned = r.stderr
            if warned:
                break
        self.assertRegex(warned, r"[0-9]+ tokens .* left out", "the oldest turns, when the window is full")


class Terminal:
    def __init__(self, test, fd, process):
        self.test, self.fd, self.process, self.seen = test, fd, process, ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.fd)

    def until(self, text, seconds=30):
        end = time.monotonic() + seconds
        while text not in self.seen.replace("\r", ""):
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.fd], [], [], left)[0]:
                self.test.fail(f"no {text!r} in {self.seen!r}")
            self.seen += os.read(self.fd, 4096).decode(errors="replace")
        seen = self.seen.replace("\r", "")
        self.seen = seen[seen.index(text) + len(text):]

    def send(self, data):
        os.write(self.fd, data)

    def type(self, line):
        self.send(line.encode() + b"\n")


if __name__ == "__main__":
    unittest.main()
