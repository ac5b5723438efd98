/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* What requests share: prefixes within a scope, engine time between applications, memory between
 * classes. */
#include "scheduler-fixture.h"

/* -- prefixes ---------------------------------------------------------------------------------- */

static InkWireGenerate scoped(uint64_t id, uint32_t scope, uint64_t seed, uint32_t max_tokens)
{
    InkWireGenerate request = make_request(id, seed, max_tokens);
    request.scope = scope;
    return request;
}

static void test_sharing_prefix_is_found_in_its_scope_only(void **state)
{
    (void)state;
    char *prompt = strdup(long_prompt(60));
    char *alone = answer_alone(make_request(1, writer_seed, 40), prompt);
    begin(0);
    for (uint64_t id = 1; id <= 6; id++) {
        static const uint32_t scopes[] = {1, 1, 2, 0, 0, 1};
        add(scoped(id, scopes[id - 1], writer_seed, 40), prompt);
        run_to_end();
        assert_string_equal(text_of(id), alone);
    }
    uint32_t n = answers[1].finished.prompt_tokens;
    assert_true(n > 64);
    assert_int_equal(answers[1].finished.cached_tokens, 0);
    assert_int_equal(answers[2].finished.cached_tokens, n - 1);
    assert_int_equal(answers[3].finished.cached_tokens, 0);
    assert_int_equal(answers[4].finished.cached_tokens, 0);
    assert_int_equal(answers[5].finished.cached_tokens, 0);
    assert_int_equal(answers[6].finished.cached_tokens, n - 1);
    assert_int_equal(answers[6].finished.prompt_tokens, n);
    ink_scheduler_trim(scheduler, 1, 0);
    add(scoped(7, 1, writer_seed, 40), prompt);
    add(scoped(8, 2, writer_seed, 40), prompt);
    run_to_end();
    assert_int_equal(answers[7].finished.cached_tokens, 0);
    assert_int_equal(answers[8].finished.cached_tokens, n - 1);
    finish();
    free(alone);
    free(prompt);
}

/* The next turn of a chat begins with the prompt and the answer of the one before. The toy writes
 * nonsense, which as text may be encoded in another way than it was written: not always. */
static void test_sharing_next_turn_finds_the_answer_too(void **state)
{
    (void)state;
    enum { SEEDS = 60, TOKENS = 4 };
    size_t n_whole = 0;
    begin(0);
    for (uint32_t seed = 1; seed <= SEEDS; seed++) {
        clear_answers();
        add(scoped(1, seed, seed, TOKENS), "hello and");
        run_to_end();
        InkWireGenerate next = scoped(2, seed, 0, 1);
        char text[1024];
        snprintf(text, sizeof(text), "hello and%s", text_of(1));
        add(next, text);
        run_to_end();
        uint32_t n_stepped = answers[1].finished.prompt_tokens + TOKENS - 1;
        assert_true(answers[2].finished.cached_tokens <= n_stepped);
        n_whole += answers[2].finished.cached_tokens == n_stepped;
    }
    assert_true(n_whole > 0);
    finish();
}

static void test_sharing_cancelled_prompt_is_not_lost(void **state)
{
    (void)state;
    char *prompt = strdup(long_prompt(100));
    begin(0);
    add(scoped(1, 1, writer_seed, 64), "hello and"); /* writes, so that prompts come in pieces */
    settle();
    step(NULL, NULL);
    add(scoped(2, 1, 1, 8), prompt);
    settle();
    step(NULL, NULL);
    step(NULL, NULL);
    uint64_t n_read = answers[2].prompt_done;
    assert_int_equal(n_read, 2 * INK_SCHEDULER_SHARED_ROWS);
    ink_scheduler_cancel(scheduler, 2);
    settle();
    assert_true(answers[2].ended);
    add(scoped(3, 1, 1, 8), prompt);
    run_to_end();
    assert_int_equal(answers[3].finished.cached_tokens, n_read);
    finish();
    free(prompt);
}

