/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "engine/base/sha256.h"

#include <string.h>

#define BLOCK_BYTES 64u
#define N_ROUNDS    64u

/* Shared by both: the instructions want them in memory as well. */
static const uint32_t constants[N_ROUNDS] __attribute__((aligned(16))) = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

/* ------------------------------------------------------------------ in C */

static uint32_t rotate(uint32_t x, unsigned n)
{
    return x >> n | x << (32 - n);
}

static void expand(const uint8_t *block, uint32_t w[N_ROUNDS])
{
    for (size_t i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 |
               (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
    for (size_t i = 16; i < N_ROUNDS; i++) {
        uint32_t a = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3;
        uint32_t b = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10;
        w[i] = w[i - 16] + a + w[i - 7] + b;
    }
}

static void compress_plain(uint32_t state[8], const uint8_t *blocks, size_t n_blocks)
{
    for (; n_blocks > 0; n_blocks--, blocks += BLOCK_BYTES) {
        uint32_t w[N_ROUNDS], v[8];
        expand(blocks, w);
        memcpy(v, state, sizeof(v));
        for (size_t i = 0; i < N_ROUNDS; i++) {
            uint32_t e = v[4], a = v[0];
            uint32_t t1 = v[7] + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) +
                          ((e & v[5]) ^ (~e & v[6])) + constants[i] + w[i];
            uint32_t t2 = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) +
                          ((a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]));
            memmove(&v[1], &v[0], 7 * sizeof(v[0]));
            v[4] += t1;
            v[0] = t1 + t2;
        }
        for (size_t i = 0; i < 8; i++)
            state[i] += v[i];
    }
}

/* ------------------------------------------------------------------ with instructions */

#if defined(__x86_64__)
#include <immintrin.h>

#define LOAD(p)      _mm_loadu_si128((const __m128i *)(const void *)(p))
#define STORE(p, v)  _mm_storeu_si128((__m128i *)(void *)(p), v)
#define SHA_FUNCTION __attribute__((target("sha,sse4.1,ssse3")))

/* Two rounds each on the halves of four words of the schedule. */
#define FOUR_ROUNDS(words, i)                                                                      \
    do {                                                                                           \
        __m128i sum = _mm_add_epi32(words, LOAD(&constants[4 * (i)]));                             \
        cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);                                             \
        abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sum, 0x0E));                    \
    } while (0)

SHA_FUNCTION static void compress_sha(uint32_t state[8], const uint8_t *blocks, size_t n_blocks)
{
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    /* The instructions keep the state as ABEF and CDGH, highest word first. */
    __m128i badc = _mm_shuffle_epi32(LOAD(&state[0]), 0xB1);
    __m128i hgfe = _mm_shuffle_epi32(LOAD(&state[4]), 0x1B);
    __m128i abef = _mm_alignr_epi8(badc, hgfe, 8), cdgh = _mm_blend_epi16(hgfe, badc, 0xF0);
    for (; n_blocks > 0; n_blocks--, blocks += BLOCK_BYTES) {
        __m128i abef_before = abef, cdgh_before = cdgh, w[4];
        for (size_t i = 0; i < 4; i++) {
            w[i] = _mm_shuffle_epi8(LOAD(blocks + 16 * i), swap);
            FOUR_ROUNDS(w[i], i);
        }
        for (size_t i = 4; i < N_ROUNDS / 4; i++) {
            /* w[0] is the oldest of four groups of the schedule and becomes the newest. */
            __m128i next =
                _mm_add_epi32(_mm_sha256msg1_epu32(w[0], w[1]), _mm_alignr_epi8(w[3], w[2], 4));
            next = _mm_sha256msg2_epu32(next, w[3]);
            w[0] = w[1], w[1] = w[2], w[2] = w[3], w[3] = next;
            FOUR_ROUNDS(next, i);
        }
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }
    __m128i feba = _mm_shuffle_epi32(abef, 0x1B), dchg = _mm_shuffle_epi32(cdgh, 0xB1);
    STORE(&state[0], _mm_blend_epi16(feba, dchg, 0xF0));
    STORE(&state[4], _mm_alignr_epi8(dchg, feba, 8));
}

