/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The GGUF reader: what it accepts, and one refusal for each field that a file can damage. Tests of
 * a class of bug in the public record of other readers name it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "engine/base/alloc.h"
#include "engine/quant.h"
#include "tests/engine/gguf-builder.h"

/* Opens an exact heap copy, so that a sanitizer sees the first byte too far. */
static int open_copy(const InkBuffer *b, size_t n_bytes, InkGguf **g, void **copy, InkError *error)
{
    *copy = malloc(n_bytes != 0 ? n_bytes : 1);
    assert_non_null(*copy);
    memcpy(*copy, b->data, n_bytes);
    *error = (InkError){0};
    return ink_gguf_open(*copy, n_bytes, g, error);
}

/* Frees the buffer. */
static void expect_refused(InkBuffer *b, int code, const char *message)
{
    InkGguf *g = (InkGguf *)0x1;
    void *copy;
    InkError error;
    int r = open_copy(b, b->size_bytes, &g, &copy, &error);
    if (r != -code || strstr(error.message, message) == NULL)
        print_error("got %d \"%s\", wanted \"%s\"\n", r, error.message, message);
    assert_int_equal(r, -code);
    assert_int_equal(error.code, code);
    assert_non_null(strstr(error.message, message));
    assert_ptr_equal(g, (InkGguf *)0x1);
    free(copy);
    ink_buffer_done(b);
}

/* One f32 tensor "t" of dims at `offset`, `n_data` bytes of data. */
static InkBuffer one_tensor(uint32_t n_dims, const uint64_t *dims, uint32_t type, uint64_t offset,
                            size_t n_data)
{
    InkBuffer b = INK_BUFFER_INIT;
    build_header(&b, 3, 1, 0);
    build_tensor(&b, "t", n_dims, dims, type, offset);
    build_padding(&b, 32);
    build_zeros(&b, n_data);
    return b;
}

static void test_gguf_reads_tensors(void **state)
{
    (void)state;
    for (uint32_t version = 2; version <= 3; version++) {
        InkBuffer b = INK_BUFFER_INIT;
        InkGguf *g;
        void *copy;
        InkError error;
        build_header(&b, version, 2, 1);
        build_key_text(&b, "general.name", "x");
        build_tensor(&b, "a", 2, (uint64_t[]){4, 3}, INK_TYPE_F32, 64);
        build_tensor(&b, "b", 1, (uint64_t[]){32}, INK_TYPE_Q8_0, 0);
        build_padding(&b, 32);
        size_t start = b.size_bytes;
        build_zeros(&b, 64 + 48);
        assert_int_equal(open_copy(&b, b.size_bytes, &g, &copy, &error), 0);
        assert_int_equal(ink_gguf_version(g), version);
        assert_int_equal(ink_gguf_n_tensors(g), 2);
        const InkGgufTensor *a = ink_gguf_tensor(g, "a"), *q = ink_gguf_tensor(g, "b");
        assert_non_null(a);
        assert_ptr_equal(a, ink_gguf_tensor_at(g, 0));
        assert_ptr_equal(q, ink_gguf_tensor_at(g, 1));
        assert_null(ink_gguf_tensor_at(g, 2));
        assert_null(ink_gguf_tensor(g, "c"));
        assert_int_equal(a->dims[0], 4);
        assert_int_equal(a->dims[1], 3);
        assert_int_equal(a->dims[2], 1);
        assert_int_equal(a->size_bytes, 48);
        assert_ptr_equal(a->data, (uint8_t *)copy + start + 64);
        assert_int_equal(q->size_bytes, 34);
        assert_ptr_equal(q->data, (uint8_t *)copy + start);
        ink_gguf_close(g);
        free(copy);
        ink_buffer_done(&b);
    }
}

