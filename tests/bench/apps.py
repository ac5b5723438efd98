#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Sixteen applications at once on the real service: who gets how much, and what does typing feel of it.
Usage: apps.py [--build DIR] [--seconds 30] [--flood 50000] [--soak 10000]
Prints a table, Jain's index inside each class, and what is left behind. A bench: it gates nothing."""
import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

parser = argparse.ArgumentParser()
parser.add_argument("--build")
parser.add_argument("--seconds", type=int, default=30)
parser.add_argument("--flood", type=int, default=50_000)
parser.add_argument("--soak", type=int, default=10_000)
args = parser.parse_args()
if args.build:
    os.environ["INKLING_BUILD_DIR"] = args.build
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))
from service import BUILD, NAME, PATH, Service, cpu_ticks  # noqa: E402

APPS = ([(f"typing{i}", "typing", 150 + 50 * i) for i in range(4)] +
        [(f"chat{i}", "chat", 96) for i in range(4)] +
        [(f"normal{i}", "normal", 96) for i in range(2)] +
        [(f"batch{i}", "background", 128) for i in range(3)] +
        [("flood", "flood", args.flood), ("mute", "mute", 0), ("dying", "dying", 0)])
TICK = 1000 / os.sysconf("SC_CLK_TCK")


def start(service, name, role, number, seconds):
    program = service.root / "apps" / name
    program.parent.mkdir(exist_ok=True)
    if not program.exists():
        shutil.copy(BUILD / "tests/bench/bench-app", program)
    env = {**service.env, "LD_LIBRARY_PATH": str(BUILD / "ipc")}
    return subprocess.Popen([program, role, str(seconds), str(number)], env=env, stdout=subprocess.PIPE, text=True)


def finish(process):
    out, _ = process.communicate()
    return json.loads(out) if out else {}


def resident(pid, key="VmRSS"):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(rf"^{key}:\s+(\d+)", status, re.M).group(1)) / 1024


def state(service):
    daemon, worker = service.daemon_pid(), service.worker_pid()
    tree = service.busctl("tree", "--list", NAME).stdout
    return {"fds": [len(os.listdir(f"/proc/{p}/fd")) for p in (daemon, worker)],
            "mb": [round(resident(p), 1) for p in (daemon, worker)],
            "peak": [round(resident(p, "VmHWM"), 1) for p in (daemon, worker)],
            "bus": round(resident(service.bus_process.pid), 1),
            "objects": len([x for x in tree.split() if "/request/" in x or "/session/" in x])}


def jain(values):
    return sum(values) ** 2 / (len(values) * sum(v * v for v in values)) if any(values) else 1.0


def table(alone, rows):
    print(f"{'app':10} {'asked':>7} {'answered':>8} {'busy':>6} {'quota':>6} {'other':>6} {'tokens':>7} "
          f"{'first p95':>10} {'done p50':>9} {'done p95':>9}  ms")
    for name, r in [("alone", alone)] + rows:
        print(f"{name:10} {r['asked']:7} {r['answered']:8} {r['busy']:6} {r['quota']:6} {r['other']:6} "
              f"{r['output-tokens']:7} {r['first-p95']:10.1f} {r['done-p50']:9.1f} {r['done-p95']:9.1f}")


def soak(service):
    """Broker cost of short requests, eight at a time."""
    before = state(service)
    daemon = service.daemon_pid()
    ticks, begin = cpu_ticks(daemon), time.monotonic()
    asked = 0
    while asked < args.soak:
        share = [start(service, f"soak{i}", "flood", min(2500, args.soak // 4), 600) for i in range(4)]
        asked += sum(finish(p)["asked"] for p in share)
    spent = (cpu_ticks(daemon) - ticks) * TICK
    time.sleep(6.5)  # objects linger for 5 s
    after = state(service)
    print(f"\nsoak: {asked} calls in {time.monotonic() - begin - 6.5:.1f} s, broker {spent * 1000 / asked:.0f} us each")
    print(f"before {before}\nafter  {after}")


def main():
    with Service() as service:
        service.inkling("complete", "--max-tokens", "1", "warm")
        alone = finish(start(service, "typing0", "typing", 150, max(5, args.seconds // 3)))
        daemon = service.daemon_pid()
        ticks = cpu_ticks(daemon)
        running = [(name, start(service, name, role, number, args.seconds)) for name, role, number in APPS]
        rows = [(name, finish(p)) for name, p in running]
        spent = (cpu_ticks(daemon) - ticks) * TICK
        table(alone, rows)
        roles = {}
        for (name, role, _), (_, r) in zip(APPS, rows):
            roles.setdefault(role, []).append(r)
        print()
        for role in ("chat", "normal", "background"):
            print(f"Jain's index of {role:10} {jain([r['output-tokens'] for r in roles[role]]):.3f}")
        worst = max(r["done-p95"] for r in roles["typing"])
        print(f"typing done p95: alone {alone['done-p95']:.1f} ms, worst of four {worst:.1f} ms, "
              f"{worst - alone['done-p95']:+.1f} ms; first text {alone['first-p95']:.1f} -> "
              f"{max(r['first-p95'] for r in roles['typing']):.1f} ms")
        tokens = sum(r["output-tokens"] for _, r in rows)
        asked = sum(r["asked"] for _, r in rows)
        print(f"broker: {spent:.0f} ms of processor time for {asked} requests and {tokens} tokens in {args.seconds} s")
        time.sleep(6.5)
        print(f"left behind: {state(service)}")
        soak(service)
        print(service.log_text()[-800:])


if __name__ == "__main__":
    main()
