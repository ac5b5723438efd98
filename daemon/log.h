/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Log lines on standard error with the "<N>" prefix that the journal understands; without a journal
 * they are plain lines. Ids, lengths, durations and our own words only: never text, paths below a
 * person's folders or names from requests. Errors: a line that cannot be written is lost.
 * Thread: safe (one write each). */
#pragma once

#include <systemd/sd-daemon.h>

void ink_log(const char *level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define ink_log_error(...)   ink_log(SD_ERR, __VA_ARGS__)
#define ink_log_warning(...) ink_log(SD_WARNING, __VA_ARGS__)
#define ink_log_info(...)    ink_log(SD_INFO, __VA_ARGS__)
