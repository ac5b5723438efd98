/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "engine/worker/scheduler.h"

#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/clock.h"

#define MAX_GENERATIONS  (INK_SCHEDULER_MAX_SESSIONS + INK_SCHEDULER_MAX_QUEUED)
/* PROGRESS of an answer being written: enough for a bar, few beside the text itself. */
#define PROGRESS_USEC    200000u
/* A turn of one application among those of its class, in rows of a prompt: small beside a step, so
 * that several have a part of each. */
#define QUANTUM_ROWS     32u
/* How long a step may read: alone, beside writers, and while somebody is typing, who may come at
 * any time and waits for the step to end. Fewer rows than the last would waste the weights. */
#define READ_USEC        400000u
#define SHARED_USEC      100000u
#define TYPING_READ_USEC 25000u
#define LEAST_READ_ROWS  16u
/* Before anything was measured. */
#define FIRST_ROW_USEC   1000u
/* At admission each running request counts as so much use to come. */
#define ADMITTED_USEC    100000u

enum { TYPING, INTERACTIVE, NORMAL, BACKGROUND, N_CLASSES };

/* Running sessions up to which each class is still taken in. */
static const size_t max_running_of_class[N_CLASSES] = {
    INK_SCHEDULER_MAX_SESSIONS, INK_SCHEDULER_MAX_SESSIONS - 2, INK_SCHEDULER_MAX_SESSIONS - 4,
    INK_SCHEDULER_MAX_SESSIONS / 2};

/* The rows of one generation in a step. */
typedef struct Share {
    InkGeneration *g;
    size_t first_row, n_rows;
} Share;

struct InkScheduler {
    InkEngine *engine;
    InkSampler *sampler;
    int socket;
    size_t max_kv_bytes;
    InkGeneration *generations[MAX_GENERATIONS]; /* in order of arrival */
    size_t n;
    InkAccounts accounts;
    uint64_t row_usec;      /* of one row in a step, a moving average */
    uint64_t read_row_usec; /* the same of steps that read; 0 = not known yet */
    uint64_t typing_usec;   /* when a typing request came last; 0 = never */
    unsigned n_alone;       /* steps in a row in which others stood back for typing */
    bool gave_up;           /* the last step was, for one that was cancelled */
    InkStepRow rows[INK_MAX_STEP_ROWS];
    size_t n_rows;
    Share shares[MAX_GENERATIONS];
    size_t n_shares;
    /* of the step that runs */
    const Share *stepping;
    size_t n_stepping;
    InkSchedulerPoll *poll;
    void *userdata;
    int failure;         /* of poll or socket between layers */
    uint64_t heard_usec; /* when the broker last got a sign of work */
};

int ink_scheduler_new(InkEngine *e, size_t max_kv_bytes, int socket, InkScheduler **ret,
                      InkError *reterr)
{
    _cleanup_(ink_scheduler_free_p) InkScheduler *s = ink_alloc_array(1, sizeof(*s));
    INK_CHECK(s != NULL, ENOMEM, reterr, "no memory for the scheduler");
    s->engine = e;
    s->socket = socket;
    s->max_kv_bytes = max_kv_bytes != 0 ? max_kv_bytes : INK_ENGINE_DEFAULT_KV_BYTES;
    s->row_usec = FIRST_ROW_USEC;
    INK_TRY(ink_sampler_new(ink_engine_info(e)->n_vocab, &s->sampler, reterr));
    *ret = INK_TAKE(s);
    return 0;
}

InkScheduler *ink_scheduler_free(InkScheduler *s)
{
    if (s == NULL)
        return NULL;
    for (size_t i = 0; i < s->n; i++)
        ink_generation_free(s->generations[i]);
    ink_sampler_free(s->sampler);
    free(s);
    return NULL;
}

/* -- who is here ------------------------------------------------------------------------------- */

static InkGeneration *find(const InkScheduler *s, uint64_t id)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->generations[i]->id == id)
            return s->generations[i];
    return NULL;
}

bool ink_scheduler_has(const InkScheduler *s, uint64_t id)
{
    return find(s, id) != NULL;
}

