#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 the inkling authors
"""Makes the seeds of fuzz-wire-worker, fuzz-wire-broker (wire.h) and fuzz-wire-inspect: sound frames.

    make-wire-corpus.py CORPUS_DIR
"""
import struct
import sys
from pathlib import Path


def frame(kind, ident, body=b""):
    return struct.pack("<IIQ", kind, 16 + len(body), ident) + body


def bulk(*strings):
    data = [s.encode() if isinstance(s, str) else s for s in strings]
    return struct.pack(f"<I{len(data)}I", len(data), *map(len, data)) + b"".join(data)


def to_worker(n_fds, f, strings=b""):
    return struct.pack("<BH", n_fds, len(f)) + f + strings


def generate(kind, n_messages, n_stops, priority):
    return frame(2, 9, struct.pack("<7I4f5IQ", kind, n_messages, n_stops, 16, 0, 40, 64,
                                   0.7, 0.95, 0.05, 1.0, 4096, priority, 1, 1, 1024, 42))


def text(n_bytes, s):
    return s.encode().ljust(n_bytes, b"\0")


WORKER = {
    "load": to_worker(1, frame(1, 1, struct.pack("<IBB2x16sQ", 2, 0, 0, b"", 1 << 30))),
    "load-cache": to_worker(2, frame(1, 1, struct.pack("<IBB2x16sQ", 0, 1, 1, b"avx2", 0))),
    "generate-complete": to_worker(1, generate(1, 0, 1, 0), bulk("Once upon a time", "\n\n")),
    "generate-chat": to_worker(1, generate(2, 2, 0, 3), bulk("system", "Be brief.", "user", "Hi")),
    "cancel": to_worker(0, frame(3, 9)),
    "credit": to_worker(0, frame(4, 9, struct.pack("<II", 4096, 0))),
    "tokenize": to_worker(1, frame(5, 3, struct.pack("<IIBB6x", 1, 0, 1, 1)), bulk("a b c")),
    "tokenize-chat": to_worker(1, frame(5, 3, struct.pack("<IIBB6x", 2, 1, 0, 0)),
                               bulk("user", "")),
    "detokenize": to_worker(1, frame(6, 4, struct.pack("<B7x", 0)),
                            bulk(struct.pack("<3I", 1, 2, 3))),
    "trim": to_worker(0, frame(7, 0, struct.pack("<IIQ", 1, 0, 1 << 20))),
}
BROKER = {
    "ready": frame(64, 0, struct.pack("<IBB2x", 2, 1, 7)),
    "loaded": frame(65, 1, text(128, "SmolLM2") + text(32, "llama") + text(16, "Q4_1")
                    + text(16, "avx2") + struct.pack("<IIIBB2xQQQQ", 2, 2048, 49152, 1, 0,
                                                     134000000, 96000000, 23040, 50000)),
    "progress": frame(66, 9, struct.pack("<IIQQ", 3, 0, 128, 512)),
    "heartbeat": frame(66, 0, struct.pack("<IIQQ", 0, 0, 0, 0)),
    "text": frame(67, 9, struct.pack("<Q", 12) + " grüße 🐢".encode()),
    "ids": frame(68, 3, struct.pack("<II3I", 0, 3, 1, 2, 49151)),
    "finished": frame(69, 9, struct.pack("<4I5Q2IB7x", 2, 10, 0, 16, 1, 2, 3, 40, 9, 5, 2, 1)),
    "failed": frame(70, 9, struct.pack("<I", 90) + text(240, "too long") + bytes(4)),
}


def result(n_types, n_warnings, sha256):
    types = b"".join(text(16, f"Q{i}_0") + struct.pack("<Q", 1000) for i in range(n_types))
    warnings = b"".join(text(160, f"warning {i}") for i in range(n_warnings))
    body = (text(128, "Toy") + text(32, "llama") + text(16, "Q8_0") + text(32, "gpt2") + text(64, "apache-2.0")
            + struct.pack("<6I4BIQQ", 2, 64, 4, 2, 300, 128, 1, bool(sha256), n_types, n_warnings, 0, 100000, 129984)
            + sha256.ljust(32, b"\0") + types.ljust(24 * 24, b"\0") + warnings.ljust(8 * 160, b"\0"))
    return frame(194, 0, body)


INSPECT = {
    "job": b"\0\1" + frame(128, 0, struct.pack("<I4BQ", 1, 0, 1, 0, 0, 98362432)),
    "job-copy": b"\0\2" + frame(128, 0, struct.pack("<I4BQ", 1, 1, 1, 0, 0, 1 << 40)),
    "ready": b"\1\0" + frame(192, 0, struct.pack("<I4B", 1, 1, 7, 0, 0)),
    "progress": b"\1\0" + frame(193, 0, struct.pack("<IIQQ", 2, 0, 1 << 20, 98362432)),
    "result": b"\1\0" + result(3, 0, b""),
    "result-full": b"\1\0" + result(24, 8, bytes(range(32))),
    "failed": b"\1\0" + frame(195, 0, struct.pack("<I", 74) + text(240, "no GGUF file") + bytes(4)),
}


def main():
    root = Path(sys.argv[1])
    for folder, seeds in (("wire-worker", WORKER), ("wire-broker", BROKER)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for name, data in seeds.items():
            (root / folder / name).write_bytes(data if folder == "wire-worker" else b"\0" + data)
    (root / "wire-inspect").mkdir(parents=True, exist_ok=True)
    for name, data in INSPECT.items():
        (root / "wire-inspect" / name).write_bytes(data)


main()
