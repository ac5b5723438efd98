#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Bad model files, bad prompts, bad options: each is refused by one clear error, and the daemon stays."""
import asyncio
import json
import os
import pathlib
import struct
import unittest

from service import (COUNTING, MODEL_NAME, NAME, PATH, SOURCE, Client, Error, Service, Variant,
                     gemma_file, model_file, run)

STANDARD = "org.freedesktop.DBus.Error."
OWN = NAME + ".Error."


def string(text):
    return struct.pack("<Q", len(text)) + text.encode()


def gguf(metadata, tensors=b"", n_tensors=0):
    """A small GGUF: `metadata` is a list of (key, type number, packed value)."""
    body = b"".join(string(k) + struct.pack("<I", t) + v for k, t, v in metadata)
    return b"GGUF" + struct.pack("<IQQ", 3, n_tensors, len(metadata)) + body + tensors


def real_with(old, new):
    """The real model with one string of its header replaced by another of the same length."""
    assert len(old) == len(new)
    data = bytearray(model_file().read_bytes())
    at = data.index(old)
    data[at:at + len(old)] = new
    return bytes(data)


class BadModelTest(unittest.TestCase):
    def refusal(self, make, expected_name, expected_words):
        with Service(model=False) as s:
            make(s.models / (MODEL_NAME + ".gguf"))

            async def body():
                async with Client(s) as c:
                    with self.assertRaises(Error) as e:
                        await c.call("Text", "Complete", "sa{sv}", ["Hi", {"max-tokens": Variant("u", 2)}])
                    return e.exception
            error = run(body())
            self.assertEqual(error.name, OWN + expected_name, error.message)
            for word in expected_words:
                self.assertIn(word, error.message)
            self.assertNotIn(str(s.root), error.message, "paths are not for callers")
            self.assertIsNotNone(s.daemon_pid())
            # What needs no model works all the same.
            self.assertEqual(s.property("Memory", "Enabled"), False)
            print(f"{expected_name}: {error.message}")

    def test_missing(self):
        self.refusal(lambda p: None, "NoModel", ["model"])

    def test_empty_file(self):
        self.refusal(lambda p: p.write_bytes(b""), "ModelInvalid", [])

    def test_text_file(self):
        self.refusal(lambda p: p.write_text("just some words\n" * 1000), "ModelInvalid", ["GGUF"])

    def test_directory(self):
        self.refusal(lambda p: p.mkdir(), "ModelInvalid", ["regular file"])

    def test_fifo(self):
        self.refusal(lambda p: os.mkfifo(p), "ModelInvalid", ["regular file"])

    def test_truncated(self):
        self.refusal(lambda p: p.write_bytes(model_file().read_bytes()[:5_000_000]), "ModelInvalid",
                     ["beyond"])

    def test_truncated_in_the_header(self):
        self.refusal(lambda p: p.write_bytes(model_file().read_bytes()[:300]), "ModelInvalid", [])

    def test_unknown_architecture(self):
        data = gguf([("general.architecture", 8, string("mamba9"))])
        self.refusal(lambda p: p.write_bytes(data), "ModelInvalid", ["mamba9"])

    def test_unknown_pre_tokenizer(self):
        self.refusal(lambda p: p.write_bytes(real_with(b"\x06\0\0\0\0\0\0\0smollm", b"\x06\0\0\0\0\0\0\0smellm")),
                     "ModelInvalid", ["smellm"])

    def test_unknown_tensor_type(self):
        name = b"blk.0.ffn_down.weight"
        data = bytearray(model_file().read_bytes())
        at = data.index(name) + len(name) + 4 + 16
        data[at:at + 4] = struct.pack("<I", 250)
        self.refusal(lambda p: p.write_bytes(data), "ModelInvalid", ["blk.0.ffn_down.weight", "250"])

    def test_tensor_beyond_the_end(self):
        name = b"output_norm.weight"
        data = bytearray(model_file().read_bytes())
        at = data.index(name) + len(name) + 4 + 8 + 4
        data[at:at + 8] = struct.pack("<Q", 1 << 40)
        self.refusal(lambda p: p.write_bytes(data), "ModelInvalid", ["output_norm.weight"])


