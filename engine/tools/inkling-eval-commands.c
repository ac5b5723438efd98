/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "engine/tools/inkling-eval.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include <jansson.h>

#include "engine/base/alloc.h"
#include "engine/base/utf8.h"
#include "engine/engine.h"
#include "engine/quant.h"
#include "engine/session.h"
#include "engine/shapes.h"

/* Rows whose logits are kept at once: V floats each. */
#define LOGIT_ROWS 64

/* ------------------------------------------------------------------ vocabulary only */

typedef struct Vocabulary {
    InkGguf *gguf;
    InkTokenizer *tokenizer;
} Vocabulary;

static void vocabulary_done(Vocabulary *v)
{
    ink_tokenizer_free(v->tokenizer);
    ink_gguf_close(v->gguf);
}

static int vocabulary_open(Vocabulary *v, const InkEvalRun *run, InkError *reterr)
{
    INK_TRY(ink_gguf_open(run->map, run->map_bytes, &v->gguf, reterr));
    return ink_tokenizer_new(v->gguf, &v->tokenizer, reterr);
}

int ink_eval_tokenize(InkEvalRun *run, InkError *reterr)
{
    _cleanup_(vocabulary_done) Vocabulary v = {0};
    _cleanup_buffer_ InkBuffer input = INK_BUFFER_INIT, line = INK_BUFFER_INIT;
    _cleanup_tokens_ InkTokens ids = INK_TOKENS_INIT;
    INK_TRY(vocabulary_open(&v, run, reterr));
    INK_TRY(ink_eval_read_input(run, &input, reterr));
    InkTextSpan span = {input.data, input.size_bytes, run->special};
    INK_TRY(ink_tokenizer_encode(v.tokenizer, &span, 1, &ids, reterr));
    ink_buffer_printf(&line, "{\"n\":%zu,\"ids\":", ids.n);
    ink_eval_append_ids(&line, ids.ids, ids.n);
    ink_buffer_append_char(&line, '}');
    return ink_eval_print_line(&line, reterr);
}

int ink_eval_detokenize(InkEvalRun *run, InkError *reterr)
{
    _cleanup_(vocabulary_done) Vocabulary v = {0};
    _cleanup_buffer_ InkBuffer input = INK_BUFFER_INIT, text = INK_BUFFER_INIT,
                               line = INK_BUFFER_INIT;
    _cleanup_tokens_ InkTokens ids = INK_TOKENS_INIT;
    INK_TRY(vocabulary_open(&v, run, reterr));
    INK_TRY(ink_eval_read_input(run, &input, reterr));
    INK_TRY(ink_eval_parse_ids(input.data, input.size_bytes, &ids, reterr));
    INK_TRY(ink_tokenizer_decode(v.tokenizer, INK_TOKEN_NONE, ids.ids, ids.n, run->special, &text,
                                 reterr));
    ink_buffer_append_str(&line, "{\"text\":");
    ink_buffer_json_string(&line, text.data, text.size_bytes);
    ink_buffer_printf(&line, ",\"valid_utf8\":%s}",
                      ink_utf8_valid(text.data, text.size_bytes) ? "true" : "false");
    return ink_eval_print_line(&line, reterr);
}

/* ------------------------------------------------------------------ template */

static void json_decref_p(json_t **json)
{
    json_decref(*json);
}

static int read_message(const json_t *item, size_t i, InkMessage *ret, InkError *reterr)
{
    const json_t *role = json_object_get(item, "role"), *content = json_object_get(item, "content");
    INK_CHECK(json_is_string(role) && json_is_string(content), EINVAL, reterr,
              "message %zu is not an object with the strings \"role\" and \"content\"", i);
    INK_CHECK(strlen(json_string_value(role)) == json_string_length(role), EINVAL, reterr,
              "message %zu: the role holds a NUL", i);
    *ret = (InkMessage){json_string_value(role), json_string_value(content),
                        json_string_length(content)};
    return 0;
}

