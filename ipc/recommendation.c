/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Interface Recommendation: what the user does, ranked proposals, what became of them. */
#include "ipc/bus-private.h"

#include <stdio.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/clock.h"

#define MAX_EVENT_TEXT_BYTES 65536u
#define MAX_URI_BYTES        4096u
#define MAX_LIMIT            100u
#define FUTURE_SLACK_USEC    60000000u
#define MAX_DEADLINE_USEC    86400000000u

static const char *const suggest_kinds[] = {"file", "command", NULL};

/* ----------------------------------------------------------------- Observe */

static const char *const event_kinds[] = {"opened", "ran", "accepted", "focused", NULL};

static const InkOption event_rows[] = {
    INK_OPTION_WORD("kind", InkServiceEvent, kind, event_kinds),
    INK_OPTION_STRING("uri", InkServiceEvent, uri, 1, MAX_URI_BYTES),
    INK_OPTION_STRING("text", InkServiceEvent, text, 1, MAX_EVENT_TEXT_BYTES),
    INK_OPTION_STRING("title", InkServiceEvent, title, 0, MAX_URI_BYTES),
    INK_OPTION_STRING("app-id", InkServiceEvent, app_id, 1, 255),
    INK_OPTION_U64("time-usec", InkServiceEvent, time_usec, 1, INT64_MAX),
};

typedef struct ObserveOptions {
    bool train, dry_run;
} ObserveOptions;

static const InkOption observe_rows[] = {INK_OPTION_BOOL("train", ObserveOptions, train),
                                         INK_OPTION_BOOL("dry-run", ObserveOptions, dry_run)};

/* Each kind is about one thing, which has to be there. */
static int check_event(const InkServiceEvent *e, size_t index, InkError *reterr)
{
    INK_CHECK(e->kind != NULL, EINVAL, reterr, "event %zu: kind is missing", index);
    bool opened = strcmp(e->kind, "opened") == 0, focused = strcmp(e->kind, "focused") == 0;
    INK_CHECK(!opened || e->uri != NULL, EINVAL, reterr,
              "event %zu: uri is missing, kind opened needs it", index);
    INK_CHECK(!focused || e->app_id != NULL, EINVAL, reterr,
              "event %zu: app-id is missing, kind focused needs it", index);
    INK_CHECK(opened || focused || e->text != NULL, EINVAL, reterr,
              "event %zu: text is missing, kind %s needs it", index, e->kind);
    uint64_t latest = ink_clock_real_usec() + FUTURE_SLACK_USEC;
    INK_CHECK(e->time_usec <= latest, EINVAL, reterr,
              "event %zu: time-usec is %llu, more than a minute in the future (latest is %llu)",
              index, (unsigned long long)e->time_usec, (unsigned long long)latest);
    return 0;
}

static int read_events(sd_bus_message *m, InkServiceEvent **ret, size_t *ret_n, InkError *reterr)
{
    _cleanup_free_ InkServiceEvent *events = ink_alloc_array(INK_BUS_MAX_EVENTS, sizeof(*events));
    size_t n = 0;
    char where[32];
    INK_CHECK(events != NULL, ENOMEM, reterr, "out of memory for the events");
    int r = sd_bus_message_enter_container(m, 'a', "a{sv}");
    INK_CHECK(r >= 0, EINVAL, reterr, "events are not of type aa{sv}");
    for (;; n++) {
        r = sd_bus_message_at_end(m, false);
        INK_CHECK(r >= 0, EINVAL, reterr, "events are not readable");
        if (r > 0)
            break;
        INK_CHECK(n < INK_BUS_MAX_EVENTS, E2BIG, reterr, "there are more than %u events",
                  INK_BUS_MAX_EVENTS);
        snprintf(where, sizeof(where), "event %zu: ", n);
        INK_TRY(ink_options_read(m, event_rows, INK_OPTIONS_N(event_rows), where, &events[n], NULL,
                                 reterr));
        INK_TRY(check_event(&events[n], n, reterr));
    }
    r = sd_bus_message_exit_container(m);
    INK_CHECK(r >= 0, EINVAL, reterr, "events are not readable");
    *ret = INK_TAKE(events);
    *ret_n = n;
    return 0;
}

