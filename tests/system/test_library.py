#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""libinkling as a stranger finds it: installed, by pkg-config, with just the symbols of its map. And every
example that people copy, run as it stands."""
import os
import pathlib
import re
import subprocess
import sysconfig
import tempfile
import unittest

from service import BUILD, SANITIZED, SOURCE, Service

EXAMPLES = SOURCE / "clients/examples"
LIBRARY = BUILD / "ipc/libinkling.so.0"


def run(*args, **kwargs):
    return subprocess.run([str(a) for a in args], capture_output=True, text=True, timeout=120, **kwargs)


class LibraryTest(unittest.TestCase):
    def test_exported_symbols_are_those_of_map_and_header(self):
        in_map = set(re.findall(r"^    (ink_\w+);$", (SOURCE / "ipc/libinkling.map").read_text(), re.M))
        header = (SOURCE / "ipc/client.h").read_text()
        declared = set(re.findall(r"^INK_PUBLIC\w* [^;]*?\b(ink_\w+)\(", header, re.M))
        table = run("nm", "-D", "--defined-only", LIBRARY).stdout
        exported = set(re.findall(r" T (\w+)@@INKLING_0$", table, re.M))
        self.assertGreater(len(in_map), 10)
        self.assertEqual(declared, in_map)
        self.assertEqual(exported, in_map)
        if not SANITIZED:  # its runtime adds names
            others = re.findall(r" [TDBRW] (?!ink_)(\w+)", table)
            self.assertEqual([n for n in others if n not in ("_init", "_fini")], [])

    def test_the_error_type_is_the_same_inside_and_outside(self):
        block = r"#ifndef INK_ERROR_MESSAGE_BYTES.*?#endif"
        inside, outside = (re.search(block, (SOURCE / p).read_text(), re.S).group(0)
                           for p in ("engine/base/error.h", "ipc/client.h"))
        self.assertEqual(inside, outside)


class InstalledTest(unittest.TestCase):
    """Meson installs into a folder of its own; nothing of this tree is on the compiler's path."""

    @classmethod
    def setUpClass(cls):
        temp = tempfile.TemporaryDirectory(prefix="inkling-test-")
        cls.addClassCleanup(temp.cleanup)
        cls.root = pathlib.Path(temp.name) / "root"
        r = run("meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", cls.root)
        assert r.returncode == 0, r.stdout[-2000:] + r.stderr[-2000:]
        cls.pc = next(cls.root.rglob("inkling.pc"))
        cls.env = {**os.environ, "PKG_CONFIG_PATH": str(cls.pc.parent),
                   "PKG_CONFIG_SYSROOT_DIR": str(cls.root)}
        cls.service = Service()
        cls.addClassCleanup(cls.service.close)

    def compile(self, source, compiler="cc", *flags):
        words = run("pkg-config", "--cflags", "--libs", "inkling", env=self.env)
        self.assertEqual(words.returncode, 0, words.stderr)
        program = self.root / ("example-" + compiler)
        extra = ["-fsanitize=address,undefined"] if SANITIZED else []
        r = run(compiler, "-Wall", "-Wextra", "-Werror", *flags, *extra, source, *words.stdout.split(), "-o", program)
        self.assertEqual(r.returncode, 0, r.stderr)
        return program

    def run_program(self, program, *args):
        libraries = next(self.root.rglob("libinkling.so.0")).parent
        return run(program, *args, env={**self.service.env, "LD_LIBRARY_PATH": str(libraries)})

    def test_header_stands_alone(self):
        header = next(self.root.rglob("include/inkling.h"))
        included = re.findall(r'#include ([<"].*[>"])', header.read_text())
        self.assertTrue(included)
        self.assertEqual([i for i in included if not re.match(r"<(std|systemd/)", i)], [])

    def test_c_example(self):
        program = self.compile(EXAMPLES / "complete.c")
        r = self.run_program(program, "The capital of France is")
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertRegex(r.stdout, r"(?s).+\n\[\d+ tokens\]\n$")

    def test_c_example_says_what_is_wrong(self):
        program = self.compile(EXAMPLES / "complete.c")
        r = self.run_program(program, "")
        self.assertEqual(r.returncode, 1)
        self.assertIn("prompt is empty", r.stderr)

    def test_the_program_of_the_documentation(self):
        program, = re.findall(r"^```c\n(.*?)^```$", (SOURCE / "docs/libinkling.md").read_text(), re.M | re.S)
        source = self.root / "documented.c"
        source.write_text(program)
        r = self.run_program(self.compile(source))
        self.assertEqual(r.returncode, 0, r.stderr)
        self.assertGreater(len(r.stdout.strip()), 10)

    def test_whole_answers_and_a_stream_that_does_not_block(self):
        source = self.root / "whole.c"
        source.write_text(WHOLE)
        r = self.run_program(self.compile(source))
        self.assertEqual(r.returncode, 0, r.stdout + r.stderr)
        self.assertIn("complete ok\nchat ok\nerror org.inkling.Inkling1.Error.NoSuchModel\nstream ok\n", r.stdout)


