/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "personalize/reason.h"

#include <inttypes.h>

#include "engine/base/buffer.h"

#define MINUTE_USEC UINT64_C(60000000)
#define HOUR_USEC   (60 * MINUTE_USEC)
#define DAY_USEC    (24 * HOUR_USEC)

static void append_age(InkBuffer *b, uint64_t age_usec)
{
    static const struct {
        uint64_t below_usec, unit_usec;
        const char *unit;
    } steps[] = {
        {HOUR_USEC, MINUTE_USEC, "minute"},   {DAY_USEC, HOUR_USEC, "hour"},
        {60 * DAY_USEC, DAY_USEC, "day"},     {730 * DAY_USEC, 30 * DAY_USEC, "month"},
        {UINT64_MAX, 365 * DAY_USEC, "year"},
    };
    if (age_usec < MINUTE_USEC) {
        ink_buffer_append_str(b, "just now");
        return;
    }
    size_t i = 0;
    while (age_usec >= steps[i].below_usec && i + 1 < sizeof(steps) / sizeof(steps[0]))
        i++;
    uint64_t n = age_usec / steps[i].unit_usec;
    ink_buffer_printf(b, "%" PRIu64 " %s%s ago", n, steps[i].unit, n == 1 ? "" : "s");
}

char *ink_reason_for_history(InkSuggestKind kind, uint64_t n_uses, uint64_t last_usec,
                             uint64_t now_usec, bool here)
{
    _cleanup_buffer_ InkBuffer b = INK_BUFFER_INIT;
    uint64_t age_usec = now_usec > last_usec ? now_usec - last_usec : 0;
    const char *verb = kind == INK_SUGGEST_FILE ? "opened" : "ran";
    if (n_uses == 0)
        ink_buffer_append_str(&b, "accepted when it was suggested, ");
    else if (n_uses == 1)
        ink_buffer_printf(&b, "%s once%s, ", verb, here ? " here" : "");
    else
        ink_buffer_printf(&b, "%s %" PRIu64 " times%s, last ", verb, n_uses, here ? " here" : "");
    append_age(&b, age_usec);
    return ink_buffer_take(&b);
}

char *ink_reason_for_candidate(void)
{
    _cleanup_buffer_ InkBuffer b = INK_BUFFER_INIT;
    ink_buffer_append_str(&b, "proposed by the application, not used before");
    return ink_buffer_take(&b);
}