static void on_observed(void *userdata, const InkError *error, uint64_t count)
{
    _cleanup_(ink_call_free_p) InkCall *c = userdata;
    if (error != NULL)
        ink_bus_reply_error(c->m, error);
    else
        (void)sd_bus_reply_method_return(c->m, "u", (uint32_t)count);
}

static int observe(InkBus *b, InkCallerEntry *who, sd_bus_message *m, InkError *reterr)
{
    _cleanup_free_ InkServiceEvent *events = NULL;
    _cleanup_(ink_call_free_p) InkCall *c = NULL;
    ObserveOptions o = {.train = true};
    size_t n = 0;
    INK_TRY(read_events(m, &events, &n, reterr));
    INK_TRY(ink_options_read(m, observe_rows, INK_OPTIONS_N(observe_rows), "", &o, NULL, reterr));
    INK_TRY(ink_call_new(b, who, m, &c, reterr));
    InkCall *call = c;
    int r = b->ops->observe(b->service, &who->caller, events, n, o.train, o.dry_run, on_observed,
                            call, reterr);
    if (r < 0)
        return r;
    (void)INK_TAKE(c); /* the callback has it, or had it */
    return 0;
}

/* ----------------------------------------------------------------- Suggest */

typedef struct Context {
    InkServiceSuggest query;
    InkServiceCandidate *candidates; /* owned */
} Context;

static void done_context(Context *x)
{
    free(x->candidates);
}

static const InkOption candidate_rows[] = {
    INK_OPTION_STRING("id", InkServiceCandidate, id, 1, 255),
    INK_OPTION_STRING("text", InkServiceCandidate, text, 0, MAX_EVENT_TEXT_BYTES),
    INK_OPTION_STRING("uri", InkServiceCandidate, uri, 0, MAX_URI_BYTES),
};

static int read_candidate(sd_bus_message *m, Context *x, size_t n, InkError *reterr)
{
    char where[32];
    InkServiceCandidate *candidate = &x->candidates[n];
    snprintf(where, sizeof(where), "candidate %zu: ", n);
    INK_TRY(ink_options_read(m, candidate_rows, INK_OPTIONS_N(candidate_rows), where, candidate,
                             NULL, reterr));
    INK_CHECK(candidate->id != NULL, EINVAL, reterr, "candidate %zu: id is missing", n);
    for (size_t i = 0; i < n; i++)
        INK_CHECK(strcmp(x->candidates[i].id, candidate->id) != 0, EINVAL, reterr,
                  "candidate %zu: id is that of candidate %zu", n, i);
    return 0;
}

static int set_candidates(const InkOption *o, sd_bus_message *m, void *field, InkError *reterr)
{
    Context *x = (Context *)((char *)field - o->offset);
    size_t n = 0;
    x->candidates = ink_alloc_array(INK_BUS_MAX_CANDIDATES, sizeof(*x->candidates));
    INK_CHECK(x->candidates != NULL, ENOMEM, reterr, "out of memory for the candidates");
    int r = sd_bus_message_enter_container(m, 'a', "a{sv}");
    INK_CHECK(r >= 0, EINVAL, reterr, "candidates are not of type aa{sv}");
    for (;; n++) {
        r = sd_bus_message_at_end(m, false);
        INK_CHECK(r >= 0, EINVAL, reterr, "candidates are not readable");
        if (r > 0)
            break;
        INK_CHECK(n < INK_BUS_MAX_CANDIDATES, E2BIG, reterr, "there are more than %u candidates",
                  INK_BUS_MAX_CANDIDATES);
        INK_TRY(read_candidate(m, x, n, reterr));
    }
    r = sd_bus_message_exit_container(m);
    INK_CHECK(r >= 0, EINVAL, reterr, "candidates are not readable");
    x->query.candidates = x->candidates;
    x->query.n_candidates = n;
    return 0;
}

static const InkOption context_rows[] = {
    INK_OPTION_STRING("text-before", Context, query.text_before, 0, INK_BUS_MAX_STRING_BYTES),
    INK_OPTION_STRING("cwd", Context, query.cwd, 0, MAX_URI_BYTES),
    INK_OPTION_U64("time-usec", Context, query.time_usec, 1, INT64_MAX),
    {"candidates", "aa{sv}", set_candidates, offsetof(Context, candidates)},
};

