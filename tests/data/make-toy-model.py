#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright 2026 the inkling authors
"""Makes the toy models of tests/engine/test-toy-model.c: random weights in odd shapes as GGUF, and the
logits that transformers computes for them, at all positions of one fixed prompt.

    make-toy-model.py OUTPUT_DIR        (needs torch, transformers, gguf, numpy)

toy-llama.gguf         F32, untied head, head size given by the metadata
toy-llama-tied.gguf    F32, tied head, vocabulary padded beyond the tokens
toy-llama-q.gguf       as tied, matrices Q4_1, embedding Q8_0; its logits come from the dequantised weights
toy-gemma3.gguf        F16 matrices, tied head; head size not D / H, local and global layers, a rope base for
                       each kind, linear scaling on the global ones
toy-*.logits           u32 n_tokens, u32 n_vocab, u32 tokens[n], f32 logits[n][n_vocab], little-endian
"""
import struct
import sys
from pathlib import Path

import gguf
import numpy as np
import torch
from transformers import (AttentionInterface, Gemma3ForCausalLM, Gemma3TextConfig, LlamaConfig,
                          LlamaForCausalLM)
from transformers.masking_utils import AttentionMaskInterface, eager_mask
from transformers.models.llama.modeling_llama import eager_attention_forward

WIDTH, N_HEADS, N_KV, HEAD, FFN, N_VOCAB = 96, 6, 2, 32, 32, 131
N_TOKENS = 40
G_LAYERS, G_WIDTH, G_HEAD, G_FFN = 5, 48, 16, 32
G_WINDOW, G_PERIOD, G_FACTOR, G_TOKENS = 20, 3, 4.0, 72
CONTEXT = 512
TEMPLATE = ("{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content']"
            " + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}"
            "{{ '<|im_start|>assistant\n' }}{% endif %}")


def attention_f16_cache(module, query, key, value, attention_mask, **kwargs):
    """Eager attention on keys and values as our cache stores them, so that the rest can be compared tightly."""
    return eager_attention_forward(module, query, key.half().float(), value.half().float(),
                                   attention_mask, **kwargs)


