#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 the inkling authors
"""Makes NAME.json and NAME.bin: what float32 arithmetic says of a real model.

    make-model-golden.py SMOLLM2.gguf TEXT tests/data/model-golden
    make-model-golden.py GEMMA3.gguf TEXT tests/data/gemma3-golden

The weights of the GGUF are dequantised to float32 and run by transformers; nothing of ours is used.
TEXT is tests/data/public-domain.txt: from Abraham Lincoln's second annual message to Congress
(1 December 1862, public domain). Needs torch, transformers and gguf.

NAME.bin (little-endian): "INKGOLD2", u32 n_ids, u32 n_positions, u32 k, u32 ids[n_ids], then for each of the
positions u32 position, f32 log of the mass outside of the k best, u32 id[k], f32 log_probability[k], best first.
"""

import json
import math
import os
import struct
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

# Positions of one text; of a model with local layers many lie beyond their window, and to both sides of its edge.
# `scored`: tokens of the text that the perplexity is of, in windows that do not overlap.
PLANS = {
    "llama": {"positions": range(640), "best": 48, "window": 512, "scored": None},
    "gemma3_text": {"positions": sorted({*range(0, 256), *range(496, 530), *range(530, 1100, 2), 600, 1000}),
                    "best": 32, "window": 1024, "scored": 2048},
}
PROMPTS = ["Once upon a time", "The capital of France is", "def fibonacci(n):\n"]
N_GREEDY = 64


def run(model, ids, keep=0):
    """Logits of all positions, or of the last `keep`."""
    with torch.no_grad():
        return model(torch.tensor([ids]), logits_to_keep=keep).logits[0]


def log_softmax(row):
    return torch.log_softmax(row.double(), dim=-1)


def write_positions(model, ids, plan, path):
    positions, k = list(plan["positions"]), plan["best"]
    ids = ids[:positions[-1] + 1]
    logits = run(model, ids)
    with open(path, "wb") as out:
        out.write(b"INKGOLD2" + struct.pack("<III", len(ids), len(positions), k))
        out.write(struct.pack(f"<{len(ids)}I", *ids))
        for at in positions:
            best = torch.topk(log_softmax(logits[at]), k)
            rest = math.log(max(1e-12, 1.0 - best.values.exp().sum().item()))
            out.write(struct.pack("<If", at, rest))
            out.write(struct.pack(f"<{k}I", *best.indices.tolist()))
            out.write(struct.pack(f"<{k}f", *best.values.tolist()))


def perplexity(model, prefix, ids, plan):
    """Of a window's first token only what follows it is scored."""
    total, n, size = 0.0, 0, plan["window"]
    for at in range(0, len(ids), size):
        window = prefix + ids[at:at + size]
        if len(window) < 2:
            break
        logits = run(model, window)
        total -= sum(log_softmax(row)[token].item() for row, token in zip(logits, window[1:]))
        n += len(window) - 1
    return {"window": size, "n_tokens": len(ids), "n_scored": n, "nll_sum": total,
            "perplexity": math.exp(total / n)}


def greedy(model, tokenizer, prompt):
    ids = tokenizer.encode(prompt)
    n_prompt, margins = len(ids), []
    for _ in range(N_GREEDY):
        best = torch.topk(log_softmax(run(model, ids, 1)[-1]), 2)
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
    plan = PLANS[model.config.model_type]
    prefix, ids = tokenizer.encode(""), tokenizer.encode(text, add_special_tokens=False)
    golden = {"prefix": prefix, "perplexity": perplexity(model, prefix, ids[:plan["scored"]], plan),
              "ids": ids, "greedy": [greedy(model, tokenizer, p) for p in PROMPTS]}
    write_positions(model, prefix + ids, plan, out + ".bin")
    with open(out + ".json", "w", encoding="utf-8") as file:
        json.dump(golden, file, indent=None)
        file.write("\n")
    print(golden["perplexity"], file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
