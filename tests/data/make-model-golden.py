#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 the inkling authors
"""Makes model-golden.json and model-golden.bin: what float32 arithmetic says of the default model.

    make-model-golden.py MODEL.gguf TEXT tests/data/model-golden

The weights of the GGUF are dequantised to float32 and run by transformers; nothing of ours is used.
TEXT is tests/data/public-domain.txt: from Abraham Lincoln's second annual message to Congress
(1 December 1862, public domain). Needs torch, transformers and gguf.

model-golden.bin (little-endian): "INKGOLD1", u32 n, u32 k, u16 ids[n + 1], then for each of the n positions
f32 log of the mass outside of the k best, u16 id[k], f32 log_probability[k], best first.
"""

import json
import math
import os
import struct
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

N_POSITIONS = 640
N_BEST = 64
WINDOW = 512
PROMPTS = ["Once upon a time", "The capital of France is", "def fibonacci(n):\n"]
N_GREEDY = 64


def log_softmax(model, ids):
    with torch.no_grad():
        return torch.log_softmax(model(torch.tensor([ids])).logits[0].double(), dim=-1)


def write_positions(model, ids, path):
    logp = log_softmax(model, ids[:N_POSITIONS])
    best = torch.topk(logp, N_BEST, dim=-1)
    with open(path, "wb") as out:
        out.write(b"INKGOLD1" + struct.pack("<II", N_POSITIONS, N_BEST))
        out.write(struct.pack(f"<{N_POSITIONS + 1}H", *ids[:N_POSITIONS + 1]))
        for values, indices in zip(best.values, best.indices):
            rest = math.log(max(1e-12, 1.0 - values.exp().sum().item()))
            out.write(struct.pack("<f", rest))
            out.write(struct.pack(f"<{N_BEST}H", *indices.tolist()))
            out.write(struct.pack(f"<{N_BEST}f", *values.tolist()))


def perplexity(model, ids):
    """Windows that do not overlap; the first token of each has no context and is not scored."""
    total, n = 0.0, 0
    for at in range(0, len(ids), WINDOW):
        window = ids[at:at + WINDOW]
        if len(window) < 2:
            break
        logp = log_softmax(model, window)
        total -= logp[:-1].gather(1, torch.tensor(window[1:])[:, None]).sum().item()
        n += len(window) - 1
    return {"window": WINDOW, "n_tokens": len(ids), "n_scored": n, "nll_sum": total,
            "perplexity": math.exp(total / n)}


def greedy(model, tokenizer, prompt):
    ids = tokenizer.encode(prompt, add_special_tokens=False)
    n_prompt, margins = len(ids), []
    for _ in range(N_GREEDY):
        best = torch.topk(log_softmax(model, ids)[-1], 2)
        margins.append(round((best.values[0] - best.values[1]).item(), 6))
        ids.append(best.indices[0].item())
    text = tokenizer.decode(ids[n_prompt:])
    print(repr(prompt + text), file=sys.stderr)
    return {"prompt": prompt, "prompt_ids": ids[:n_prompt], "ids": ids[n_prompt:],
            "margins": margins, "text": text}


def main(path, text_path, out):
    where = {"pretrained_model_name_or_path": os.path.dirname(path),
             "gguf_file": os.path.basename(path)}
    tokenizer = AutoTokenizer.from_pretrained(**where)
    model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32).eval()
    with open(text_path, encoding="utf-8") as file:
        text = file.read()
    ids = tokenizer.encode(text, add_special_tokens=False)
    golden = {"perplexity": perplexity(model, ids), "ids": ids,
              "greedy": [greedy(model, tokenizer, p) for p in PROMPTS]}
    write_positions(model, ids, out + ".bin")
    with open(out + ".json", "w", encoding="utf-8") as file:
        json.dump(golden, file, indent=None)
        file.write("\n")
    print(golden["perplexity"], file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
