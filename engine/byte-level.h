/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The tokenizer model "gpt2": byte-level BPE. Texts of tokens are written in an alphabet with a
 * printable character for each byte (the space is U+0120); a pre-tokenizer cuts text into pieces,
 * inside which merges apply by rank.
 * Owns: the merges. Thread: no state.
 * Source: Radford et al. 2019. */
#pragma once

#include "engine/tokenizer-model.h"

InkTokenizerModelOpen ink_byte_level_open;

/* Writes the alphabet's 1 or 2 bytes for `byte`. */
size_t ink_byte_level_text(uint8_t byte, char out[2]);