static void test_sharing_what_is_forgotten_does_not_come_back(void **state)
{
    (void)state;
    begin(0);
    add(scoped(1, 1, writer_seed, 64), "hello and");
    add(scoped(2, 2, writer_seed, 64), "hello and");
    settle();
    step(NULL, NULL);
    ink_scheduler_trim(scheduler, 1, 0);
    run_to_end(); /* it goes on, and ends after that */
    assert_int_equal(answers[1].finished.output_tokens, 64);
    assert_int_equal(ink_engine_cached_bytes(engine, 1), 0);
    assert_true(ink_engine_cached_bytes(engine, 2) > 0);
    finish();
}

/* -- fairness ---------------------------------------------------------------------------------- */

static void test_sharing_applications_share_and_not_requests(void **state)
{
    (void)state;
    char *prompt = strdup(long_prompt(100));
    begin(0);
    add(scoped(1, 9, writer_seed, 64), "hello and");
    settle();
    step(NULL, NULL);
    for (uint64_t id = 2; id <= 5; id++)
        add(scoped(id, 1, id, 4), prompt);
    add(scoped(6, 2, 1, 4), prompt);
    settle();
    step(NULL, NULL);
    uint64_t of_flood = 0;
    for (uint64_t id = 2; id <= 5; id++)
        of_flood += answers[id].prompt_done;
    assert_int_equal(answers[6].prompt_done, INK_SCHEDULER_SHARED_ROWS / 2);
    assert_int_equal(of_flood, INK_SCHEDULER_SHARED_ROWS / 2);
    run_to_end();
    assert_true(answers[6].ended_at < answers[5].ended_at);
    finish();
    free(prompt);
}

/* Encoding megabytes costs time too, even when they are refused. */
static void test_sharing_time_outside_of_steps_counts(void **state)
{
    (void)state;
    char *prompt = strdup(long_prompt(100));
    begin(0);
    add(scoped(1, 9, writer_seed, 64), "hello and");
    settle();
    step(NULL, NULL);
    ink_scheduler_charge(scheduler, 1, 1, 1000000);
    add(scoped(2, 1, 1, 4), prompt);
    add(scoped(3, 2, 1, 4), prompt);
    settle();
    step(NULL, NULL);
    assert_int_equal(answers[2].prompt_done, 0);
    assert_int_equal(answers[3].prompt_done, INK_SCHEDULER_SHARED_ROWS);
    run_to_end();
    assert_true(answers[2].ended && answers[3].ended_at < answers[2].ended_at);
    finish();
    free(prompt);
}

static void test_sharing_admission_goes_by_engine_time(void **state)
{
    (void)state;
    begin(0);
    for (uint64_t id = 1; id <= 40; id++)
        add(scoped(id, 1, id, 50), "hello and");
    settle();
    step(NULL, NULL);
    add(scoped(50, 2, writer_seed, 4), "hello and");
    settle();
    assert_true(answers[50].queued);
    run_to_end();
    size_t n_before = 0;
    for (uint64_t id = 1; id <= 40; id++) {
        assert_true(answers[id].ended && !answers[id].failed);
        n_before += answers[id].ended_at < answers[50].ended_at;
    }
    assert_true(n_before < 20); /* those that ran already, not those that had queued before it */
    finish();
}

static void test_sharing_accounts_forget_absence_and_keep_debts(void **state)
{
    (void)state;
    static InkAccounts a;
    InkAccount *one = ink_accounts_enter(&a, 1, 2), *two = ink_accounts_enter(&a, 2, 2);
    assert_int_equal(one->used_usec, 0);
    one->used_usec = 5000;
    two->used_usec = 3000;
    assert_ptr_equal(ink_accounts_enter(&a, 1, 2), one); /* another request of the same */
    InkAccount *other_class = ink_accounts_enter(&a, 1, 1);
    assert_ptr_not_equal(other_class, one);
    assert_int_equal(other_class->used_usec, 0);
    InkAccount *late = ink_accounts_enter(&a, 3, 2);
    assert_int_equal(late->used_usec, 3000); /* as the least of those that are there */
    ink_accounts_leave(&a, one);
    ink_accounts_leave(&a, one);
    ink_accounts_leave(&a, late);
    two->used_usec = 4000;
    assert_int_equal(ink_accounts_enter(&a, 1, 2)->used_usec, 5000);
    assert_int_equal(ink_accounts_enter(&a, 3, 2)->used_usec, 4000);
    for (uint32_t i = 0; i < 3 * INK_ACCOUNTS_MAX; i++) /* more than it remembers */
        ink_accounts_leave(&a, ink_accounts_enter(&a, 100 + i, 3));
    assert_int_equal(two->used_usec, 4000);
    assert_int_equal(two->scope, 2);
}

