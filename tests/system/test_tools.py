#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""inkling-eval and inkling-bench: the engine without the service, as a person calls it."""
import json
import math
import os
import pathlib
import re
import struct
import subprocess
import tempfile
import unittest

from service import BUILD, COUNTING, SOURCE, model_file, programs


class ToolsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = model_file()
        cls.temp = tempfile.TemporaryDirectory(prefix="inkling-test-")
        cls.addClassCleanup(cls.temp.cleanup)

    def eval(self, *args, input="", expect=0, model=None):
        r = subprocess.run([programs()["eval"], args[0], model or self.model, *map(str, args[1:])],
                           input=input, capture_output=True, text=True, timeout=120)
        self.assertEqual(r.returncode, expect, f"{args}: {r.stdout[-300:]}{r.stderr[-300:]}")
        return [json.loads(x) for x in r.stdout.split("\n") if x], r.stderr

    def test_tokenize_and_back(self):
        text = "Hello, wörld! 123\n\tnext <|im_end|>"
        (row,), _ = self.eval("tokenize", input=text)
        self.assertEqual(row["n"], len(row["ids"]))
        self.assertNotIn(2, row["ids"])
        (back,), _ = self.eval("detokenize", input=json.dumps(row["ids"]))
        self.assertEqual(back["text"], text)
        (special,), _ = self.eval("tokenize", "--special", input="<|im_end|>")
        self.assertEqual(special["ids"], [2])
        _, err = self.eval("detokenize", input="[1, 99999999]", expect=1)
        self.assertIn("49152", err)

    def test_template(self):
        messages = [{"role": "user", "content": "Hi <|im_end|>"}]
        (row,), _ = self.eval("template", input=json.dumps(messages))
        self.assertTrue(row["text"].endswith("<|im_start|>assistant\n"))
        self.assertEqual(row["ids"].count(2), 2, "the user's own <|im_end|> is text")
        (row,), _ = self.eval("template", "--no-generation-prompt", input=json.dumps(messages))
        self.assertFalse(row["text"].endswith("assistant\n"))
        self.eval("template", input="{}", expect=1)

    def test_logits_are_a_distribution(self):
        rows, _ = self.eval("logits", "--top", 5, input="The capital of France is")
        top = rows[-1]["top"]
        self.assertEqual(len(top), 5)
        self.assertTrue(all(a["logit"] >= b["logit"] for a, b in zip(top, top[1:])))
        self.assertLess(sum(math.exp(t["logprob"]) for t in top), 1.0001)
        path = pathlib.Path(self.temp.name) / "all.f32"
        rows, _ = self.eval("logits", "--all", path, input="The capital of France is")
        n = len(path.read_bytes()) // 4
        self.assertEqual(n % 49152, 0)
        last = struct.unpack("<49152f", path.read_bytes()[-4 * 49152:])
        self.assertAlmostEqual(max(last), top[0]["logit"], places=3)

    def test_greedy_is_the_same_on_every_kernel_set_of_this_machine(self):
        texts = {}
        for isa in ("ref", "avx2", "avx512"):
            r = subprocess.run([programs()["eval"], "greedy", self.model, "--tokens", "16"], input=COUNTING,
                               capture_output=True, text=True, env={**os.environ, "INKLING_ISA": isa}, timeout=120)
            if r.returncode == 0:
                texts[isa] = json.loads(r.stdout)["text"]
            else:
                self.assertIn(isa, r.stderr)
        self.assertIn("ref", texts)
        self.assertEqual(len(set(texts.values())), 1, texts)

    def test_greedy_draws_only_tokens_that_have_a_text(self):
        """This embedding has 131 rows for 109 tokens, and a row without a token wins after this prompt."""
        model = SOURCE / "tests/data/toy-llama-tied.gguf"
        (row,), _ = self.eval("greedy", "--tokens", 8, model=model, input="Hello the world 1")
        self.assertEqual(row["n"], 8)
        self.assertLess(max(row["ids"]), 109)

    def test_logits_that_are_no_numbers_are_no_answer(self):
        data = bytearray((SOURCE / "tests/data/toy-llama-q.gguf").read_bytes())
        last = self.tensor_offset(data, b"blk.2.ffn_down.weight") + 96 * 20
        start = len(data) - last + self.tensor_offset(data, b"output_norm.weight")
        struct.pack_into("<f", data, start, math.nan)
        model = pathlib.Path(self.temp.name) / "nan.gguf"
        model.write_bytes(data)
        for command in ("greedy", "perplexity"):
            rows, err = self.eval(command, model=model, input="Hello", expect=1)
            self.assertEqual(rows, [])
            self.assertIn("not finite", err)

    @staticmethod
    def tensor_offset(data, name):
        i = data.index(name) + len(name)
        (n_dims,) = struct.unpack_from("<I", data, i)
        return struct.unpack_from("<Q", data, i + 4 + 8 * n_dims + 4)[0]

    def test_perplexity(self):
        text = (SOURCE / "tests/data/public-domain.txt").read_text()[:4000]
        (row,), _ = self.eval("perplexity", input=text)
        self.assertTrue(5 < row["ppl"] < 100, row)
        self.assertAlmostEqual(math.exp(row["nll"]), row["ppl"], delta=0.01 * row["ppl"])

    def test_validate(self):
        (row,), _ = self.eval("validate")
        self.assertTrue(row["sound"])
        bad = pathlib.Path(self.temp.name) / "bad.gguf"
        data = bytearray(self.model.read_bytes())
        bad.write_bytes(data[:50_000_000])
        (row,), _ = self.eval("validate", model=bad, expect=1)
        self.assertFalse(row["sound"])
        self.assertIn("field", row)
        # A scale that is not a number, in the middle of the weights.
        name = b"blk.5.ffn_up.weight"
        i = data.index(name) + len(name)
        (offset,) = struct.unpack_from("<Q", data, i + 4 + 16 + 4)
        start = self.data_offset(data)
        struct.pack_into("<H", data, start + offset + 20 * 1000, 0x7E00)
        bad.write_bytes(data)
        (row,), _ = self.eval("validate", model=bad, expect=1)
        self.assertIn("blk.5.ffn_up.weight", row["field"] + row["error"])

    @staticmethod
    def data_offset(data):
        """Where tensor data begins: the first tensor's offset is 0, the last one ends the file."""
        last = b"output_norm.weight"
        i = data.index(last) + len(last)
        (offset,) = struct.unpack_from("<Q", data, i + 4 + 8 + 4)
        return len(data) - offset - 576 * 4

    def test_changed_fields_are_refused_or_run(self):
        """Every number of a toy's header, one at a time, becomes one that it should not be: an answer
        or one line that says why not, and never a crash."""
        for name in ("toy-llama-q", "toy-gemma3"):
            with self.subTest(name):
                self.change_every_field((SOURCE / f"tests/data/{name}.gguf").read_bytes())

    def change_every_field(self, good):
        bad = pathlib.Path(self.temp.name) / "changed.gguf"
        places = []
        for m in re.finditer(rb"(?:llama|gemma3)[.][a-z_.]+(?=[\x04\x06]\0\0\0)|tokenizer[.]ggml[.][a-z]+_token_id", good):
            places += [(m.end() + 4, struct.pack("<I", v))
                       for v in (0, 1, 7, 33, 0x7F800000, 0x7FC00000, 0x80000000, 0xFFFFFFFF)]
        for name in (b"token_embd.weight", b"output_norm.weight", b"blk.0.attn_q.weight", b"blk.2.ffn_down.weight"):
            at = good.index(name) + len(name)
            (n_dims,) = struct.unpack_from("<I", good, at)
            places += [(at, struct.pack("<I", v)) for v in (0, 3, 5)]
            places += [(at + 4 + 8 * d, struct.pack("<Q", v))
                       for d in range(n_dims) for v in (0, 1, 33, 1 << 32, 1 << 61, 2**64 - 1)]
            places += [(at + 4 + 8 * n_dims, struct.pack("<I", v)) for v in (0, 1, 2, 8, 12, 2**32 - 1)]
            places += [(at + 8 + 8 * n_dims, struct.pack("<Q", v)) for v in (1, 32, 1 << 20, 2**64 - 32)]
        self.assertGreater(len(places), 150)
        for at, value in places:
            bad.write_bytes(good[:at] + value + good[at + len(value):])
            for args in (["validate", bad], ["greedy", bad, "--tokens", "2", "--threads", "1"]):
                r = subprocess.run([programs()["eval"], *args], input="Hi", capture_output=True, text=True, timeout=60)
                lines = (r.stdout + r.stderr).strip().split("\n")
                self.assertIn(r.returncode, (0, 1), (at, value, args[0], lines))
                self.assertTrue(len(lines) == 1 and lines[0], (at, value, args[0], lines))

    def test_what_is_no_model_is_refused(self):
        folder = pathlib.Path(self.temp.name)
        (folder / "empty").write_bytes(b"")
        (folder / "text").write_text("hello\n")
        os.mkfifo(folder / "fifo")
        for name in ("missing", "empty", "text", "fifo", "."):
            rows, err = self.eval("tokenize", model=folder / name, input="x", expect=1)
            self.assertTrue(err.strip(), name)
            self.assertEqual(rows, [])

    def test_wrong_use(self):
        for args in ([], ["dance", self.model], ["tokenize"], ["greedy", self.model, "--tokens", "-1"],
                     ["tokenize", self.model, "--wibble"]):
            r = subprocess.run([programs()["eval"], *args], input="x", capture_output=True, text=True, timeout=20)
            self.assertEqual(r.returncode, 2, args)

    def test_bench_prints_a_line_for_each_measure(self):
        r = subprocess.run([BUILD / "engine/tools/inkling-bench", self.model, "--repeats", "1", "--json"],
                           capture_output=True, text=True, timeout=120)
        self.assertEqual(r.returncode, 0, r.stderr)
        rows = [json.loads(x) for x in r.stdout.split("\n") if x]
        self.assertLessEqual({"prefill", "decode", "decode_4_sessions", "open_cached", "private_dirty"},
                             {x["measure"] for x in rows})
        for x in rows:
            self.assertGreater(x["value"], 0, x)
            self.assertTrue(x["kernels"] and x["threads"])


if __name__ == "__main__":
    unittest.main(verbosity=2, warnings="ignore")
