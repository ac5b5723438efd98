/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The tokenizer model "llama": SentencePiece's BPE with scores. Symbols start as characters; of all
 * neighbours whose joined text is a token the pair of the best score merges first, of equal scores
 * the leftmost. What no token stands for becomes the tokens of its bytes, or else the unknown
 * token.
 *
 * - Texts write a space as U+2581. Pieces hold a space there, and text is looked up as it is; a
 *   U+2581 in it counts as a space, but belongs to no user-defined run of spaces (as in llama.cpp;
 *   the sentencepiece library counts it in).
 * - Normal and user-defined tokens take part. Unused ones do not: nothing was trained for them.
 * - tokenizer.ggml.add_space_prefix (true where the file does not say): a space stands before each
 *   stretch of text. tokenizer.ggml.remove_extra_whitespaces (false): runs of spaces become one,
 *   those at both ends of the text none.
 * - Text is cut where two bytes meet that meet in no token; no merge goes over such a place. So
 *   the words of most vocabularies are merged one by one, and what cannot be cut costs
 *   O(n log n) time and 40 bytes a byte.
 * Owns: a table of powers; scores stay in the GGUF bytes. Thread: no state.
 * Source: Kudo and Richardson 2018, 1808.06226; the conformance vectors. */
#pragma once

#include "engine/tokenizer-model.h"

InkTokenizerModelOpen ink_spm_open;
