/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "engine/pre-tokenizer.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <utf8proc.h>

#include "engine/base/utf8.h"

/* What the rules ask of a character. One that is not valid UTF-8 is none of these. */
enum {
    LETTER = 1 << 0,  /* \p{L} */
    NUMBER = 1 << 1,  /* \p{N} */
    SPACE = 1 << 2,   /* \s: the property White_Space */
    NEWLINE = 1 << 3, /* CR or LF; these are SPACE too */
    END = 1 << 4,     /* there is no character */
};

typedef struct Char {
    uint32_t code_point; /* UINT32_MAX for a byte that is not UTF-8 */
    unsigned flags;
    size_t n_bytes; /* 0 at the end */
} Char;

typedef struct Range {
    uint32_t first, last;
} Range;

/* Letters and numbers of Unicode 15.1 to 17, which the utf8proc of Debian 12 (15.0) does not know
 * but the reference tokenizers do. With a newer utf8proc these say nothing new. */
static const Range newer_letters[] = {
    {0x1C89, 0x1C8A},   {0xA7CB, 0xA7CD},   {0xA7DA, 0xA7DC},   {0x105C0, 0x105F3},
    {0x10D4A, 0x10D65}, {0x10D6F, 0x10D85}, {0x10EC2, 0x10EC4}, {0x11380, 0x11389},
    {0x1138B, 0x1138B}, {0x1138E, 0x1138E}, {0x11390, 0x113B5}, {0x113B7, 0x113B7},
    {0x113D1, 0x113D1}, {0x113D3, 0x113D3}, {0x11BC0, 0x11BE0}, {0x13460, 0x143FA},
    {0x16100, 0x1611D}, {0x16D40, 0x16D6C}, {0x18CFF, 0x18CFF}, {0x1E5D0, 0x1E5ED},
    {0x1E5F0, 0x1E5F0}, {0x2EBF0, 0x2EE5D},
};

static const Range newer_numbers[] = {
    {0x10D40, 0x10D49}, {0x116D0, 0x116E3}, {0x11BF0, 0x11BF9},
    {0x11DE0, 0x11DE9}, {0x16130, 0x16139}, {0x16D70, 0x16D79},
    {0x16FF4, 0x16FF6}, {0x1CCF0, 0x1CCF9}, {0x1E5F1, 0x1E5FA},
};

static bool in_ranges(const Range *ranges, size_t n, uint32_t c)
{
    size_t low = 0, high = n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (c > ranges[middle].last)
            low = middle + 1;
        else if (c < ranges[middle].first)
            high = middle;
        else
            return true;
    }
    return false;
}

static bool is_white_space(uint32_t c)
{
    return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
           c == 0x205F || c == 0x3000;
}

static unsigned flags_of(uint32_t c)
{
    if (c < 0x80) {
        if ((c | 0x20) >= 'a' && (c | 0x20) <= 'z')
            return LETTER;
        if (c >= '0' && c <= '9')
            return NUMBER;
        if (c == '\n' || c == '\r')
            return SPACE | NEWLINE;
        return is_white_space(c) ? SPACE : 0;
    }
    if (is_white_space(c))
        return SPACE;
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return LETTER;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return NUMBER;
    case UTF8PROC_CATEGORY_CN:
        if (in_ranges(newer_letters, sizeof(newer_letters) / sizeof(newer_letters[0]), c))
            return LETTER;
        return in_ranges(newer_numbers, sizeof(newer_numbers) / sizeof(newer_numbers[0]), c)
                   ? NUMBER
                   : 0;
    default:
        return 0;
    }
}

/* `ends`: characters with one of these flags count as the end of the text. */
static Char char_at(const char *text, size_t n_bytes, size_t at, unsigned ends)
{
    Char c = {.code_point = UINT32_MAX};
    if (at >= n_bytes)
        return (Char){UINT32_MAX, END, 0};
    c.n_bytes = ink_utf8_decode(text + at, n_bytes - at, &c.code_point);
    if (c.n_bytes == 0)
        c.n_bytes = 1;
    else
        c.flags = flags_of(c.code_point);
    return (c.flags & ends) != 0 ? (Char){UINT32_MAX, END, 0} : c;
}

/* End of the run, from `at` on, of characters that have a flag of `any`, or, for any = 0, that are
 * neither space, letter nor number: [^\s\p{L}\p{N}]. */
static size_t run_end(const char *text, size_t n_bytes, size_t at, unsigned any, unsigned ends)
{
    for (;;) {
        Char c = char_at(text, n_bytes, at, ends);
        bool in = any != 0 ? (c.flags & any) != 0 : c.flags == 0;
        if (!in)
            return at;
        at += c.n_bytes;
    }
}

