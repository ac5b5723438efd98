/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "tests/personalize/store-test.h"

#include <math.h>

#include "engine/base/alloc.h"
#include "engine/base/clock.h"
#include "personalize/frecency.h"
#include "personalize/place.h"
#include "personalize/reason.h"

#define APP "exe:test"

static InkSuggestions suggest(InkStore *s, InkSuggestQuery q)
{
    InkSuggestions list = INK_SUGGESTIONS_INIT;
    InkError error = {0};
    if (q.scope == NULL)
        q.scope = APP;
    if (q.kind == 0)
        q.kind = INK_SUGGEST_COMMAND;
    if (q.limit == 0)
        q.limit = 20;
    if (ink_store_suggest(s, &q, &list, &error) < 0)
        fail_msg("suggest: %s", error.message);
    for (size_t i = 0; i < list.n; i++) {
        assert_true(list.items[i].score >= 0 && list.items[i].score <= 1);
        assert_true(i == 0 || list.items[i].score <= list.items[i - 1].score);
        assert_int_equal(strlen(list.items[i].id), INK_STORE_ID_CHARS);
    }
    return list;
}

static void expect_order(InkStore *s, InkSuggestQuery q, const char *const *texts, size_t n)
{
    InkSuggestions list = suggest(s, q);
    assert_int_equal(list.n, n);
    for (size_t i = 0; i < n; i++)
        assert_string_equal(list.items[i].text, texts[i]);
    ink_suggestions_done(&list);
}

#define EXPECT_ORDER(s, q, ...)                                                                    \
    do {                                                                                           \
        static const char *const texts_[] = {__VA_ARGS__};                                         \
        expect_order(s, q, texts_, sizeof(texts_) / sizeof(texts_[0]));                            \
    } while (0)

/* -------------------------------------------------------------------- frecency */

static void test_frecency_follows_its_formula(void **state)
{
    (void)state;
    const uint64_t times[] = {NOON - 40 * DAY, NOON - 28 * DAY, NOON - 3 * DAY, NOON - HOUR};
    double sum = 0, rank = ink_frecency_first(times[2], 1);
    for (size_t i = 0; i < 4; i++)
        sum += exp2(-(double)(NOON - times[i]) / (28.0 * 86400e6));
    const size_t order[] = {0, 3, 1}; /* any order gives the same */
    for (size_t i = 0; i < 3; i++)
        rank = ink_frecency_add(rank, times[order[i]], 1);
    double expected = sum + 2 * exp2(-1.0 / 24);
    assert_true(fabs(ink_frecency_value(rank, times[3], NOON) - expected) < 1e-9);
    /* one use 28 days ago is worth half, and its latest day is long over */
    double half = ink_frecency_value(ink_frecency_first(NOON - 28 * DAY, 1), NOON - 28 * DAY, NOON);
    assert_true(fabs(half - 0.5) < 1e-6);
    assert_true(fabs(ink_frecency_value(ink_frecency_scale(rank, 0.8), 0, NOON) - 0.8 * sum) <
                1e-9);
}

static void test_frecency_stays_finite(void **state)
{
    (void)state;
    const uint64_t times[] = {0, 1, NOON, UINT64_MAX};
    for (size_t i = 0; i < 4; i++)
        for (size_t k = 0; k < 4; k++) {
            double rank = ink_frecency_add(ink_frecency_first(times[i], 1), times[k], 0.5);
            double value = ink_frecency_value(rank, times[k], times[i]);
            assert_true(isfinite(value) && value >= 0);
            assert_true(ink_frecency_unit(value) >= 0 && ink_frecency_unit(value) <= 1);
        }
}

