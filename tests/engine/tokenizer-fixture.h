/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Tokenizers of files made here and of real ones, and what they are held against. After cmocka.h.
 * Owns: opened_done() ends what was opened. Thread: one test. */
#pragma once

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <jansson.h>

#include "engine/tokenizer.h"
#include "tests/engine/gguf-builder.h"

typedef struct Opened {
    InkBuffer bytes;
    InkGguf *gguf;
    InkTokenizer *tokenizer;
    void *map;
    size_t map_bytes;
} Opened;

static inline void opened_done(Opened *o)
{
    ink_tokenizer_free(o->tokenizer);
    ink_gguf_close(o->gguf);
    ink_buffer_done(&o->bytes);
    if (o->map != NULL)
        munmap(o->map, o->map_bytes);
}

/* ------------------------------------------------------------------ ids and texts */

#define TEXT(literal, is_trusted) ((InkTextSpan){literal, sizeof(literal) - 1, is_trusted})

static inline void expect_ids(const InkTokenizer *t, const InkTextSpan *spans, size_t n_spans,
                              const uint32_t *ids, size_t n)
{
    _cleanup_tokens_ InkTokens tokens = INK_TOKENS_INIT;
    assert_int_equal(ink_tokenizer_encode(t, spans, n_spans, &tokens, NULL), 0);
    for (size_t i = 0; i < tokens.n && i < n; i++)
        if (tokens.ids[i] != ids[i])
            fail_msg("token %zu is %u, not %u", i, tokens.ids[i], ids[i]);
    assert_int_equal(tokens.n, n);
}

#define EXPECT_IDS(t, spans, ...)                                                                  \
    expect_ids(t, spans, sizeof(spans) / sizeof((spans)[0]), (const uint32_t[]){__VA_ARGS__},      \
               sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

/* A user's text as an array, for EXPECT_IDS. */
#define SAID(literal) ((const InkTextSpan[]){TEXT(literal, false)})

static inline bool same_ids(const InkTokens *ids, const json_t *wanted)
{
    bool same = ids->n == json_array_size(wanted);
    for (size_t i = 0; same && i < ids->n; i++)
        same = ids->ids[i] == (uint32_t)json_integer_value(json_array_get(wanted, i));
    return same;
}

/* The 300 strings that tests/data/make-tokenizer-golden.py recorded. */
static inline void check_golden(const InkTokenizer *t, const char *name)
{
    char path[4096];
    json_error_t json_error;
    const char *source = getenv("INKLING_SOURCE_DIR");
    snprintf(path, sizeof(path), "%s/tests/data/%s", source != NULL ? source : ".", name);
    json_t *cases = json_load_file(path, JSON_ALLOW_NUL, &json_error);
    assert_non_null(cases);
    assert_int_equal(json_array_size(cases), 300);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        _cleanup_tokens_ InkTokens ids = INK_TOKENS_INIT;
        const json_t *text = json_object_get(json_array_get(cases, i), "text");
        InkTextSpan span = {json_string_value(text), json_string_length(text), false};
        assert_int_equal(ink_tokenizer_encode(t, &span, 1, &ids, NULL), 0);
        if (!same_ids(&ids, json_object_get(json_array_get(cases, i), "ids")))
            fail_msg("%s: string %zu differs", name, i);
    }
    json_decref(cases);
}

/* E8: a normal token's text becomes that token's bytes again, whatever ids it takes. */
static inline void check_round_trip(const InkTokenizer *t)
{
    _cleanup_tokens_ InkTokens ids = INK_TOKENS_INIT;
    _cleanup_buffer_ InkBuffer text = INK_BUFFER_INIT;
    for (uint32_t id = 0; id < ink_tokenizer_n_vocab(t); id++) {
        const char *piece;
        size_t n;
        assert_int_equal(ink_tokenizer_piece(t, id, true, &piece, &n), 0);
        InkTextSpan span = {piece, n, true};
        ids.n = 0;
        ink_buffer_clear(&text);
        assert_int_equal(ink_tokenizer_encode(t, &span, 1, &ids, NULL), 0);
        assert_int_equal(ink_tokenizer_decode(t, INK_TOKEN_NONE, ids.ids, ids.n, true, &text, NULL),
                         0);
        if (text.size_bytes != n || memcmp(text.data, piece, n) != 0)
            fail_msg("token %u does not come back", id);
        if (ink_tokenizer_is_control(t, id) && (ids.n != 1 || ids.ids[0] != id))
            fail_msg("control token %u is not one token", id);
    }
}

/* ------------------------------------------------------------------ files */

static inline void open_file(Opened *o, const char *path)
{
    struct stat st;
    InkError error = {0};
    *o = (Opened){0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    o->map_bytes = (size_t)st.st_size;
    o->map = mmap(NULL, o->map_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    assert_true(o->map != MAP_FAILED);
    if (ink_gguf_open(o->map, o->map_bytes, &o->gguf, &error) < 0 ||
        ink_tokenizer_new(o->gguf, &o->tokenizer, &error) < 0)
        fail_msg("%s: %s", path, error.message);
}

/* The file that `environment` names, or the one of the models' folder; without it the test is
 * skipped, except in CI. */
static inline void open_model(Opened *o, const char *environment, const char *name)
{
    char path[4096];
    const char *wanted = getenv(environment), *data = getenv("XDG_DATA_HOME");
    const char *home = getenv("HOME");
    if (wanted != NULL)
        snprintf(path, sizeof(path), "%s", wanted);
    else if (data != NULL && data[0] != '\0')
        snprintf(path, sizeof(path), "%s/inkling/models/%s", data, name);
    else
        snprintf(path, sizeof(path), "%s/.local/share/inkling/models/%s", home != NULL ? home : "",
                 name);
    if (access(path, R_OK) == 0) {
        open_file(o, path);
        return;
    }
    if (getenv("CI") != NULL)
        fail_msg("no model at %s", path);
    print_message("no model: set %s\n", environment);
    skip();
}