static void test_sharing_long_typing_becomes_interactive(void **state)
{
    (void)state;
    InkWireGenerate typing = scoped(1, 1, writer_seed, 64), brief = scoped(2, 1, writer_seed, 32);
    typing.priority = brief.priority = 0;
    begin(0);
    add(typing, "hello and");
    add(brief, "hello and");
    run_to_end();
    assert_int_equal(answers[1].finished.output_tokens, 64);
    assert_int_equal(answers[1].finished.lowered_priority, 1);
    assert_int_equal(answers[2].finished.output_tokens, 32);
    assert_int_equal(answers[2].finished.lowered_priority, 0);
    finish();
}

/* The toy's window is too short for such a prompt, so it is made longer by hand. */
static void test_sharing_typing_after_a_long_prompt_is_interactive(void **state)
{
    (void)state;
    static uint32_t more[INK_SCHEDULER_TYPING_PROMPT_TOKENS];
    for (size_t over = 0; over <= 1; over++) {
        const InkWireString string = {"hello", 5};
        const InkWireBulk bulk = {.strings = (InkWireString *)&string, .n = 1};
        InkWireGenerate request = scoped(1, 1, 1, 4);
        InkGeneration *g = NULL;
        InkError e = {0};
        request.priority = 0;
        begin(0);
        assert_int_equal(ink_generation_new(engine, &request, &bulk, &g, &e), 0);
        size_t n = INK_SCHEDULER_TYPING_PROMPT_TOKENS + over - g->prompt.n;
        assert_int_equal(ink_tokens_append(&g->prompt, more, n), 0);
        const InkGeneration *seen = g;
        assert_int_equal(ink_scheduler_add(scheduler, &g, &e), 0);
        assert_int_equal(seen->lowered_priority, over);
        assert_int_equal(seen->priority, over);
        finish();
    }
}

/* Another class may be asked for while a prompt is read: what is left of it decides then. */
static void test_sharing_long_prompt_does_not_become_typing_later(void **state)
{
    (void)state;
    static uint32_t more[INK_SCHEDULER_TYPING_PROMPT_TOKENS];
    for (size_t over = 0; over <= 1; over++) {
        const InkWireString string = {"hello", 5};
        const InkWireBulk bulk = {.strings = (InkWireString *)&string, .n = 1};
        InkWireGenerate request = scoped(1, 1, 1, 4);
        InkGeneration *g = NULL;
        InkError e = {0};
        request.priority = 2;
        begin(0);
        assert_int_equal(ink_generation_new(engine, &request, &bulk, &g, &e), 0);
        size_t n = INK_SCHEDULER_TYPING_PROMPT_TOKENS + over - g->prompt.n;
        assert_int_equal(ink_tokens_append(&g->prompt, more, n), 0);
        const InkGeneration *seen = g;
        assert_int_equal(ink_scheduler_add(scheduler, &g, &e), 0);
        g = NULL;
        settle();
        assert_int_equal(seen->state, INK_GENERATION_PREFILL);
        ink_scheduler_set_priority(scheduler, 1, 0);
        assert_int_equal(seen->lowered_priority, over);
        assert_int_equal(seen->priority, over);
        finish();
    }
}

