#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Rules of the house that a compiler does not know: who may include whom, what libraries must not
call, names, sizes, formatting, and that the documents speak of things that exist. Prints file:line
for each break and exits 1 if there was one. With --build DIR it also looks at what was linked."""
import argparse
import os
import pathlib
import re
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
ROOMS = ["engine/base", "engine/kernels", "engine/worker", "engine/tools", "engine", "personalize",
         "ipc", "daemon", "clients", "systemd", "tests"]

# Room -> prefixes of project headers that its files may include (docs/ARCHITECTURE.md, section 2).
MAY_INCLUDE = {
    "engine/base": ["engine/base/"],
    "engine/kernels": ["engine/base/", "engine/kernels/", "engine/quant"],
    "engine": ["engine/base/", "engine/kernels/kernels.h", "engine/"],
    "engine/worker": ["engine/", "ink-config.h"],
    "engine/tools": ["engine/", "ink-config.h"],
    "personalize": ["engine/base/", "personalize/"],
    "ipc": ["engine/base/", "ipc/", "ink-config.h"],
    "daemon": ["engine/base/", "engine/worker/wire.h", "engine/worker/wire-io.h",
               "engine/worker/wire-inspect.h", "ipc/",
               "personalize/", "daemon/", "ink-config.h"],
    "clients": ["engine/base/", "ipc/names.h", "ipc/client.h", "clients/", "ink-config.h"],
    "tests": [""],
}
MAY_NOT_INCLUDE = {"engine": ["engine/worker/"]}

# System header -> the files or rooms that may include it.
SYSTEM = {
    "sqlite3.h": ["personalize", "tests"],
    "glib.h": ["personalize", "daemon", "tests"],
    "systemd/": ["ipc", "daemon", "clients", "tests"],
    "jansson.h": ["engine/tools", "ipc/client", "clients", "tests"],
    "immintrin.h": ["engine/kernels", "engine/base/sha256.c", "tests/bench"],
    "stdatomic.h": ["engine/threads.c", "engine/base/alloc.c", "daemon/store-thread.c", "tests"],
    "pthread.h": ["engine/threads.c", "daemon/store-thread.c", "tests"],
    "seccomp.h": ["engine/worker/seal.c", "daemon/guard.c", "tests"],
    "utf8proc.h": ["engine", "tests"],
    "netdb.h": [], "arpa/inet.h": [], "netinet/in.h": ["tests"],
}
# Libraries neither print nor end the process; these files may.
MAY_PRINT = ["engine/worker/main.c", "engine/tools/", "daemon/", "clients/", "tests/"]

problems = []


def problem(path, line, text):
    problems.append(f"{path}:{line}: {text}")


def room_of(path):
    return next((r for r in ROOMS if path.startswith(r + "/")), None)


def tracked(*suffixes):
    out = subprocess.run(["git", "ls-files"], cwd=TOP, capture_output=True, text=True)
    names = out.stdout.split("\n") if out.returncode == 0 else [
        str(p.relative_to(TOP)) for p in TOP.rglob("*") if p.is_file() and "build" not in p.parts[0:1]]
    return [n for n in names if n.endswith(suffixes) and (TOP / n).exists()]


def check_include(path, number, name, quoted):
    room = room_of(path)
    if quoted:
        if name.startswith("../") or name.startswith("./"):
            problem(path, number, f'include "{name}" from the root of the tree')
        elif not any(name.startswith(p) for p in MAY_INCLUDE.get(room, [""])) or any(
                name.startswith(p) for p in MAY_NOT_INCLUDE.get(room, [])):
            problem(path, number, f'{room} must not include "{name}"')
        return
    for header, allowed in SYSTEM.items():
        if name.startswith(header) and not any(path.startswith(a) for a in allowed):
            problem(path, number, f"<{name}> is not for {path}")


def check_c_file(path, asserting):
    text = (TOP / path).read_text()
    lines = text.split("\n")
    if "SPDX-License-Identifier: Apache-2.0" not in lines[0]:
        problem(path, 1, "no SPDX line")
    if len(lines) > 801:
        problem(path, len(lines), "over 800 lines: nobody can hold it in the head")
    own = path[:-2] + ".h"
    first_include = True
    for number, line in enumerate(lines, 1):
        if len(line) > 100 and "http" not in line:
            problem(path, number, f"{len(line)} columns")
        m = re.match(r'\s*#\s*include\s+(["<])([^">]+)', line)
        if m:
            if first_include and path.endswith(".c") and (TOP / own).exists() and m[2] != own:
                problem(path, number, f'must include "{own}" first')
            first_include = False
            check_include(path, number, m[2], m[1] == '"')
        if re.search(r"\bgoto\b", line) and "`goto`" not in line:
            problem(path, number, "goto")
        if re.search(r"\b(TODO|FIXME|XXX|HACK)\b", line):
            problem(path, number, "unfinished work")
        if not any(path.startswith(p) for p in MAY_PRINT) and re.search(
                r"(?<![a-z_])(printf|puts|fprintf|perror|exit|_exit|abort)\s*\(", line.split("//")[0]) \
                and not line.lstrip().startswith(("*", "/*")):
            problem(path, number, "a library neither prints nor exits")
    if path.startswith("tests/") and os.path.basename(path).startswith("test-"):
        check_test_functions(path, text, asserting)


FUNCTION = re.compile(r"^(?:static )?[\w ]+?[ *](\w+)\([^;{]*\)\n\{\n(.*?)^\}", re.M | re.S)


def asserting_functions():
    """Names of functions of the tests that assert something, by themselves or by what they call."""
    bodies = {}
    for name in tracked(".c", ".h"):
        if name.startswith("tests/"):
            for m in FUNCTION.finditer((TOP / name).read_text()):
                bodies[m[1]] = bodies.get(m[1], "") + m[2]
    good = {n for n, b in bodies.items() if re.search(r"\b(assert_|expect_|fail\b|fail_msg|skip\b)", b)}
    while True:
        more = {n for n, b in bodies.items() if n not in good and good & set(re.findall(r"\b(\w+)\(", b))}
        if not more:
            return good
        good |= more


def check_test_functions(path, text, asserting):
    for m in FUNCTION.finditer(text):
        if m[1].startswith("test_") and m[1] not in asserting:
            problem(path, text[:m.start()].count("\n") + 1, f"{m[1]} asserts nothing")


def check_names():
    for name in tracked(".c", ".h", ".py", ".sh"):
        base = os.path.basename(name)
        pattern = r"[a-z0-9_-]+\.(py|sh)" if name.endswith((".py", ".sh")) else r"[a-z0-9-]+\.[ch]"
        if not re.fullmatch(pattern, base):
            problem(name, 1, "file names are kebab-case nouns")


def check_format():
    files = tracked(".c", ".h")
    r = subprocess.run(["clang-format", "--dry-run", "-Werror", *files], cwd=TOP,
                       capture_output=True, text=True)
    if r.returncode != 0:
        for line in r.stderr.split("\n"):
            m = re.match(r"(\S+?):(\d+):\d+: error: code should be clang-formatted", line)
            if m:
                problem(m[1], int(m[2]), "clang-format (./dev format)")


def check_documents():
    """Functions and files named in backquotes in docs must exist."""
    sources = "".join((TOP / f).read_text() for f in tracked(".c", ".h"))
    words = set(re.findall(r"\w+", sources))
    for name in ["README.md", "CONTRIBUTING.md", *[n for n in tracked(".md") if n.startswith("docs/")]]:
        if not (TOP / name).exists():
            problem(name, 1, "is missing")
            continue
        for number, line in enumerate((TOP / name).read_text().split("\n"), 1):
            for m in re.finditer(r"`(ink_[a-z0-9_]+)(\(\))?`", line):
                if m[1] not in words:
                    problem(name, number, f"{m[1]} does not exist")
            for m in re.finditer(r"`((?:engine|personalize|ipc|daemon|clients|systemd|tests|docs)/[\w./-]+)`",
                                 line):
                if not (TOP / m[1]).exists():
                    problem(name, number, f"{m[1]} does not exist")


def nm(path, *options):
    return subprocess.run(["nm", *options, str(path)], capture_output=True, text=True).stdout


def check_linked(build):
    daemon, worker = build / "daemon/inklingd", build / "engine/worker/inkling-worker"
    if re.search(r" ink_(engine|forward|session|template|tokenizer|gguf|kernels)_", nm(daemon)):
        problem(daemon, 0, "the broker links engine code")
    needed = subprocess.run(["ldd", str(worker)], capture_output=True, text=True).stdout
    for library in ["glib", "sqlite", "systemd", "dbus", "pcre"]:
        if "lib" + library in needed:
            problem(worker, 0, f"the worker is linked with {library}")
    for program in [daemon, worker, build / "clients/inkling"]:
        for symbol in re.findall(r"U (\w+)", nm(program, "-D", "--undefined-only")):
            if symbol in ("getaddrinfo", "gethostbyname", "inet_pton", "inet_addr"):
                problem(program, 0, f"imports {symbol}")
    for library in build.rglob("lib*.a"):
        check_library(library)


def check_library(library):
    for line in nm(library, "--defined-only", "--extern-only", "--format=sysv").split("\n"):
        fields = [f.strip() for f in line.split("|")]
        if len(fields) != 7:
            continue
        name, section = fields[0], fields[6]
        # seal.c replaces fstat: glibc's own makes a call that a filter cannot tell from opening.
        if not name.startswith(("ink_", "cli_", "__", "LLVM")) and name not in ("fstat", "fstat64"):
            problem(library.name, 0, f"exported symbol {name} has no ink_ prefix")
        if re.match(r"\.(data|bss)(?!\.rel\.ro)", section) and not name.startswith("__"):
            problem(library.name, 0, f"exported mutable variable {name}")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--build", type=pathlib.Path)
    args = p.parse_args()
    asserting = asserting_functions()
    for name in tracked(".c", ".h"):
        check_c_file(name, asserting)
    check_names()
    check_format()
    check_documents()
    if args.build:
        check_linked(args.build)
    for line in problems:
        print(line)
    n_files = len(tracked(".c", ".h"))
    print(f"lint: {n_files} files, {len(problems)} problems")
    return 1 if problems or n_files == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