static int read_messages(const json_t *root, InkMessage **ret, size_t *ret_n, InkError *reterr)
{
    INK_CHECK(json_is_array(root), EINVAL, reterr, "the input is not a JSON array of messages");
    size_t n = json_array_size(root);
    _cleanup_free_ InkMessage *messages = ink_alloc_array(n, sizeof(InkMessage));
    INK_CHECK(messages != NULL, ENOMEM, reterr, "out of memory for %zu messages", n);
    for (size_t i = 0; i < n; i++)
        INK_TRY(read_message(json_array_get(root, i), i, &messages[i], reterr));
    *ret = INK_TAKE(messages);
    *ret_n = n;
    return 0;
}

static int parse_template(const InkGguf *g, InkTemplate **ret, InkError *reterr)
{
    InkGgufString source;
    INK_CHECK(ink_gguf_has(g, "tokenizer.chat_template"), EOPNOTSUPP, reterr,
              "the model has no chat template (tokenizer.chat_template)");
    INK_TRY(ink_gguf_get_string(g, "tokenizer.chat_template", NULL, &source, reterr));
    return ink_template_parse(source.text, source.n_bytes, ret, reterr);
}

/* The text of a special token for the template, NULL when there is none. */
static int special_text(const InkTokenizer *t, uint32_t id, char **ret, InkError *reterr)
{
    const char *piece;
    size_t n;
    if (id == INK_TOKEN_NONE)
        return 0;
    INK_TRY(ink_tokenizer_piece(t, id, true, &piece, &n));
    *ret = ink_alloc_array(n + 1, 1);
    INK_CHECK(*ret != NULL, ENOMEM, reterr, "out of memory");
    memcpy(*ret, piece, n);
    return 0;
}

static int render(const InkEvalRun *run, const Vocabulary *v, const InkMessage *messages, size_t n,
                  InkRendered *ret, InkError *reterr)
{
    _cleanup_(ink_template_free_p) InkTemplate *template = NULL;
    _cleanup_free_ char *bos = NULL, *eos = NULL;
    INK_TRY(parse_template(v->gguf, &template, reterr));
    INK_TRY(special_text(v->tokenizer, ink_tokenizer_bos(v->tokenizer), &bos, reterr));
    INK_TRY(special_text(v->tokenizer, ink_tokenizer_eos(v->tokenizer), &eos, reterr));
    InkTemplateInput input = {messages, n, !run->no_generation_prompt, bos, eos};
    return ink_template_render(template, &input, ret, reterr);
}

int ink_eval_template(InkEvalRun *run, InkError *reterr)
{
    _cleanup_(vocabulary_done) Vocabulary v = {0};
    _cleanup_buffer_ InkBuffer input = INK_BUFFER_INIT, line = INK_BUFFER_INIT;
    _cleanup_tokens_ InkTokens ids = INK_TOKENS_INIT;
    _cleanup_rendered_ InkRendered rendered = INK_RENDERED_INIT;
    _cleanup_free_ InkMessage *messages = NULL;
    size_t n_messages = 0;
    INK_TRY(vocabulary_open(&v, run, reterr));
    INK_TRY(ink_eval_read_input(run, &input, reterr));
    json_error_t json_error;
    _cleanup_(json_decref_p) json_t *root =
        json_loadb(input.data, input.size_bytes, JSON_ALLOW_NUL, &json_error);
    INK_CHECK(root != NULL, EINVAL, reterr, "the input is not JSON: line %d, column %d",
              json_error.line, json_error.column);
    INK_TRY(read_messages(root, &messages, &n_messages, reterr));
    INK_TRY(render(run, &v, messages, n_messages, &rendered, reterr));
    INK_TRY(ink_tokenizer_encode(v.tokenizer, rendered.spans, rendered.n_spans, &ids, reterr));
    ink_buffer_append_str(&line, "{\"text\":");
    ink_buffer_json_string(&line, rendered.text.data, rendered.text.size_bytes);
    ink_buffer_printf(&line, ",\"n\":%zu,\"ids\":", ids.n);
    ink_eval_append_ids(&line, ids.ids, ids.n);
    ink_buffer_append_char(&line, '}');
    return ink_eval_print_line(&line, reterr);
}

