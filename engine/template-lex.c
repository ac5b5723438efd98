/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Cuts a template into tokens as Jinja2's lexer does with trim_blocks and lstrip_blocks on. */
#include "engine/template-parse.h"

#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/utf8.h"

typedef struct Lexer {
    InkTemplate *t;
    const char *text; /* the source with \n line ends */
    size_t n_bytes;
    size_t at;
    uint32_t line;
    bool line_start; /* the last tag swallowed the end of its line */
    InkLexeme *tokens;
    size_t n_tokens;
    size_t capacity;
    InkError *reterr;
} Lexer;

static uint32_t hash_name(const char *text, size_t n)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (uint8_t)text[i]) * 16777619u;
    return h;
}

static bool grow_names(InkNames *names)
{
    size_t n_slots = names->n_slots != 0 ? names->n_slots * 2 : 64;
    uint32_t *slots = ink_alloc_array(n_slots, sizeof(uint32_t));
    const char **texts = ink_realloc_array(names->texts, n_slots, sizeof(char *));
    if (texts != NULL)
        names->texts = texts;
    if (slots == NULL || texts == NULL) {
        free(slots);
        return false;
    }
    for (uint32_t id = 1; id <= names->n; id++) {
        size_t slot = hash_name(texts[id], strlen(texts[id])) & (n_slots - 1);
        while (slots[slot] != 0)
            slot = (slot + 1) & (n_slots - 1);
        slots[slot] = id;
    }
    free(names->slots);
    names->slots = slots;
    names->n_slots = n_slots;
    return true;
}

uint32_t ink_template_name(InkTemplate *t, const char *text, size_t n_bytes)
{
    InkNames *names = &t->names;
    if ((names->n + 2) * 2 > names->n_slots && !grow_names(names)) {
        t->arena.over_limit = false;
        return 0;
    }
    size_t slot = hash_name(text, n_bytes) & (names->n_slots - 1);
    for (; names->slots[slot] != 0; slot = (slot + 1) & (names->n_slots - 1)) {
        const char *known = names->texts[names->slots[slot]];
        if (strlen(known) == n_bytes && memcmp(known, text, n_bytes) == 0)
            return names->slots[slot];
    }
    char *copy = ink_arena_alloc(&t->arena, n_bytes + 1, 1);
    if (copy == NULL)
        return 0;
    memcpy(copy, text, n_bytes);
    names->texts[++names->n] = copy;
    names->slots[slot] = (uint32_t)names->n;
    return (uint32_t)names->n;
}

int ink_template_arena_error(const InkArena *a, uint32_t line, InkError *reterr)
{
    if (a->over_limit)
        return INK_RAISE(E2BIG, reterr, "chat template line %u: needs more than %zu MiB", line,
                         a->n_max_bytes >> 20);
    return INK_RAISE(ENOMEM, reterr, "out of memory");
}

static int push(Lexer *x, InkLexeme token)
{
    if (x->n_tokens == x->capacity) {
        size_t capacity = x->capacity != 0 ? x->capacity * 2 : 256;
        InkLexeme *tokens = ink_realloc_array(x->tokens, capacity, sizeof(InkLexeme));
        INK_CHECK(tokens != NULL, ENOMEM, x->reterr, "out of memory");
        x->tokens = tokens;
        x->capacity = capacity;
    }
    token.line = x->line;
    x->tokens[x->n_tokens++] = token;
    return 0;
}

static void advance(Lexer *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x->line += x->text[x->at + i] == '\n';
    x->at += n;
}

static bool looking_at(const Lexer *x, const char *text)
{
    size_t n = strlen(text);
    return x->n_bytes - x->at >= n && memcmp(x->text + x->at, text, n) == 0;
}

/* Bytes of the white space character at `at`; 0 for anything else. */
static size_t space_at(const char *text, size_t n_bytes, size_t at)
{
    uint32_t code_point;
    size_t n = ink_utf8_decode(text + at, n_bytes - at, &code_point);
    return n != 0 && ink_is_space(code_point) ? n : 0;
}

static void skip_space(Lexer *x)
{
    size_t n;
    while (x->at < x->n_bytes && (n = space_at(x->text, x->n_bytes, x->at)) != 0)
        advance(x, n);
}

