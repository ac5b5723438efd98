#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 the inkling authors
"""Writes the seed files of tests/fuzz/corpus/gguf and tests/fuzz/corpus/tokenizer.

Only the standard library. Run it from anywhere; the output is the same every time:
    python3 tests/data/make-gguf-corpus.py
A tokenizer seed is a u16 length, that many bytes of text, and a GGUF file.
"""
import os
import struct

HERE = os.path.dirname(os.path.abspath(__file__))
CORPUS = os.path.join(HERE, "..", "fuzz", "corpus")
U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
FORMATS = {U8: "<B", I8: "<b", U16: "<H", I16: "<h", U32: "<I", I32: "<i", F32: "<f",
           BOOL: "<B", U64: "<Q", I64: "<q", F64: "<d"}


def text(value):
    raw = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(raw)) + raw


def scalar(kind, value):
    return text(value) if kind == STRING else struct.pack(FORMATS[kind], value)


def entry(key, kind, value, element=None):
    head = text(key) + struct.pack("<I", kind)
    if kind != ARRAY:
        return head + scalar(kind, value)
    head += struct.pack("<IQ", element, len(value))
    return head + b"".join(scalar(element, v) for v in value)


def tensor(name, dims, kind, offset):
    return (text(name) + struct.pack("<I", len(dims)) + struct.pack("<%dQ" % len(dims), *dims)
            + struct.pack("<IQ", kind, offset))


def gguf(entries, tensors=(), data=b"", version=3, alignment=32):
    out = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(entries))
    out += b"".join(entries) + b"".join(tensors)
    if tensors:
        out += b"\0" * (-len(out) % alignment)
    return out + data


def byte_text(byte):
    """The byte-level alphabet."""
    printing = list(range(0x21, 0x7F)) + list(range(0xA1, 0xAD)) + list(range(0xAE, 0x100))
    if byte in printing:
        return chr(byte)
    return chr(0x100 + sorted(set(range(256)) - set(printing)).index(byte))


def vocabulary(pre="smollm", extra=(), types=None, merges=None, **keys):
    """Every byte, a few merges, three control tokens and one that is user-defined."""
    tokens = [byte_text(b) for b in range(256)]
    made = ["he", "ll", "lo", "hell", "hello", "\u0120h", "\u0120hello", "12", "\u0120\u0120",
            "<|", "|>", "\u010a\u010a"]
    pairs = ["h e", "l l", "l o", "he ll", "hell o", "\u0120 h", "\u0120 hello", "1 2",
             "\u0120 \u0120", "< |", "| >", "\u010a \u010a"]
    tokens += made + ["<|im_start|>", "<|im_end|>", "<|im_end|>!", "<think>"] + list(extra)
    kinds = [1] * (256 + len(made)) + [3, 3, 3, 4] + [1] * len(extra)
    n = len(tokens)
    entries = [
        entry("tokenizer.ggml.model", STRING, keys.get("model", "gpt2")),
        entry("tokenizer.ggml.pre", STRING, pre),
        entry("tokenizer.ggml.tokens", ARRAY, tokens, STRING),
        entry("tokenizer.ggml.token_type", ARRAY, types or kinds, keys.get("type_kind", I32)),
        entry("tokenizer.ggml.merges", ARRAY, pairs if merges is None else merges, STRING),
        entry("tokenizer.ggml.bos_token_id", U32, n - 4),
        entry("tokenizer.ggml.eos_token_id", U32, keys.get("eos", n - 3)),
        entry("tokenizer.ggml.add_bos_token", BOOL, 1),
    ]
    return gguf(entries)


def spm_vocabulary(byte_name=lambda b: "<0x%02X>" % b, scores=None, extra=(), score_kind=F32, **flags):
    """Byte tokens, words with scores, runs of blanks, a tag, a control token."""
    mark = "\u2581"
    words = [mark, "h", "e", "l", "o", "he", "ll", "hell", "hello", mark + "hello", mark + "h", "aa", "aaaa",
             "\u00e9", "\u4e2d", mark + "\u4e2d\u6587", "12"]
    rest = [("  ", 4), ("    ", 4), ("\n\n", 4), ("<think>", 4), ("<|im_end|>", 3), ("lost", 5)]
    tokens = ["<unk>", "<s>", "</s>"] + [byte_name(b) for b in range(256)] + words + list(extra)
    kinds = [2, 3, 3] + [6] * 256 + [1] * (len(words) + len(extra)) + [kind for _, kind in rest]
    tokens += [word for word, _ in rest]
    return gguf([
        entry("tokenizer.ggml.model", STRING, "llama"),
        entry("tokenizer.ggml.tokens", ARRAY, tokens, STRING),
        entry("tokenizer.ggml.token_type", ARRAY, kinds, I32),
        entry("tokenizer.ggml.scores", ARRAY,
              [-float(i % 23) for i in range(len(tokens))] if scores is None else scores, score_kind),
        entry("tokenizer.ggml.bos_token_id", U32, 1), entry("tokenizer.ggml.eos_token_id", U32, 2),
        entry("tokenizer.ggml.unknown_token_id", U32, flags.pop("unknown", 0)),
    ] + [entry("tokenizer.ggml." + key, BOOL, value) for key, value in flags.items()])


