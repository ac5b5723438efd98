/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "engine/worker/scheduler.h"

#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/clock.h"

#define MAX_GENERATIONS (INK_SCHEDULER_MAX_SESSIONS + INK_SCHEDULER_MAX_QUEUED)
/* PROGRESS of an answer being written: enough for a bar, few beside the text itself. */
#define PROGRESS_USEC   200000u
/* Positions are handed out in blocks; counting in larger ones keeps on the safe side. */
#define KV_ROUND_TOKENS 64u

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
    size_t turn; /* who is served first among equals */
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

int ink_scheduler_add(InkScheduler *s, InkGeneration **g, InkError *reterr)
{
    size_t n_queued = 0, need;
    for (size_t i = 0; i < s->n; i++)
        n_queued += s->generations[i]->state == INK_GENERATION_QUEUED;
    INK_CHECK(n_queued < INK_SCHEDULER_MAX_QUEUED && s->n < MAX_GENERATIONS, EBUSY, reterr,
              "%u requests are queued already", INK_SCHEDULER_MAX_QUEUED);
    size_t n_tokens = (*g)->prompt.n + (*g)->max_tokens;
    n_tokens += KV_ROUND_TOKENS - n_tokens % KV_ROUND_TOKENS;
    INK_CHECK(ink_size_mul(n_tokens, ink_engine_info(s->engine)->kv_bytes_per_token, &need) &&
                  need <= s->max_kv_bytes,
              ENOMEM, reterr, "%zu tokens need more key and value memory than the limit of %zu MiB",
              n_tokens, s->max_kv_bytes >> 20);
    (*g)->kv_bytes = need;
    s->generations[s->n++] = INK_TAKE(*g);
    return 0;
}

static void drop(InkScheduler *s, size_t index)
{
    ink_generation_free(s->generations[index]);
    memmove(&s->generations[index], &s->generations[index + 1],
            (s->n - index - 1) * sizeof(s->generations[0]));
    s->n--;
}

static int fail(InkScheduler *s, InkGeneration *g, int code, const char *message)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->generations[i] == g) {
            uint64_t id = g->id;
            drop(s, i);
            return ink_worker_send_failed(s->socket, id, code, message);
        }
    return 0;
}

/* -- admission --------------------------------------------------------------------------------- */

static bool has_place(const InkScheduler *s, const InkGeneration *g)
{
    size_t n_running = 0, kv_bytes = 0;
    for (size_t i = 0; i < s->n; i++) {
        n_running += ink_generation_is_runnable(s->generations[i]);
        /* One at its end, whose text waits for its reader, has no session any more. */
        if (s->generations[i]->session != NULL)
            kv_bytes += s->generations[i]->kv_bytes;
    }
    return n_running < max_running_of_class[g->priority] &&
           g->kv_bytes <= s->max_kv_bytes - kv_bytes;
}

/* The best class first, then who came first; behind one that does not fit nobody of its class or a
 * lower one slips in, else small requests would keep a large one waiting for ever. */
static InkGeneration *next_queued(const InkScheduler *s)
{
    InkGeneration *best = NULL;
    for (size_t i = 0; i < s->n; i++) {
        InkGeneration *g = s->generations[i];
        if (g->state == INK_GENERATION_QUEUED && !g->cancelled &&
            (best == NULL || g->priority < best->priority))
            best = g;
    }
    return best != NULL && has_place(s, best) ? best : NULL;
}

static int admit(InkScheduler *s)
{
    for (InkGeneration *g = next_queued(s); g != NULL; g = next_queued(s)) {
        InkError e = {0};
        int r = ink_session_new(s->engine, g->prompt.n + g->max_tokens, &g->session, &e);
        if (r < 0) {
            INK_TRY(fail(s, g, -r, e.message));
            continue;
        }
        g->state = INK_GENERATION_PREFILL;
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

static void plan_decode(InkScheduler *s, uint32_t best)
{
    for (size_t i = 0; i < s->n && s->n_rows < INK_MAX_STEP_ROWS; i++) {
        InkGeneration *g = s->generations[i];
        bool stands_back = g->priority == BACKGROUND && best != BACKGROUND;
        if (g->state == INK_GENERATION_DECODE && ink_generation_is_runnable(g) && !stands_back)
            add_share(s, g, 1);
    }
}

static bool reads_in_class(const InkGeneration *g, uint32_t class)
{
    return g->state == INK_GENERATION_PREFILL && g->priority == class &&
           ink_generation_is_runnable(g);
}

/* Shares `budget` rows equally; what one does not need goes to those after it. */
static size_t plan_prefill_class(InkScheduler *s, uint32_t class, size_t budget)
{
    size_t n_readers = 0;
    for (size_t i = 0; i < s->n; i++)
        n_readers += reads_in_class(s->generations[i], class);
    for (size_t i = 0; i < s->n && budget != 0 && n_readers != 0; i++) {
        InkGeneration *g = s->generations[(i + s->turn) % s->n];
        if (!reads_in_class(g, class))
            continue;
        size_t equal = (budget + n_readers - 1) / n_readers;
        size_t left = g->prompt.n - g->n_prefilled;
        size_t n_rows = left < equal ? left : equal;
        add_share(s, g, n_rows);
        budget -= n_rows;
        n_readers--;
    }
    return budget;
}

static void plan(InkScheduler *s)
{
    uint32_t best = best_class(s);
    s->n_rows = 0;
    s->n_shares = 0;
    plan_decode(s, best);
    size_t budget = s->n_rows == 0 ? INK_MAX_STEP_ROWS : INK_SCHEDULER_SHARED_ROWS;
    uint32_t last = best == TYPING ? TYPING : best == BACKGROUND ? BACKGROUND : NORMAL;
    for (uint32_t class = best; class <= last && budget != 0; class ++)
        budget = plan_prefill_class(s, class, budget);
    s->turn++;
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
    for (size_t i = 0; i < s->n_stepping; i++)
        if (s->stepping[i].g->cancelled)
            return true;
    return false;
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
    if (before == INK_GENERATION_PREFILL || now - g->told_usec >= PROGRESS_USEC)
        return ink_generation_send_progress(g, s->socket);
    return 0;
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
    int r = ink_engine_step(s->engine, s->rows + first, last->first_row + last->n_rows - first,
                            gives_up, s, &e);
    s->n_stepping = 0;
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
    if (r >= 0)
        r = ink_scheduler_settle(s);
    return r < 0 ? INK_RAISE(-r, reterr, "the connection failed in a step: errno %d", -r) : 0;
}
