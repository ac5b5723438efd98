/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The scheduler by direct calls, with the toy model: what is in a step, and what ends, parks and
 * cancels an answer. The loop around it is test-protocol.c's. */
#include "scheduler-fixture.h"

/* -- together ---------------------------------------------------------------------------------- */

static void test_scheduler_answers_grow_together(void **state)
{
    (void)state;
    enum { N = 6, TOKENS = 24 };
    uint64_t seeds[N];
    for (size_t i = 0; i < N; i++)
        seeds[i] = find_seed("hello and", TOKENS, false, i);
    begin(0);
    for (size_t i = 0; i < N; i++)
        add(make_request(i + 1, seeds[i], TOKENS), "hello and");
    run_to_end();
    size_t last_begin = 0, first_end = SIZE_MAX;
    for (size_t i = 1; i <= N; i++) {
        assert_int_equal(answers[i].finished.reason, INK_WIRE_REASON_LENGTH);
        assert_int_equal(answers[i].finished.output_tokens, TOKENS);
        last_begin = answers[i].first_text_at > last_begin ? answers[i].first_text_at : last_begin;
        first_end = answers[i].ended_at < first_end ? answers[i].ended_at : first_end;
    }
    assert_true(last_begin < first_end);
    finish();
}

static void test_scheduler_same_seed_gives_same_text_in_any_company(void **state)
{
    (void)state;
    char *alone = answer_alone(make_request(1, 77, 40), long_prompt(30));
    char *greedy_prompt = strdup(long_prompt(20));
    InkWireGenerate greedy = make_request(2, 0, 40);
    greedy.temperature = 0.0f;
    char *greedy_alone = answer_alone(greedy, greedy_prompt);
    begin(0);
    add(make_request(3, 5, 60), "x"); /* is writing already when the others arrive */
    settle();
    step(NULL, NULL);
    step(NULL, NULL);
    add(make_request(1, 77, 40), long_prompt(30));
    for (uint64_t id = 4; id < 9; id++)
        add(make_request(id, id, 50), long_prompt(10 * id));
    add(greedy, greedy_prompt);
    run_to_end();
    assert_string_equal(text_of(1), alone);
    assert_string_equal(text_of(2), greedy_alone);
    finish();
    free(greedy_alone);
    free(greedy_prompt);
    free(alone);
}

static void test_scheduler_prompts_are_read_in_equal_shares(void **state)
{
    (void)state;
    begin(0);
    add(make_request(1, 1, 1), "hello");
    settle();
    step(NULL, NULL); /* reads it and draws; it ends at once */
    add(make_request(2, writer_seed, 64), "hello and");
    settle();
    step(NULL, NULL);
    char *prompt = strdup(long_prompt(100));
    add(make_request(3, 1, 4), prompt);
    add(make_request(4, 1, 4), prompt);
    settle();
    step(NULL, NULL); /* request 2 writes, so the two share the short piece */
    assert_int_equal(answers[3].prompt_done, INK_SCHEDULER_SHARED_ROWS / 2);
    assert_int_equal(answers[4].prompt_done, INK_SCHEDULER_SHARED_ROWS / 2);
    run_to_end();
    assert_true(answers[3].ended && answers[4].ended);
    free(prompt);
    finish();
}

static void test_scheduler_prewarm_reads_the_prompt_and_writes_nothing(void **state)
{
    (void)state;
    begin(0);
    InkWireGenerate prewarm = make_request(1, 1, 0);
    prewarm.credit_bytes = 0;
    add(prewarm, long_prompt(100));
    add(make_request(2, writer_seed, 8), "hello and");
    run_to_end();
    assert_int_equal(answers[1].finished.reason, INK_WIRE_REASON_DONE);
    assert_int_equal(answers[1].finished.output_tokens, 0);
    assert_int_equal(answers[1].finished.decode_usec, 0);
    assert_true(answers[1].finished.prompt_tokens > 100);
    assert_int_equal(answers[2].finished.output_tokens, 8);
    finish();
}

/* -- order ------------------------------------------------------------------------------------- */

static void test_scheduler_background_stands_back(void **state)
{
    (void)state;
    InkWireGenerate background = make_request(1, find_seed("hello and", 24, false, 0), 24);
    background.priority = 3;
    begin(0);
    add(background, "hello and");
    settle();
    step(NULL, NULL);
    add(make_request(2, writer_seed, 24), "hello and");
    settle();
    size_t before = answers[1].text.size_bytes;
    while (!answers[2].ended) {
        assert_int_equal(answers[1].text.size_bytes, before);
        step(NULL, NULL);
    }
    run_to_end();
    assert_int_equal(answers[1].finished.reason, INK_WIRE_REASON_LENGTH);
    finish();
}