/* ------------------------------------------------------------------ with the engine */

static int open_engine(const InkEvalRun *run, InkEngine **ret, InkError *reterr)
{
    const char *isa = getenv("INKLING_ISA");
    InkEngineOptions options = {
        .n_threads = run->n_threads,
        .isa = isa != NULL && isa[0] != '\0' ? isa : NULL,
        .pack_cache_fd = -1,
    };
    return ink_engine_open(run->model_fd, &options, ret, reterr);
}

/* The input as tokens: ids as they are, text with a beginning-of-text token where the model has it.
 */
static int read_tokens(const InkEvalRun *run, const InkEngine *e, InkTokens *ids, InkError *reterr)
{
    _cleanup_buffer_ InkBuffer input = INK_BUFFER_INIT;
    size_t n_vocab = ink_engine_info(e)->n_vocab;
    INK_TRY(ink_eval_read_input(run, &input, reterr));
    if (run->ids)
        INK_TRY(ink_eval_parse_ids(input.data, input.size_bytes, ids, reterr));
    else if (input.size_bytes != 0)
        INK_TRY(ink_engine_encode_prompt(e, input.data, input.size_bytes, ids, reterr));
    INK_CHECK(ids->n != 0, EINVAL, reterr, "the input is empty");
    for (size_t i = 0; i < ids->n; i++)
        INK_CHECK(ids->ids[i] < n_vocab, EINVAL, reterr,
                  "token %zu is %" PRIu32 ", the vocabulary has %zu", i, ids->ids[i], n_vocab);
    return 0;
}

/* What to do with the logits after token `i`. */
typedef int OnLogits(void *userdata, size_t i, const float *logits, InkError *reterr);

/* Steps through n tokens in a fresh session and hands every position's logits over. */
static int each_logits(InkEngine *e, const uint32_t *ids, size_t n, OnLogits *on_logits,
                       void *userdata, InkError *reterr)
{
    _cleanup_(ink_session_free_p) InkSession *session = NULL;
    InkStepRow rows[LOGIT_ROWS];
    INK_CHECK(n <= ink_engine_info(e)->n_context, EMSGSIZE, reterr,
              "%zu tokens do not fit into the model's window of %zu", n,
              ink_engine_info(e)->n_context);
    INK_TRY(ink_session_new(e, n, &session, reterr));
    for (size_t start = 0; start < n; start += LOGIT_ROWS) {
        size_t n_rows = n - start < LOGIT_ROWS ? n - start : LOGIT_ROWS;
        for (size_t i = 0; i < n_rows; i++)
            rows[i] =
                (InkStepRow){.session = session, .token = ids[start + i], .wants_logits = true};
        INK_TRY(ink_engine_step(e, rows, n_rows, NULL, NULL, reterr));
        for (size_t i = 0; i < n_rows; i++)
            INK_TRY(on_logits(userdata, start + i, rows[i].logits, reterr));
    }
    return 0;
}

/* log of the sum of e^logit */
static double log_normaliser(const float *logits, size_t n)
{
    double max = -INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++)
        max = fmax(max, logits[i]);
    for (size_t i = 0; i < n; i++)
        sum += exp(logits[i] - max);
    return max + log(sum);
}

typedef struct LogitsRun {
    const InkEvalRun *run;
    const uint32_t *ids;
    size_t n_vocab;
    size_t n_top;
    uint32_t *top; /* [n_top], likeliest first */
    InkBuffer line;
} LogitsRun;