static void test_gguf_alignment_moves_the_data(void **state)
{
    (void)state;
    static const uint32_t alignments[] = {8, 32, 64, 4096};
    for (size_t i = 0; i < 4; i++) {
        InkBuffer b = INK_BUFFER_INIT;
        InkGguf *g;
        void *copy;
        InkError error;
        build_header(&b, 3, 1, 1);
        build_key_u32(&b, "general.alignment", alignments[i]);
        build_tensor(&b, "t", 1, (uint64_t[]){2}, INK_TYPE_F32, 0);
        build_padding(&b, alignments[i]);
        size_t start = b.size_bytes;
        build_zeros(&b, 8);
        assert_int_equal(open_copy(&b, b.size_bytes, &g, &copy, &error), 0);
        assert_ptr_equal(ink_gguf_tensor(g, "t")->data, (uint8_t *)copy + start);
        ink_gguf_close(g);
        free(copy);
        ink_buffer_done(&b);
    }
}

static void test_gguf_refuses_what_is_no_gguf(void **state)
{
    (void)state;
    InkBuffer b = INK_BUFFER_INIT;
    ink_buffer_append_str(&b, "");
    expect_refused(&b, EBADMSG, "the file is empty");
    ink_buffer_append_str(&b, "hello, this is a text file\n");
    expect_refused(&b, EBADMSG, "not a GGUF file");
    ink_buffer_append_str(&b, "GG");
    expect_refused(&b, EBADMSG, "not a GGUF file");
}

static void test_gguf_refuses_versions(void **state)
{
    (void)state;
    InkBuffer b = INK_BUFFER_INIT;
    build_header(&b, 1, 0, 0);
    expect_refused(&b, EBADMSG, "GGUF version 1 is not supported");
    build_header(&b, 4, 0, 0);
    expect_refused(&b, EBADMSG, "GGUF version 4 is not supported");
    build_header(&b, 0x03000000, 0, 0);
    expect_refused(&b, EBADMSG, "version 3 in big-endian order");
    build_header(&b, 0, 0, 0);
    expect_refused(&b, EBADMSG, "GGUF version 0");
}

static void test_gguf_refuses_counts_beyond_the_file(void **state)
{
    (void)state;
    InkBuffer b = INK_BUFFER_INIT;
    build_header(&b, 3, 65537, 0);
    expect_refused(&b, EBADMSG, "65537 tensors, the limit is 65536");
    build_header(&b, 3, 1000, 0);
    expect_refused(&b, EBADMSG, "1000 tensors do not fit");
    build_header(&b, 3, 0, 1u << 20);
    expect_refused(&b, EBADMSG, "metadata entries, the limit is 65536");
    build_header(&b, 3, 0, 2);
    expect_refused(&b, EBADMSG, "2 metadata entries do not fit");
}

/* CVE-2024-21836: n_tensors * size wraps. CVE-2024-23605: n_kv * size wraps. */
static void test_gguf_counts_that_wrap(void **state)
{
    (void)state;
    static const uint64_t counts[] = {UINT64_MAX, 1ull << 63, UINT64_MAX / 72 + 2, 1ull << 60};
    for (size_t i = 0; i < 4; i++) {
        InkBuffer b = INK_BUFFER_INIT;
        build_header(&b, 3, counts[i], 0);
        expect_refused(&b, EBADMSG, "tensors, the limit is");
        build_header(&b, 3, 0, counts[i]);
        expect_refused(&b, EBADMSG, "metadata entries, the limit is");
    }
}

/* CVE-2024-23496: a string length + 1 wraps. CVE-2024-21825: array and string values. */
static void test_gguf_lengths_that_wrap(void **state)
{
    (void)state;
    static const uint64_t lengths[] = {UINT64_MAX, 1ull << 63, 1ull << 32, 60};
    for (size_t i = 0; i < 4; i++) {
        InkBuffer b = INK_BUFFER_INIT;
        build_header(&b, 3, 0, 1);
        build_u64(&b, lengths[i]);
        build_zeros(&b, 32);
        expect_refused(&b, EBADMSG, "the key of metadata entry 0");
        build_header(&b, 3, 0, 1);
        build_key(&b, "k", INK_GGUF_STRING);
        build_u64(&b, lengths[i]);
        expect_refused(&b, EBADMSG, "metadata \"k\": the string runs beyond");
        build_header(&b, 3, 0, 1);
        build_key_array(&b, "k", INK_GGUF_U64, lengths[i]);
        build_u64(&b, 1);
        expect_refused(&b, EBADMSG, "metadata \"k\": ");
        build_header(&b, 3, 0, 1);
        build_key_array(&b, "k", INK_GGUF_STRING, 1);
        build_u64(&b, lengths[i]);
        expect_refused(&b, EBADMSG, "string 0 runs beyond");
        build_header(&b, 3, 1, 0);
        build_u64(&b, lengths[i]);
        build_zeros(&b, 40);
        expect_refused(&b, EBADMSG, "the name of tensor 0");
    }
}