WHOLE = r"""
#include <errno.h>
#include <inkling.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static int few(sd_bus_message *m, void *u) { (void)u; return sd_bus_message_append(m, "{sv}", "max-tokens", "u", 8u); }
static int nowhere(sd_bus_message *m, void *u) { (void)u; return sd_bus_message_append(m, "{sv}", "model", "s", "no-such"); }
static int input(sd_bus_message *m, void *u) { (void)u; return sd_bus_message_append(m, "{sv}", "prompt", "s", "Once"); }
int main(void)
{
    InkClient *c = NULL; InkError e = {0}; char *text = NULL; InkStream *s = NULL; InkStreamFrame f; int r;
    if (ink_client_new(&c, &e) < 0) return puts(e.message), 1;
    if (ink_client_complete(c, "The sky is", few, NULL, &text, &e) < 0) return puts(e.message), 1;
    if (strlen(text) > 0) puts("complete ok");
    free(text);
    InkClientMessage hello = {"user", "Say hello."};
    if (ink_client_chat(c, &hello, 1, few, NULL, &text, &e) < 0) return puts(e.message), 1;
    if (strlen(text) > 0) puts("chat ok");
    free(text);
    text = NULL;
    r = ink_client_complete(c, "x", nowhere, NULL, &text, &e);
    if (r != -ENOENT || text != NULL || e.message[0] == 0) return 1;
    printf("error %s\n", ink_client_error_name(c));
    if (ink_client_start_pipe(c, "complete", input, few, NULL, &s, &e) < 0) return puts(e.message), 1;
    ink_stream_set_blocking(s, false);
    size_t n_bytes = 0, n_nothing = 0;
    while ((r = ink_stream_next(s, &f, &e)) >= 0 && r != INK_STREAM_FINISHED) {
        if (r == INK_STREAM_TEXT) n_bytes += f.n_text_bytes;
        if (r != INK_STREAM_NOTHING) continue;
        struct pollfd p = {.fd = ink_stream_fd(s), .events = POLLIN};
        n_nothing++;
        if (poll(&p, 1, 10000) <= 0) return 1;
    }
    if (r == INK_STREAM_FINISHED && f.status == 0 && n_bytes > 0 && n_nothing > 0) puts("stream ok");
    ink_stream_free(s);
    ink_client_free(c);
    return 0;
}
"""


class ExamplesTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.service = Service()
        cls.addClassCleanup(cls.service.close)

    def test_every_example_runs_as_it_stands(self):
        scripts = sorted(p for p in EXAMPLES.iterdir() if p.suffix != ".c")
        self.assertGreaterEqual(len(scripts), 4)
        for path in scripts:
            with self.subTest(path.name):
                self.assertTrue(os.access(path, os.X_OK))
                r = run(path, "Once upon a time", env=self.service.env)
                self.assertEqual(r.returncode, 0, r.stderr)
                self.assertGreater(len(r.stdout.strip()), 10, r.stderr)

    def test_examples_report_an_error_and_fail(self):
        with Service(model=False) as empty:
            for name in ("complete.py", "stream.py", "stream.js"):
                with self.subTest(name):
                    r = run(EXAMPLES / name, env=empty.env)
                    self.assertNotEqual(r.returncode, 0)
                    self.assertIn("no model", (r.stdout + r.stderr).lower())


if __name__ == "__main__":
    unittest.main()