static size_t strip_end(const char *text, size_t n)
{
    for (size_t at = 0, kept = 0;;) {
        if (at == n)
            return kept;
        size_t n_space = space_at(text, n, at);
        at += n_space != 0 ? n_space : 1;
        kept = n_space != 0 ? kept : at;
    }
}

/* lstrip_blocks: where the line of the tag begins, when nothing but space stands in front of it. */
static size_t strip_line_start(const Lexer *x, const char *text, size_t n)
{
    size_t from = n;
    while (from > 0 && text[from - 1] != '\n')
        from--;
    if (from == 0 && !x->line_start)
        return n;
    return strip_end(text + from, n - from) == 0 ? from : n;
}

/* The text up to the next tag. */
static int lex_text(Lexer *x)
{
    const char *text = x->text + x->at;
    size_t left = x->n_bytes - x->at, n = 0;
    while (n < left &&
           !(text[n] == '{' && n + 1 < left && strchr("{%#", text[n + 1]) != NULL && text[n + 1]))
        n++;
    size_t n_kept = n;
    if (n + 2 < left && text[n + 2] == '-')
        n_kept = strip_end(text, n);
    else if (n < left && text[n + 1] != '{' && !(n + 2 < left && text[n + 2] == '+'))
        n_kept = strip_line_start(x, text, n);
    if (n_kept != 0)
        INK_TRY(push(x, (InkLexeme){.type = INK_TOKEN_TEXT,
                                    .text = {.data = text, .n_bytes = n_kept, .trusted = true}}));
    advance(x, n);
    return 0;
}

/* After the end of a tag: "-" swallows all space, trim_blocks one line end. */
static void after_tag(Lexer *x, bool strip, bool trim)
{
    size_t from = x->at;
    if (strip)
        skip_space(x);
    else if (trim && looking_at(x, "\n"))
        advance(x, 1);
    x->line_start = x->at > from && x->text[x->at - 1] == '\n';
}

static int lex_comment(Lexer *x)
{
    uint32_t line = x->line;
    advance(x, 2);
    if (looking_at(x, "-") || looking_at(x, "+"))
        advance(x, 1);
    size_t from = x->at;
    while (x->at < x->n_bytes && !looking_at(x, "#}"))
        advance(x, 1);
    INK_CHECK(x->at < x->n_bytes, EBADMSG, x->reterr, "chat template line %u: comment has no end",
              line);
    char sign = x->at > from ? x->text[x->at - 1] : '\0';
    advance(x, 2);
    after_tag(x, sign == '-', sign != '+');
    return 0;
}

