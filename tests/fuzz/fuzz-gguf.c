/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The GGUF reader on arbitrary bytes: what it accepts must be readable to the last byte. */
#include <stdlib.h>
#include <string.h>

#include "engine/gguf.h"
#include "engine/quant.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool good)
{
    if (!good)
        abort();
}

/* Volatile, so that the reads stay. */
static volatile uint8_t sink;

static void read_range(const uint8_t *data, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sink = data[i];
}

static void walk_array(const InkGguf *g, const char *key)
{
    InkGgufArray a;
    size_t cursor = 0;
    if (ink_gguf_get_array(g, key, INK_GGUF_STRING, &a, NULL) == 0) {
        for (size_t i = 0; i < a.n; i++) {
            InkGgufString s = ink_gguf_array_next_string(&a, &cursor);
            read_range((const uint8_t *)s.text, s.n_bytes);
        }
        require(cursor == a.size_bytes);
    }
    if (ink_gguf_get_array(g, key, INK_GGUF_I32, &a, NULL) == 0)
        for (size_t i = 0; i < a.n; i++)
            sink = (uint8_t)ink_gguf_array_int(&a, i);
    if (ink_gguf_get_array(g, key, INK_GGUF_F32, &a, NULL) == 0)
        for (size_t i = 0; i < a.n; i++)
            sink = ink_gguf_array_f32(&a, i) > 0;
}

static void walk_values(const InkGguf *g)
{
    static const char *const keys[] = {"u8",
                                       "i8",
                                       "u16",
                                       "i16",
                                       "u32",
                                       "i32",
                                       "f32",
                                       "bool",
                                       "text",
                                       "u64",
                                       "i64",
                                       "f64",
                                       "list",
                                       "ints",
                                       "flags",
                                       "k",
                                       "general.alignment"};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        uint32_t u;
        float f;
        bool flag;
        InkGgufString text;
        InkError error;
        if (ink_gguf_get_u32(g, keys[i], 1, 1000, NULL, &u, &error) == 0)
            require(u >= 1 && u <= 1000 && ink_gguf_has(g, keys[i]));
        if (ink_gguf_get_f32(g, keys[i], NULL, &f, &error) == 0)
            require(__builtin_isfinite(f));
        if (ink_gguf_get_bool(g, keys[i], NULL, &flag, &error) == 0)
            sink = flag;
        if (ink_gguf_get_string(g, keys[i], NULL, &text, &error) == 0)
            read_range((const uint8_t *)text.text, text.n_bytes);
        walk_array(g, keys[i]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    InkGguf *g = NULL;
    InkError error = {0};
    int r = ink_gguf_open(data, size, &g, &error);
    if (r < 0) {
        require(g == NULL && error.code == -r &&
                memchr(error.message, '\0', sizeof(error.message)));
        return 0;
    }
    for (size_t i = 0; i < ink_gguf_n_tensors(g); i++) {
        const InkGgufTensor *t = ink_gguf_tensor_at(g, i);
        char name[INK_GGUF_MAX_NAME_BYTES + 1] = {0};
        memcpy(name, t->name.text, t->name.n_bytes);
        if (memchr(name, '\0', t->name.n_bytes) == NULL)
            require(ink_gguf_tensor(g, name) == t);
        require(ink_quant_type(t->type) != NULL && t->size_bytes > 0);
        require(t->data >= data && t->data + t->size_bytes <= data + size);
        read_range(t->data, t->size_bytes);
    }
    walk_values(g);
    ink_gguf_close(g);
    return 0;
}