/* Keeps the n_top largest, the lower id first among equals. */
static void find_top(LogitsRun *l, const float *logits)
{
    size_t n = 0;
    for (size_t id = 0; id < l->n_vocab; id++) {
        if (n == l->n_top && !(logits[id] > logits[l->top[n - 1]]))
            continue;
        size_t at = n < l->n_top ? n++ : n - 1;
        for (; at > 0 && logits[id] > logits[l->top[at - 1]]; at--)
            l->top[at] = l->top[at - 1];
        l->top[at] = (uint32_t)id;
    }
}

static int write_all(int fd, const void *data, size_t n_bytes, InkError *reterr)
{
    const char *p = data;
    while (n_bytes > 0) {
        ssize_t n = write(fd, p, n_bytes);
        if (n < 0 && errno == EINTR)
            continue;
        INK_CHECK(n > 0, EIO, reterr, "cannot write the logits: %s", strerror(errno));
        p += n;
        n_bytes -= (size_t)n;
    }
    return 0;
}

static int print_logits(void *userdata, size_t i, const float *logits, InkError *reterr)
{
    LogitsRun *l = userdata;
    double normaliser = log_normaliser(logits, l->n_vocab);
    find_top(l, logits);
    ink_buffer_printf(&l->line, "{\"position\":%zu,\"token\":%" PRIu32 ",\"top\":[", i, l->ids[i]);
    for (size_t k = 0; k < l->n_top; k++) {
        ink_buffer_printf(&l->line, "%s{\"id\":%" PRIu32 ",\"logit\":", k == 0 ? "" : ",",
                          l->top[k]);
        ink_buffer_json_double(&l->line, logits[l->top[k]]);
        ink_buffer_append_str(&l->line, ",\"logprob\":");
        ink_buffer_json_double(&l->line, logits[l->top[k]] - normaliser);
        ink_buffer_append_char(&l->line, '}');
    }
    ink_buffer_append_str(&l->line, "]}");
    if (l->run->all_fd >= 0)
        INK_TRY(write_all(l->run->all_fd, logits, l->n_vocab * sizeof(float), reterr));
    return ink_eval_print_line(&l->line, reterr);
}

static void logits_run_done(LogitsRun *l)
{
    free(l->top);
    ink_buffer_done(&l->line);
}

int ink_eval_logits(InkEvalRun *run, InkError *reterr)
{
    _cleanup_(ink_engine_close_p) InkEngine *e = NULL;
    _cleanup_tokens_ InkTokens ids = INK_TOKENS_INIT;
    _cleanup_(logits_run_done) LogitsRun l = {.run = run};
    INK_TRY(open_engine(run, &e, reterr));
    INK_TRY(read_tokens(run, e, &ids, reterr));
    l.ids = ids.ids;
    l.n_vocab = ink_engine_info(e)->n_vocab;
    l.n_top = run->n_top < l.n_vocab ? run->n_top : l.n_vocab;
    l.top = ink_alloc_array(l.n_top, sizeof(uint32_t));
    INK_CHECK(l.top != NULL, ENOMEM, reterr, "out of memory");
    return each_logits(e, ids.ids, ids.n, print_logits, &l, reterr);
}

/* ------------------------------------------------------------------ greedy */

static int find_likeliest(const float *logits, size_t n, uint32_t *ret, InkError *reterr)
{
    size_t best = 0;
    for (size_t i = 0; i < n; i++) {
        INK_CHECK(isfinite(logits[i]), EBADMSG, reterr,
                  "the model gives logits that are not finite");
        if (logits[i] > logits[best])
            best = i;
    }
    *ret = (uint32_t)best;
    return 0;
}

