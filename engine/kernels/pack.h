/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Rows of a file's tensor to groups of 16 rows side by side, the same for every kernel table.
 *
 * For both integer types packing is a transposition of four-byte words: word j of row r goes to
 * word 16 j + r, because file and packed form keep the same two nibbles in one byte.
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
