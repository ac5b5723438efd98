#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 the inkling authors
"""Writes quant-golden.txt: random and extreme blocks of each type and what the gguf package makes
of them.

A line is: type number, number of values, blocks in hex, values as hex of little-endian f32.
Run with a Python that has gguf and numpy: make-quant-golden.py > quant-golden.txt
"""
import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import quants

# Of each block: where its halves are, and its bytes and values.
HALVES = {
    Type.Q4_1: ([0, 2], 20, 32),
    Type.Q5_0: ([0], 22, 32),
    Type.Q8_0: ([0], 34, 32),
    Type.Q4_K: ([0, 2], 144, 256),
    Type.Q6_K: ([208], 210, 256),
}
N_ROWS = 4


def scales(rng, n):
    """Halves that are finite, some of them subnormal, zero, largest or negative."""
    halves = rng.normal(0, 1, n).astype(np.float16)
    halves[: 4] = np.array([0.0, 6e-8, 65504.0, -1e-5], np.float16)[: min(4, n)]
    return halves.view(np.uint8).reshape(n, 2)


def fill_halves(rows, n_bytes, offsets, halves):
    blocks = rows.reshape(-1, n_bytes)
    halves = halves.reshape(len(blocks), len(offsets), 2)
    for i, offset in enumerate(offsets):
        blocks[:, offset:offset + 2] = halves[:, i]


def random_rows(rng, kind, n_values):
    if kind == Type.F32:
        return rng.normal(0, 100, N_ROWS * n_values).astype(np.float32).view(np.uint8)
    if kind == Type.F16:
        return scales(rng, N_ROWS * n_values)
    offsets, n_bytes, n_block = HALVES[kind]
    n_blocks = N_ROWS * n_values // n_block
    rows = rng.integers(0, 256, (n_blocks, n_bytes), dtype=np.uint8)
    head = scales(rng, n_blocks * len(offsets))
    rng.shuffle(head)
    fill_halves(rows, n_bytes, offsets, head)
    return rows


def extreme_rows(rng, kind, n_values):
    """All bits clear, all set, and two patterns, under the smallest and largest halves."""
    offsets, n_bytes, n_block = HALVES[kind]
    rows = []
    for byte, half in ((0x00, 65504.0), (0xff, -65504.0), (0x80, 6e-8), (0x5a, -1.0)):
        row = np.full(n_bytes * n_values // n_block, byte, np.uint8)
        n_halves = n_values // n_block * len(offsets)
        fill_halves(row, n_bytes, offsets, np.full(n_halves, half, np.float16).view(np.uint8))
        rows.append(row)
    return np.concatenate(rows)


def main():
    rng = np.random.default_rng(3)
    for kind in (Type.F32, Type.F16, Type.Q4_1, Type.Q8_0, Type.Q5_0, Type.Q4_K, Type.Q6_K):
        n_values = max(64, HALVES[kind][2]) if kind in HALVES else 64
        rows = [random_rows(rng, kind, n_values)]
        if kind in HALVES:
            rows.append(extreme_rows(rng, kind, n_values))
        for row in np.concatenate([r.reshape(N_ROWS, -1) for r in rows]):
            values = quants.dequantize(row.reshape(1, -1), kind).astype("<f4").reshape(-1)
            assert len(values) == n_values
            print(int(kind), n_values, row.tobytes().hex(), values.tobytes().hex())


if __name__ == "__main__":
    main()