/* Appends to `drawn`; gives why it ended. */
static int continue_greedily(InkEngine *e, const InkTokens *ids, size_t n_tokens, InkTokens *drawn,
                             const char **ret_why, InkError *reterr)
{
    _cleanup_(ink_session_free_p) InkSession *session = NULL;
    const float *logits = NULL;
    /* As the service draws: rows of the embedding beyond the tokens have no text. */
    size_t n_drawable = ink_tokenizer_n_vocab(ink_engine_tokenizer(e));
    INK_TRY(ink_session_new(e, 0, &session, reterr));
    INK_TRY(ink_session_prefill(session, ids->ids, ids->n, &logits, reterr));
    *ret_why = "length";
    while (drawn->n < n_tokens) {
        uint32_t token = 0;
        INK_TRY(find_likeliest(logits, n_drawable, &token, reterr));
        int r = ink_tokens_push(drawn, token);
        INK_CHECK(r == 0, -r, reterr, "out of memory for the tokens");
        if (ink_tokenizer_ends_generation(ink_engine_tokenizer(e), token)) {
            *ret_why = "end";
            return 0;
        }
        if (drawn->n == n_tokens)
            break;
        if (ink_session_length(session) == ink_session_context(session)) {
            *ret_why = "context";
            return 0;
        }
        InkStepRow row = {.session = session, .token = token, .wants_logits = true};
        INK_TRY(ink_engine_step(e, &row, 1, NULL, NULL, reterr));
        logits = row.logits;
    }
    return 0;
}

int ink_eval_greedy(InkEvalRun *run, InkError *reterr)
{
    _cleanup_(ink_engine_close_p) InkEngine *e = NULL;
    _cleanup_tokens_ InkTokens ids = INK_TOKENS_INIT, drawn = INK_TOKENS_INIT;
    _cleanup_buffer_ InkBuffer text = INK_BUFFER_INIT, line = INK_BUFFER_INIT;
    const char *why = NULL;
    INK_TRY(open_engine(run, &e, reterr));
    INK_TRY(read_tokens(run, e, &ids, reterr));
    INK_TRY(continue_greedily(e, &ids, run->n_tokens, &drawn, &why, reterr));
    uint32_t previous = ids.n != 0 ? ids.ids[ids.n - 1] : INK_TOKEN_NONE;
    INK_TRY(ink_tokenizer_decode(ink_engine_tokenizer(e), previous, drawn.ids, drawn.n,
                                 run->special, &text, reterr));
    ink_buffer_printf(&line, "{\"prompt_tokens\":%zu,\"n\":%zu,\"ids\":", ids.n, drawn.n);
    ink_eval_append_ids(&line, drawn.ids, drawn.n);
    ink_buffer_append_str(&line, ",\"text\":");
    ink_buffer_json_string(&line, text.data, text.size_bytes);
    ink_buffer_printf(&line, ",\"stopped\":\"%s\",\"kernels\":\"%s\"}", why,
                      ink_engine_info(e)->kernels);
    return ink_eval_print_line(&line, reterr);
}

/* ------------------------------------------------------------------ perplexity */

typedef struct Score {
    const uint32_t *ids; /* of the window */
    size_t n;
    size_t n_vocab;
    const InkTokenizer *tokenizer;
    double nll; /* nats */
    size_t n_scored;
    size_t n_bytes;
} Score;

static int score_next(void *userdata, size_t i, const float *logits, InkError *reterr)
{
    Score *s = userdata;
    if (i + 1 == s->n)
        return 0;
    const char *piece;
    size_t n_bytes;
    uint32_t next = s->ids[i + 1];
    double nll = log_normaliser(logits, s->n_vocab) - logits[next];
    INK_CHECK(isfinite(nll), EBADMSG, reterr, "the model gives logits that are not finite");
    INK_CHECK(ink_tokenizer_piece(s->tokenizer, next, true, &piece, &n_bytes) == 0, EINVAL, reterr,
              "token %" PRIu32 " has no text to be scored, the vocabulary has %zu", next,
              ink_tokenizer_n_vocab(s->tokenizer));
    s->nll += nll;
    s->n_scored++;
    s->n_bytes += n_bytes;
    return 0;
}

