/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

#include "daemon/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void ink_log(const char *level, const char *format, ...)
{
    char line[512];
    int n = snprintf(line, sizeof line, "%s", level);
    va_list args;
    va_start(args, format);
    int m = vsnprintf(line + n, sizeof line - n - 1, format, args);
    va_end(args);
    size_t length = m < 0 ? (size_t)n : strlen(line);
    line[length++] = '\n';
    ssize_t written = write(STDERR_FILENO, line, length);
    (void)written; /* nowhere left to tell it */
}