static void test_scheduler_typing_reads_before_all_others(void **state)
{
    (void)state;
    char *prompt = strdup(long_prompt(110));
    InkWireGenerate normal = make_request(1, 1, 4), typing = make_request(2, 1, 4);
    normal.priority = 2;
    typing.priority = 0;
    begin(0);
    add(make_request(3, writer_seed, 64), "hello and");
    settle();
    step(NULL, NULL);
    add(normal, prompt);
    add(typing, prompt);
    settle();
    while (!answers[2].ended) {
        step(NULL, NULL);
        assert_int_equal(answers[1].prompt_done, 0);
    }
    run_to_end();
    assert_true(answers[1].ended);
    free(prompt);
    finish();
}

/* A running answer stands back at once when it becomes background, and goes on when it is not. */
static void test_scheduler_class_of_a_running_answer_changes(void **state)
{
    (void)state;
    InkWireGenerate first = make_request(1, writer_seed, 64), second = make_request(2, 9, 64);
    first.priority = second.priority = 1;
    begin(0);
    add(first, "hello and");
    add(second, "hello or");
    settle();
    for (int i = 0; i < 3; i++)
        step(NULL, NULL);
    ink_scheduler_set_priority(scheduler, 2, 3);
    ink_scheduler_set_priority(scheduler, 77, 0); /* nobody */
    ink_scheduler_set_priority(scheduler, 1, 9);  /* no class */
    char *before = strdup(text_of(2));
    for (int i = 0; i < 6; i++)
        step(NULL, NULL);
    assert_string_equal(text_of(2), before);
    assert_false(answers[1].ended && answers[2].ended);
    ink_scheduler_set_priority(scheduler, 2, 1);
    run_to_end();
    assert_true(strlen(text_of(2)) > strlen(before));
    free(before);
    finish();
}

/* Others are read in every eighth step, whether typing reads or writes. */
static void test_scheduler_typing_without_a_pause_does_not_stop_readers(void **state)
{
    (void)state;
    char *prompt = strdup(long_prompt(60));
    InkWireGenerate typing = make_request(1, find_seed("hello and", 24, false, 0), 24);
    typing.priority = 0;
    begin(0);
    add(typing, "hello and");
    add(make_request(2, 1, 4), prompt);
    settle();
    for (size_t i = 1; i < INK_SCHEDULER_TYPING_STEPS - 1; i++)
        step(NULL, NULL);
    assert_int_equal(answers[2].prompt_done, 0);
    step(NULL, NULL);
    assert_false(answers[1].ended);
    uint64_t n_read = answers[2].prompt_done;
    assert_true(n_read > 0);
    run_to_end();
    assert_true(answers[2].ended && answers[1].ended);
    finish();

    begin(0); /* now typing that reads, and more than there is room for */
    char *full = strdup(long_prompt(100));
    add(make_request(1, 1, 4), full);
    for (uint64_t id = 2; id < 2 + 11; id++) {
        typing = make_request(id, id, 1);
        typing.priority = 0;
        add(typing, full);
    }
    settle();
    for (size_t i = 1; i < INK_SCHEDULER_TYPING_STEPS; i++)
        step(NULL, NULL);
    assert_false(answers[12].ended);
    assert_true(answers[1].prompt_done > 0);
    run_to_end();
    for (uint64_t id = 1; id < 2 + 11; id++)
        assert_true(answers[id].ended && !answers[id].failed);
    finish();
    free(full);
    free(prompt);
}

static void test_scheduler_full_worker_takes_in_a_typing_request(void **state)
{
    (void)state;
    begin(0);
    InkWireGenerate request;
    for (uint64_t id = 1; id <= 40; id++) {
        request = make_request(id, id, 200);
        request.priority = 2;
        add(request, "hello and");
    }
    settle();
    size_t n_queued = 0;
    for (uint64_t id = 1; id <= 40; id++)
        n_queued += answers[id].queued;
    assert_int_equal(n_queued, 40 - (INK_SCHEDULER_MAX_SESSIONS - 4));
    request = make_request(50, 3, 2);
    request.priority = 0;
    add(request, "hello");
    settle();
    assert_false(answers[50].queued);
    run_to_end();
    for (uint64_t id = 1; id <= 40; id++)
        assert_true(answers[id].ended && !answers[id].failed);
    finish();
}