void ink_scheduler_cancel(InkScheduler *s, uint64_t id)
{
    InkGeneration *g = find(s, id);
    if (g != NULL)
        g->cancelled = true;
}

int ink_scheduler_credit(InkScheduler *s, uint64_t id, uint32_t more_bytes, InkError *reterr)
{
    InkGeneration *g = find(s, id);
    if (g == NULL)
        return 0;
    INK_CHECK(g->credit_bytes + more_bytes <= INK_WIRE_MAX_CREDIT, EPROTO, reterr,
              "CREDIT: more than %u bytes are outstanding", INK_WIRE_MAX_CREDIT);
    g->credit_bytes += more_bytes;
    return 0;
}

/* Into the books of its class, out of those it was in. */
static void move_to_class(InkScheduler *s, InkGeneration *g, uint32_t class)
{
    if (g->account != NULL)
        ink_accounts_leave(&s->accounts, g->account);
    g->priority = class;
    g->account = ink_accounts_enter(&s->accounts, g->scope, class);
}

/* Typing is short, since all others stand back for it; what is not short is no typing. */
static bool is_too_long_for_typing(const InkScheduler *s, const InkGeneration *g)
{
    if (g->priority != TYPING)
        return false;
    if (g->state == INK_GENERATION_DECODE || g->state == INK_GENERATION_ENDING)
        return g->state == INK_GENERATION_DECODE && g->n_output >= INK_SCHEDULER_TYPING_TOKENS;
    size_t n_there = g->n_prefilled;
    if (g->state == INK_GENERATION_QUEUED)
        n_there = ink_engine_cached_tokens(s->engine, g->prefix, g->prompt.ids, g->prompt.n);
    return g->prompt.n - n_there > INK_SCHEDULER_TYPING_PROMPT_TOKENS;
}

static void lower_typing(InkScheduler *s, InkGeneration *g)
{
    if (!is_too_long_for_typing(s, g))
        return;
    g->lowered_priority = true;
    move_to_class(s, g, INTERACTIVE);
}

void ink_scheduler_set_priority(InkScheduler *s, uint64_t id, uint32_t priority)
{
    InkGeneration *g = find(s, id);
    if (g == NULL || priority >= N_CLASSES || priority == g->priority)
        return;
    move_to_class(s, g, priority);
    lower_typing(s, g);
}

int ink_scheduler_add(InkScheduler *s, InkGeneration **g, InkError *reterr)
{
    size_t n_queued = 0, need;
    for (size_t i = 0; i < s->n; i++)
        n_queued += s->generations[i]->state == INK_GENERATION_QUEUED;
    INK_CHECK(n_queued < INK_SCHEDULER_MAX_QUEUED && s->n < MAX_GENERATIONS, EBUSY, reterr,
              "%u requests are queued already", INK_SCHEDULER_MAX_QUEUED);
    size_t n_tokens = ink_generation_most_tokens(*g);
    const InkPrefixKey nothing = {0};
    need = ink_engine_missing_bytes(s->engine, nothing, NULL, 0, n_tokens);
    INK_CHECK(need <= s->max_kv_bytes, ENOMEM, reterr,
              "%zu tokens need more key and value memory than the limit of %zu MiB", n_tokens,
              s->max_kv_bytes >> 20);
    move_to_class(s, *g, (*g)->priority);
    lower_typing(s, *g);
    if ((*g)->priority == TYPING)
        s->typing_usec = ink_clock_monotonic_usec();
    s->generations[s->n++] = INK_TAKE(*g);
    return 0;
}

void ink_scheduler_charge(InkScheduler *s, uint32_t scope, uint32_t class, uint64_t usec)
{
    InkAccount *account = ink_accounts_enter(&s->accounts, scope, class);
    account->used_usec += usec;
    ink_accounts_leave(&s->accounts, account);
}

void ink_scheduler_trim(InkScheduler *s, uint32_t scope, size_t keep_bytes)
{
    for (size_t i = 0; i < s->n && keep_bytes == 0; i++)
        if (scope == 0 || s->generations[i]->scope == scope)
            s->generations[i]->prefix.scope = 0; /* nor is it remembered when it ends */
    ink_engine_trim(s->engine, scope, keep_bytes);
}