int ink_eval_perplexity(InkEvalRun *run, InkError *reterr)
{
    _cleanup_(ink_engine_close_p) InkEngine *e = NULL;
    _cleanup_tokens_ InkTokens ids = INK_TOKENS_INIT;
    _cleanup_buffer_ InkBuffer line = INK_BUFFER_INIT;
    INK_TRY(open_engine(run, &e, reterr));
    INK_TRY(read_tokens(run, e, &ids, reterr));
    Score s = {.n_vocab = ink_engine_info(e)->n_vocab, .tokenizer = ink_engine_tokenizer(e)};
    /* Where a model wants a beginning, a window's stands in the place of the last one's last token,
     * which is scored by then. */
    uint32_t bos = ink_tokenizer_bos(s.tokenizer);
    bool begins = ink_tokenizer_adds_bos(s.tokenizer) && ids.ids[0] == bos;
    size_t step = run->window - (begins ? 1 : 0); /* a window has two tokens at least */
    for (size_t start = 0; start + 1 < ids.n; start += step) {
        if (begins)
            ids.ids[start] = bos;
        s.ids = ids.ids + start;
        s.n = ids.n - start < run->window ? ids.n - start : run->window;
        if (s.n > 1)
            INK_TRY(each_logits(e, s.ids, s.n, score_next, &s, reterr));
    }
    INK_CHECK(s.n_scored != 0, EINVAL, reterr, "the text has %zu tokens, perplexity needs 2",
              ids.n);
    ink_buffer_printf(&line, "{\"tokens\":%zu,\"scored\":%zu,\"window\":%zu,\"nll\":", ids.n,
                      s.n_scored, run->window);
    ink_buffer_json_double(&line, s.nll / (double)s.n_scored);
    ink_buffer_append_str(&line, ",\"ppl\":");
    ink_buffer_json_double(&line, exp(s.nll / (double)s.n_scored));
    ink_buffer_append_str(&line, ",\"bits_per_byte\":");
    ink_buffer_json_double(&line, s.n_bytes != 0 ? s.nll / M_LN2 / (double)s.n_bytes : INFINITY);
    ink_buffer_printf(&line, ",\"kernels\":\"%s\"}", ink_engine_info(e)->kernels);
    return ink_eval_print_line(&line, reterr);
}

/* ------------------------------------------------------------------ validate */

/* Every block's values are computed: a scale that is infinite or no number shows in them. */
static int check_finite(const InkGgufTensor *t, InkError *reterr)
{
    float values[1024];
    const InkQuantType *type = ink_quant_type(t->type);
    INK_CHECK(type != NULL && type->n_block_values <= 1024, EBADMSG, reterr,
              "tensor \"%s\" has an unknown type", ink_gguf_shown(t->name).text);
    size_t n_at_once = 1024 / type->n_block_values, n_blocks = t->size_bytes / type->n_block_bytes;
    for (size_t block = 0; block < n_blocks; block += n_at_once) {
        size_t n = n_blocks - block < n_at_once ? n_blocks - block : n_at_once;
        size_t n_values = n * type->n_block_values;
        type->dequantize(t->data + block * type->n_block_bytes, values, n_values);
        float sum = 0; /* 0 * x is 0 for every finite x and NaN for all others */
        for (size_t i = 0; i < n_values; i++)
            sum += 0.0f * values[i];
        INK_CHECK(sum == 0, EBADMSG, reterr,
                  "tensor \"%s\": block %zu or one of the %zu after it holds values that are not "
                  "finite",
                  ink_gguf_shown(t->name).text, block, n - 1);
    }
    return 0;
}

static int check_model(const InkEvalRun *run, Vocabulary *v, const char **ret_where,
                       InkError *reterr)
{
    _cleanup_(ink_template_free_p) InkTemplate *template = NULL;
    *ret_where = "header";
    INK_TRY(ink_gguf_open(run->map, run->map_bytes, &v->gguf, reterr));
    *ret_where = "tokenizer";
    INK_TRY(ink_tokenizer_new(v->gguf, &v->tokenizer, reterr));
    *ret_where = "tokenizer.chat_template";
    if (ink_gguf_has(v->gguf, "tokenizer.chat_template"))
        INK_TRY(parse_template(v->gguf, &template, reterr));
    *ret_where = "tensors";
    for (size_t i = 0; i < ink_gguf_n_tensors(v->gguf); i++)
        INK_TRY(check_finite(ink_gguf_tensor_at(v->gguf, i), reterr));
    return 0;
}