/* -- credit and cancel ------------------------------------------------------------------------- */

static void test_scheduler_credit_parks_only_its_own(void **state)
{
    (void)state;
    uint64_t seed = find_seed("hello and", 40, false, 1);
    char *alone = answer_alone(make_request(1, seed, 40), "hello and");
    InkWireGenerate poor = make_request(1, seed, 40);
    poor.credit_bytes = 5;
    begin(0);
    add(poor, "hello and");
    add(make_request(2, writer_seed, 40), "hello and");
    run_to_end();
    assert_true(answers[2].ended);
    assert_false(answers[1].ended);
    assert_true(answers[1].text.size_bytes <= 5);
    InkError e = {0};
    for (size_t i = 0; !answers[1].ended && i < 1000; i++) { /* a slow reader */
        size_t before = answers[1].text.size_bytes;
        assert_int_equal(ink_scheduler_credit(scheduler, 1, 3, &e), 0);
        run_to_end();
        assert_true(answers[1].text.size_bytes <= before + 5);
    }
    assert_string_equal(text_of(1), alone);
    assert_int_equal(answers[1].finished.reason, INK_WIRE_REASON_LENGTH);
    finish();
    free(alone);
}

static void test_scheduler_credit_over_its_limit_breaks_the_protocol(void **state)
{
    (void)state;
    InkError e = {0};
    begin(0);
    add(make_request(1, 1, 4), "hello");
    assert_int_equal(ink_scheduler_credit(scheduler, 1, INK_WIRE_MAX_CREDIT, &e), -EPROTO);
    assert_int_equal(ink_scheduler_credit(scheduler, 99, INK_WIRE_MAX_CREDIT, &e), 0);
    finish();
}

typedef struct Canceller {
    uint64_t id;
    size_t at_call, n_calls;
} Canceller;

static int cancel_in_step(void *userdata)
{
    Canceller *c = userdata;
    if (++c->n_calls == c->at_call)
        ink_scheduler_cancel(scheduler, c->id);
    return 0;
}

static void test_scheduler_cancel_takes_effect_within_one_layer(void **state)
{
    (void)state;
    uint64_t seed = find_seed("hello and", 24, false, 0);
    char *alone = answer_alone(make_request(1, seed, 24), "hello and");
    begin(0);
    add(make_request(1, seed, 24), "hello and");
    add(make_request(2, 1, 100), long_prompt(100));
    settle();
    Canceller c = {.id = 2, .at_call = 1};
    step(cancel_in_step, &c);
    assert_int_equal(c.n_calls, 1); /* no further layer was begun */
    assert_true(answers[2].ended);
    assert_int_equal(answers[2].finished.reason, INK_WIRE_REASON_CANCELLED);
    assert_int_equal(answers[2].finished.output_tokens, 0);
    assert_false(answers[1].ended);
    run_to_end();
    assert_string_equal(text_of(1), alone); /* the other's rows were computed again */
    finish();
    free(alone);
}

/* A cancel takes the rows of all others in its step with it: not in each one. */
static void test_scheduler_cancels_without_a_pause_do_not_stop_others(void **state)
{
    enum { TOKENS = 8, ROUNDS = 2 * TOKENS + 4 };
    (void)state;
    uint64_t seed = find_seed("hello and", TOKENS, false, 0);
    char *alone = answer_alone(make_request(1, seed, TOKENS), "hello and");
    begin(0);
    add(make_request(1, seed, TOKENS), "hello and");
    settle();
    step(NULL, NULL);
    for (uint64_t id = 2; id < 2 + ROUNDS; id++) {
        add(make_request(id, 1, 100), long_prompt(20));
        settle();
        Canceller c = {.id = id, .at_call = 1};
        step(cancel_in_step, &c);
        assert_true(answers[id].ended);
        assert_int_equal(answers[id].finished.reason, INK_WIRE_REASON_CANCELLED);
    }
    assert_true(answers[1].ended);
    assert_string_equal(text_of(1), alone);
    finish();
    free(alone);
}

static int wait_and_go_on(void *userdata)
{
    uint64_t until = ink_clock_monotonic_usec() + *(const uint64_t *)userdata;
    while (ink_clock_monotonic_usec() < until) /* a slow layer */
        ;
    return 0;
}