static void drop(InkScheduler *s, size_t index)
{
    InkGeneration *g = s->generations[index];
    ink_accounts_leave(&s->accounts, g->account);
    ink_generation_free(g);
    memmove(&s->generations[index], &s->generations[index + 1],
            (s->n - index - 1) * sizeof(s->generations[0]));
    s->n--;
}

static int fail(InkScheduler *s, InkGeneration *g, int code, const char *message)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->generations[i] == g) {
            uint64_t id = g->id;
            g->prefix.scope = 0; /* what went wrong is not handed on */
            drop(s, i);
            return ink_worker_send_failed(s->socket, id, code, message);
        }
    return 0;
}

/* -- admission --------------------------------------------------------------------------------- */

static bool has_place(const InkScheduler *s, const InkGeneration *g)
{
    size_t n_running = 0;
    for (size_t i = 0; i < s->n; i++)
        n_running += ink_generation_is_runnable(s->generations[i]);
    return n_running < max_running_of_class[g->priority];
}

/* Whether all that run and this one can grow to their longest. Shared blocks count once, and those
 * that are only cached not at all. */
static bool has_memory(const InkScheduler *s, const InkGeneration *g)
{
    size_t promised = ink_engine_kv_bytes(s->engine);
    for (size_t i = 0; i < s->n; i++) { /* one at its end has no session any more */
        const InkGeneration *at = s->generations[i];
        if (at->session != NULL)
            promised += ink_session_missing_bytes(at->session, ink_generation_most_tokens(at));
    }
    promised += ink_engine_missing_bytes(s->engine, g->prefix, g->prompt.ids, g->prompt.n - 1,
                                         ink_generation_most_tokens(g));
    return promised <= s->max_kv_bytes;
}

static uint64_t claim_of(const InkScheduler *s, const InkGeneration *g)
{
    uint64_t claim = g->account->used_usec;
    for (size_t i = 0; i < s->n; i++)
        if (s->generations[i]->account == g->account && s->generations[i]->session != NULL)
            claim += ADMITTED_USEC;
    return claim;
}

/* The best class first, then the application that has used least, then who came first. Behind one
 * that does not fit nobody of its class or a lower one slips in, else small requests would keep a
 * large one waiting for ever. */
static InkGeneration *next_queued(const InkScheduler *s)
{
    InkGeneration *best = NULL;
    for (size_t i = 0; i < s->n; i++) {
        InkGeneration *g = s->generations[i];
        if (g->state == INK_GENERATION_QUEUED && !g->cancelled &&
            (best == NULL || g->priority < best->priority ||
             (g->priority == best->priority && claim_of(s, g) < claim_of(s, best))))
            best = g;
    }
    return best;
}

/* Whether it would fit if all of lower classes made room; each counted as if it shared nothing. */
static bool fits_above_others(const InkScheduler *s, const InkGeneration *g)
{
    const InkPrefixKey nothing = {0};
    size_t promised = 0;
    for (size_t i = 0; i < s->n; i++) {
        const InkGeneration *at = s->generations[i];
        if (at == g || (at->session != NULL && at->priority <= g->priority))
            promised += ink_engine_missing_bytes(s->engine, nothing, NULL, 0,
                                                 ink_generation_most_tokens(at));
    }
    return promised <= s->max_kv_bytes;
}

/* Who holds memory in a class below this one's: of the worst class, the one that came last. */
static InkGeneration *find_victim(const InkScheduler *s, const InkGeneration *g)
{
    InkGeneration *victim = NULL;
    for (size_t i = 0; i < s->n; i++) {
        InkGeneration *at = s->generations[i];
        if (at->session != NULL && at->priority > g->priority &&
            (victim == NULL || at->priority >= victim->priority))
            victim = at;
    }
    return victim;
}

static int suspend(InkScheduler *s, InkGeneration *g)
{
    InkError e = {0};
    int r = ink_generation_suspend(g, &e);
    if (r < 0)
        return fail(s, g, -r, e.message);
    return ink_generation_send_progress(g, s->socket); /* it waits again */
}

