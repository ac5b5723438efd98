/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* SHA-256 (FIPS 180-4), for telling whether a model file is the one that was meant. With the
 * processor's own instructions where it has them, which is why a large file is hashed while it is
 * copied and nobody waits for it. Not for secrets: nothing here is constant-time on purpose.
 * Owns: nothing. Thread: one InkSha256, one thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define INK_SHA256_BYTES     32u
#define INK_SHA256_HEX_BYTES 65u /* with the NUL */

typedef struct InkSha256 {
    uint32_t state[8];
    uint8_t block[64];
    size_t n_block_bytes;
    uint64_t n_bytes;
    void (*compress)(uint32_t state[8], const uint8_t *blocks, size_t n_blocks);
} InkSha256;

/* `plain`: in C, whatever the processor has. */
void ink_sha256_init(InkSha256 *s, bool plain);
void ink_sha256_update(InkSha256 *s, const void *data, size_t n_bytes);
void ink_sha256_final(InkSha256 *s, uint8_t ret[INK_SHA256_BYTES]);

void ink_sha256_to_hex(const uint8_t sum[INK_SHA256_BYTES], char ret[INK_SHA256_HEX_BYTES]);
/* 64 hexadecimal digits of either case and nothing else; false when it is not that. */
bool ink_sha256_from_hex(const char *text, uint8_t ret[INK_SHA256_BYTES]);