class BaseModelTest(unittest.TestCase):
    def test_gemma(self):
        """The real one of another family: a greedy text as float32 arithmetic has it, and no chat."""
        golden = json.loads((SOURCE / "tests/data/gemma3-golden.json").read_text())["greedy"][2]
        with Service(model_path=gemma_file()) as s:
            async def body():
                async with Client(s) as c:
                    greedy = {"max-tokens": Variant("u", 16), "temperature": Variant("d", 0.0),
                              "deadline-usec": Variant("t", 60_000_000)}
                    text, _ = await c.call("Text", "Complete", "sa{sv}", [golden["prompt"], greedy])
                    with self.assertRaises(Error) as e:
                        await c.call("Text", "Chat", "a(ss)a{sv}", [[["user", "hello"]], greedy])
                    return text, e.exception
            text, error = run(body())
            self.assertTrue(len(text) > 20 and golden["text"].startswith(text), text)
            self.assertEqual(error.name, STANDARD + "NotSupported", error.message)

    def test_completes_but_does_not_chat(self):
        """A file without a chat template: Chat says what the file is and what helps, Complete works."""
        data = (SOURCE / "tests/data/toy-gemma3.gguf").read_bytes()
        key = b"tokenizer.chat_template"
        self.assertEqual(data.count(key), 1)
        with Service(model=False) as s:
            (s.models / (MODEL_NAME + ".gguf")).write_bytes(data.replace(key, b"tokenizer.chat_not_here"))

            async def body():
                async with Client(s) as c:
                    few = {"max-tokens": Variant("u", 3)}
                    _, result = await c.call("Text", "Complete", "sa{sv}", ["hello", few])
                    self.assertLessEqual(result["output-tokens"].value, 3)
                    with self.assertRaises(Error) as e:
                        await c.call("Text", "Chat", "a(ss)a{sv}", [[["user", "hello"]], few])
                    return e.exception
            error = run(body())
            self.assertEqual(error.name, STANDARD + "NotSupported", error.message)
            for word in ("no chat template", "base model", "Complete", "instruction-tuned"):
                self.assertIn(word, error.message)
            r = s.inkling("chat", "hello")
            self.assertNotEqual(r.returncode, 0)
            self.assertIn("base model", r.stderr)


class DescriptorsTest(unittest.TestCase):
    def test_descriptors_that_nobody_asked_for(self):
        """Calls that wait keep what came with them; the usual 1024 files must not be the end of the service."""
        from dbus_next import Message

        async def go(s):
            read_end, write_end = os.pipe()
            clients = [Client(s) for _ in range(2)]
            calls = []
            daemon = None
            for c in clients:
                await c.__aenter__()
                path = await c.start(COUNTING, max_tokens=4000, temperature=0.0)
                daemon = daemon or s.daemon_pid()
                for _ in range(60):
                    calls.append(asyncio.ensure_future(c.bus.call(Message(
                        destination=NAME, path=path, interface=f"{NAME}.Request", member="Wait",
                        unix_fds=[read_end] * 16))))
                # Answered behind them all, so they have arrived.
                await asyncio.wait_for(c.call("Manager", "ListModels"), 20)
            held = len(os.listdir(f"/proc/{daemon}/fd"))
            async with Client(s) as other:
                text, _ = await other.call("Text", "Complete", "sa{sv}", ["Hi", {"max-tokens": Variant("u", 2)}])
            for call in calls:
                call.cancel()
            for c in clients:
                await c.__aexit__()
            self.assertTrue(s.wait_for(lambda: len(os.listdir(f"/proc/{daemon}/fd")) < 100), "kept for ever")
            os.close(read_end)
            os.close(write_end)
            return daemon, held

        with Service(exec_prefix="prlimit --nofile=1024:8192") as s:
            daemon, held = run(go(s))
            self.assertGreater(held, 1024)
            self.assertEqual(s.daemon_pid(), daemon, s.log_text())


class BadCallTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.service = Service()
        cls.addClassCleanup(cls.service.close)

    def refused(self, name, words, interface, member, signature, body):
        async def go():
            async with Client(self.service) as c:
                with self.assertRaises(Error) as e:
                    await c.call(interface, member, signature, body)
                return e.exception
        error = run(go())
        self.assertEqual(error.name, name, error.message)
        for word in words:
            self.assertIn(word, error.message)
        return error

    def complete(self, name, words, prompt="Hi", **options):
        options = {k.replace("_", "-"): v for k, v in options.items()}
        return self.refused(name, words, "Text", "Complete", "sa{sv}", [prompt, options])

    def test_prompts(self):
        self.complete(STANDARD + "InvalidArgs", ["prompt"], prompt="")
        e = self.complete(STANDARD + "LimitsExceeded", ["262144"], prompt="a " * 200_000)
        self.assertNotIn("a a", e.message)
        e = self.complete(OWN + "ContextOverflow", ["8192"], prompt="word " * 20_000)
        self.assertRegex(e.message, r"\d+.*8192")

    def test_five_megabytes_by_descriptor(self):
        fd = os.memfd_create("prompt", os.MFD_ALLOW_SEALING)
        os.write(fd, b"a " * 2_621_440)
        import fcntl
        F_ADD_SEALS = 1033
        fcntl.fcntl(fd, F_ADD_SEALS, 0x2 | 0x4 | 0x8)

        async def go():
            async with Client(self.service) as c:
                from dbus_next import Message
                reply = await c.bus.call(Message(
                    destination=NAME, path=PATH, interface=f"{NAME}.Text", member="Start",
                    signature="sa{sv}a{sv}", body=["complete", {"prompt-fd": Variant("h", 0)}, {}],
                    unix_fds=[fd]))
                self.assertEqual(reply.error_name, STANDARD + "LimitsExceeded", reply.body)
                self.assertIn("4194304", reply.body[0])
        run(go())
        os.close(fd)

    def test_options(self):
        invalid = STANDARD + "InvalidArgs"
        self.complete(invalid, ["wibble"], wibble=Variant("u", 1))
        self.complete(invalid, ["max-tokens"], max_tokens=Variant("s", "many"))
        self.complete(invalid, ["max-tokens"], max_tokens=Variant("i", -5))
        self.complete(invalid, ["max-tokens", "4096"], max_tokens=Variant("u", 4_000_000_000))
        self.complete(invalid, ["max-tokens"], max_tokens=Variant("u", 0))
        self.complete(invalid, ["temperature"], temperature=Variant("d", -1.0))
        self.complete(invalid, ["temperature"], temperature=Variant("d", float("nan")))
        self.complete(invalid, ["temperature"], temperature=Variant("d", 1e300))
        self.complete(invalid, ["top-p"], top_p=Variant("d", 1.5))
        self.complete(invalid, ["priority"], priority=Variant("s", "urgent"))
        self.complete(invalid, ["stop"], stop=Variant("as", ["x"] * 17))
        self.complete(OWN + "NoSuchModel", [], model=Variant("s", "../../etc/passwd"))

    def test_keys_that_start_with_x_are_free(self):
        async def go():
            async with Client(self.service) as c:
                text, _ = await c.call("Text", "Complete", "sa{sv}", [
                    "Hi", {"x-trace": Variant("s", "1"), "max-tokens": Variant("u", 2)}])
        run(go())

    def test_inputs_of_start(self):
        for kind, data in [("dance", {"prompt": Variant("s", "Hi")}), ("complete", {}),
                           ("complete", {"prompt": Variant("s", "Hi"), "extra": Variant("s", "x")}),
                           ("chat", {"messages": Variant("a(ss)", [["king", "Hi"]])}),
                           ("chat", {"messages": Variant("a(ss)", [])})]:
            self.refused(STANDARD + "InvalidArgs", [], "Text", "Start", "sa{sv}a{sv}", [kind, data, {}])

    def test_tokens(self):
        self.refused(STANDARD + "InvalidArgs", ["49152"], "Text", "Detokenize", "aua{sv}",
                     [[1, 4_000_000_000], {}])

    def test_unknown_members(self):
        for interface, member in [("Text", "Sing"), ("Memory", "Search"), ("Manager", "CompareModels")]:
            self.refused(STANDARD + "UnknownMethod", [], interface, member, "", [])

    def test_invalid_utf8_and_nul_on_the_command_line(self):
        s = self.service
        r = s.inkling("complete", "-", stdin=None, input="a\0b")
        self.assertEqual(r.returncode, 2)
        self.assertIn("NUL", r.stderr)
        import subprocess
        from service import programs
        r = subprocess.run([programs()["inkling"], "complete", b"caf\xe9"], env=s.env,
                           capture_output=True, stdin=subprocess.DEVNULL)
        self.assertEqual(r.returncode, 2, r.stderr)
        self.assertIn(b"UTF-8", r.stderr)
        r = subprocess.run([programs()["inkling"], "complete"], env=s.env, capture_output=True, input=b"caf\xe9")
        self.assertEqual(r.returncode, 2, r.stderr)
        self.assertIn(b"UTF-8", r.stderr)

    def test_long_input_of_the_command(self):
        for n_words, words in [(200_000, "8192"), (2_500_000, "4194304")]:
            r = self.service.inkling("complete", stdin=None, input="a " * n_words)
            self.assertEqual(r.returncode, 6, r.stderr)
            self.assertIn(words, r.stderr)

    def test_the_daemon_is_still_the_same(self):
        self.service.busctl("call", NAME, PATH, f"{NAME}.Text", "CountTokens", "sa{sv}", "x", 0)
        pid = self.service.daemon_pid()
        self.complete(STANDARD + "InvalidArgs", ["wibble"], wibble=Variant("u", 1))
        self.assertEqual(self.service.daemon_pid(), pid)


if __name__ == "__main__":
    unittest.main(verbosity=2, warnings="ignore")