/* The order by rank is the same at any later time: what the index relies on. */
static void test_frecency_rank_order_does_not_change(void **state)
{
    (void)state;
    unsigned seed = 7;
    for (int i = 0; i < 1000; i++) {
        double a = ink_frecency_first(NOON - (uint64_t)rand_r(&seed) * 1000, 1);
        double b = ink_frecency_first(NOON - (uint64_t)rand_r(&seed) * 1000, 1);
        for (int k = rand_r(&seed) % 5; k > 0; k--)
            a = ink_frecency_add(a, NOON - (uint64_t)rand_r(&seed) * 1000, 1);
        uint64_t later = NOON + (uint64_t)rand_r(&seed) * 10000;
        assert_int_equal(a > b, ink_frecency_value(a, 0, NOON) > ink_frecency_value(b, 0, NOON));
        assert_int_equal(a > b, ink_frecency_value(a, 0, later) > ink_frecency_value(b, 0, later));
    }
}

static void test_place_spells_one_way(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"/home/a", "/home/a"},
        {"/home/a//", "/home/a"},
        {"/", "/"},
        {"file:///home/a%20b/", "/home/a b"},
        {"file://host/x", "/x"},
        {"https://example.org/x", ""},
        {"", ""},
        {"file:///a%00b%zz%4", "/a%00b%zz%4"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char *place = ink_place_of(rows[i][0]);
        assert_string_equal(place, rows[i][1]);
        free(place);
    }
    static const char *const names[][2] = {
        {"file:///a/M%C3%A4rz.txt", "M\xc3\xa4rz.txt"},
        {"file:///a/%FF", "%FF"},
        {"/a/b/", "b"},
        {"x", "x"},
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char *name = ink_place_name(names[i][0]);
        assert_string_equal(name, names[i][1]);
        free(name);
    }
}