/* A step that was given up after its first layer was not a fast one: the next may not read more. */
static void test_scheduler_given_up_steps_tell_nothing_of_the_speed(void **state)
{
    (void)state;
    char *prompt = strdup(long_prompt(100));
    InkWireGenerate typing = make_request(1, 1, 1);
    typing.priority = 0;
    begin(0);
    add(typing, "hello"); /* steps are kept short now */
    run_to_end();
    add(make_request(2, 1, 4), prompt);
    settle();
    uint64_t layer_usec = 50000;
    step(wait_and_go_on, &layer_usec);
    for (uint64_t id = 3; id < 20; id++) {
        add(make_request(id, 1, 4), prompt);
        ink_scheduler_cancel(scheduler, id - 1);
        settle();
        Canceller c = {.id = id, .at_call = 1};
        step(cancel_in_step, &c);
        assert_int_equal(c.n_calls, 1);
    }
    uint64_t n_all = answers[2].finished.prompt_tokens;
    add(make_request(20, 1, 4), prompt);
    settle();
    step(NULL, NULL);
    assert_true(n_all > 200);
    assert_in_range(answers[20].prompt_done, 1, n_all / 2);
    run_to_end();
    finish();
    free(prompt);
}

static void test_scheduler_cancel_ends_waiting_and_parked_answers(void **state)
{
    (void)state;
    InkWireGenerate parked = make_request(1, writer_seed, 24);
    parked.credit_bytes = 0;
    begin(0);
    add(parked, "hello and");
    run_to_end();
    add(make_request(2, 1, 24), "hello");
    ink_scheduler_cancel(scheduler, 1);
    ink_scheduler_cancel(scheduler, 2);
    ink_scheduler_cancel(scheduler, 99); /* unknown: ignored */
    settle();
    for (uint64_t id = 1; id <= 2; id++) {
        assert_true(answers[id].ended);
        assert_int_equal(answers[id].finished.reason, INK_WIRE_REASON_CANCELLED);
        assert_int_equal(answers[id].text.size_bytes, 0);
        assert_false(ink_scheduler_has(scheduler, id));
    }
    finish();
}

static int broken_wire(void *userdata)
{
    (void)userdata;
    return -EPROTO;
}

static void test_scheduler_step_gives_up_when_the_wire_breaks(void **state)
{
    (void)state;
    InkError e = {0};
    begin(0);
    add(make_request(1, 1, 24), "hello");
    settle();
    assert_int_equal(ink_scheduler_step(scheduler, broken_wire, NULL, &e), -EPROTO);
    finish();
}

static int wait_for_heartbeat(void *userdata)
{
    uint64_t *until = userdata;
    if (*until == 0)
        *until = ink_clock_monotonic_usec() + INK_SCHEDULER_HEARTBEAT_USEC + 1000;
    while (ink_clock_monotonic_usec() < *until) /* a slow layer */
        ;
    return 0;
}

static void test_scheduler_slow_steps_send_heartbeats(void **state)
{
    (void)state;
    uint64_t until = 0;
    begin(0);
    add(make_request(1, 1, 1), "hello");
    settle();
    step(NULL, NULL);
    size_t before = n_heartbeats;
    add(make_request(2, 1, 1), "hello");
    settle();
    step(wait_for_heartbeat, &until);
    assert_true(until != 0);
    assert_true(n_heartbeats > before);
    finish();
}

/* -- ends -------------------------------------------------------------------------------------- */

static void test_scheduler_stop_string_ends_in_front_of_it(void **state)
{
    (void)state;
    InkError e = {0};
    uint64_t seed = find_seed("hello and", 40, false, 0);
    char *whole = answer_alone(make_request(1, seed, 40), "hello and");
    char stop[4] = {0};
    memcpy(stop, whole + 12, 3);
    begin(0);
    assert_int_equal(add_with_stop(make_request(1, seed, 40), "hello and", stop, &e), 0);
    run_to_end();
    assert_int_equal(answers[1].finished.reason, INK_WIRE_REASON_STOP_STRING);
    assert_int_equal(answers[1].text.size_bytes, (size_t)(strstr(whole, stop) - whole));
    assert_memory_equal(text_of(1), whole, answers[1].text.size_bytes);
    finish();
    free(whole);
}