typedef struct SuggestOptions {
    uint32_t limit;
    bool explain;
    /* Checked and then not needed: the ranking takes microseconds and never waits for a model. */
    uint64_t deadline_usec;
} SuggestOptions;

static const InkOption suggest_rows[] = {
    INK_OPTION_U32("limit", SuggestOptions, limit, 1, MAX_LIMIT),
    INK_OPTION_BOOL("explain", SuggestOptions, explain),
    INK_OPTION_U64("deadline-usec", SuggestOptions, deadline_usec, 1, MAX_DEADLINE_USEC),
};

static int append_item(sd_bus_message *m, const InkServiceItem *item, bool explain)
{
    const struct {
        const char *key, *value;
    } strings[] = {
        {"id", item->id},
        {"candidate", item->candidate},
        {"kind", item->kind},
        {"text", item->text},
        {"uri", item->uri},
        {"source", item->source},
        {"reason", explain ? item->reason : NULL},
    };
    INK_TRY(sd_bus_message_open_container(m, 'a', "{sv}"));
    for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++)
        if (strings[i].value != NULL)
            INK_TRY(sd_bus_message_append(m, "{sv}", strings[i].key, "s", strings[i].value));
    INK_TRY(sd_bus_message_append(m, "{sv}", "score", "d", item->score));
    return sd_bus_message_close_container(m);
}

static int reply_items(sd_bus_message *call, const InkServiceItem *items, size_t n_items,
                       uint64_t considered, bool explain)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    INK_TRY(sd_bus_message_new_method_return(call, &reply));
    INK_TRY(sd_bus_message_open_container(reply, 'a', "a{sv}"));
    for (size_t i = 0; i < n_items; i++)
        INK_TRY(append_item(reply, &items[i], explain));
    INK_TRY(sd_bus_message_close_container(reply));
    /* "quick": the simple experts alone, no model has looked at the order. */
    uint32_t shown = considered > UINT32_MAX ? UINT32_MAX : (uint32_t)considered;
    INK_TRY(sd_bus_message_append(reply, "a{sv}", 3, "ranking", "s", "quick", "considered", "u",
                                  shown, "scope", "s", "own"));
    return sd_bus_send(NULL, reply, NULL);
}

/* Of a call that waits, `flag` says that reasons are wanted. */
static void on_suggested(void *userdata, const InkError *error, const InkServiceItem *items,
                         size_t n_items, uint64_t considered)
{
    _cleanup_(ink_call_free_p) InkCall *c = userdata;
    if (error != NULL)
        ink_bus_reply_error(c->m, error);
    else if (reply_items(c->m, items, n_items, considered, c->flag) < 0)
        ink_bus_reply_error(c->m, &(InkError){ENOMEM, "the answer could not be built"});
}

static int suggest(InkBus *b, InkCallerEntry *who, sd_bus_message *m, InkError *reterr)
{
    _cleanup_(done_context) Context x = {0};
    _cleanup_(ink_call_free_p) InkCall *c = NULL;
    SuggestOptions o = {.limit = 5};
    INK_TRY(ink_options_read_word(m, "kind", suggest_kinds, &x.query.kind, reterr));
    INK_TRY(ink_options_read(m, context_rows, INK_OPTIONS_N(context_rows), "context: ", &x, NULL,
                             reterr));
    INK_TRY(ink_options_read(m, suggest_rows, INK_OPTIONS_N(suggest_rows), "", &o, NULL, reterr));
    x.query.limit = o.limit;
    x.query.explain = o.explain;
    INK_TRY(ink_call_new(b, who, m, &c, reterr));
    c->flag = o.explain;
    InkCall *call = c;
    int r = b->ops->suggest(b->service, &who->caller, &x.query, on_suggested, call, reterr);
    if (r < 0)
        return r;
    (void)INK_TAKE(c);
    return 0;
}

/* ---------------------------------------------------------------- Feedback */

typedef struct FeedbackOptions {
    uint32_t accepted_chars;
    const char *text;
} FeedbackOptions;