static int admit(InkScheduler *s)
{
    for (InkGeneration *g = next_queued(s); g != NULL && has_place(s, g); g = next_queued(s)) {
        InkError e = {0};
        if (!has_memory(s, g)) {
            InkGeneration *victim = fits_above_others(s, g) ? find_victim(s, g) : NULL;
            if (victim == NULL)
                break;
            INK_TRY(suspend(s, victim));
            continue;
        }
        int r = ink_generation_start(g, s->engine, &e);
        if (r < 0) {
            INK_TRY(fail(s, g, -r, e.message));
            continue;
        }
    }
    for (size_t i = 0; i < s->n; i++)
        if (s->generations[i]->state == INK_GENERATION_QUEUED && s->generations[i]->told_usec == 0)
            INK_TRY(ink_generation_send_progress(s->generations[i], s->socket));
    return 0;
}

int ink_scheduler_settle(InkScheduler *s)
{
    for (size_t i = 0; i < s->n;) {
        InkGeneration *g = s->generations[i];
        if (!g->cancelled)
            INK_TRY(ink_generation_send_text(g, s->socket));
        bool at_end = g->state == INK_GENERATION_ENDING && g->out.size_bytes == 0;
        if (!g->cancelled && !at_end) {
            i++;
            continue;
        }
        INK_TRY(ink_generation_send_finished(g, s->socket));
        drop(s, i);
    }
    return admit(s);
}

/* -- what goes into a step --------------------------------------------------------------------- */

/* The best class that has something to do; N_CLASSES when none has. */
static uint32_t best_class(const InkScheduler *s)
{
    uint32_t best = N_CLASSES;
    for (size_t i = 0; i < s->n; i++)
        if (ink_generation_is_runnable(s->generations[i]) && s->generations[i]->priority < best)
            best = s->generations[i]->priority;
    return best;
}

bool ink_scheduler_is_runnable(const InkScheduler *s)
{
    return best_class(s) != N_CLASSES;
}

static void add_share(InkScheduler *s, InkGeneration *g, size_t n_rows)
{
    s->shares[s->n_shares++] = (Share){.g = g, .first_row = s->n_rows, .n_rows = n_rows};
    for (size_t i = 0; i < n_rows; i++) {
        size_t at = g->n_prefilled + i;
        bool reads = g->state == INK_GENERATION_PREFILL;
        s->rows[s->n_rows++] =
            (InkStepRow){.session = g->session,
                         .token = reads ? g->prompt.ids[at] : g->next_token,
                         .wants_logits = g->max_tokens != 0 && (!reads || at + 1 == g->prompt.n)};
    }
}

/* Whether typing shares this step with the others. */
static bool is_turn_of_others(const InkScheduler *s)
{
    return s->n_alone % INK_SCHEDULER_TYPING_STEPS == INK_SCHEDULER_TYPING_STEPS - 1;
}

static bool stands_back(const InkScheduler *s, const InkGeneration *g, uint32_t best)
{
    if (g->priority == BACKGROUND)
        return best != BACKGROUND;
    return best == TYPING && g->priority != TYPING && !is_turn_of_others(s);
}

static void plan_decode(InkScheduler *s, uint32_t best)
{
    s->n_alone = best == TYPING ? s->n_alone + 1 : 0;
    for (size_t i = 0; i < s->n && s->n_rows < INK_MAX_STEP_ROWS; i++) {
        InkGeneration *g = s->generations[i];
        if (g->state == INK_GENERATION_DECODE && ink_generation_is_runnable(g) &&
            !stands_back(s, g, best))
            add_share(s, g, 1);
    }
}

static bool reads_in_class(const InkGeneration *g, uint32_t class)
{
    return g->state == INK_GENERATION_PREFILL && g->priority == class &&
           ink_generation_is_runnable(g);
}

static size_t rows_left(const InkGeneration *g)
{
    return g->prompt.n - g->n_prefilled - g->n_planned;
}

/* Whether a has had less than b so far: its application, and then itself. */
static bool comes_before(const InkScheduler *s, const InkGeneration *a, const InkGeneration *b)
{
    uint64_t of_a = a->account->used_usec + a->account->planned_usec;
    uint64_t of_b = b->account->used_usec + b->account->planned_usec;
    if (a->account != b->account && of_a != of_b)
        return of_a < of_b;
    return a->engine_usec + a->n_planned * s->row_usec <
           b->engine_usec + b->n_planned * s->row_usec;
}

