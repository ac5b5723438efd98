/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "engine/base/utf8.h"

#include <string.h>

size_t ink_utf8_decode(const char *text, size_t n_bytes, uint32_t *ret_code_point)
{
    const uint8_t *p = (const uint8_t *)text;
    if (n_bytes == 0)
        return 0;
    if (p[0] < 0x80) {
        *ret_code_point = p[0];
        return 1;
    }
    size_t n;
    uint32_t code_point, least;
    if (p[0] >= 0xC2 && p[0] <= 0xDF) {
        n = 2, code_point = p[0] & 0x1F, least = 0x80;
    } else if (p[0] >= 0xE0 && p[0] <= 0xEF) {
        n = 3, code_point = p[0] & 0x0F, least = 0x800;
    } else if (p[0] >= 0xF0 && p[0] <= 0xF4) {
        n = 4, code_point = p[0] & 0x07, least = 0x10000;
    } else {
        return 0;
    }
    if (n > n_bytes)
        return 0;
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xC0) != 0x80)
            return 0;
        code_point = code_point << 6 | (p[i] & 0x3F);
    }
    if (code_point < least || code_point > 0x10FFFF ||
        (code_point >= 0xD800 && code_point <= 0xDFFF))
        return 0;
    *ret_code_point = code_point;
    return n;
}

size_t ink_utf8_encode(uint32_t code_point, char out[4])
{
    if (code_point < 0x80) {
        out[0] = (char)code_point;
        return 1;
    }
    if (code_point < 0x800) {
        out[0] = (char)(0xC0 | code_point >> 6);
        out[1] = (char)(0x80 | (code_point & 0x3F));
        return 2;
    }
    if (code_point >= 0xD800 && code_point <= 0xDFFF)
        return 0;
    if (code_point < 0x10000) {
        out[0] = (char)(0xE0 | code_point >> 12);
        out[1] = (char)(0x80 | (code_point >> 6 & 0x3F));
        out[2] = (char)(0x80 | (code_point & 0x3F));
        return 3;
    }
    if (code_point > 0x10FFFF)
        return 0;
    out[0] = (char)(0xF0 | code_point >> 18);
    out[1] = (char)(0x80 | (code_point >> 12 & 0x3F));
    out[2] = (char)(0x80 | (code_point >> 6 & 0x3F));
    out[3] = (char)(0x80 | (code_point & 0x3F));
    return 4;
}

bool ink_utf8_valid(const char *text, size_t n_bytes)
{
    uint32_t code_point;
    for (size_t i = 0; i < n_bytes;) {
        size_t n = ink_utf8_decode(text + i, n_bytes - i, &code_point);
        if (n == 0)
            return false;
        i += n;
    }
    return true;
}

/* Could these n < 4 bytes be the start of a valid sequence? Second bytes are narrowed as in
 * Table 3-7 of the Unicode standard, so that no impossible start is held back. */
static bool may_become_whole(const uint8_t *p, size_t n)
{
    if (p[0] < 0xC2 || p[0] > 0xF4)
        return false;
    size_t need = p[0] >= 0xF0 ? 4 : p[0] >= 0xE0 ? 3 : 2;
    if (n >= need)
        return false;
    if (n == 1)
        return true;
    uint8_t low = p[0] == 0xE0 ? 0xA0 : p[0] == 0xF0 ? 0x90 : 0x80;
    uint8_t high = p[0] == 0xED ? 0x9F : p[0] == 0xF4 ? 0x8F : 0xBF;
    if (p[1] < low || p[1] > high)
        return false;
    return n == 2 || (p[2] & 0xC0) == 0x80;
}

size_t ink_utf8_torn_tail(const char *text, size_t n_bytes)
{
    const uint8_t *p = (const uint8_t *)text;
    for (size_t back = 1; back <= 3 && back <= n_bytes; back++) {
        uint8_t byte = p[n_bytes - back];
        if ((byte & 0xC0) == 0x80)
            continue;
        return byte >= 0xC0 && may_become_whole(p + n_bytes - back, back) ? back : 0;
    }
    return 0;
}

bool ink_utf8_is_printable(uint32_t c)
{
    return c >= 0x20 && (c < 0x7F || c > 0x9F) && (c < 0x2028 || c > 0x202E) &&
           (c < 0x2066 || c > 0x2069);
}

bool ink_utf8_all_printable(const char *text, size_t n_bytes)
{
    uint32_t code_point;
    for (size_t i = 0; i < n_bytes;) {
        size_t n = ink_utf8_decode(text + i, n_bytes - i, &code_point);
        if (n == 0 || !ink_utf8_is_printable(code_point))
            return false;
        i += n;
    }
    return true;
}

void ink_utf8_copy_printable(char *out, size_t out_bytes, const char *text, size_t n_bytes)
{
    size_t n = 0;
    for (size_t at = 0; at < n_bytes;) {
        uint32_t c = 0;
        size_t n_char = ink_utf8_decode(text + at, n_bytes - at, &c);
        bool plain = n_char > 0 && ink_utf8_is_printable(c);
        size_t n_written = plain ? n_char : 1;
        if (n + n_written >= out_bytes)
            break;
        if (plain)
            memcpy(out + n, text + at, n_char);
        else
            out[n] = '?';
        n += n_written;
        at += n_char > 0 ? n_char : 1;
    }
    out[n] = '\0';
}

void ink_utf8_copy_cut(char *out, size_t out_bytes, const char *text)
{
    size_t n = strnlen(text, out_bytes - 1);
    if (text[n] != '\0')
        n -= ink_utf8_torn_tail(text, n);
    memcpy(out, text, n);
    out[n] = '\0';
}