static void test_scheduler_max_lines_cuts_at_the_newline(void **state)
{
    (void)state;
    uint64_t seed = find_seed("hello and", 60, true, 0);
    char *whole = answer_alone(make_request(1, seed, 60), "hello and");
    InkWireGenerate request = make_request(1, seed, 60);
    request.max_lines = 1;
    char *line = answer_alone(request, "hello and");
    assert_int_equal(strlen(line), strcspn(whole, "\n"));
    assert_memory_equal(line, whole, strlen(line));
    begin(0);
    add(request, "hello and");
    run_to_end();
    assert_int_equal(answers[1].finished.reason, INK_WIRE_REASON_LINES);
    assert_true(answers[1].finished.output_tokens < 60);
    finish();
    free(line);
    free(whole);
}

static void test_scheduler_end_token_stops(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed < 200; seed++) {
        begin(0);
        add(make_request(1, seed, 400), "hello and");
        run_to_end();
        bool stopped = answers[1].finished.reason == INK_WIRE_REASON_STOP;
        bool clean = strstr(text_of(1), "<|") == NULL;
        bool counted = answers[1].finished.output_tokens < 400;
        finish();
        if (stopped) {
            assert_true(clean && counted);
            return;
        }
    }
    fail_msg("no answer ended by itself");
}

static void test_scheduler_timing_and_counts_are_filled_in(void **state)
{
    (void)state;
    begin(0);
    add(make_request(1, writer_seed, 24), "hello and");
    run_to_end();
    const InkWireFinished *f = &answers[1].finished;
    assert_true(f->prompt_tokens >= 2 && f->prompt_tokens <= 9);
    assert_int_equal(f->cached_tokens, 0);
    assert_true(f->prefill_usec > 0 && f->prefill_usec < 60000000);
    assert_true(f->decode_usec > 0 && f->decode_usec < 60000000);
    assert_true(f->queue_usec < 60000000);
    finish();
}

/* -- limits ------------------------------------------------------------------------------------ */

static void test_scheduler_queue_is_bounded(void **state)
{
    (void)state;
    InkError e = {0};
    begin(0);
    for (uint64_t id = 1; id <= INK_SCHEDULER_MAX_QUEUED; id++)
        add(make_request(id, id, 1), "hello");
    assert_int_equal(add_with_stop(make_request(100, 1, 1), "hello", NULL, &e), -EBUSY);
    run_to_end();
    for (uint64_t id = 1; id <= INK_SCHEDULER_MAX_QUEUED; id++)
        assert_true(answers[id].ended && !answers[id].failed);
    assert_false(answers[100].ended);
    finish();
}

static void test_scheduler_window_overflow_names_both_numbers(void **state)
{
    (void)state;
    InkError e = {0};
    char *prompt = long_prompt(400);
    begin(0);
    assert_int_equal(add_with_stop(make_request(1, 1, 8), prompt, NULL, &e), -EMSGSIZE);
    assert_non_null(strstr(e.message, "512"));
    size_t n_tokens = 0;
    assert_int_equal(sscanf(e.message, "the prompt has %zu tokens", &n_tokens), 1);
    assert_true(n_tokens > TOY_WINDOW);
    assert_int_equal(add_with_stop(make_request(1, 1, 8), "", NULL, &e) < 0 ? -1 : 0,
                     ink_tokenizer_adds_bos(ink_engine_tokenizer(engine)) ? 0 : -1);
    finish();
}

static void test_scheduler_answer_ends_where_the_window_does(void **state)
{
    (void)state;
    uint32_t most = 0;
    for (uint64_t seed = 1; seed < 40 && most == 0; seed++) {
        begin(0);
        add(make_request(1, seed, INK_WIRE_MAX_TOKENS), long_prompt(118));
        run_to_end();
        const InkWireFinished *f = &answers[1].finished;
        assert_false(answers[1].failed);
        assert_true(f->prompt_tokens + f->output_tokens <= TOY_WINDOW);
        if (f->reason == INK_WIRE_REASON_LENGTH)
            most = f->prompt_tokens + f->output_tokens;
        finish();
    }
    assert_int_equal(most, TOY_WINDOW);
}

static void test_scheduler_waits_for_key_and_value_memory(void **state)
{
    (void)state;
    InkError e = {0};
    size_t per_token = ink_engine_info(engine)->kv_bytes_per_token;
    begin(100 * per_token); /* room for one of these at a time */
    add(make_request(1, 1, 60), "hello");
    add(make_request(2, 2, 60), "hello");
    settle();
    assert_true(answers[2].queued);
    run_to_end();
    assert_true(answers[1].ended && !answers[1].failed);
    assert_true(answers[2].ended && !answers[2].failed);
    assert_int_equal(add_with_stop(make_request(3, 1, 300), "hello", NULL, &e), -ENOMEM);
    finish();
}

