/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "engine/base/buffer.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/utf8.h"

void ink_buffer_done(InkBuffer *b)
{
    free(b->data);
    *b = INK_BUFFER_INIT;
}

void ink_buffer_wipe(InkBuffer *b)
{
    if (b->data != NULL)
        explicit_bzero(b->data, b->capacity_bytes);
    ink_buffer_done(b);
}

void ink_buffer_clear(InkBuffer *b)
{
    b->size_bytes = 0;
    b->failed = false;
    if (b->data != NULL)
        b->data[0] = '\0';
}

static bool reserve(InkBuffer *b, size_t more)
{
    size_t need;
    if (b->failed)
        return false;
    if (!ink_size_add(b->size_bytes, more, &need) || !ink_size_add(need, 1, &need)) {
        b->failed = true;
        return false;
    }
    if (need <= b->capacity_bytes)
        return true;
    size_t capacity = b->capacity_bytes < 64 ? 64 : b->capacity_bytes;
    while (capacity < need)
        capacity = capacity > SIZE_MAX / 2 ? need : capacity * 2;
    char *data = ink_realloc_array(b->data, capacity, 1);
    if (data == NULL) {
        b->failed = true;
        return false;
    }
    b->data = data;
    b->capacity_bytes = capacity;
    return true;
}

void ink_buffer_append(InkBuffer *b, const void *data, size_t n_bytes)
{
    if (!reserve(b, n_bytes))
        return;
    if (n_bytes != 0)
        memcpy(b->data + b->size_bytes, data, n_bytes);
    b->size_bytes += n_bytes;
    b->data[b->size_bytes] = '\0';
}

void ink_buffer_append_str(InkBuffer *b, const char *text)
{
    ink_buffer_append(b, text, strlen(text));
}

void ink_buffer_append_char(InkBuffer *b, char c)
{
    ink_buffer_append(b, &c, 1);
}

void ink_buffer_printf(InkBuffer *b, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (n < 0)
        b->failed = true;
    else if (reserve(b, (size_t)n)) {
        vsnprintf(b->data + b->size_bytes, (size_t)n + 1, format, again);
        b->size_bytes += (size_t)n;
    }
    va_end(again);
}

void ink_buffer_consume(InkBuffer *b, size_t n_bytes)
{
    if (n_bytes >= b->size_bytes) {
        b->size_bytes = 0;
    } else {
        memmove(b->data, b->data + n_bytes, b->size_bytes - n_bytes);
        b->size_bytes -= n_bytes;
    }
    if (b->data != NULL)
        b->data[b->size_bytes] = '\0';
}

int ink_buffer_status(const InkBuffer *b)
{
    return b->failed ? -ENOMEM : 0;
}

char *ink_buffer_take(InkBuffer *b)
{
    if (!reserve(b, 0)) {
        ink_buffer_done(b);
        return NULL;
    }
    b->data[b->size_bytes] = '\0';
    char *data = INK_TAKE(b->data);
    *b = INK_BUFFER_INIT;
    return data;
}

static void json_escape(InkBuffer *b, uint32_t code_point)
{
    switch (code_point) {
    case '"':
        ink_buffer_append_str(b, "\\\"");
        return;
    case '\\':
        ink_buffer_append_str(b, "\\\\");
        return;
    case '\n':
        ink_buffer_append_str(b, "\\n");
        return;
    case '\r':
        ink_buffer_append_str(b, "\\r");
        return;
    case '\t':
        ink_buffer_append_str(b, "\\t");
        return;
    default:
        ink_buffer_printf(b, "\\u%04x", (unsigned)code_point);
    }
}

void ink_buffer_json_string(InkBuffer *b, const char *text, size_t n_bytes)
{
    ink_buffer_append_char(b, '"');
    for (size_t i = 0; i < n_bytes;) {
        uint32_t code_point;
        size_t n = ink_utf8_decode(text + i, n_bytes - i, &code_point);
        if (n == 0) {
            ink_buffer_append_str(b, "\xEF\xBF\xBD");
            i++;
            continue;
        }
        if (code_point < 0x20 || code_point == '"' || code_point == '\\' || code_point == 0x7F)
            json_escape(b, code_point);
        else
            ink_buffer_append(b, text + i, n);
        i += n;
    }
    ink_buffer_append_char(b, '"');
}

void ink_buffer_json_double(InkBuffer *b, double value)
{
    if (!isfinite(value)) {
        ink_buffer_append_str(b, "null");
        return;
    }
    char text[32];
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    ink_buffer_append_str(b, text);
}