def gguf_seeds():
    every = [entry("u8", U8, 1), entry("i8", I8, -1), entry("u16", U16, 2), entry("i16", I16, -2),
             entry("u32", U32, 3), entry("i32", I32, -3), entry("f32", F32, 0.5),
             entry("bool", BOOL, 1), entry("text", STRING, "words"), entry("u64", U64, 4),
             entry("i64", I64, -4), entry("f64", F64, 0.25),
             entry("list", ARRAY, ["a", "", "bc"], STRING), entry("ints", ARRAY, [1, -2], I16),
             entry("flags", ARRAY, [0, 1], BOOL)]
    rows = [tensor("a", [4, 2], 0, 0), tensor("b", [32, 2], 3, 32), tensor("c", [32], 8, 96),
            tensor("d", [3], 1, 160)]
    data = b"\0" * 166
    aligned = [entry("general.alignment", U32, 64)]
    return {
        "v3": gguf(every, rows, data), "v2": gguf(every, rows, data, version=2),
        "v1": gguf([], version=1), "big-endian": b"GGUF\0\0\0\3" + b"\0" * 16,
        "no-tensors": gguf(every),
        "aligned-64": gguf(aligned, [tensor("a", [4, 2], 0, 64)], b"\0" * 96, alignment=64),
        "bad-alignment": gguf([entry("general.alignment", U32, 1 << 30)]),
        "five-dims": gguf([], [tensor("a", [1, 1, 1, 1, 1], 0, 0)], b"\0" * 32),
        "wrapping-dims": gguf([], [tensor("a", [1 << 32, 1 << 32], 0, 0)], b"\0" * 32),
        "overlap": gguf([], [tensor("a", [16], 0, 0), tensor("b", [16], 0, 32)], b"\0" * 128),
        "twice": gguf([entry("k", U8, 1), entry("k", U8, 1)]),
        "q4-k": gguf([], [tensor("a", [256], 12, 0)], b"\0" * 144),
        "vocabulary": vocabulary(),
    }


def tokenizer_seeds():
    words = ("hello hello  12 345\r\n\n<|im_end|>!<think> caf\u00e9 \u0939\u093f \U0001f999 "
             "I've 'RE  \u2028\u3000\u3002 \u4e2d\u6587\u3007 ").encode() + b"\xff\xc3\0 "
    pack = lambda words_, file: struct.pack("<H", len(words_)) + words_ + file
    seeds = {pre: pack(words, vocabulary(pre)) for pre in
             ("smollm", "gpt-2", "starcoder", "llama-bpe", "qwen2", "deepseek-llm")}
    seeds["unknown-pre"] = pack(words, vocabulary("nobody"))
    seeds["unknown-model"] = pack(words, vocabulary(model="bert"))
    runs = words + "\u2581\u2581 hello   hellohello \n\n\n aaaaaaa \u2581".encode()
    seeds["spm"] = pack(runs, spm_vocabulary())
    seeds["spm-bare"] = pack(runs, spm_vocabulary(add_space_prefix=0))
    seeds["spm-collapses"] = pack(runs, spm_vocabulary(remove_extra_whitespaces=1))
    seeds["spm-odd"] = pack(runs, spm_vocabulary(extra=["", "hello", b"h\xff", b"\xe2\x96", "a b"]))
    seeds["spm-unknown"] = pack(runs, spm_vocabulary(lambda b: "<0x41>"))
    seeds["spm-no-bytes"] = pack(runs, spm_vocabulary(lambda b: "byte %d" % b))
    seeds["spm-wide-scores"] = pack(runs, spm_vocabulary(score_kind=F64))
    seeds["spm-nan"] = pack(runs, spm_vocabulary(scores=[float("nan")] * 282))
    seeds["spm-few-scores"] = pack(runs, spm_vocabulary(scores=[0.0] * 3))
    seeds["twins"] = pack(words, vocabulary(extra=["hello", "", "a b"]))
    seeds["bad-merge"] = pack(words, vocabulary(merges=["h e", "nothing"]))
    seeds["bad-eos"] = pack(words, vocabulary(eos=100000))
    seeds["byte-types"] = pack(words, vocabulary(type_kind=U8))
    seeds["runs"] = pack(b"a" * 300 + b" " * 300 + b"hello" * 50 + b"\n" * 99, vocabulary())
    return seeds


def main():
    for folder, seeds in (("gguf", gguf_seeds()), ("tokenizer", tokenizer_seeds())):
        path = os.path.join(CORPUS, folder)
        os.makedirs(path, exist_ok=True)
        for name, data in seeds.items():
            with open(os.path.join(path, name + ".bin"), "wb") as file:
                file.write(data)


if __name__ == "__main__":
    main()