static void test_sharing_better_class_gets_the_memory(void **state)
{
    (void)state;
    InkWireGenerate background = scoped(1, 1, writer_seed, 64);
    background.priority = 3;
    char *alone = answer_alone(background, "hello and");
    char *prompt = strdup(long_prompt(20));
    for (uint32_t scope = 0; scope <= 1; scope++) { /* with and without a cache to come back to */
        begin(112 * ink_engine_info(engine)->kv_bytes_per_token);
        background.scope = scope;
        add(background, "hello and");
        settle();
        for (size_t i = 0; i < 10; i++)
            step(NULL, NULL);
        assert_true(answers[1].text.size_bytes > 0);
        InkWireGenerate typing = scoped(2, 2, 1, 16);
        typing.priority = 0;
        answers[1].queued = false;
        add(typing, prompt);
        settle();
        assert_true(answers[1].queued); /* it has gone back */
        assert_false(answers[2].queued);
        run_to_end();
        assert_true(answers[2].ended_at < answers[1].ended_at);
        assert_string_equal(text_of(1), alone);
        assert_int_equal(answers[1].finished.output_tokens, 64);
        assert_true(answers[1].finished.prompt_tokens < 10);
        assert_int_equal(answers[1].finished.cached_tokens, 0);
        finish();
    }
    free(prompt);
    free(alone);
}

/* -- for a long time --------------------------------------------------------------------------- */

enum { N_PROMPTS = 6, N_SEEDS = 3, N_FLYING = 14, TRAFFIC_TOKENS = 12 };

typedef struct Traffic {
    char *prompts[N_PROMPTS];
    char *expected[N_PROMPTS][N_SEEDS];
    uint32_t random;
    size_t kind[N_FLYING + 1]; /* prompt * N_SEEDS + seed, of each id; SIZE_MAX = free */
    size_t n_whole, n_cut, n_suspended;
    uint64_t n_cached;
} Traffic;

static uint32_t next_random(Traffic *t)
{
    t->random = t->random * 1664525u + 1013904223u;
    return t->random >> 8;
}

static void traffic_begin(Traffic *t)
{
    *t = (Traffic){.random = 99};
    for (size_t i = 0; i < N_PROMPTS; i++) {
        t->prompts[i] = strdup(long_prompt(5 + 9 * i)); /* one begins the next */
        for (size_t k = 0; k < N_SEEDS; k++)
            t->expected[i][k] = answer_alone(make_request(1, k, TRAFFIC_TOKENS), t->prompts[i]);
    }
    for (size_t id = 0; id <= N_FLYING; id++)
        t->kind[id] = SIZE_MAX;
}

static void traffic_end(Traffic *t)
{
    for (size_t i = 0; i < N_PROMPTS; i++) {
        for (size_t k = 0; k < N_SEEDS; k++)
            free(t->expected[i][k]);
        free(t->prompts[i]);
    }
}

static void traffic_add(Traffic *t, uint64_t id)
{
    size_t kind = next_random(t) % (N_PROMPTS * N_SEEDS);
    InkWireGenerate request =
        scoped(id, next_random(t) % 4, kind % N_SEEDS,
               next_random(t) % 16 == 0 ? 0 : TRAFFIC_TOKENS); /* some only read ahead */
    request.priority = next_random(t) % 4;
    request.credit_bytes = next_random(t) % 2 != 0 ? 1u << 20 : 8;
    ink_buffer_done(&answers[id].text);
    answers[id] = (Answer){0};
    t->kind[id] = kind;
    add(request, t->prompts[kind / N_SEEDS]);
}

/* Looks at what has ended. */
static void traffic_check(Traffic *t)
{
    for (size_t id = 1; id <= N_FLYING; id++) {
        Answer *a = &answers[id];
        if (t->kind[id] == SIZE_MAX || !a->ended)
            continue;
        const char *expected = t->expected[t->kind[id] / N_SEEDS][t->kind[id] % N_SEEDS];
        assert_false(a->failed);
        assert_true(a->finished.cached_tokens < a->finished.prompt_tokens);
        if (a->finished.reason == INK_WIRE_REASON_CANCELLED) {
            assert_memory_equal(text_of(id), expected, a->text.size_bytes);
            t->n_cut++;
        } else if (a->finished.reason != INK_WIRE_REASON_DONE) {
            assert_string_equal(text_of(id), expected);
            t->n_whole++;
        }
        t->n_suspended += a->queued && a->finished.output_tokens > 0 && a->first_text_at != 0;
        t->n_cached += a->finished.cached_tokens;
        t->kind[id] = SIZE_MAX;
    }
}

