/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* UTF-8 as RFC 3629 has it: no surrogates, no overlong forms, nothing above U+10FFFF.
 * Thread: no state. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the sequence at `text` (1 to 4) and its code point; 0 when there is no whole valid one.
 */
size_t ink_utf8_decode(const char *text, size_t n_bytes, uint32_t *ret_code_point);
/* Writes 1 to 4 bytes; 0 for what is not a Unicode scalar value. */
size_t ink_utf8_encode(uint32_t code_point, char out[4]);
bool ink_utf8_valid(const char *text, size_t n_bytes);
/* How many bytes at the end belong to a sequence that may still become whole (0 to 3). */
size_t ink_utf8_torn_tail(const char *text, size_t n_bytes);
/* May stand in a message, a log line or a list on a terminal: no control character (those of U+0080
 * to U+009F are some, too), no line separator, nothing that turns the direction of what follows. */
bool ink_utf8_is_printable(uint32_t code_point);
/* Valid, and made of nothing else than such characters. */
bool ink_utf8_all_printable(const char *text, size_t n_bytes);
/* Copies text of a file so that it may go into messages and lists: bytes that are not UTF-8 and
 * what is not printable become '?', and what does not fit is cut between characters. Terminated. */
void ink_utf8_copy_printable(char *out, size_t out_bytes, const char *text, size_t n_bytes);
/* Copies a text as it is, cut between characters to what fits. Terminated. */
void ink_utf8_copy_cut(char *out, size_t out_bytes, const char *text);