/* PR 19856: exhaustion by strings and arrays, negative type index. */
static void test_gguf_refuses_value_types(void **state)
{
    (void)state;
    static const uint32_t types[] = {13, 255, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF};
    for (size_t i = 0; i < 5; i++) {
        InkBuffer b = INK_BUFFER_INIT;
        build_header(&b, 3, 0, 1);
        build_key(&b, "k", types[i]);
        build_u64(&b, 0);
        expect_refused(&b, EBADMSG, "metadata \"k\" has the unknown type");
        build_header(&b, 3, 0, 1);
        build_key_array(&b, "k", types[i], 1);
        build_u64(&b, 0);
        expect_refused(&b, EBADMSG, "array elements have the unknown type");
    }
    InkBuffer b = INK_BUFFER_INIT;
    build_header(&b, 3, 0, 1);
    build_key_array(&b, "k", INK_GGUF_ARRAY, 1);
    build_zeros(&b, 64);
    expect_refused(&b, EBADMSG, "arrays of arrays");
    build_header(&b, 3, 0, 1);
    build_key(&b, "k", INK_GGUF_BOOL);
    build_u8(&b, 2);
    expect_refused(&b, EBADMSG, "a bool is 2");
    build_header(&b, 3, 0, 1);
    build_key_array(&b, "k", INK_GGUF_BOOL, 2);
    build_u8(&b, 1);
    build_u8(&b, 7);
    expect_refused(&b, EBADMSG, "a bool is 7");
}

/* No id: an empty key met an assertion and ended the process. */
static void test_gguf_refuses_keys_and_names(void **state)
{
    (void)state;
    InkBuffer b = INK_BUFFER_INIT;
    build_header(&b, 3, 0, 1);
    build_key_u32(&b, "", 1);
    expect_refused(&b, EBADMSG, "the key of metadata entry 0 is empty");
    build_header(&b, 3, 0, 3);
    build_key_u32(&b, "b", 1);
    build_key_u32(&b, "a", 1);
    build_key_u32(&b, "b", 1);
    expect_refused(&b, EBADMSG, "metadata \"b\" stands in the file twice");
    build_header(&b, 3, 0, 1);
    build_u64(&b, 65536);
    build_zeros(&b, 65536 + 12);
    expect_refused(&b, EBADMSG, "longer than 65535 bytes");
    build_header(&b, 3, 1, 0);
    build_tensor(&b, "", 1, (uint64_t[]){8}, 0, 0);
    build_zeros(&b, 64);
    expect_refused(&b, EBADMSG, "the name of tensor 0 is empty");
    build_header(&b, 3, 2, 0);
    build_tensor(&b, "t", 1, (uint64_t[]){8}, 0, 0);
    build_tensor(&b, "t", 1, (uint64_t[]){8}, 0, 32);
    build_padding(&b, 32);
    build_zeros(&b, 64);
    expect_refused(&b, EBADMSG, "tensor \"t\" stands in the file twice");
    build_header(&b, 3, 1, 0);
    build_u64(&b, 256);
    build_zeros(&b, 300);
    expect_refused(&b, EBADMSG, "longer than 255 bytes");
}

/* CVE-2024-21802 and whisper.cpp: n_dims indexes a fixed array. */
static void test_gguf_refuses_dimensions(void **state)
{
    (void)state;
    static const uint64_t ones[] = {1, 1, 1, 1, 1};
    InkBuffer b = one_tensor(5, ones, 0, 0, 64);
    expect_refused(&b, EBADMSG, "has 5 dimensions, allowed are 1 to 4");
    b = one_tensor(0, ones, 0, 0, 64);
    expect_refused(&b, EBADMSG, "has 0 dimensions");
    b = one_tensor(2, (uint64_t[]){8, 0}, 0, 0, 64);
    expect_refused(&b, EBADMSG, "dimension 1 is 0");
    b = one_tensor(1, (uint64_t[]){33}, INK_TYPE_Q4_1, 0, 64);
    expect_refused(&b, EBADMSG, "dimension 0 is 33, no multiple of the block of Q4_1 (32)");
    build_header(&b, 3, 1, 0);
    build_text(&b, "t");
    build_u32(&b, 0xFFFFFFFF);
    build_zeros(&b, 64);
    expect_refused(&b, EBADMSG, "dimensions, allowed are 1 to 4");
}