/* Whose turn it is; NULL when there is nothing left to read. */
static InkGeneration *next_reader(const InkScheduler *s, uint32_t class)
{
    InkGeneration *next = NULL;
    for (size_t i = 0; i < s->n; i++) {
        InkGeneration *g = s->generations[i];
        if (reads_in_class(g, class) && rows_left(g) > 0 &&
            (next == NULL || comes_before(s, g, next)))
            next = g;
    }
    return next;
}

/* Hands out `budget` rows in small turns, always to the application that has used least engine
 * time, those of this step included. */
static size_t plan_prefill_class(InkScheduler *s, uint32_t class, size_t budget)
{
    for (InkGeneration *g; budget > 0 && (g = next_reader(s, class)) != NULL;) {
        size_t n_rows = rows_left(g) < QUANTUM_ROWS ? rows_left(g) : QUANTUM_ROWS;
        n_rows = n_rows < budget ? n_rows : budget;
        g->n_planned += n_rows;
        g->account->planned_usec += n_rows * s->row_usec;
        budget -= n_rows;
    }
    for (size_t i = 0; i < s->n; i++)
        if (s->generations[i]->n_planned > 0 && s->generations[i]->priority == class)
            add_share(s, s->generations[i], s->generations[i]->n_planned);
    return budget;
}

/* So many that the step is over soon enough for those who write, or may come to type. */
static size_t rows_to_read(const InkScheduler *s)
{
    size_t most = s->n_rows == 0 ? INK_MAX_STEP_ROWS : INK_SCHEDULER_SHARED_ROWS;
    uint64_t span_usec = s->n_rows == 0 ? READ_USEC : SHARED_USEC;
    uint64_t now = ink_clock_monotonic_usec();
    if (s->typing_usec != 0 && now - s->typing_usec < INK_SCHEDULER_TYPING_USEC)
        span_usec = TYPING_READ_USEC;
    if (s->read_row_usec == 0)
        return most;
    size_t n_rows = span_usec / s->read_row_usec;
    if (n_rows < LEAST_READ_ROWS)
        n_rows = LEAST_READ_ROWS;
    return n_rows < most ? n_rows : most;
}

static void plan(InkScheduler *s)
{
    uint32_t best = best_class(s);
    s->n_rows = 0;
    s->n_shares = 0;
    for (size_t i = 0; i < s->n; i++) {
        s->generations[i]->n_planned = 0;
        s->generations[i]->account->planned_usec = 0;
    }
    plan_decode(s, best);
    size_t budget = rows_to_read(s), kept = 0;
    uint32_t last = best == BACKGROUND ? BACKGROUND : NORMAL;
    if (best == TYPING && !is_turn_of_others(s))
        last = TYPING;
    else if (best == TYPING && (next_reader(s, INTERACTIVE) || next_reader(s, NORMAL)))
        kept = budget / 2; /* prompts of typing without a pause leave nothing over */
    budget = plan_prefill_class(s, best, budget - kept) + kept;
    for (uint32_t class = best + 1; class <= last && budget != 0; class ++)
        budget = plan_prefill_class(s, class, budget);
}

/* -- the step ---------------------------------------------------------------------------------- */

static int beat(InkScheduler *s)
{
    uint64_t now = ink_clock_monotonic_usec();
    if (now - s->heard_usec < INK_SCHEDULER_HEARTBEAT_USEC)
        return 0;
    s->heard_usec = now;
    InkWireProgress p = {.header = {.type = INK_WIRE_PROGRESS}};
    return ink_worker_send(s->socket, &p.header, sizeof(p), NULL, 0);
}

/* One that is cancelled takes the rows of all others in the step with it, so this is not done twice
 * in a row to anybody: a program that asks and cancels without a pause would stop them all. */
static bool is_cancelled(const InkScheduler *s)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n_stepping; i++)
        n += s->stepping[i].g->cancelled;
    return n == s->n_stepping || (n > 0 && !s->gave_up);
}