static void test_scheduler_ended_answer_frees_its_keys_and_values(void **state)
{
    (void)state;
    begin(64 * ink_engine_info(engine)->kv_bytes_per_token); /* room for one of these at a time */
    InkWireGenerate parked = make_request(1, 3, 1);
    parked.credit_bytes = 0;
    parked.temperature = 0.0f;
    add(parked, "hello and"); /* at its end after one token, whose text nobody takes */
    add(make_request(2, 2, 60), "hello");
    settle();
    assert_true(answers[2].queued);
    run_to_end();
    assert_false(answers[1].ended);
    assert_true(answers[2].ended && !answers[2].failed);
    finish();
}

static void test_scheduler_request_without_memory_leaves_nothing_behind(void **state)
{
    (void)state;
    const char *const strings[] = {"user", "hello and", "stop"};
    InkWireGenerate request = make_request(1, 1, 8);
    InkWireBulk bulk = INK_WIRE_BULK_INIT;
    InkError e = {0};
    request.kind = INK_WIRE_CHAT;
    request.n_messages = 1;
    request.n_stops = 1;
    begin(0);
    int fd = make_bulk(strings, 3), r = -ENOMEM;
    assert_int_equal(ink_wire_bulk_map(fd, &bulk, &e), 0);
    close(fd);
    for (size_t n = 1; r == -ENOMEM && n < 100000; n++) {
        InkGeneration *g = NULL;
        ink_alloc_fail_at(n, false);
        r = ink_generation_new(engine, &request, &bulk, &g, &e);
        ink_alloc_fail_at(0, false);
        assert_true(r == 0 ? g != NULL : r == -ENOMEM && g == NULL);
        ink_generation_free(g);
    }
    assert_int_equal(r, 0);
    ink_wire_bulk_done(&bulk);
    finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scheduler_answers_grow_together),
        cmocka_unit_test(test_scheduler_same_seed_gives_same_text_in_any_company),
        cmocka_unit_test(test_scheduler_prompts_are_read_in_equal_shares),
        cmocka_unit_test(test_scheduler_prewarm_reads_the_prompt_and_writes_nothing),
        cmocka_unit_test(test_scheduler_background_stands_back),
        cmocka_unit_test(test_scheduler_typing_reads_before_all_others),
        cmocka_unit_test(test_scheduler_class_of_a_running_answer_changes),
        cmocka_unit_test(test_scheduler_typing_without_a_pause_does_not_stop_readers),
        cmocka_unit_test(test_scheduler_full_worker_takes_in_a_typing_request),
        cmocka_unit_test(test_scheduler_credit_parks_only_its_own),
        cmocka_unit_test(test_scheduler_credit_over_its_limit_breaks_the_protocol),
        cmocka_unit_test(test_scheduler_cancel_takes_effect_within_one_layer),
        cmocka_unit_test(test_scheduler_cancels_without_a_pause_do_not_stop_others),
        cmocka_unit_test(test_scheduler_given_up_steps_tell_nothing_of_the_speed),
        cmocka_unit_test(test_scheduler_cancel_ends_waiting_and_parked_answers),
        cmocka_unit_test(test_scheduler_step_gives_up_when_the_wire_breaks),
        cmocka_unit_test(test_scheduler_slow_steps_send_heartbeats),
        cmocka_unit_test(test_scheduler_stop_string_ends_in_front_of_it),
        cmocka_unit_test(test_scheduler_max_lines_cuts_at_the_newline),
        cmocka_unit_test(test_scheduler_end_token_stops),
        cmocka_unit_test(test_scheduler_timing_and_counts_are_filled_in),
        cmocka_unit_test(test_scheduler_queue_is_bounded),
        cmocka_unit_test(test_scheduler_window_overflow_names_both_numbers),
        cmocka_unit_test(test_scheduler_answer_ends_where_the_window_does),
        cmocka_unit_test(test_scheduler_request_without_memory_leaves_nothing_behind),
        cmocka_unit_test(test_scheduler_waits_for_key_and_value_memory),
        cmocka_unit_test(test_scheduler_ended_answer_frees_its_keys_and_values),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