/* CVE-2026-33298: the bytes of a quantised tensor wrap. CVE-2025-53630, CVE-2026-27940: the sum of
 * sizes wraps. */
static void test_gguf_sizes_that_wrap(void **state)
{
    (void)state;
    InkBuffer b = one_tensor(4, (uint64_t[]){1ull << 32, 1ull << 32, 1, 1}, 0, 0, 64);
    expect_refused(&b, EBADMSG, "the product of its dimensions is too large");
    b = one_tensor(1, (uint64_t[]){1ull << 63}, 0, 0, 64);
    expect_refused(&b, EBADMSG, "the product of its dimensions is too large");
    b = one_tensor(1, (uint64_t[]){1ull << 62}, 0, 0, 64);
    expect_refused(&b, EBADMSG, "the product of its dimensions is too large");
    b = one_tensor(2, (uint64_t[]){32, (1ull << 58) - 1}, INK_TYPE_Q4_1, 0, 64);
    expect_refused(&b, EBADMSG, "tensor \"t\"");
    b = one_tensor(1, (uint64_t[]){16}, 0, UINT64_MAX - 31, 64);
    expect_refused(&b, EBADMSG, "lie beyond the end of the file");
    b = one_tensor(1, (uint64_t[]){(1ull << 61) - 8}, 0, 0, 64);
    expect_refused(&b, EBADMSG, "lie beyond the end of the file");
}

static void test_gguf_refuses_offsets(void **state)
{
    (void)state;
    InkBuffer b = one_tensor(1, (uint64_t[]){16}, 0, 16, 96);
    expect_refused(&b, EBADMSG, "offset 16 is no multiple of the alignment 32");
    b = one_tensor(1, (uint64_t[]){16}, 0, 32, 64 + 31);
    expect_refused(&b, EBADMSG, "its 64 bytes at offset 32 lie beyond the end");
    build_header(&b, 3, 2, 0);
    build_tensor(&b, "b", 1, (uint64_t[]){8}, 0, 32);
    build_tensor(&b, "a", 1, (uint64_t[]){9}, 0, 0);
    build_padding(&b, 32);
    build_zeros(&b, 64);
    expect_refused(&b, EBADMSG, "tensors \"a\" and \"b\" overlap");
}

static void test_gguf_refuses_tensor_types(void **state)
{
    (void)state;
    InkBuffer b = one_tensor(1, (uint64_t[]){256}, 10, 0, 256);
    expect_refused(&b, EOPNOTSUPP, "tensor \"t\" has type Q2_K (10)");
    b = one_tensor(1, (uint64_t[]){256}, 4, 0, 256);
    expect_refused(&b, EBADMSG, "tensor \"t\" has the unknown type 4");
    b = one_tensor(1, (uint64_t[]){256}, 0xFFFFFFFF, 0, 256);
    expect_refused(&b, EBADMSG, "tensor \"t\" has the unknown type 4294967295");
}

/* Blocks of 256 values: rows that do not fit them, and a last block that is not whole. */
static void test_gguf_refuses_torn_super_blocks(void **state)
{
    (void)state;
    static const struct {
        uint32_t type;
        size_t n_bytes;
    } types[] = {{INK_TYPE_Q4_K, 144}, {INK_TYPE_Q6_K, 210}};
    for (size_t i = 0; i < 2; i++) {
        static const uint64_t widths[] = {1, 32, 255, 257, 320};
        for (size_t k = 0; k < 5; k++) {
            InkBuffer b = one_tensor(2, (uint64_t[]){widths[k], 16}, types[i].type, 0, 8192);
            expect_refused(&b, EBADMSG, "no multiple of the block of");
        }
        InkBuffer b =
            one_tensor(2, (uint64_t[]){512, 3}, types[i].type, 0, 6 * types[i].n_bytes - 1);
        expect_refused(&b, EBADMSG, "lie beyond the end of the file");
    }
}