/* Between layers. */
static bool gives_up(void *userdata)
{
    InkScheduler *s = userdata;
    int r = beat(s);
    if (r == 0 && s->poll != NULL)
        r = s->poll(s->userdata);
    if (r < 0) {
        s->failure = r;
        return true;
    }
    return is_cancelled(s);
}

/* What a finished step means for one generation. */
static int take_rows(InkScheduler *s, const Share *share)
{
    InkGeneration *g = share->g;
    const InkStepRow *last = &s->rows[share->first_row + share->n_rows - 1];
    uint64_t now = ink_clock_monotonic_usec();
    if (g->state == INK_GENERATION_PREFILL)
        g->n_prefilled += share->n_rows;
    InkGenerationState before = g->state;
    if (last->wants_logits) {
        InkError e = {0};
        int r = ink_generation_accept(g, s->engine, s->sampler, last->logits, &e);
        if (r < 0)
            return fail(s, g, -r, e.message);
    }
    if (g->max_tokens == 0 && g->n_prefilled == g->prompt.n) {
        ink_generation_end_prewarm(g);
        return 0;
    }
    lower_typing(s, g);
    if (before == INK_GENERATION_PREFILL || now - g->told_usec >= PROGRESS_USEC)
        return ink_generation_send_progress(g, s->socket);
    return 0;
}

/* Also for a step that was given up: its time is gone. Of the speed it tells nothing. */
static void charge(InkScheduler *s, const Share *shares, size_t n_shares, uint64_t usec)
{
    size_t n_rows = 0;
    for (size_t i = 0; i < n_shares; i++)
        n_rows += shares[i].n_rows;
    for (size_t i = 0; i < n_shares; i++) {
        uint64_t part = usec * shares[i].n_rows / n_rows;
        shares[i].g->engine_usec += part;
        shares[i].g->account->used_usec += part;
    }
    if (s->gave_up)
        return;
    s->row_usec = (7 * s->row_usec + usec / n_rows) / 8;
    if (n_rows >= LEAST_READ_ROWS) {
        uint64_t now_usec = usec / n_rows > 0 ? usec / n_rows : 1;
        s->read_row_usec = s->read_row_usec == 0 ? now_usec : (3 * s->read_row_usec + now_usec) / 4;
    }
}

/* Outcome INK_STEP_CANCELLED: nothing has changed. A batch that fails as a whole is tried again one
 * by one, so that only the one at fault ends. */
static int run_shares(InkScheduler *s, const Share *shares, size_t n_shares)
{
    size_t first = shares[0].first_row;
    const Share *last = &shares[n_shares - 1];
    InkError e = {0};
    s->stepping = shares;
    s->n_stepping = n_shares;
    uint64_t begin = ink_clock_monotonic_usec();
    int r = ink_engine_step(s->engine, s->rows + first, last->first_row + last->n_rows - first,
                            gives_up, s, &e);
    s->n_stepping = 0;
    s->gave_up = r == INK_STEP_CANCELLED;
    charge(s, shares, n_shares, ink_clock_monotonic_usec() - begin);
    if (r == INK_STEP_CANCELLED)
        return s->failure < 0 ? s->failure : r;
    if (r < 0 && n_shares == 1)
        return fail(s, shares[0].g, -r, e.message);
    for (size_t i = 0; i < n_shares; i++) {
        int one = r < 0 ? run_shares(s, &shares[i], 1) : take_rows(s, &shares[i]);
        if (one < 0)
            return one;
    }
    return 0;
}

int ink_scheduler_step(InkScheduler *s, InkSchedulerPoll *poll, void *userdata, InkError *reterr)
{
    plan(s);
    if (s->n_shares == 0)
        return 0;
    uint64_t now = ink_clock_monotonic_usec();
    for (size_t i = 0; i < s->n_shares; i++)
        if (s->shares[i].g->started_usec == 0)
            s->shares[i].g->started_usec = now;
    s->poll = poll;
    s->userdata = userdata;
    s->failure = 0;
    int r = run_shares(s, s->shares, s->n_shares);
    if (s->gave_up && s->n_alone > 0)
        s->n_alone--; /* nobody had a row */
    if (r >= 0)
        r = ink_scheduler_settle(s);
    return r < 0 ? INK_RAISE(-r, reterr, "the connection failed in a step: errno %d", -r) : 0;
}
