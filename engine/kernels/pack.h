/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Rows of a file's tensor to groups of 16 rows side by side, the same for every kernel table.
 *
 * For Q4_1 and Q8_0 packing is a transposition of four-byte words: word j of row r goes to word
 * 16 j + r, because file and packed form keep the same two nibbles in one byte. Other types go
 * through their integers.
 * Signatures: InkKernels.pack. Owns: nothing. Thread: pure functions. */
#pragma once

#include <stddef.h>
#include <stdint.h>

void ink_pack_f32(const uint8_t *rows, size_t row_bytes, uint32_t type, size_t n_outputs,
                  size_t n_inputs, size_t group_begin, size_t group_end, void *packed);
void ink_pack_q4_1(const uint8_t *rows, size_t row_bytes, uint32_t type, size_t n_outputs,
                   size_t n_inputs, size_t group_begin, size_t group_end, void *packed);
void ink_pack_q8_0(const uint8_t *rows, size_t row_bytes, uint32_t type, size_t n_outputs,
                   size_t n_inputs, size_t group_begin, size_t group_end, void *packed);
void ink_pack_q5_0(const uint8_t *rows, size_t row_bytes, uint32_t type, size_t n_outputs,
                   size_t n_inputs, size_t group_begin, size_t group_end, void *packed);
void ink_pack_q4_k(const uint8_t *rows, size_t row_bytes, uint32_t type, size_t n_outputs,
                   size_t n_inputs, size_t group_begin, size_t group_end, void *packed);
void ink_pack_q6_k(const uint8_t *rows, size_t row_bytes, uint32_t type, size_t n_outputs,
                   size_t n_inputs, size_t group_begin, size_t group_end, void *packed);

#define INK_PACK_FUNCTIONS                                                                         \
    {                                                                                              \
        [INK_PACK_F32] = ink_pack_f32, [INK_PACK_Q4_1] = ink_pack_q4_1,                            \
        [INK_PACK_Q8_0] = ink_pack_q8_0, [INK_PACK_Q5_0] = ink_pack_q5_0,                          \
        [INK_PACK_Q4_K] = ink_pack_q4_k, [INK_PACK_Q6_K] = ink_pack_q6_k,                          \
    }