static void test_reason_speaks_of_uses_and_age(void **state)
{
    (void)state;
    static const struct {
        InkSuggestKind kind;
        uint64_t n, age;
        bool here;
        const char *text;
    } rows[] = {
        {INK_SUGGEST_FILE, 14, 2 * HOUR + 5, false, "opened 14 times, last 2 hours ago"},
        {INK_SUGGEST_FILE, 1, 59 * SECOND, false, "opened once, just now"},
        {INK_SUGGEST_COMMAND, 1, 60 * SECOND, false, "ran once, 1 minute ago"},
        {INK_SUGGEST_COMMAND, 3, DAY, true, "ran 3 times here, last 1 day ago"},
        {INK_SUGGEST_COMMAND, 2, 90 * DAY, false, "ran 2 times, last 3 months ago"},
        {INK_SUGGEST_COMMAND, 2, 800 * DAY, false, "ran 2 times, last 2 years ago"},
        {INK_SUGGEST_COMMAND, 0, HOUR, false, "accepted when it was suggested, 1 hour ago"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char *reason =
            ink_reason_for_history(rows[i].kind, rows[i].n, NOON - rows[i].age, NOON, rows[i].here);
        assert_string_equal(reason, rows[i].text);
        free(reason);
    }
}

/* -------------------------------------------------------------------- ranking */

static void run_times(InkStore *s, const char *command, const char *place, uint64_t age, size_t n)
{
    for (size_t i = 0; i < n; i++)
        observe_one(s, APP, ran(command, place, NOON - age - i * HOUR), 1);
}

/* Values by the formula: build 20 x ~.98 + 2 x .25 = 20.0; once-just-now 1 + 2 = 3.0;
 * old-favourite 12 x 2^(-56/28) ~ 3.0 - a little = 2.98; twice-last-week 2 x .84 = 1.7 + .016;
 * once-last-month .48. */
static void test_suggest_ranks_as_the_formula_says(void **state)
{
    InkStore *s = open_enabled(*state);
    run_times(s, "once-last-month", NULL, 30 * DAY, 1);
    run_times(s, "old-favourite", NULL, 56 * DAY, 12);
    run_times(s, "twice-last-week", NULL, 7 * DAY, 2);
    run_times(s, "build", NULL, 2 * DAY, 20);
    run_times(s, "once-just-now", NULL, 0, 1);
    EXPECT_ORDER(s, ((InkSuggestQuery){0}), "build", "once-just-now", "old-favourite",
                 "twice-last-week", "once-last-month");
    /* three days later the newest has lost its bonus */
    EXPECT_ORDER(s, ((InkSuggestQuery){.now_usec = NOON + 3 * DAY}), "build", "old-favourite",
                 "twice-last-week", "once-just-now", "once-last-month");
    InkSuggestions list = suggest(s, (InkSuggestQuery){.limit = 2, .explain = true});
    assert_int_equal(list.n, 2);
    assert_int_equal(list.considered, 5);
    assert_string_equal(list.items[0].reason, "ran 20 times, last 2 days ago");
    assert_true(list.items[0].from_history);
    assert_null(list.items[0].uri);
    assert_null(list.items[0].candidate);
    ink_suggestions_done(&list);
    ink_store_close(s);
}

/* The stored rank gives the same order as the definition, computed from a random log. */
static void test_suggest_equals_the_definition_on_a_random_log(void **state)
{
    enum { N_ITEMS = 40, N_EVENTS = 600 };
    InkStore *s = open_enabled(*state);
    double sum[N_ITEMS] = {0};
    uint64_t last[N_ITEMS] = {0};
    unsigned seed = 20260301;
    for (int i = 0; i < N_EVENTS; i++) {
        int k = (int)((unsigned)rand_r(&seed) % N_ITEMS) * (rand_r(&seed) % 2);
        uint64_t age = (uint64_t)(rand_r(&seed) % 86400) * 100 * SECOND + (uint64_t)i * 2 * SECOND;
        char text[32];
        snprintf(text, sizeof(text), "command-%02d", k);
        size_t accepted;
        InkEvent e = ran(text, NULL, NOON - age);
        assert_int_equal(ink_store_observe(s, APP, &e, 1, false, &accepted, NULL), 0);
        if (accepted == 0)
            continue;
        sum[k] += exp2(-(double)age / (28.0 * 86400e6));
        last[k] = last[k] > NOON - age ? last[k] : NOON - age;
    }
    InkSuggestions list = suggest(s, (InkSuggestQuery){.limit = 100});
    double before = INFINITY;
    assert_true(list.n > 30);
    for (size_t i = 0; i < list.n; i++) {
        int k = atoi(list.items[i].text + strlen("command-"));
        double value = sum[k] + 2 * exp2(-(double)(NOON - last[k]) / 86400e6);
        assert_true(value <= before + 1e-9);
        assert_true(fabs(list.items[i].score - (0.1 + 0.9 * value / (value + 1))) < 1e-9);
        before = value;
    }
    ink_suggestions_done(&list);
    ink_store_close(s);
}

static void test_suggest_puts_commands_of_the_directory_first(void **state)
{
    InkStore *s = open_enabled(*state);
    run_times(s, "git status", "file:///home/me/other", 0, 30);
    run_times(s, "make check", "file:///home/me/my%20src", 10 * DAY, 2);
    run_times(s, "git status", "file:///home/me/my%20src/", 20 * DAY, 1);
    run_times(s, "ls", NULL, DAY, 5);
    EXPECT_ORDER(s, ((InkSuggestQuery){.cwd = "/home/me/my src/"}), "make check", "git status",
                 "ls");
    EXPECT_ORDER(s, ((InkSuggestQuery){.cwd = "/elsewhere"}), "git status", "ls", "make check");
    InkSuggestions list =
        suggest(s, (InkSuggestQuery){.cwd = "file:///home/me/my%20src", .explain = true});
    assert_string_equal(list.items[0].reason, "ran 2 times here, last 10 days ago");
    assert_string_equal(list.items[2].reason, "ran 5 times, last 1 day ago");
    ink_suggestions_done(&list);
    ink_store_close(s);
}

static void test_suggest_keeps_scopes_apart(void **state)
{
    InkStore *s = open_enabled(*state);
    observe_one(s, "exe:other", ran("secret", NULL, 0), 1);
    observe_one(s, APP, opened("file:///mine", 0), 1);
    InkSuggestions list = suggest(s, (InkSuggestQuery){0});
    assert_int_equal(list.n, 0);
    assert_int_equal(list.considered, 0);
    ink_suggestions_done(&list);
    /* a candidate is no way to ask whether somebody else knows it */
    InkSuggestCandidate c = {.id = "1", .text = "secret"};
    list = suggest(s, (InkSuggestQuery){.candidates = &c, .n_candidates = 1});
    assert_false(list.items[0].from_history);
    assert_int_equal(
        ink_store_feedback(s, "exe:other", list.items[0].id, INK_FEEDBACK_SHOWN, 0, NULL, NULL),
        -ENOMSG);
    ink_suggestions_done(&list);
    ink_store_close(s);
}

static void test_suggest_filters_by_text(void **state)
{
    InkStore *s = open_enabled(*state);
    InkEvent titled = opened("file:///home/me/x.odt", 0);
    titled.title = "Annual Report";
    observe_one(s, APP, titled, 1);
    observe_one(s, APP, opened("file:///home/me/M%C3%A4rz.txt", NOON - HOUR), 1);
    InkSuggestQuery q = {.kind = INK_SUGGEST_FILE};
    q.text_before = "annual";
    EXPECT_ORDER(s, q, "Annual Report");
    q.text_before = "M\xc3\xa4rz";
    EXPECT_ORDER(s, q, "M\xc3\xa4rz.txt");
    q.text_before = "HOME/ME";
    EXPECT_ORDER(s, q, "Annual Report", "M\xc3\xa4rz.txt");
    q.text_before = "100%_";
    expect_order(s, q, NULL, 0);
    q.text_before = "\xff";
    q.scope = APP;
    q.limit = 5;
    InkSuggestions list = INK_SUGGESTIONS_INIT;
    assert_int_equal(ink_store_suggest(s, &q, &list, NULL), -EINVAL);
    ink_store_close(s);
}

static void test_suggest_joins_candidates(void **state)
{
    InkStore *s = open_enabled(*state);
    observe_one(s, APP, opened("file:///often", NOON - HOUR), 1);
    observe_one(s, APP, opened("file:///often", NOON - 2 * HOUR), 1);
    observe_one(s, APP, opened("file:///once", NOON - DAY), 1);
    const InkSuggestCandidate candidates[] = {
        {.id = "new-1", .text = "New one", .uri = "file:///new"},
        {.id = "known", .text = "Once, says the caller", .uri = "file:///once"},
        {.id = "textless", .text = "No uri"},
        {.id = "again", .text = "Twice the same", .uri = "file:///once"},
    };
    InkSuggestQuery q = {.kind = INK_SUGGEST_FILE, .candidates = candidates, .n_candidates = 4};
    EXPECT_ORDER(s, q, "often", "Once, says the caller", "New one", "No uri", "Twice the same");
    q.explain = true;
    InkSuggestions list = suggest(s, q);
    assert_null(list.items[0].candidate);
    assert_string_equal(list.items[1].candidate, "known");
    assert_true(list.items[1].from_history);
    assert_string_equal(list.items[2].candidate, "new-1");
    assert_false(list.items[2].from_history);
    assert_string_equal(list.items[2].uri, "file:///new");
    assert_null(list.items[3].uri);
    assert_int_equal(list.considered, 5);
    ink_suggestions_done(&list);
    ink_store_close(s);
}

static void test_suggest_names_what_is_wrong(void **state)
{
    InkStore *s = open_store(*state);
    InkSuggestCandidate *many = calloc(257, sizeof(*many));
    const InkSuggestCandidate twice[] = {{.id = "a"}, {.id = "b"}, {.id = "a"}};
    const InkSuggestCandidate no_id[] = {{.id = "a"}, {.text = "x"}};
    const struct {
        InkSuggestQuery q;
        int code;
        const char *words;
    } rows[] = {
        {{.kind = 9, .scope = APP}, EINVAL, "kind"},
        {{.kind = INK_SUGGEST_FILE}, EINVAL, "application id"},
        {{.kind = INK_SUGGEST_FILE, .scope = APP, .limit = 101}, EINVAL, "limit"},
        {{.kind = INK_SUGGEST_FILE, .scope = APP, .candidates = many, .n_candidates = 257},
         E2BIG,
         "257 candidates"},
        {{.kind = INK_SUGGEST_FILE, .scope = APP, .candidates = twice, .n_candidates = 3},
         EINVAL,
         "candidates[2].id"},
        {{.kind = INK_SUGGEST_FILE, .scope = APP, .candidates = no_id, .n_candidates = 2},
         EINVAL,
         "candidates[1].id"},
        {{.kind = INK_SUGGEST_COMMAND, .scope = APP, .cwd = "/\xc0"}, EINVAL, "cwd"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        InkSuggestions list = INK_SUGGESTIONS_INIT;
        InkError error = {0};
        assert_int_equal(ink_store_suggest(s, &rows[i].q, &list, &error), -rows[i].code);
        assert_non_null(strstr(error.message, rows[i].words));
        assert_null(list.items);
    }
    free(many);
    ink_store_close(s);
}

/* ------------------------------------------------------------------- feedback */

static void test_feedback_moves_the_ranking(void **state)
{
    InkStore *s = open_enabled(*state);
    observe_one(s, APP, ran("first", NULL, NOON - HOUR), 1);
    observe_one(s, APP, ran("second", NULL, NOON - 2 * HOUR), 1);
    EXPECT_ORDER(s, ((InkSuggestQuery){0}), "first", "second");
    InkSuggestions list = suggest(s, (InkSuggestQuery){0});
    double score = list.items[0].score;
    for (int i = 0; i < 3; i++) /* the same three times is once */
        assert_int_equal(
            ink_store_feedback(s, APP, list.items[0].id, INK_FEEDBACK_DISMISSED, 0, NULL, NULL), 0);
    InkSuggestions after = suggest(s, (InkSuggestQuery){0});
    assert_string_equal(after.items[1].text, "first");
    assert_true(after.items[1].score < score);
    ink_suggestions_done(&after);
    assert_int_equal(
        ink_store_feedback(s, APP, list.items[0].id, INK_FEEDBACK_ACCEPTED, 0, NULL, NULL), 0);
    EXPECT_ORDER(s, ((InkSuggestQuery){0}), "first", "second");
    assert_int_equal(
        ink_store_feedback(s, APP, list.items[1].id, INK_FEEDBACK_SHOWN, 0, NULL, NULL), 0);
    EXPECT_ORDER(s, ((InkSuggestQuery){0}), "first", "second");
    InkStoreCounts c;
    assert_int_equal(ink_store_counts(s, APP, &c, NULL), 0);
    assert_int_equal(c.feedback, 3);
    assert_int_equal(c.events, 2);
    ink_suggestions_done(&list);
    ink_store_close(s);
}

static void test_feedback_remembers_an_accepted_candidate(void **state)
{
    InkStore *s = open_enabled(*state);
    const InkSuggestCandidate c[] = {{.id = "1", .text = "taken"}, {.id = "2", .text = "left"}};
    InkSuggestions list = suggest(s, (InkSuggestQuery){.candidates = c, .n_candidates = 2});
    assert_int_equal(
        ink_store_feedback(s, APP, list.items[0].id, INK_FEEDBACK_EDITED, 0, "took it", NULL), 0);
    assert_int_equal(
        ink_store_feedback(s, APP, list.items[1].id, INK_FEEDBACK_DISMISSED, 0, NULL, NULL), 0);
    ink_suggestions_done(&list);
    list = suggest(s, (InkSuggestQuery){.explain = true});
    assert_int_equal(list.n, 1);
    assert_string_equal(list.items[0].text, "taken");
    assert_string_equal(list.items[0].reason, "accepted when it was suggested, just now");
    ink_suggestions_done(&list);
    ink_store_close(s);
}

static void test_feedback_ids_end_after_an_hour_and_are_bounded(void **state)
{
    InkStore *s = open_enabled(*state);
    char uri[64];
    for (int i = 0; i < 100; i++) {
        snprintf(uri, sizeof(uri), "command %d", i);
        observe_one(s, APP, ran(uri, NULL, NOON - (uint64_t)i * HOUR), 1);
    }
    InkSuggestions first = suggest(s, (InkSuggestQuery){.limit = 2});
    const char *id = first.items[0].id;
    assert_string_not_equal(id, first.items[1].id);
    test_monotonic += HOUR - 1;
    assert_int_equal(ink_store_feedback(s, APP, id, INK_FEEDBACK_SHOWN, 0, NULL, NULL), 0);
    test_monotonic += 1;
    assert_int_equal(ink_store_feedback(s, APP, id, INK_FEEDBACK_SHOWN, 0, NULL, NULL), -ENOMSG);
    ink_suggestions_done(&first);
    first = suggest(s, (InkSuggestQuery){.limit = 1});
    for (int i = 0; i < 42; i++) {
        InkSuggestions list = suggest(s, (InkSuggestQuery){.limit = 100});
        assert_true(s->n_issued <= INK_STORE_MAX_ISSUED);
        ink_suggestions_done(&list);
    }
    assert_int_equal(
        ink_store_feedback(s, APP, first.items[0].id, INK_FEEDBACK_SHOWN, 0, NULL, NULL), -ENOMSG);
    static const char *const wrong[] = {"", "x", NULL, "00000000000000000000000000000000"};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(ink_store_feedback(s, APP, wrong[i], INK_FEEDBACK_SHOWN, 0, NULL, NULL),
                         -ENOMSG);
    assert_int_equal(ink_store_feedback(s, APP, "x", INK_FEEDBACK_MAX, 0, NULL, NULL), -EINVAL);
    ink_suggestions_done(&first);
    ink_store_close(s);
}

/* ------------------------------------------------------- limits: speed, memory */

static void fill(InkStore *s, size_t n, size_t n_distinct)
{
    InkEvent events[250];
    char texts[250][64];
    unsigned seed = 1;
    for (size_t i = 0; i < n; i += 250) {
        if (i % 10000 == 0)
            test_real += DAY; /* the daily limit */
        for (size_t k = 0; k < 250; k++) {
            double u = (double)rand_r(&seed) / RAND_MAX;
            size_t item = (size_t)(u * u * (double)n_distinct);
            snprintf(texts[k], sizeof(texts[k]), "git commit --message topic-%zu", item);
            events[k] = ran(texts[k], NULL, NOON - (n - i - k) * 90 * SECOND);
        }
        size_t accepted;
        assert_int_equal(ink_store_observe(s, APP, events, 250, false, &accepted, NULL), 0);
    }
}

static uint64_t best_of(InkStore *s, InkSuggestQuery q, int n)
{
    uint64_t best = UINT64_MAX;
    for (int i = 0; i < n; i++) {
        uint64_t begin = ink_clock_monotonic_usec();
        InkSuggestions list = suggest(s, q);
        uint64_t took = ink_clock_monotonic_usec() - begin;
        best = took < best ? took : best;
        ink_suggestions_done(&list);
    }
    return best;
}

static void test_suggest_is_fast_over_many_events(void **state)
{
    const Place *p = *state;
    InkStore *s = open_enabled(p);
    size_t n = is_full_run() ? 100000 : 20000;
    fill(s, n, n / 2);
    uint64_t plain = best_of(s, (InkSuggestQuery){.limit = 10, .explain = true}, 5);
    uint64_t found = best_of(s, (InkSuggestQuery){.limit = 10, .text_before = "topic-1"}, 5);
    uint64_t none = best_of(s, (InkSuggestQuery){.limit = 10, .text_before = "no such"}, 5);
    ink_store_close(s);
    uint64_t begin = ink_clock_monotonic_usec();
    s = open_store(p);
    uint64_t open_usec = ink_clock_monotonic_usec() - begin;
    InkStoreCounts c;
    assert_int_equal(ink_store_counts(s, NULL, &c, NULL), 0);
    print_message("%zu events: suggest %lu us, text found %lu us, not found %lu us; open with "
                  "quick_check %lu us, %lu bytes\n",
                  n, plain, found, none, open_usec, c.database_bytes);
    /* 5 ms is the aim; sanitizers and a busy machine get room */
    uint64_t limit = is_full_run() ? 20000 : 100000;
    assert_true(plain < limit && found < limit && none < limit);
    ink_store_close(s);
}

static void test_store_reports_each_failed_allocation(void **state)
{
    const Place *p = *state;
    InkStore *s = open_enabled(p);
    run_times(s, "make", "/src", HOUR, 2);
    const InkSuggestCandidate c[] = {{.id = "1", .text = "new"}, {.id = "2", .text = "make"}};
    InkSuggestQuery q = {.kind = INK_SUGGEST_COMMAND,
                         .scope = APP,
                         .cwd = "/src",
                         .limit = 5,
                         .candidates = c,
                         .n_candidates = 2,
                         .explain = true};
    for (int sticky = 0; sticky < 2; sticky++)
        for (size_t at = 1;; at++) {
            InkSuggestions list = INK_SUGGESTIONS_INIT;
            ink_alloc_fail_at(at, sticky != 0);
            int r = ink_store_suggest(s, &q, &list, NULL);
            size_t n = ink_alloc_count();
            ink_alloc_fail_at(0, false);
            ink_suggestions_done(&list);
            if (n < at) {
                assert_int_equal(r, 0);
                assert_true(at > 10);
                break;
            }
            assert_int_equal(r, -ENOMEM);
        }
    for (size_t at = 1;; at++) {
        size_t accepted = 55;
        InkEvent e = ran("new command", "/src", NOON + at);
        ink_alloc_fail_at(at, false);
        int r = ink_store_observe(s, APP, &e, 1, false, &accepted, NULL);
        size_t n = ink_alloc_count();
        ink_alloc_fail_at(0, false);
        assert_int_equal(n_events(s, APP), r < 0 ? 2 : 3);
        if (n < at)
            break;
        assert_int_equal(r, -ENOMEM);
        assert_int_equal(accepted, 55);
    }
    ink_store_close(s);
    for (size_t at = 1;; at++) {
        s = NULL;
        ink_alloc_fail_at(at, false);
        int r = ink_store_open(p->directory, &s, NULL);
        size_t n = ink_alloc_count();
        ink_alloc_fail_at(0, false);
        ink_store_close(s);
        if (n < at)
            break;
        assert_int_equal(r, -ENOMEM);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frecency_follows_its_formula),
        cmocka_unit_test(test_frecency_stays_finite),
        cmocka_unit_test(test_frecency_rank_order_does_not_change),
        cmocka_unit_test(test_place_spells_one_way),
        cmocka_unit_test(test_reason_speaks_of_uses_and_age),
        store_test(test_suggest_ranks_as_the_formula_says),
        store_test(test_suggest_equals_the_definition_on_a_random_log),
        store_test(test_suggest_puts_commands_of_the_directory_first),
        store_test(test_suggest_keeps_scopes_apart),
        store_test(test_suggest_filters_by_text),
        store_test(test_suggest_joins_candidates),
        store_test(test_suggest_names_what_is_wrong),
        store_test(test_feedback_moves_the_ranking),
        store_test(test_feedback_remembers_an_accepted_candidate),
        store_test(test_feedback_ids_end_after_an_hour_and_are_bounded),
        store_test(test_suggest_is_fast_over_many_events),
        store_test(test_store_reports_each_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