/* \s+(?!\S)|\s+ on a run of spaces: all of it at the end of the text; else all but its last
 * character, which is left for the next word, unless that is the only one. */
static size_t space_piece(const char *text, size_t n_bytes, unsigned ends)
{
    size_t at = 0, last = 0;
    for (;;) {
        Char c = char_at(text, n_bytes, at, ends);
        if ((c.flags & SPACE) == 0)
            return (c.flags & END) != 0 || last == 0 ? at : last;
        last = at;
        at += c.n_bytes;
    }
}

/* 's|'t|'re|'ve|'m|'ll|'d; 0 when there is none. With `fold` as (?i:...), which takes U+017F, the
 * long s, for an s. */
static size_t contraction(const char *text, size_t n_bytes, bool fold)
{
    if (n_bytes < 2 || text[0] != '\'')
        return 0;
    char a = text[1], b = n_bytes > 2 ? text[2] : '\0';
    if (fold) {
        if (n_bytes > 2 && memcmp(text + 1, "\xC5\xBF", 2) == 0)
            return 3;
        a = a >= 'A' && a <= 'Z' ? (char)(a | 0x20) : a;
        b = b >= 'A' && b <= 'Z' ? (char)(b | 0x20) : b;
    }
    if (a == 's' || a == 't' || a == 'm' || a == 'd')
        return 2;
    return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

/* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
static size_t gpt2_piece(const char *text, size_t n_bytes, unsigned ends)
{
    size_t n = contraction(text, n_bytes, false);
    if (n != 0)
        return n;
    size_t start = text[0] == ' ' ? 1 : 0;
    Char c = char_at(text, n_bytes, start, ends);
    if ((c.flags & (LETTER | NUMBER)) != 0)
        return run_end(text, n_bytes, start, c.flags, ends);
    if (c.flags == 0)
        return run_end(text, n_bytes, start, 0, ends);
    return space_piece(text, n_bytes, ends);
}

static size_t next_gpt2(const char *text, size_t n_bytes)
{
    return gpt2_piece(text, n_bytes, 0);
}

/* Every number by itself first; the gpt-2 rule on what lies between, which therefore ends there. */
static size_t next_digits_gpt2(const char *text, size_t n_bytes)
{
    Char c = char_at(text, n_bytes, 0, 0);
    return (c.flags & NUMBER) != 0 ? c.n_bytes : gpt2_piece(text, n_bytes, NUMBER);
}

/* \s*[\r\n]+ on a run of spaces: through the last newline in it; 0 when it has none. */
static size_t newline_piece(const char *text, size_t n_bytes)
{
    size_t at = 0, after_newline = 0;
    for (;;) {
        Char c = char_at(text, n_bytes, at, 0);
        if ((c.flags & SPACE) == 0)
            return after_newline;
        at += c.n_bytes;
        if ((c.flags & NEWLINE) != 0)
            after_newline = at;
    }
}

/* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,MAX}| ?[^\s\p{L}\p{N}]+[\r\n]*
 * |\s*[\r\n]+|\s+(?!\S)|\s+ */
static size_t llama3_piece(const char *text, size_t n_bytes, size_t max_numbers)
{
    size_t n = contraction(text, n_bytes, true);
    if (n != 0)
        return n;
    Char c = char_at(text, n_bytes, 0, 0);
    if ((c.flags & LETTER) != 0)
        return run_end(text, n_bytes, 0, LETTER, 0);
    if ((c.flags & NUMBER) != 0) {
        size_t at = 0;
        for (size_t i = 0; i < max_numbers && (c.flags & NUMBER) != 0; i++) {
            at += c.n_bytes;
            c = char_at(text, n_bytes, at, 0);
        }
        return at;
    }
    if ((c.flags & NEWLINE) == 0 && (char_at(text, n_bytes, c.n_bytes, 0).flags & LETTER) != 0)
        return run_end(text, n_bytes, c.n_bytes, LETTER, 0);
    size_t start = c.code_point == ' ' ? 1 : 0;
    size_t end = run_end(text, n_bytes, start, 0, 0);
    if (end > start)
        return run_end(text, n_bytes, end, NEWLINE, 0);
    n = newline_piece(text, n_bytes);
    return n != 0 ? n : space_piece(text, n_bytes, 0);
}

static size_t next_llama3(const char *text, size_t n_bytes)
{
    return llama3_piece(text, n_bytes, 3);
}

static size_t next_qwen2(const char *text, size_t n_bytes)
{
    return llama3_piece(text, n_bytes, 1);
}

/* ------------------------------------------------------------------ deepseek-llm
 * Six rules one after the other, each splitting every piece that the ones before it made, matches
 * and gaps alike: [\r\n]; \s?[letters]+; \s?[signs]+; \s+$; [ideographs]+; every number alone.
 * (ASCII letters are signs as well, hence "über" becomes two pieces.) The first piece is found by
 * asking, character by character, whether one of the rules has a border here. */

/* Cased letters of the scripts that this family lists. */
static const Range deepseek_letters[] = {
    {0x0041, 0x005A},   {0x0061, 0x007A},   {0x00B5, 0x00B5},   {0x00C0, 0x00D6},
    {0x00D8, 0x00F6},   {0x00F8, 0x01BA},   {0x01BC, 0x01BF},   {0x01C4, 0x0293},
    {0x0295, 0x02AF},   {0x0370, 0x0373},   {0x0376, 0x0376},   {0x0377, 0x0377},
    {0x037B, 0x037D},   {0x037F, 0x037F},   {0x0386, 0x0386},   {0x0388, 0x038A},
    {0x038C, 0x038C},   {0x038E, 0x03A1},   {0x03A3, 0x03F5},   {0x03F7, 0x0481},
    {0x048A, 0x052F},   {0x0531, 0x0556},   {0x10A0, 0x10C5},   {0x13A0, 0x13F5},
    {0x13F8, 0x13FD},   {0x1C90, 0x1CBA},   {0x1CBD, 0x1CBF},   {0x1D00, 0x1D2B},
    {0x1D6B, 0x1D77},   {0x1D79, 0x1D9A},   {0x1E00, 0x1F15},   {0x1F18, 0x1F1D},
    {0x1F20, 0x1F45},   {0x1F48, 0x1F4D},   {0x1F50, 0x1F57},   {0x1F59, 0x1F59},
    {0x1F5B, 0x1F5B},   {0x1F5D, 0x1F5D},   {0x1F5F, 0x1F7D},   {0x1F80, 0x1FB4},
    {0x1FB6, 0x1FBC},   {0x1FBE, 0x1FBE},   {0x1FC2, 0x1FC4},   {0x1FC6, 0x1FCC},
    {0x1FD0, 0x1FD3},   {0x1FD6, 0x1FDB},   {0x1FE0, 0x1FEC},   {0x1FF2, 0x1FF4},
    {0x1FF6, 0x1FFC},   {0x2102, 0x2102},   {0x2107, 0x2107},   {0x210A, 0x2113},
    {0x2115, 0x2115},   {0x2119, 0x211D},   {0x2124, 0x2124},   {0x2126, 0x2126},
    {0x2128, 0x2128},   {0x212A, 0x212D},   {0x212F, 0x2134},   {0x2139, 0x2139},
    {0x213C, 0x213F},   {0x2145, 0x2149},   {0x214E, 0x214E},   {0x2183, 0x2183},
    {0x2184, 0x2184},   {0x2C00, 0x2C7B},   {0x2C7E, 0x2CE4},   {0x2CEB, 0x2CEE},
    {0x2CF2, 0x2CF2},   {0x2CF3, 0x2CF3},   {0xA640, 0xA66D},   {0xA680, 0xA69B},
    {0xA722, 0xA76F},   {0xA771, 0xA787},   {0xA78B, 0xA78E},   {0xAB70, 0xABBF},
    {0xFB00, 0xFB06},   {0xFB13, 0xFB17},   {0xFF21, 0xFF3A},   {0xFF41, 0xFF5A},
    {0x10400, 0x1044F}, {0x104B0, 0x104D3}, {0x104D8, 0x104FB}, {0x10C80, 0x10CB2},
    {0x10CC0, 0x10CF2}, {0x118A0, 0x118DF}, {0x1E900, 0x1E943},
};

static bool is_deepseek_letter(uint32_t c)
{
    return in_ranges(deepseek_letters, sizeof(deepseek_letters) / sizeof(deepseek_letters[0]), c);
}

static bool is_deepseek_sign(uint32_t c)
{
    return (c >= '!' && c <= '/') || (c >= ':' && c <= '~') || (c >= 0xFF01 && c <= 0xFF0F) ||
           (c >= 0xFF1A && c <= 0xFF5E) || (c >= 0x2018 && c <= 0x201F) ||
           (c >= 0x3000 && c <= 0x3002);
}

static bool is_deepseek_ideograph(uint32_t c)
{
    return (c >= 0x0800 && c <= 0x9FA5) || (c >= 0xAC00 && c <= 0xD7FF);
}

/* Does \s?[letters]+ match here, or does the line end? */
static bool before_letters(const char *text, size_t n_bytes, size_t at)
{
    Char c = char_at(text, n_bytes, at, NEWLINE);
    if ((c.flags & END) != 0 || is_deepseek_letter(c.code_point))
        return true;
    return (c.flags & SPACE) != 0 &&
           is_deepseek_letter(char_at(text, n_bytes, at + c.n_bytes, NEWLINE).code_point);
}

/* The stretch of the second and of the third rule that the piece lies in. */
typedef struct Stretch {
    const char *text;
    size_t n_bytes;
    bool letters; /* a match of the second rule; else what lies before the next one */
    bool signs;   /* a match of the third; likewise */
} Stretch;

static bool letters_end(const Stretch *s, size_t at)
{
    if (!s->letters)
        return before_letters(s->text, s->n_bytes, at);
    return !is_deepseek_letter(char_at(s->text, s->n_bytes, at, NEWLINE).code_point);
}

static bool signs_start(const Stretch *s, size_t at)
{
    Char c = char_at(s->text, s->n_bytes, at, NEWLINE);
    if (is_deepseek_sign(c.code_point))
        return true;
    size_t after = at + c.n_bytes;
    return (c.flags & SPACE) != 0 && !letters_end(s, after) &&
           is_deepseek_sign(char_at(s->text, s->n_bytes, after, NEWLINE).code_point);
}

static bool stretch_ends(const Stretch *s, size_t at)
{
    if (letters_end(s, at))
        return true;
    if (!s->signs)
        return signs_start(s, at);
    return !is_deepseek_sign(char_at(s->text, s->n_bytes, at, NEWLINE).code_point);
}

/* \s+$ at `at`? */
static bool only_spaces_left(const Stretch *s, size_t at)
{
    for (; !stretch_ends(s, at);) {
        Char c = char_at(s->text, s->n_bytes, at, NEWLINE);
        if ((c.flags & SPACE) == 0)
            return false;
        at += c.n_bytes;
    }
    return true;
}

typedef enum DeepseekKind {
    KIND_IDEOGRAPH,
    KIND_NUMBER,
    KIND_OTHER,
} DeepseekKind;

static DeepseekKind deepseek_kind(Char c)
{
    if ((c.flags & NUMBER) != 0)
        return KIND_NUMBER;
    return is_deepseek_ideograph(c.code_point) ? KIND_IDEOGRAPH : KIND_OTHER;
}

static size_t next_deepseek(const char *text, size_t n_bytes)
{
    Char first = char_at(text, n_bytes, 0, 0);
    DeepseekKind kind = deepseek_kind(first);
    if ((first.flags & NEWLINE) != 0 || kind == KIND_NUMBER)
        return first.n_bytes;
    Stretch s = {text, n_bytes, false, false};
    s.letters = before_letters(text, n_bytes, 0);
    s.signs = signs_start(&s, 0);
    bool was_space = (first.flags & SPACE) != 0;
    size_t at = first.n_bytes;
    while (!stretch_ends(&s, at)) {
        Char c = char_at(text, n_bytes, at, NEWLINE);
        bool is_space = (c.flags & SPACE) != 0;
        if (deepseek_kind(c) != kind || (is_space && !was_space && only_spaces_left(&s, at)))
            return at;
        was_space = is_space;
        at += c.n_bytes;
    }
    return at;
}

/* ------------------------------------------------------------------ the closed set */

static const InkPreTokenizer pre_tokenizers[] = {
    {"gpt-2", next_gpt2, false, false},
    {"smollm", next_digits_gpt2, false, false},
    {"starcoder", next_digits_gpt2, false, false},
    {"llama-bpe", next_llama3, true, true},
    {"llama3", next_llama3, true, true},
    {"llama-v3", next_llama3, true, true},
    {"qwen2", next_qwen2, false, false},
    {"deepseek-llm", next_deepseek, false, false},
};

const InkPreTokenizer *ink_pre_tokenizer_find(const char *name, size_t n_bytes)
{
    for (size_t i = 0; i < sizeof(pre_tokenizers) / sizeof(pre_tokenizers[0]); i++)
        if (strlen(pre_tokenizers[i].name) == n_bytes &&
            memcmp(pre_tokenizers[i].name, name, n_bytes) == 0)
            return &pre_tokenizers[i];
    return NULL;
}

const char *ink_pre_tokenizer_names(void)
{
    return "gpt-2, smollm, starcoder, llama-bpe, llama3, llama-v3, qwen2, deepseek-llm";
}
