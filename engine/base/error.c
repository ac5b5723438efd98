/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "engine/base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* vsnprintf may cut a UTF-8 sequence in two at the end of the buffer; drop the torn piece. */
static void trim_torn_utf8(char *text, size_t n)
{
    size_t back = 0;
    while (back < 3 && back < n && ((unsigned char)text[n - 1 - back] & 0xC0) == 0x80)
        back++;
    if (back >= n)
        return;
    unsigned char lead = (unsigned char)text[n - 1 - back];
    size_t need = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
    if (need > back + 1)
        text[n - 1 - back] = '\0';
}

int ink_error_raise(InkError *reterr, int code, const char *format, ...)
{
    if (reterr == NULL)
        return -code;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(reterr->message, sizeof(reterr->message), format, args);
    va_end(args);
    if (n >= (int)sizeof(reterr->message))
        trim_torn_utf8(reterr->message, sizeof(reterr->message) - 1);
    reterr->code = code;
    return -code;
}

const char *ink_error_name(int code)
{
    static const struct {
        int code;
        const char *name;
    } names[] = {
        {EINVAL, "EINVAL"},
        {EMSGSIZE, "EMSGSIZE"},
        {E2BIG, "E2BIG"},
        {EBADMSG, "EBADMSG"},
        {ENODEV, "ENODEV"},
        {ENOENT, "ENOENT"},
        {ENOMSG, "ENOMSG"},
        {ENXIO, "ENXIO"},
        {EBUSY, "EBUSY"},
        {EDQUOT, "EDQUOT"},
        {ECANCELED, "ECANCELED"},
        {ETIME, "ETIME"},
        {EIO, "EIO"},
        {EREMOTEIO, "EREMOTEIO"},
        {EACCES, "EACCES"},
        {EOPNOTSUPP, "EOPNOTSUPP"},
        {ENOMEM, "ENOMEM"},
        {ESHUTDOWN, "ESHUTDOWN"},
        {EPROTO, "EPROTO"},
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (names[i].code == code)
            return names[i].name;
    return "EUNKNOWN";
}