/* No ids (#24997, #26318): no upper bound, no type check, padding that wraps. */
static void test_gguf_refuses_alignments(void **state)
{
    (void)state;
    static const uint32_t values[] = {0, 1, 4, 24, 48, 131072, 1u << 30, 0xFFFFFFFF};
    for (size_t i = 0; i < 8; i++) {
        InkBuffer b = INK_BUFFER_INIT;
        build_header(&b, 3, 0, 1);
        build_key_u32(&b, "general.alignment", values[i]);
        expect_refused(&b, EBADMSG, "general.alignment is");
    }
    InkBuffer b = INK_BUFFER_INIT;
    build_header(&b, 3, 0, 1);
    build_key_text(&b, "general.alignment", "32");
    expect_refused(&b, EBADMSG, "general.alignment is a string, not a u32");
}

/* CVE-2024-32878 (frees what was not set) and CVE-2024-41130: every cut of a sound file is refused
 * or is a sound vocabulary, and nothing leaks. */
static void test_gguf_refuses_every_cut(void **state)
{
    (void)state;
    InkBuffer b = INK_BUFFER_INIT;
    build_header(&b, 3, 2, 3);
    build_key_text(&b, "general.name", "cut");
    build_key_array(&b, "list", INK_GGUF_STRING, 2);
    build_text(&b, "one");
    build_text(&b, "two");
    build_key_u32(&b, "n", 5);
    build_tensor(&b, "a", 2, (uint64_t[]){8, 2}, 0, 0);
    build_tensor(&b, "b", 1, (uint64_t[]){8}, 0, 64);
    build_padding(&b, 32);
    build_zeros(&b, 96);
    for (size_t n = 0; n < b.size_bytes; n++) {
        InkGguf *g;
        void *copy;
        InkError error;
        assert_int_equal(open_copy(&b, n, &g, &copy, &error), -EBADMSG);
        assert_true(error.message[0] != '\0');
        free(copy);
    }
    ink_buffer_done(&b);
}

static void test_gguf_survives_failing_allocations(void **state)
{
    (void)state;
    InkBuffer b = one_tensor(1, (uint64_t[]){16}, 0, 0, 64);
    for (size_t fail = 1; fail < 32; fail++) {
        InkGguf *g = NULL;
        InkError error = {0};
        ink_alloc_fail_at(fail, false);
        int r = ink_gguf_open(b.data, b.size_bytes, &g, &error);
        ink_alloc_fail_at(0, false);
        if (r == 0) {
            assert_true(fail > 4);
            ink_gguf_close(g);
            ink_buffer_done(&b);
            return;
        }
        assert_int_equal(r, -ENOMEM);
        assert_int_equal(error.code, ENOMEM);
    }
    fail_msg("more than 31 allocations");
}

static InkGguf *open_values(InkBuffer *b)
{
    InkGguf *g = NULL;
    build_header(b, 3, 0, 12);
    build_key(b, "u8", INK_GGUF_U8);
    build_u8(b, 200);
    build_key(b, "i8", INK_GGUF_I8);
    build_u8(b, 0xFF);
    build_key(b, "i32", INK_GGUF_I32);
    build_u32(b, 7);
    build_key(b, "u64", INK_GGUF_U64);
    build_u64(b, 1ull << 40);
    build_key(b, "huge", INK_GGUF_U64);
    build_u64(b, UINT64_MAX);
    build_key(b, "f32", INK_GGUF_F32);
    build_u32(b, 0x3FC00000);
    build_key(b, "nan", INK_GGUF_F32);
    build_u32(b, 0x7FC00000);
    build_key(b, "f64", INK_GGUF_F64);
    build_u64(b, 0x4004000000000000);
    build_key(b, "bool", INK_GGUF_BOOL);
    build_u8(b, 1);
    build_key_text(b, "text", "abc");
    build_key_array(b, "ints", INK_GGUF_I8, 3);
    build_u8(b, 1);
    build_u8(b, 0x80);
    build_u8(b, 3);
    build_key_texts(b, "texts", (const char *const[]){"", "x", "yz"}, 3);
    assert_int_equal(ink_gguf_open(b->data, b->size_bytes, &g, NULL), 0);
    return g;
}