static int hex_value(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* \xHH, \uHHHH and \UHHHHHHHH; the text stands behind the letter. */
static int lex_code_point(Lexer *x, const char *text, size_t left, size_t n_digits, InkBuffer *out)
{
    uint32_t code_point = 0;
    char bytes[4];
    bool good = left >= n_digits;
    for (size_t i = 0; good && i < n_digits; i++) {
        good = hex_value(text[i]) >= 0 && code_point <= 0xFFFFFFF;
        code_point = code_point << 4 | (uint32_t)(hex_value(text[i]) & 15);
    }
    size_t n = good ? ink_utf8_encode(code_point, bytes) : 0;
    INK_CHECK(n != 0, EBADMSG, x->reterr, "chat template line %u: bad escape in a string", x->line);
    ink_buffer_append(out, bytes, n);
    return 0;
}

/* One escape as in Python; `*n_used` counts what follows the backslash. */
static int lex_escape(Lexer *x, const char *text, size_t left, InkBuffer *out, size_t *n_used)
{
    static const char from[] = "abfnrtv\\'\"", to[] = "\a\b\f\n\r\t\v\\'\"";
    char c = text[0];
    *n_used = 1;
    if (c == '\n')
        return 0;
    if (c == 'x' || c == 'u' || c == 'U') {
        size_t n_digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
        *n_used += n_digits;
        return lex_code_point(x, text + 1, left - 1, n_digits, out);
    }
    if (c >= '0' && c <= '7') {
        uint32_t code_point = 0;
        size_t n = 0;
        for (; n < 3 && n < left && text[n] >= '0' && text[n] <= '7'; n++)
            code_point = code_point * 8 + (uint32_t)(text[n] - '0');
        char bytes[4];
        ink_buffer_append(out, bytes, ink_utf8_encode(code_point, bytes));
        *n_used = n;
        return 0;
    }
    const char *known = c != '\0' ? strchr(from, c) : NULL;
    if (known == NULL)
        ink_buffer_append_char(out, '\\');
    ink_buffer_append_char(out, known != NULL ? to[known - from] : c);
    return 0;
}

static int lex_string(Lexer *x)
{
    char quote = x->text[x->at];
    const char *text = x->text + x->at + 1;
    size_t left = x->n_bytes - x->at - 1, n = 0;
    _cleanup_buffer_ InkBuffer out = INK_BUFFER_INIT;
    while (n < left && text[n] != quote) {
        if (text[n] != '\\' || n + 1 == left) {
            ink_buffer_append_char(&out, text[n++]);
            continue;
        }
        size_t n_used;
        INK_TRY(lex_escape(x, text + n + 1, left - n - 1, &out, &n_used));
        n += 1 + n_used;
    }
    INK_CHECK(n < left, EBADMSG, x->reterr, "chat template line %u: string has no end", x->line);
    INK_CHECK(ink_buffer_status(&out) == 0, ENOMEM, x->reterr, "out of memory");
    char *copy = ink_arena_alloc(&x->t->arena, out.size_bytes + 1, 1);
    if (copy == NULL)
        return ink_template_arena_error(&x->t->arena, x->line, x->reterr);
    if (out.size_bytes != 0)
        memcpy(copy, out.data, out.size_bytes);
    INK_TRY(
        push(x, (InkLexeme){.type = INK_TOKEN_STRING,
                            .text = {.data = copy, .n_bytes = out.size_bytes, .trusted = true}}));
    advance(x, n + 2);
    return 0;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || is_digit(c);
}

static int lex_number(Lexer *x, bool after_dot)
{
    const char *text = x->text + x->at;
    size_t left = x->n_bytes - x->at, n = 0;
    bool real = false;
    while (n < left && is_digit(text[n]))
        n++;
    if (!after_dot && n + 1 < left && text[n] == '.' && is_digit(text[n + 1])) {
        real = true;
        for (n++; n < left && is_digit(text[n]);)
            n++;
    }
    size_t sign = n + 1 < left && (text[n + 1] == '-' || text[n + 1] == '+');
    if (!after_dot && n < left && (text[n] | 32) == 'e' && n + 1 + sign < left &&
        is_digit(text[n + 1 + sign])) {
        real = true;
        for (n += 1 + sign; n < left && is_digit(text[n]);)
            n++;
    }
    char digits[64];
    INK_CHECK(n < sizeof(digits) && (n == left || !is_name_char(text[n])), EBADMSG, x->reterr,
              "chat template line %u: bad number", x->line);
    memcpy(digits, text, n);
    digits[n] = '\0';
    InkLexeme token = {.type = real ? INK_TOKEN_FLOAT : INK_TOKEN_INT};
    errno = 0;
    if (real)
        token.real = strtod(digits, NULL);
    else
        token.integer = strtoll(digits, NULL, 10);
    INK_CHECK(real || errno == 0, E2BIG, x->reterr, "chat template line %u: number is too large",
              x->line);
    INK_TRY(push(x, token));
    advance(x, n);
    return 0;
}

static int lex_name(Lexer *x)
{
    size_t n = 0;
    while (x->at + n < x->n_bytes && is_name_char(x->text[x->at + n]))
        n++;
    uint32_t name = ink_template_name(x->t, x->text + x->at, n);
    if (name == 0)
        return ink_template_arena_error(&x->t->arena, x->line, x->reterr);
    INK_TRY(push(x, (InkLexeme){.type = INK_TOKEN_NAME, .name = name}));
    advance(x, n);
    return 0;
}

static int lex_operator(Lexer *x)
{
    static const char *const two[] = {"//", "**", "==", "!=", "<=", ">="};
    InkLexeme token = {.type = INK_TOKEN_OPERATOR};
    size_t n = 0;
    for (size_t i = 0; i < sizeof(two) / sizeof(two[0]); i++)
        n = looking_at(x, two[i]) ? 2 : n;
    char c = x->text[x->at];
    if (n == 0 && c != '\0' && strchr("+-*/%~<>=()[]{}.,:|", c) != NULL)
        n = 1;
    INK_CHECK(n != 0, EBADMSG, x->reterr, "chat template line %u: unexpected byte 0x%02x", x->line,
              (unsigned)(uint8_t)c);
    memcpy(token.operator, x->text + x->at, n);
    INK_TRY(push(x, token));
    advance(x, n);
    return 0;
}

/* What stands in {% %} or {{ }}. Inside brackets the end of a tag is not looked for, as in Jinja2.
 */
static int lex_tag(Lexer *x, bool block)
{
    const char *end = block ? "%}" : "}}";
    uint32_t line = x->line;
    size_t n_open = 0;
    advance(x, 2);
    if (looking_at(x, "-") || looking_at(x, "+"))
        advance(x, 1);
    INK_TRY(push(x, (InkLexeme){.type = block ? INK_TOKEN_BLOCK_BEGIN : INK_TOKEN_PRINT_BEGIN}));
    for (;;) {
        skip_space(x);
        INK_CHECK(x->at < x->n_bytes, EBADMSG, x->reterr, "chat template line %u: tag has no end",
                  line);
        char c = x->text[x->at];
        bool sign = (c == '-' || (block && c == '+')) && x->n_bytes - x->at >= 3 &&
                    memcmp(x->text + x->at + 1, end, 2) == 0;
        if (n_open == 0 && (sign || looking_at(x, end))) {
            INK_TRY(
                push(x, (InkLexeme){.type = block ? INK_TOKEN_BLOCK_END : INK_TOKEN_PRINT_END}));
            advance(x, sign ? 3 : 2);
            after_tag(x, sign && c == '-', block && !sign);
            return 0;
        }
        if (strchr("([{", c) != NULL && c != '\0')
            n_open++;
        if (strchr(")]}", c) != NULL && c != '\0')
            n_open -= n_open != 0;
        bool after_dot = x->n_tokens != 0 && x->tokens[x->n_tokens - 1].operator[0] == '.';
        INK_TRY(c == '"' || c == '\'' ? lex_string(x)
                : is_digit(c)         ? lex_number(x, after_dot)
                : is_name_char(c)     ? lex_name(x)
                                      : lex_operator(x));
    }
}

/* A copy with \n for every kind of line end and without one at the very end. */
static int normalize(Lexer *x, const char *source, size_t n_bytes)
{
    char *text = ink_arena_alloc(&x->t->arena, n_bytes + 1, 1);
    if (text == NULL)
        return ink_template_arena_error(&x->t->arena, 1, x->reterr);
    size_t n = 0;
    for (size_t i = 0; i < n_bytes; i++) {
        if (source[i] == '\r' && i + 1 < n_bytes && source[i + 1] == '\n')
            continue;
        text[n++] = source[i] == '\r' ? '\n' : source[i];
    }
    if (n != 0 && text[n - 1] == '\n')
        n--;
    x->text = text;
    x->n_bytes = n;
    return 0;
}

static int lex_all(Lexer *x)
{
    while (x->at < x->n_bytes) {
        INK_TRY(lex_text(x));
        if (x->at == x->n_bytes)
            break;
        if (looking_at(x, "{#"))
            INK_TRY(lex_comment(x));
        else
            INK_TRY(lex_tag(x, looking_at(x, "{%")));
    }
    return push(x, (InkLexeme){.type = INK_TOKEN_END});
}

int ink_template_lex(InkTemplate *t, const char *source, size_t n_bytes, InkLexeme **ret,
                     InkError *reterr)
{
    Lexer x = {.t = t, .line = 1, .line_start = true, .reterr = reterr};
    INK_TRY(normalize(&x, source, n_bytes));
    int r = lex_all(&x);
    if (r < 0)
        free(x.tokens);
    else
        *ret = x.tokens;
    return r;
}