static void traffic_turn(Traffic *t, size_t *n_left)
{
    InkError e = {0};
    for (uint64_t id = 1; id <= N_FLYING; id++) {
        uint32_t chance = next_random(t) % 512;
        if (t->kind[id] == SIZE_MAX && *n_left > 0 && chance < 128) {
            traffic_add(t, id);
            --*n_left;
        } else if (t->kind[id] != SIZE_MAX && chance < 64) {
            assert_int_equal(ink_scheduler_credit(scheduler, id, 8, &e), 0);
        } else if (t->kind[id] != SIZE_MAX && chance == 511) {
            ink_scheduler_cancel(scheduler, id);
        }
    }
    if (next_random(t) % 256 == 0)
        ink_scheduler_trim(scheduler, next_random(t) % 4, next_random(t) % 2 * 20000);
    settle();
    if (ink_scheduler_is_runnable(scheduler))
        step(NULL, NULL);
    traffic_check(t);
}

/* Whatever comes in whatever order, with too little memory for it: everybody gets the text that he
 * gets alone, and what is left is what is cached. */
static void test_sharing_long_traffic_leaks_nothing(void **state)
{
    (void)state;
    static Traffic t;
    size_t n_requests = getenv("INKLING_TEST_FULL") != NULL ? 10000 : 1000, n_left = n_requests;
    size_t n_blocks = 30, before_kib = 0;
    InkEngine *large = engine;
    traffic_begin(&t);
    InkError e = {0};
    InkEngineOptions options = {.n_threads = 1, .pack_cache_fd = -1};
    options.max_kv_bytes = n_blocks * 16 * ink_engine_info(engine)->kv_bytes_per_token;
    int fd = open_toy("toy-llama.gguf");
    assert_int_equal(ink_engine_open(fd, &options, &engine, &e), 0);
    close(fd);
    begin(options.max_kv_bytes);
    while (n_left > 0) {
        traffic_turn(&t, &n_left);
        assert_true(ink_engine_kv_bytes(engine) <= options.max_kv_bytes);
        if (n_left > n_requests * 2 / 3)
            before_kib = resident_kib();
    }
    for (size_t i = 0; i < 1000; i++) /* the poor ones get their credit bit by bit */
        traffic_turn(&t, &n_left);
    for (uint64_t id = 1; id <= N_FLYING; id++)
        assert_int_equal(t.kind[id], SIZE_MAX);
    assert_int_equal(ink_engine_kv_bytes(engine), 0);
    assert_true(t.n_whole > n_requests / 2 && t.n_cut > n_requests / 50);
    assert_true(t.n_suspended > 0 && t.n_cached > 5 * n_requests);
    assert_true(resident_kib() <= before_kib + RESIDENT_SLACK_KIB);
    finish();
    ink_engine_close(engine);
    engine = large;
    traffic_end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sharing_prefix_is_found_in_its_scope_only),
        cmocka_unit_test(test_sharing_next_turn_finds_the_answer_too),
        cmocka_unit_test(test_sharing_cancelled_prompt_is_not_lost),
        cmocka_unit_test(test_sharing_what_is_forgotten_does_not_come_back),
        cmocka_unit_test(test_sharing_applications_share_and_not_requests),
        cmocka_unit_test(test_sharing_time_outside_of_steps_counts),
        cmocka_unit_test(test_sharing_admission_goes_by_engine_time),
        cmocka_unit_test(test_sharing_accounts_forget_absence_and_keep_debts),
        cmocka_unit_test(test_sharing_long_typing_becomes_interactive),
        cmocka_unit_test(test_sharing_typing_after_a_long_prompt_is_interactive),
        cmocka_unit_test(test_sharing_long_prompt_does_not_become_typing_later),
        cmocka_unit_test(test_sharing_better_class_gets_the_memory),
        cmocka_unit_test(test_sharing_long_traffic_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