static const InkOption feedback_rows[] = {
    INK_OPTION_U32("accepted-chars", FeedbackOptions, accepted_chars, 0, MAX_EVENT_TEXT_BYTES),
    INK_OPTION_STRING("text", FeedbackOptions, text, 0, MAX_EVENT_TEXT_BYTES),
};

static int check_feedback(const char *outcome, uint32_t seen, InkError *reterr)
{
    bool partial = strcmp(outcome, "partial") == 0, edited = strcmp(outcome, "edited") == 0;
    INK_CHECK(((seen & 1u) != 0) == partial, EINVAL, reterr,
              "accepted-chars belongs to the outcome partial, which needs it");
    INK_CHECK(((seen & 2u) != 0) == edited, EINVAL, reterr,
              "text belongs to the outcome edited, which needs it");
    return 0;
}

static int feedback(InkBus *b, InkCallerEntry *who, sd_bus_message *m, InkError *reterr)
{
    static const char *const outcomes[] = {"shown",     "accepted", "partial",
                                           "dismissed", "edited",   NULL};
    _cleanup_(ink_call_free_p) InkCall *c = NULL;
    FeedbackOptions o = {0};
    const char *id = "", *outcome = "";
    uint32_t seen = 0;
    INK_TRY(ink_options_read_string(m, "item_id", &id, reterr));
    INK_CHECK(id[0] != '\0', EINVAL, reterr, "item_id is empty");
    INK_TRY(ink_options_read_word(m, "outcome", outcomes, &outcome, reterr));
    INK_TRY(
        ink_options_read(m, feedback_rows, INK_OPTIONS_N(feedback_rows), "", &o, &seen, reterr));
    INK_TRY(check_feedback(outcome, seen, reterr));
    INK_TRY(ink_call_new(b, who, m, &c, reterr));
    InkCall *call = c;
    int r = b->ops->feedback(b->service, &who->caller, id, outcome, o.accepted_chars, o.text,
                             ink_call_on_done, call, reterr);
    if (r < 0)
        return r;
    (void)INK_TAKE(c);
    return 0;
}

const InkBusMethod ink_recommendation_methods[] = {
    {"Suggest", INK_PERMISSION_RECOMMENDATION, suggest},
    {"Feedback", INK_PERMISSION_RECOMMENDATION, feedback},
    {"Observe", INK_PERMISSION_MEMORY, observe},
    {NULL, INK_PERMISSION_NONE, NULL},
};

static int get_kinds(sd_bus *bus, const char *path, const char *interface, const char *property,
                     sd_bus_message *reply, void *userdata, sd_bus_error *reterr)
{
    (void)bus;
    (void)path;
    (void)interface;
    (void)property;
    (void)userdata;
    (void)reterr;
    return sd_bus_message_append(reply, "as", 2, suggest_kinds[0], suggest_kinds[1]);
}

#define FLAGS (SD_BUS_VTABLE_UNPRIVILEGED | SD_BUS_VTABLE_SENSITIVE)

const sd_bus_vtable ink_recommendation_vtable[] = {
    SD_BUS_VTABLE_START(0),
    SD_BUS_METHOD_WITH_NAMES(
        "Suggest", "sa{sv}a{sv}", SD_BUS_PARAM(kind) SD_BUS_PARAM(context) SD_BUS_PARAM(options),
        "aa{sv}a{sv}", SD_BUS_PARAM(items) SD_BUS_PARAM(result), ink_bus_on_method, FLAGS),
    SD_BUS_METHOD_WITH_NAMES("Feedback", "ssa{sv}",
                             SD_BUS_PARAM(item_id) SD_BUS_PARAM(outcome) SD_BUS_PARAM(options), "",
                             , ink_bus_on_method, FLAGS),
    SD_BUS_METHOD_WITH_NAMES("Observe", "aa{sv}a{sv}", SD_BUS_PARAM(events) SD_BUS_PARAM(options),
                             "u", SD_BUS_PARAM(accepted), ink_bus_on_method, FLAGS),
    SD_BUS_PROPERTY("Kinds", "as", get_kinds, 0, SD_BUS_VTABLE_PROPERTY_CONST),
    SD_BUS_VTABLE_END,
};
