#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Many clients, cancellation from every door, slow and dead readers, a worker that dies."""
import asyncio
import json
import os
import signal
import subprocess
import time
import unittest

from service import (COUNTING, NAME, PATH, SANITIZED, Client, Error, Message, Service, Variant, cpu_ticks, programs,
                     run)

LONG = "Write on and on. " * 400


class RequestTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.service = Service()
        cls.addClassCleanup(cls.service.close)
        cls.service.busctl("call", NAME, PATH, f"{NAME}.Manager", "Load", "sa{sv}", "", 0)
        cls.service.wait_for(lambda: cls.service.property("Manager", "State") == "ready", 30)

    def test_deltas_add_up_to_the_text_and_come_before_finished(self):
        async def body():
            async with Client(self.service) as c:
                path = await c.start("Once upon a time", max_tokens=40, temperature=0.0, stream="delta",
                                     coalesce_usec=0)
                status, results = await c.wait(path)
                await asyncio.sleep(0.05)
                mine = [(m, b) for p, m, b in c.signals if p == path]
                self.assertEqual(status, 0)
                self.assertEqual(mine[-1][0], "Finished")
                self.assertEqual([m for m, _ in mine].count("Finished"), 1)
                text, n = "", 0
                for member, b in mine:
                    if member == "Delta":
                        self.assertEqual(b[0], len(text.encode()))
                        text += b[1]
                        n += 1
                self.assertEqual(text, results["text"])
                self.assertGreater(n, 5)
                self.assertEqual(results["output-tokens"], 40)
                self.assertEqual(results["finish-reason"], "length")
        run(body())

    def test_clients_progress_together_and_nobody_waits_for_a_long_answer(self):
        async def long_one(c):
            path = await c.start(COUNTING, max_tokens=1500, temperature=0.0, stream="delta")
            return path

        async def body():
            async with Client(self.service) as a, Client(self.service) as b:
                path = await long_one(a)
                while not any(m == "Delta" for _, m, _ in a.signals):
                    await asyncio.sleep(0.01)
                begin = time.monotonic()
                text, result = await b.call("Text", "Complete", "sa{sv}",
                                            ["Hello", {"max-tokens": Variant("u", 8)}])
                took = time.monotonic() - begin
                state = json.loads(self.service.busctl("--json=short", "call", NAME, PATH,
                                                       f"{NAME}.Manager", "GetAvailability", "sa{sv}",
                                                       "complete", 0).stdout)
                self.assertEqual(state["data"][0], "available")
                self.assertFalse(any(m == "Finished" for _, m, _ in a.signals))
                self.assertLess(took, 2.0)
                before = len(a.signals)
                await asyncio.sleep(0.2)
                self.assertGreater(len(a.signals), before, "the long answer goes on")
                await a.call("Request", "Cancel", path=path)
                status, results = await a.wait(path)
                self.assertEqual((status, results["finish-reason"]), (1, "cancelled"))
        run(body())

    def test_same_seed_gives_the_same_text_alone_and_in_company(self):
        async def body():
            async with Client(self.service) as c, Client(self.service) as d:
                options = {"max-tokens": Variant("u", 40), "seed": Variant("t", 5)}
                alone = (await c.call("Text", "Complete", "sa{sv}", ["My dog", options]))[0]
                others = [await d.start(f"Number {i} is", max_tokens=120, seed=i) for i in range(3)]
                company = (await c.call("Text", "Complete", "sa{sv}", ["My dog", options]))[0]
                for path in others:
                    await d.call("Request", "Cancel", path=path)
                self.assertEqual(alone, company)
        run(body())

    def test_cancel_during_prefill_is_quick(self):
        async def body():
            async with Client(self.service) as c:
                path = await c.start(LONG, max_tokens=400)
                await asyncio.sleep(0.15)
                begin = time.monotonic()
                await c.call("Request", "Cancel", path=path)
                status, results = await c.wait(path)
                took = time.monotonic() - begin
                print(f"cancel during prefill took {took * 1e3:.0f} ms")
                self.assertEqual(status, 1)
                self.assertLess(took, 0.5)
        run(body())

    def test_a_client_that_dies_has_cancelled(self):
        s = self.service
        p = subprocess.Popen([programs()["inkling"], "complete", "--max-tokens", "4000", "--temperature", "0",
                              COUNTING],
                             env=s.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self.assertTrue(p.stdout.read(1))
        p.kill()
        p.wait()
        p.stdout.close()
        worker = s.worker_pid()

        def quiet():
            before = cpu_ticks(worker)
            time.sleep(0.2)
            return cpu_ticks(worker) == before
        self.assertTrue(s.wait_for(quiet, 2), "the worker goes on for a client that is dead")

    def test_a_reader_that_does_not_read_parks_only_its_own_request(self):
        async def body():
            async with Client(self.service) as c, Client(self.service) as d:
                # Newlines and quotes make the pipe fill fast; the text is far more than 64 KiB as JSON.
                paths = [await c.start_pipe("Say: ", max_tokens=4096, top_k=0, temperature=2.0,
                                            **{"linger_usec": 0}) for _ in range(2)]
                text, result = await d.call("Text", "Complete", "sa{sv}", [
                    COUNTING, {"max-tokens": Variant("u", 30), "temperature": Variant("d", 0.0)}])
                self.assertEqual(result["output-tokens"].value, 30)
                for path, fd in paths:
                    os.close(fd)  # a closed pipe cancels
                for path, _ in paths:
                    for _ in range(200):
                        try:
                            await c.call("Request", "Wait", path=path, timeout=10)
                        except Error as e:
                            self.assertTrue(e.name.endswith("UnknownObject"), e.name)
                            break
                        await asyncio.sleep(0.02)
        run(body())

    def test_pipe_frames_are_whole(self):
        async def body():
            async with Client(self.service) as c:
                path, fd = await c.start_pipe("Once", max_tokens=24, temperature=0.0)
                data = b""
                loop = asyncio.get_running_loop()
                while True:
                    piece = await loop.run_in_executor(None, os.read, fd, 65536)
                    if not piece:
                        break
                    data += piece
                os.close(fd)
                frames = [json.loads(line) for line in data.decode().strip().split("\n")]
                self.assertIn("finished", frames[-1])
                text = ""
                for f in frames:
                    if "text" in f:
                        self.assertEqual(f["offset"], len(text.encode()))
                        text += f["text"]
                self.assertEqual(frames[-1]["finished"]["output-tokens"], 24)
                self.assertTrue(text)
        run(body())

    def test_foreign_and_missing_requests_answer_alike(self):
        async def body():
            async with Client(self.service) as c, Client(self.service) as d:
                path = await c.start(COUNTING, max_tokens=2000, temperature=0.0)
                errors = []
                for p in (path, PATH + "/request/9_999/nothing"):
                    for member in ("Cancel", "Wait"):
                        with self.assertRaises(Error) as e:
                            await d.call("Request", member, path=p)
                        errors.append((e.exception.name, e.exception.message.replace(p, "PATH")))
                self.assertEqual(len(set(errors[0::2])), 1, errors)
                self.assertEqual(errors[0][0], "org.freedesktop.DBus.Error.UnknownObject")
                await c.call("Request", "Cancel", path=path)
                status, _ = await c.wait(path)
                self.assertEqual(status, 1)
        run(body())

    def test_superseded_and_deadline(self):
        async def body():
            async with Client(self.service) as c:
                first = await c.start(COUNTING, max_tokens=2000, temperature=0.0, supersede_key="k")
                second = await c.start("Two", max_tokens=4, supersede_key="k")
                status, results = await c.wait(first)
                self.assertEqual((status, results["finish-reason"]), (1, "superseded"))
                self.assertEqual((await c.wait(second))[0], 0)
                text, result = await c.call("Text", "Complete", "sa{sv}", [
                    COUNTING, {"max-tokens": Variant("u", 4000), "temperature": Variant("d", 0.0),
                               "deadline-usec": Variant("t", 300000)}])
                self.assertEqual(result["finish-reason"].value, "deadline")
                self.assertTrue(text)
        run(body())

    def test_a_running_request_changes_its_class(self):
        async def body():
            async with Client(self.service) as c:
                async def length(path):
                    return sum(len(b[1]) for p, m, b in c.signals if p == path and m == "Delta")
                slow = await c.start(COUNTING, max_tokens=4000, temperature=0.0, stream="delta")
                fast = await c.start(COUNTING + " 8, 9,", max_tokens=4000, temperature=0.0, stream="delta")
                while not await length(slow) or not await length(fast):
                    await asyncio.sleep(0.01)
                await c.bus.call(Message(
                    destination=NAME, path=slow, interface="org.freedesktop.DBus.Properties", member="Set",
                    signature="ssv", body=[f"{NAME}.Request", "Priority", Variant("s", "background")]))
                await asyncio.sleep(0.1)  # what was on its way
                before = await length(slow), await length(fast)
                await asyncio.sleep(0.5)
                after = await length(slow), await length(fast)
                self.assertEqual(before[0], after[0], "background stands back while another one writes")
                self.assertGreater(after[1], before[1])
                await c.call("Request", "Cancel", path=fast)
                end = asyncio.get_running_loop().time() + 10
                while await length(slow) == after[0] and asyncio.get_running_loop().time() < end:
                    await asyncio.sleep(0.01)
                self.assertGreater(await length(slow), after[0], "and goes on when that one has ended")
                await c.call("Request", "Cancel", path=slow)
        run(body())

    def test_handle_token_linger_and_class(self):
        async def body():
            async with Client(self.service) as c:
                path = await c.start(COUNTING, max_tokens=2000, temperature=0.0, handle_token="mine", linger_usec=0)
                self.assertTrue(path.endswith("/mine"))
                with self.assertRaises(Error) as e:
                    await c.start("x", max_tokens=1, handle_token="mine")
                self.assertEqual(e.exception.name, "org.freedesktop.DBus.Error.InvalidArgs")
                self.assertIn("handle-token", e.exception.message)
                properties = "org.freedesktop.DBus.Properties"

                async def get(name):
                    reply = await c.bus.call(Message(destination=NAME, path=path, interface=properties, member="Get",
                                                     signature="ss", body=[f"{NAME}.Request", name]))
                    return reply.body[0].value if not reply.error_name else reply.error_name
                self.assertEqual(await get("Priority"), "interactive")
                reply = await c.bus.call(Message(
                    destination=NAME, path=path, interface=properties, member="Set", signature="ssv",
                    body=[f"{NAME}.Request", "Priority", Variant("s", "background")]))
                self.assertIsNone(reply.error_name, reply.body)
                self.assertEqual(await get("Priority"), "background")
                await c.call("Request", "Cancel", path=path)
                await asyncio.sleep(0.3)
                self.assertEqual(await get("State"), "org.freedesktop.DBus.Error.UnknownObject", "linger 0")
                # The token is free again.
                await c.wait(await c.start("x", max_tokens=1, handle_token="mine"))
        run(body())

    def test_typing_beyond_its_bound_runs_as_interactive_and_says_so(self):
        async def body():
            async with Client(self.service) as c:
                for tokens, expected in ((8, None), (64, "interactive")):
                    _, results = await c.wait(await c.start("Hello", max_tokens=tokens, priority="typing"))
                    self.assertEqual(results.get("priority"), expected)
        run(body())

    def test_a_full_queue_says_how_long_to_wait(self):
        async def body():
            async with Client(self.service) as c:
                paths = [await c.start(COUNTING, max_tokens=3000, temperature=0.0, linger_usec=0) for _ in range(20)]
                with self.assertRaises(Error) as e:
                    await c.start("x", max_tokens=1)
                self.assertEqual(e.exception.name, f"{NAME}.Error.Busy")
                self.assertRegex(e.exception.message, r"20 requests .* try again in about \d+ s")
                rows = (await c.call("Manager", "ListRequests", "a{sv}", [{}]))[0]
                states = [r["state"].value for r in rows]
                self.assertEqual((states.count("running"), states.count("queued")), (4, 16))
                for path in paths:
                    await c.call("Request", "Cancel", path=path)
        run(body())

    def test_loading_is_told_once_and_then_how_far(self):
        async def body(s):
            async with Client(s) as c:
                paths = [await c.start("Hi", max_tokens=1) for _ in range(6)]
                for path in paths:
                    await c.wait(path)
                for path in paths:
                    told = [b for p, m, b in c.signals if p == path and m == "Progress" and b[0] == "loading"]
                    self.assertLessEqual(sum(b[1] == 0 for b in told), 1, told)
        with Service() as s:
            run(body(s))

    def test_stop_strings_and_lines(self):
        async def body():
            async with Client(self.service) as c:
                text, result = await c.call("Text", "Complete", "sa{sv}", [
                    "1, 2, 3, 4,", {"max-tokens": Variant("u", 60), "temperature": Variant("d", 0.0),
                                    "stop": Variant("as", [", 9"])}])
                self.assertNotIn(", 9", text)
                self.assertEqual(result["finish-reason"].value, "stop-string", text)
                text, result = await c.call("Text", "Chat", "a(ss)a{sv}", [
                    [["user", "List three animals, one a line."]],
                    {"max-lines": Variant("u", 1), "temperature": Variant("d", 0.0)}])
                self.assertNotIn("\n", text)
                self.assertIn(result["finish-reason"].value, ("lines", "stop"))
        run(body())


class WorkerDeathTest(unittest.TestCase):
    def setUp(self):
        self.service = Service()
        self.addCleanup(self.service.close)
        self.service.busctl("call", NAME, PATH, f"{NAME}.Text", "CountTokens", "sa{sv}", "x", 0)

    def test_killed_while_streaming(self):
        async def body():
            async with Client(self.service) as c:
                path = await c.start(COUNTING, max_tokens=3000, temperature=0.0, stream="delta", coalesce_usec=0)
                while not any(m == "Delta" for _, m, _ in c.signals):
                    await asyncio.sleep(0.01)
                daemon = self.service.daemon_pid()
                os.kill(self.service.worker_pid(), signal.SIGKILL)
                status, results = await c.wait(path)
                self.assertEqual(status, 2)
                self.assertEqual(results["error-name"], f"{NAME}.Error.WorkerFailed")
                begin = time.monotonic()
                text, _ = await c.call("Text", "Complete", "sa{sv}", ["Hi", {"max-tokens": Variant("u", 4)}])
                print(f"next request after a worker's death: {(time.monotonic() - begin) * 1e3:.0f} ms")
                self.assertEqual(self.service.daemon_pid(), daemon)
        run(body())

    def test_killed_before_any_text_is_retried_once(self):
        async def body():
            async with Client(self.service) as c:
                prompt = (LONG[:len(LONG) // 4] if SANITIZED else LONG) + COUNTING
                call = asyncio.ensure_future(c.call("Text", "Complete", "sa{sv}", [
                    prompt, {"max-tokens": Variant("u", 4), "temperature": Variant("d", 0.0),
                             "deadline-usec": Variant("t", 100000000)}], timeout=120))
                await asyncio.sleep(0.15)
                os.kill(self.service.worker_pid(), signal.SIGKILL)
                text, result = await call
                self.assertEqual(result["retries"].value, 1)
                self.assertEqual(result["output-tokens"].value, 4)
        run(body())


if __name__ == "__main__":
    unittest.main(verbosity=2, warnings="ignore")