/* Leaf 7 has the bit; its name is known to newer compilers only. */
static bool has_instructions(void)
{
    unsigned a = 7, b, c = 0, d;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    return (b >> 29 & 1) != 0 && __builtin_cpu_supports("sse4.1") &&
           __builtin_cpu_supports("ssse3");
}
#endif

/* ------------------------------------------------------------------ the sum */

void ink_sha256_init(InkSha256 *s, bool plain)
{
    static const uint32_t start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    *s = (InkSha256){.compress = compress_plain};
    memcpy(s->state, start, sizeof(start));
#if defined(__x86_64__)
    if (!plain && has_instructions())
        s->compress = compress_sha;
#else
    (void)plain;
#endif
}

void ink_sha256_update(InkSha256 *s, const void *data, size_t n_bytes)
{
    const uint8_t *p = data;
    s->n_bytes += n_bytes;
    if (s->n_block_bytes > 0) {
        size_t n = BLOCK_BYTES - s->n_block_bytes;
        n = n < n_bytes ? n : n_bytes;
        memcpy(s->block + s->n_block_bytes, p, n);
        s->n_block_bytes += n;
        p += n;
        n_bytes -= n;
        if (s->n_block_bytes < BLOCK_BYTES)
            return;
        s->compress(s->state, s->block, 1);
        s->n_block_bytes = 0;
    }
    size_t n_blocks = n_bytes / BLOCK_BYTES;
    if (n_blocks > 0)
        s->compress(s->state, p, n_blocks);
    s->n_block_bytes = n_bytes % BLOCK_BYTES;
    if (s->n_block_bytes > 0)
        memcpy(s->block, p + n_blocks * BLOCK_BYTES, s->n_block_bytes);
}

void ink_sha256_final(InkSha256 *s, uint8_t ret[INK_SHA256_BYTES])
{
    static const uint8_t padding[BLOCK_BYTES] = {0x80};
    uint8_t n_bits[8];
    for (size_t i = 0; i < 8; i++)
        n_bits[i] = (uint8_t)(s->n_bytes << 3 >> (56 - 8 * i));
    size_t n_tail = s->n_block_bytes < 56 ? 56 - s->n_block_bytes : 120 - s->n_block_bytes;
    ink_sha256_update(s, padding, n_tail < BLOCK_BYTES ? n_tail : BLOCK_BYTES);
    if (n_tail > BLOCK_BYTES) {
        static const uint8_t zeros[BLOCK_BYTES];
        ink_sha256_update(s, zeros, n_tail - BLOCK_BYTES);
    }
    ink_sha256_update(s, n_bits, sizeof(n_bits));
    for (size_t i = 0; i < INK_SHA256_BYTES; i++)
        ret[i] = (uint8_t)(s->state[i / 4] >> (24 - 8 * (i % 4)));
}

void ink_sha256_to_hex(const uint8_t sum[INK_SHA256_BYTES], char ret[INK_SHA256_HEX_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < INK_SHA256_BYTES; i++) {
        ret[2 * i] = digits[sum[i] >> 4];
        ret[2 * i + 1] = digits[sum[i] & 15];
    }
    ret[INK_SHA256_HEX_BYTES - 1] = '\0';
}

static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool ink_sha256_from_hex(const char *text, uint8_t ret[INK_SHA256_BYTES])
{
    uint8_t sum[INK_SHA256_BYTES];
    if (strlen(text) != INK_SHA256_HEX_BYTES - 1)
        return false;
    for (size_t i = 0; i < INK_SHA256_BYTES; i++) {
        int high = digit(text[2 * i]), low = digit(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        sum[i] = (uint8_t)(high << 4 | low);
    }
    memcpy(ret, sum, sizeof(sum));
    return true;
}
