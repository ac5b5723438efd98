#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 the inkling authors
"""Writes quant-golden.txt: random blocks of each type and what the gguf package makes of them.

A line is: type number, number of values, blocks in hex, values as hex of little-endian f32.
Run with a Python that has gguf and numpy: make-quant-golden.py > quant-golden.txt
"""
import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import quants

N_VALUES = 64


def scales(rng, n):
    """Halves that are finite, some of them subnormal, zero, largest or negative."""
    halves = rng.normal(0, 1, n).astype(np.float16)
    halves[: 4] = np.array([0.0, 6e-8, 65504.0, -1e-5], np.float16)[: min(4, n)]
    return halves.view(np.uint8).reshape(n, 2)


def blocks(rng, kind, n):
    if kind == Type.F32:
        return rng.normal(0, 100, n * N_VALUES).astype(np.float32).view(np.uint8).reshape(n, -1)
    if kind == Type.F16:
        return scales(rng, n * N_VALUES).reshape(n, -1)
    n_blocks = n * N_VALUES // 32
    n_scales, n_bytes = (2, 16) if kind == Type.Q4_1 else (1, 32)
    head = scales(rng, n_blocks * n_scales)
    rng.shuffle(head)
    body = rng.integers(0, 256, (n_blocks, n_bytes), dtype=np.uint8)
    return np.concatenate([head.reshape(n_blocks, -1), body], axis=1).reshape(n, -1)


def main():
    rng = np.random.default_rng(3)
    for kind in (Type.F32, Type.F16, Type.Q4_1, Type.Q8_0):
        for row in blocks(rng, kind, 4):
            values = quants.dequantize(row.reshape(1, -1), kind).astype("<f4").reshape(-1)
            assert len(values) == N_VALUES
            print(int(kind), N_VALUES, row.tobytes().hex(), values.tobytes().hex())


if __name__ == "__main__":
    main()