def byte_alphabet():
    """The printable character of each byte in byte-level BPE."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table, extra = {}, 0
    for b in range(256):
        table[b] = chr(b) if b in plain else chr(256 + extra)
        extra += b not in plain
    return table


def vocabulary():
    """Three control tokens, the bytes of plain text, and a few merges: all that a tokenizer needs."""
    table = byte_alphabet()
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokens += [table[b] for b in [10, *range(32, 127)]]
    merges = ["h e", "he l", "hel l", "hell o", "a n", "an d", table[32] + " a", "i n", "o r", "e r"]
    tokens += [m.replace(" ", "") for m in merges]
    kinds = [gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.NORMAL] * (len(tokens) - 3)
    return tokens, kinds, merges


def permute(w, n_heads):
    """Rows of q and k as GGUF's llama family has them: halves of a head become adjacent pairs."""
    return w.reshape(n_heads, 2, w.shape[0] // n_heads // 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)


def unpermute(w, n_heads):
    return w.reshape(n_heads, w.shape[0] // n_heads // 2, 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)


def build(tied, n_layers):
    torch.manual_seed(7)
    config = LlamaConfig(
        num_hidden_layers=n_layers, hidden_size=WIDTH, num_attention_heads=N_HEADS,
        num_key_value_heads=N_KV, head_dim=HEAD, intermediate_size=FFN, vocab_size=N_VOCAB,
        max_position_embeddings=CONTEXT, rope_theta=5000.0, rms_norm_eps=1e-5,
        tie_word_embeddings=tied, attn_implementation="f16_cache")
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            norm = "norm" in name
            p.copy_(torch.randn_like(p) * (0.2 if norm else 0.09) + (1.0 if norm else 0.0))
    return model


def tensors_of(model, tied):
    """GGUF name -> (array, heads to permute by or 0)."""
    state = {k: v.numpy().astype(np.float32) for k, v in model.state_dict().items()}
    names = {"model.embed_tokens.weight": ("token_embd.weight", 0),
             "model.norm.weight": ("output_norm.weight", 0)}
    if not tied:
        names["lm_head.weight"] = ("output.weight", 0)
    for i in range(model.config.num_hidden_layers):
        for theirs, ours, heads in [
                ("input_layernorm", "attn_norm", 0), ("post_attention_layernorm", "ffn_norm", 0),
                ("self_attn.q_proj", "attn_q", N_HEADS), ("self_attn.k_proj", "attn_k", N_KV),
                ("self_attn.v_proj", "attn_v", 0), ("self_attn.o_proj", "attn_output", 0),
                ("mlp.gate_proj", "ffn_gate", 0), ("mlp.up_proj", "ffn_up", 0),
                ("mlp.down_proj", "ffn_down", 0)]:
            names[f"model.layers.{i}.{theirs}.weight"] = (f"blk.{i}.{ours}.weight", heads)
    return {ours: (theirs, state[theirs], heads) for theirs, (ours, heads) in names.items()}


def write(path, model, tied, quantized):
    tokens, kinds, merges = vocabulary()
    if not tied:  # as many tokens as rows; the tied ones keep a padded vocabulary
        tokens += [f"<|unused_{i}|>" for i in range(N_VOCAB - len(tokens))]
        kinds += [gguf.TokenType.CONTROL] * (N_VOCAB - len(kinds))
    w = gguf.GGUFWriter(path, "llama")
    w.add_name("toy llama")
    w.add_block_count(model.config.num_hidden_layers)
    w.add_context_length(CONTEXT)
    w.add_embedding_length(WIDTH)
    w.add_feed_forward_length(FFN)
    w.add_head_count(N_HEADS)
    w.add_head_count_kv(N_KV)
    w.add_key_length(HEAD)
    w.add_value_length(HEAD)
    w.add_rope_freq_base(5000.0)
    w.add_rope_dimension_count(HEAD)
    w.add_layer_norm_rms_eps(1e-5)
    add_vocabulary(w, tokens, kinds, merges)
    state = model.state_dict()
    for name, (theirs, array, heads) in tensors_of(model, tied).items():
        data = permute(array, heads) if heads else array
        if quantized and array.ndim == 2:
            kind = gguf.GGMLQuantizationType.Q8_0 if name == "token_embd.weight" \
                else gguf.GGMLQuantizationType.Q4_1
            blocks = gguf.quants.quantize(np.ascontiguousarray(data), kind)
            w.add_tensor(name, blocks, raw_dtype=kind)
            back = gguf.quants.dequantize(blocks, kind)
            back = unpermute(back, heads) if heads else back
            state[theirs].copy_(torch.from_numpy(np.ascontiguousarray(back)))
        else:
            w.add_tensor(name, np.ascontiguousarray(data))
    finish(w)


def add_vocabulary(w, tokens, kinds, merges):
    w.add_vocab_size(N_VOCAB)
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("smollm")
    w.add_token_list(tokens)
    w.add_token_types(kinds)
    w.add_token_merges(merges)
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    w.add_add_bos_token(False)
    w.add_chat_template(TEMPLATE)


def finish(w):
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def build_gemma3():
    torch.manual_seed(11)
    config = Gemma3TextConfig(
        num_hidden_layers=G_LAYERS, hidden_size=G_WIDTH, num_attention_heads=N_HEADS,
        num_key_value_heads=N_KV, head_dim=G_HEAD, intermediate_size=G_FFN, vocab_size=N_VOCAB,
        max_position_embeddings=CONTEXT, rms_norm_eps=1e-6, query_pre_attn_scalar=G_HEAD,
        sliding_window=G_WINDOW, sliding_window_pattern=G_PERIOD, tie_word_embeddings=True,
        attn_implementation="f16_cache",
        rope_parameters={"full_attention": {"rope_type": "linear", "factor": G_FACTOR, "rope_theta": 7000.0},
                         "sliding_attention": {"rope_type": "default", "rope_theta": 300.0}})
    model = Gemma3ForCausalLM(config).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            # Mild scores: a key that rounds to the other f16 than ours moves a logit less than 1e-4.
            middle = -0.5 if "k_norm" in name else 0.0
            p.copy_(torch.randn_like(p) * (0.3 if "norm" in name else 0.1) + middle)
            if p.ndim == 2 and "embed" not in name:
                p.copy_(p.half().float())
    return model


def write_gemma3(path, model):
    tokens, kinds, merges = vocabulary()
    w = gguf.GGUFWriter(path, "gemma3")
    w.add_name("toy gemma3")
    w.add_block_count(G_LAYERS)
    w.add_context_length(CONTEXT)
    w.add_embedding_length(G_WIDTH)
    w.add_feed_forward_length(G_FFN)
    w.add_head_count(N_HEADS)
    w.add_head_count_kv(N_KV)
    w.add_key_length(G_HEAD)
    w.add_value_length(G_HEAD)
    w.add_sliding_window(G_WINDOW)
    w.add_uint32("gemma3.attention.sliding_window_pattern", G_PERIOD)
    w.add_rope_freq_base(7000.0)
    w.add_float32("gemma3.rope.freq_base_swa", 300.0)
    w.add_string("gemma3.rope.scaling.type", "linear")
    w.add_float32("gemma3.rope.scaling.factor", G_FACTOR)
    w.add_layer_norm_rms_eps(1e-6)
    add_vocabulary(w, tokens, kinds, merges)
    names = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
    for i in range(G_LAYERS):
        for theirs, ours in [
                ("input_layernorm", "attn_norm"), ("self_attn.q_proj", "attn_q"),
                ("self_attn.k_proj", "attn_k"), ("self_attn.v_proj", "attn_v"),
                ("self_attn.q_norm", "attn_q_norm"), ("self_attn.k_norm", "attn_k_norm"),
                ("self_attn.o_proj", "attn_output"), ("post_attention_layernorm", "post_attention_norm"),
                ("pre_feedforward_layernorm", "ffn_norm"), ("mlp.gate_proj", "ffn_gate"),
                ("mlp.up_proj", "ffn_up"), ("mlp.down_proj", "ffn_down"),
                ("post_feedforward_layernorm", "post_ffw_norm")]:
            names[f"model.layers.{i}.{theirs}.weight"] = f"blk.{i}.{ours}.weight"
    state = model.state_dict()
    for theirs, ours in names.items():
        array = state[theirs].numpy().astype(np.float32)
        if array.ndim == 1:
            array = 1 + array  # GGUF holds what the normed values are multiplied by
        elif ours != "token_embd.weight":
            array = array.astype(np.float16)
        w.add_tensor(ours, np.ascontiguousarray(array))
    finish(w)


def write_logits(path, model, n_tokens):
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(0, 100, (1, n_tokens), generator=generator)
    with torch.no_grad():
        logits = model(ids).logits[0].numpy().astype("<f4")
    with open(path, "wb") as f:
        f.write(struct.pack("<II", n_tokens, N_VOCAB))
        f.write(ids[0].numpy().astype("<u4").tobytes())
        f.write(logits.tobytes())


def main():
    out = Path(sys.argv[1])
    AttentionInterface.register("f16_cache", attention_f16_cache)
    AttentionMaskInterface.register("f16_cache", eager_mask)
    for name, tied, quantized, n_layers in [("toy-llama", False, False, 2),
                                            ("toy-llama-tied", True, False, 1),
                                            ("toy-llama-q", True, True, 3)]:
        model = build(tied, n_layers)
        with torch.no_grad():
            write(out / f"{name}.gguf", model, tied, quantized)
            write_logits(out / f"{name}.logits", model, N_TOKENS)
    model = build_gemma3()
    write_gemma3(out / "toy-gemma3.gguf", model)
    write_logits(out / "toy-gemma3.logits", model, G_TOKENS)


main()