static void test_gguf_gets_integers_of_every_width(void **state)
{
    (void)state;
    InkBuffer b = INK_BUFFER_INIT;
    InkGguf *g = open_values(&b);
    InkError error;
    uint32_t v = 99;
    const uint32_t fallback = 5;
    assert_int_equal(ink_gguf_get_u32(g, "u8", 0, 255, NULL, &v, &error), 0);
    assert_int_equal(v, 200);
    assert_int_equal(ink_gguf_get_u32(g, "i32", 0, 255, NULL, &v, &error), 0);
    assert_int_equal(v, 7);
    assert_int_equal(ink_gguf_get_u32(g, "none", 0, 255, &fallback, &v, &error), 0);
    assert_int_equal(v, 5);
    v = 99;
    assert_int_equal(ink_gguf_get_u32(g, "i8", 0, 255, NULL, &v, &error), -EBADMSG);
    assert_string_equal(error.message, "metadata \"i8\" is -1, allowed are 0 to 255");
    assert_int_equal(ink_gguf_get_u32(g, "u64", 0, UINT32_MAX, NULL, &v, &error), -EBADMSG);
    assert_int_equal(ink_gguf_get_u32(g, "huge", 0, UINT32_MAX, NULL, &v, &error), -EBADMSG);
    assert_int_equal(ink_gguf_get_u32(g, "i32", 8, 9, NULL, &v, &error), -EBADMSG);
    assert_int_equal(ink_gguf_get_u32(g, "f32", 0, 9, NULL, &v, &error), -EBADMSG);
    assert_string_equal(error.message, "metadata \"f32\" is a f32, not an integer");
    assert_int_equal(ink_gguf_get_u32(g, "none", 0, 9, NULL, &v, &error), -EBADMSG);
    assert_string_equal(error.message, "metadata \"none\" is missing");
    assert_int_equal(v, 99);
    ink_gguf_close(g);
    ink_buffer_done(&b);
}

static void test_gguf_gets_the_other_types(void **state)
{
    (void)state;
    InkBuffer b = INK_BUFFER_INIT;
    InkGguf *g = open_values(&b);
    float f = 0;
    bool flag = false;
    InkGgufString text;
    InkGgufArray a;
    size_t cursor = 0;
    assert_int_equal(ink_gguf_get_f32(g, "f32", NULL, &f, NULL), 0);
    assert_true(f == 1.5f);
    assert_int_equal(ink_gguf_get_f32(g, "f64", NULL, &f, NULL), 0);
    assert_true(f == 2.5f);
    assert_int_equal(ink_gguf_get_f32(g, "nan", NULL, &f, NULL), -EBADMSG);
    assert_int_equal(ink_gguf_get_f32(g, "u8", NULL, &f, NULL), -EBADMSG);
    assert_int_equal(ink_gguf_get_bool(g, "bool", NULL, &flag, NULL), 0);
    assert_true(flag);
    assert_int_equal(ink_gguf_get_bool(g, "u8", NULL, &flag, NULL), -EBADMSG);
    assert_int_equal(ink_gguf_get_string(g, "text", NULL, &text, NULL), 0);
    assert_int_equal(text.n_bytes, 3);
    assert_memory_equal(text.text, "abc", 3);
    assert_int_equal(ink_gguf_get_string(g, "bool", NULL, &text, NULL), -EBADMSG);
    assert_int_equal(ink_gguf_get_array(g, "ints", INK_GGUF_I32, &a, NULL), 0);
    assert_int_equal(a.n, 3);
    assert_int_equal(ink_gguf_array_int(&a, 0), 1);
    assert_int_equal(ink_gguf_array_int(&a, 1), -128);
    assert_int_equal(ink_gguf_array_int(&a, 2), 3);
    assert_int_equal(ink_gguf_get_array(g, "ints", INK_GGUF_STRING, &a, NULL), -EBADMSG);
    assert_int_equal(ink_gguf_get_array(g, "texts", INK_GGUF_STRING, &a, NULL), 0);
    for (size_t i = 0; i < a.n; i++)
        assert_int_equal(ink_gguf_array_next_string(&a, &cursor).n_bytes, i);
    assert_int_equal(cursor, a.size_bytes);
    assert_int_equal(ink_gguf_get_array(g, "text", INK_GGUF_STRING, &a, NULL), -EBADMSG);
    assert_true(ink_gguf_has(g, "nan"));
    assert_false(ink_gguf_has(g, "na"));
    ink_gguf_close(g);
    ink_buffer_done(&b);
}