/* The first name in quotes, else a first word that looks like a key, else the part of the file. */
static void append_field(InkBuffer *line, const char *message, const char *where)
{
    const char *quote = strchr(message, '"');
    const char *end = quote != NULL ? strchr(quote + 1, '"') : NULL;
    size_t word = strcspn(message, " :");
    if (end != NULL && strncmp(message, "tokenizer.", 10) != 0 &&
        (strncmp(message, "tensor", 6) == 0 || strncmp(message, "metadata", 8) == 0))
        ink_buffer_json_string(line, quote + 1, (size_t)(end - quote - 1));
    else if (memchr(message, '.', word) != NULL)
        ink_buffer_json_string(line, message, word);
    else
        ink_buffer_json_string(line, where, strlen(where));
}

static int print_unsound(const char *where, const InkError *error, InkError *reterr)
{
    _cleanup_buffer_ InkBuffer line = INK_BUFFER_INIT;
    ink_buffer_append_str(&line, "{\"sound\":false,\"field\":");
    append_field(&line, error->message, where);
    ink_buffer_printf(&line,
                      ",\"supported\":%s,\"error\":", error->code == EOPNOTSUPP ? "false" : "true");
    ink_buffer_json_string(&line, error->message, strlen(error->message));
    ink_buffer_append_char(&line, '}');
    INK_TRY(ink_eval_print_line(&line, reterr));
    return 1;
}

static void append_engine_facts(InkBuffer *line, const InkEngineInfo *info)
{
    ink_buffer_append_str(line, ",\"name\":");
    ink_buffer_json_string(line, info->name, strlen(info->name));
    ink_buffer_append_str(line, ",\"architecture\":");
    ink_buffer_json_string(line, info->architecture, strlen(info->architecture));
    ink_buffer_printf(line,
                      ",\"quantization\":\"%s\",\"parameters\":%" PRIu64
                      ",\"context\":%zu,\"layers\":%zu,\"embedding\":%zu",
                      info->quantization, info->n_parameters, info->n_context, info->n_layers,
                      info->n_embedding);
}

int ink_eval_validate(InkEvalRun *run, InkError *reterr)
{
    _cleanup_(vocabulary_done) Vocabulary v = {0};
    _cleanup_(ink_engine_close_p) InkEngine *e = NULL;
    _cleanup_buffer_ InkBuffer line = INK_BUFFER_INIT;
    const char *where = "header";
    InkError error = {0};
    int r = check_model(run, &v, &where, &error);
    if (r == 0 && ink_gguf_n_tensors(v.gguf) != 0) {
        where = "architecture";
        r = open_engine(run, &e, &error);
    }
    if (r < 0 && r != -ENOMEM)
        return print_unsound(where, &error, reterr);
    INK_CHECK(r == 0, ENOMEM, reterr, "%s", error.message);
    ink_buffer_printf(&line,
                      "{\"sound\":true,\"version\":%" PRIu32
                      ",\"bytes\":%zu,\"tensors\":%zu,\"vocabulary\":%zu,\"chat_template\":%s",
                      ink_gguf_version(v.gguf), run->map_bytes, ink_gguf_n_tensors(v.gguf),
                      ink_tokenizer_n_vocab(v.tokenizer),
                      ink_gguf_has(v.gguf, "tokenizer.chat_template") ? "true" : "false");
    if (e != NULL)
        append_engine_facts(&line, ink_engine_info(e));
    ink_buffer_append_char(&line, '}');
    return ink_eval_print_line(&line, reterr);
}
