#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Many requests leave nothing behind, and clients that come, cancel and die at random harm nobody."""
import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import time
import unittest

from service import (BUILD, COUNTING, FULL, NAME, PATH, SANITIZED, Client, Error, Service, Variant, cpu_ticks, programs,
                     run)


CACHE_MIB = 64


def resident_kib(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(next(x for x in f if x.startswith("VmRSS")).split()[1])


def n_descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


class EnduranceTest(unittest.TestCase):
    def setUp(self):
        self.service = Service(config=f"[memory]\nmax-kv-mib={CACHE_MIB}\n")
        self.addCleanup(self.service.close)

    def test_short_calls_of_many_programs_wait_in_the_worker(self):
        """Each of them brings a descriptor that the worker keeps until its turn: more than 64 at a time."""
        s = self.service
        s.inkling("complete", "--max-tokens", "1", "warm")
        worker = s.worker_pid()
        env = {**s.env, "LD_LIBRARY_PATH": str(BUILD / "ipc")}
        running = []
        for i in range(6):
            program = s.root / f"program{i}"
            shutil.copy(BUILD / "tests/bench/bench-app", program)
            running.append(subprocess.Popen([program, "flood", "60", "1500"], env=env, stdout=subprocess.PIPE))
        tallies = [json.loads(p.communicate(timeout=90)[0]) for p in running]
        self.assertEqual([t["asked"] for t in tallies], [1500] * 6)
        self.assertEqual([t["other"] for t in tallies], [0] * 6)
        self.assertGreater(sum(t["answered"] for t in tallies), 1000)
        self.assertEqual(s.worker_pid(), worker, s.log_text())

    def test_soak(self):
        n_requests = 20_000 if FULL else 600
        s = self.service

        async def one(c, i):
            kind = i % 4
            if kind == 0:
                await c.call("Text", "Complete", "sa{sv}", [f"Number {i}", {"max-tokens": Variant("u", 2)}])
            elif kind == 1:
                await c.call("Text", "CountTokens", "sa{sv}", [f"Some words {i}", {}])
            elif kind == 2:
                path = await c.start(f"Text {i}", max_tokens=2, stream="delta", linger_usec=0)
                try:
                    await c.call("Request", "Cancel", path=path)
                except Error as e:
                    assert e.name.endswith("UnknownObject"), e
            else:
                await c.call("Recommendation", "Suggest", "sa{sv}a{sv}", ["file", {}, {}])

        async def body():
            marks = []
            for begin in range(0, n_requests, 100):
                async with Client(s) as c:
                    for i in range(begin, begin + 100, 4):
                        await asyncio.gather(*[one(c, i + j) for j in range(4)])
                # Caches are warm after the first share.
                if begin == 200 or begin + 100 >= n_requests:
                    pids = s.daemon_pid(), s.worker_pid()
                    marks.append(([resident_kib(p) for p in pids], [n_descriptors(p) for p in pids], pids))
            return marks

        first, last = run(body())
        self.assertEqual(first[2], last[2], "a process was replaced")
        self.assertEqual(first[1], last[1], "descriptors")
        grown = [b - a for a, b in zip(first[0], last[0])]
        print(f"{n_requests} requests: daemon grew by {grown[0]} KiB, worker by {grown[1]} KiB")
        if not SANITIZED:  # a sanitizer keeps freed memory
            self.assertLessEqual(grown[0], 4096)
            # Prompts that were read stay in the cache of prefixes, which may fill what it was given and no more.
        self.assertLessEqual(grown[1], 16384 + CACHE_MIB * 1024)
        self.assertEqual(s.property("Manager", "QueueDepth"), 0)

    def test_chaos(self):
        s = self.service
        s.busctl("call", NAME, PATH, f"{NAME}.Text", "CountTokens", "sa{sv}", "x", 0)
        daemon = s.daemon_pid()
        seed = int(os.environ.get("INKLING_TEST_SEED", time.time_ns() % 1_000_000))
        print(f"INKLING_TEST_SEED={seed}")
        dice = random.Random(seed)
        clients, started = [], 0
        end = time.monotonic() + (120 if FULL else 4)
        while time.monotonic() < end:
            if len(clients) < 12:
                kind = dice.randrange(4)
                args = [["complete", "--temperature", "0", "--max-tokens", str(dice.randrange(1, 600)), COUNTING],
                        ["chat", "--max-tokens", str(dice.randrange(1, 60)), "Say something."],
                        ["complete", "--max-tokens", "3", "many words " * dice.randrange(1, 800)],
                        ["tokens", "--pieces", "a few words"]][kind]
                clients.append(subprocess.Popen([programs()["inkling"], *args], env=s.env,
                                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                                stderr=subprocess.DEVNULL))
                started += 1
            victim = dice.choice(clients)
            action = dice.randrange(6)
            if action == 0:
                victim.kill()
            elif action == 1:
                victim.send_signal(signal.SIGINT)
            elif action == 2:
                victim.stdout.close()
            time.sleep(dice.random() * 0.03)
            for c in [c for c in clients if c.poll() is not None]:
                c.stdout.close()
                clients.remove(c)
        for c in clients:
            c.kill()
            c.wait()
            c.stdout.close()
        print(f"{started} clients")
        self.assertGreater(started, 20)
        self.assertEqual(s.daemon_pid(), daemon)
        self.assertTrue(s.wait_for(lambda: s.property("Manager", "QueueDepth") == 0, 5))
        worker = s.worker_pid()

        def quiet():
            before = cpu_ticks(worker)
            time.sleep(0.2)
            return cpu_ticks(worker) == before
        self.assertTrue(s.wait_for(quiet, 5), "the worker goes on although all clients are dead")
        r = s.inkling("complete", "--max-tokens", 4, "--temperature", 0, COUNTING)
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertIn("8", r.stdout)
        self.assertNotIn("died", s.log_text())


if __name__ == "__main__":
    unittest.main(verbosity=2, warnings="ignore")