/* Where the value behind a key lies: key, type, value. */
static char *value_of(InkBuffer *b, const char *key)
{
    char *at = memmem(b->data, b->size_bytes, key, strlen(key));
    assert_non_null(at);
    return at + strlen(key) + 4;
}

/* The bytes belong to a file that somebody may still write to: what was checked once is not what
 * is read later. */
static void test_gguf_survives_bytes_that_change(void **state)
{
    (void)state;
    const uint64_t many = 1u << 30;
    const uint32_t wider = INK_GGUF_U64;
    const uint8_t longer = 200;
    InkBuffer b = INK_BUFFER_INIT;
    InkGguf *g = open_values(&b);
    InkError error = {0};
    InkGgufArray a;
    InkGgufString text;
    uint32_t v;
    memcpy(value_of(&b, "ints") + 4, &many, sizeof(many));
    assert_int_equal(ink_gguf_get_array(g, "ints", INK_GGUF_I32, &a, &error), -EBADMSG);
    assert_string_equal(error.message, "metadata \"ints\" has changed since the file was opened");
    memcpy(value_of(&b, "texts") + 4, &many, sizeof(many));
    assert_int_equal(ink_gguf_get_array(g, "texts", INK_GGUF_STRING, &a, &error), -EBADMSG);
    memcpy(value_of(&b, "text"), &longer, sizeof(longer));
    assert_int_equal(ink_gguf_get_string(g, "text", NULL, &text, &error), -EBADMSG);
    assert_string_equal(error.message, "metadata \"text\" has changed since the file was opened");
    memcpy(value_of(&b, "u8") - 4, &wider, sizeof(wider));
    assert_int_equal(ink_gguf_get_u32(g, "u8", 0, 255, NULL, &v, &error), -EBADMSG);
    assert_string_equal(error.message, "metadata \"u8\" has changed since the file was opened");
    ink_gguf_close(g);
    ink_buffer_done(&b);
}

static void test_gguf_shows_names_safely(void **state)
{
    (void)state;
    char longest[300];
    memset(longest, 'x', sizeof(longest));
    assert_string_equal(ink_gguf_shown((InkGgufString){"a\nb\xFF\x1B[1m", 8}).text, "a?b??[1m");
    assert_int_equal(strlen(ink_gguf_shown((InkGgufString){longest, 300}).text), 67);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gguf_reads_tensors),
        cmocka_unit_test(test_gguf_alignment_moves_the_data),
        cmocka_unit_test(test_gguf_refuses_what_is_no_gguf),
        cmocka_unit_test(test_gguf_refuses_versions),
        cmocka_unit_test(test_gguf_refuses_counts_beyond_the_file),
        cmocka_unit_test(test_gguf_counts_that_wrap),
        cmocka_unit_test(test_gguf_lengths_that_wrap),
        cmocka_unit_test(test_gguf_refuses_value_types),
        cmocka_unit_test(test_gguf_refuses_keys_and_names),
        cmocka_unit_test(test_gguf_refuses_dimensions),
        cmocka_unit_test(test_gguf_sizes_that_wrap),
        cmocka_unit_test(test_gguf_refuses_offsets),
        cmocka_unit_test(test_gguf_refuses_tensor_types),
        cmocka_unit_test(test_gguf_refuses_torn_super_blocks),
        cmocka_unit_test(test_gguf_refuses_alignments),
        cmocka_unit_test(test_gguf_refuses_every_cut),
        cmocka_unit_test(test_gguf_survives_failing_allocations),
        cmocka_unit_test(test_gguf_gets_integers_of_every_width),
        cmocka_unit_test(test_gguf_gets_the_other_types),
        cmocka_unit_test(test_gguf_survives_bytes_that_change),
        cmocka_unit_test(test_gguf_shows_names_safely),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
