/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

#include "engine/engine.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "engine/base/alloc.h"
#include "engine/base/utf8.h"
#include "engine/engine-state.h"

/* --- opening --- */

static int map_file(InkEngine *e, int fd, struct stat *ret_stat, InkError *reterr)
{
    INK_CHECK(fstat(fd, ret_stat) == 0, EINVAL, reterr, "the model's descriptor is not usable");
    INK_CHECK(!S_ISDIR(ret_stat->st_mode), EBADMSG, reterr, "the model is a directory, not a file");
    INK_CHECK(S_ISREG(ret_stat->st_mode), EBADMSG, reterr, "the model is not a regular file");
    INK_CHECK(ret_stat->st_size > 0, EBADMSG, reterr, "the model file is empty");
    size_t n_bytes = (size_t)ret_stat->st_size;
    void *map = mmap(NULL, n_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    INK_CHECK(map != MAP_FAILED, errno == ENOMEM ? ENOMEM : EINVAL, reterr,
              "the model file of %zu bytes could not be mapped", n_bytes);
    e->file = map;
    e->file_bytes = n_bytes;
    return 0;
}

/* The text of a control token, as templates want it; NULL when the file names none. */
static int copy_token_text(const InkEngine *e, uint32_t id, char **ret, InkError *reterr)
{
    const char *text;
    size_t n_bytes;
    if (id == INK_TOKEN_NONE || ink_tokenizer_piece(e->tokenizer, id, true, &text, &n_bytes) < 0)
        return 0;
    char *copy = ink_alloc_array(n_bytes + 1, 1);
    INK_CHECK(copy != NULL, ENOMEM, reterr, "no memory for a token's text");
    memcpy(copy, text, n_bytes);
    *ret = copy;
    return 0;
}

/* A template that this build cannot run leaves a model that completes but does not chat. */
static int open_template(InkEngine *e, InkError *reterr)
{
    InkGguf *g = e->gguf;
    InkGgufString source;
    if (!ink_gguf_has(g, "tokenizer.chat_template")) {
        (void)INK_RAISE(EOPNOTSUPP, &e->template_error,
                        "the file has none, so it is a base model; use Complete, or import an "
                        "instruction-tuned model");
        return 0;
    }
    int r = ink_gguf_get_string(g, "tokenizer.chat_template", NULL, &source, &e->template_error);
    if (r == 0)
        r = ink_template_parse(source.text, source.n_bytes, &e->template, &e->template_error);
    INK_CHECK(r != -ENOMEM, ENOMEM, reterr, "no memory for the chat template");
    INK_TRY(copy_token_text(e, ink_tokenizer_bos(e->tokenizer), &e->bos_text, reterr));
    return copy_token_text(e, ink_tokenizer_eos(e->tokenizer), &e->eos_text, reterr);
}

static int open_text(InkEngine *e, InkError *reterr)
{
    const InkArchitecture *architecture;
    INK_TRY(ink_gguf_open(e->file, e->file_bytes, &e->gguf, reterr));
    /* Before the tokenizer: whatever else an unknown family lacks, it is named. */
    INK_TRY(ink_architecture_find(e->gguf, &architecture, reterr));
    INK_TRY(ink_tokenizer_new(e->gguf, &e->tokenizer, reterr));
    return open_template(e, reterr);
}

/* All weights but the embedding are packed now: the file's pages need not count as ours. */
static void drop_file_pages(const InkEngine *e)
{
    const uint8_t *first = e->file + e->file_bytes;
    for (size_t i = 0; i < ink_gguf_n_tensors(e->gguf); i++) {
        const InkGgufTensor *t = ink_gguf_tensor_at(e->gguf, i);
        if (t->data < first)
            first = t->data;
    }
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t skip = ((size_t)(first - e->file) + page - 1) / page * page;
    if (skip < e->file_bytes)
        (void)madvise(e->file + skip, e->file_bytes - skip, MADV_DONTNEED);
}

static int open_model(InkEngine *e, const InkEngineOptions *options, const struct stat *st,
                      InkError *reterr)
{
    const InkKernels *kernels = ink_kernels_select(options->isa);
    INK_CHECK(kernels != NULL, EINVAL, reterr,
              "isa: this machine has no such kernels; known are ref, avx2, avx512");
    INK_TRY(ink_threads_new(options->n_threads, &e->threads, reterr));
    const InkPackCacheOptions cache = {
        .fd = options->pack_cache_fd,
        .locked = options->pack_cache_locked,
        .header =
            {
                .source_dev = st->st_dev,
                .source_ino = st->st_ino,
                .source_bytes = (uint64_t)st->st_size,
                .source_mtime_sec = st->st_mtim.tv_sec,
                .source_mtime_nsec = st->st_mtim.tv_nsec,
            },
    };
    INK_TRY(ink_model_open(e->gguf, kernels, e->threads, &cache, &e->model, reterr));
    const InkHyper *h = &e->model->hyper;
    INK_CHECK(ink_tokenizer_n_vocab(e->tokenizer) <= h->n_vocab, EBADMSG, reterr,
              "tokenizer.ggml.tokens has %zu tokens, tensor token_embd.weight only %zu rows",
              ink_tokenizer_n_vocab(e->tokenizer), h->n_vocab);
    drop_file_pages(e);

    size_t kv_bytes = options->max_kv_bytes;
    if (kv_bytes == 0)
        kv_bytes = INK_ENGINE_DEFAULT_KV_BYTES;
    INK_TRY(ink_kv_pool_new(h, kv_bytes, &e->kv, reterr));
    INK_TRY(ink_prefix_cache_new(e->kv,
                                 options->max_scope_bytes != 0 ? options->max_scope_bytes
                                                               : INK_ENGINE_DEFAULT_SCOPE_BYTES,
                                 &e->prefixes, reterr));
    INK_TRY(ink_workspace_new(h, ink_threads_count(e->threads), &e->workspace, reterr));
    e->prefill_rows = ink_alloc_array(INK_MAX_STEP_ROWS, sizeof(*e->prefill_rows));
    INK_CHECK(e->prefill_rows != NULL, ENOMEM, reterr, "no memory for the rows of a prompt");
    e->forward = (InkForward){e->model, kernels, e->threads, e->kv, e->workspace};
    ink_forward_prepare(&e->forward);
    return 0;
}

static void fill_info(InkEngine *e)
{
    const InkModel *m = e->model;
    InkEngineInfo *info = &e->info;
    InkGgufString name = {m->architecture->name, strlen(m->architecture->name)};
    InkGgufString given;
    if (ink_gguf_get_string(e->gguf, "general.name", &name, &given, NULL) == 0)
        name = given;
    ink_utf8_copy_printable(info->name, sizeof(info->name), name.text, name.n_bytes);
    snprintf(info->architecture, sizeof(info->architecture), "%s", m->architecture->name);
    snprintf(info->quantization, sizeof(info->quantization), "%s", m->quantization);
    info->kernels = e->forward.kernels->name;
    info->n_threads = ink_threads_count(e->threads);
    info->n_context = m->hyper.n_context;
    info->n_vocab = m->hyper.n_vocab;
    info->n_layers = m->hyper.n_layers;
    info->n_embedding = m->hyper.n_embedding;
    info->n_parameters = m->n_parameters;
    info->packed_bytes = m->packed_bytes;
    info->kv_bytes_per_token = ink_kv_pool_block_bytes(e->kv) / INK_KV_BLOCK;
    info->has_template = e->template != NULL;
    info->pack_cache_used = m->store.state == INK_PACK_STATE_READY;
}

int ink_engine_open(int model_fd, const InkEngineOptions *options, InkEngine **ret,
                    InkError *reterr)
{
    _cleanup_(ink_engine_close_p) InkEngine *e = ink_alloc_array(1, sizeof(*e));
    INK_CHECK(e != NULL, ENOMEM, reterr, "no memory for the engine");
    struct stat st;
    INK_TRY(map_file(e, model_fd, &st, reterr));
    INK_TRY(open_text(e, reterr));
    INK_TRY(open_model(e, options, &st, reterr));
    fill_info(e);
    *ret = INK_TAKE(e);
    return 0;
}

InkEngine *ink_engine_close(InkEngine *e)
{
    if (e == NULL)
        return NULL;
    free(e->prefill_rows);
    ink_workspace_free(e->workspace);
    ink_prefix_cache_free(e->prefixes);
    ink_kv_pool_free(e->kv);
    ink_model_close(e->model);
    ink_threads_free(e->threads);
    ink_template_free(e->template);
    free(e->bos_text);
    free(e->eos_text);
    ink_tokenizer_free(e->tokenizer);
    ink_gguf_close(e->gguf);
    if (e->file != NULL)
        munmap(e->file, e->file_bytes);
    free(e);
    return NULL;
}

const InkEngineInfo *ink_engine_info(const InkEngine *e)
{
    return &e->info;
}

const InkTokenizer *ink_engine_tokenizer(const InkEngine *e)
{
    return e->tokenizer;
}

void ink_engine_settle_threads(InkEngine *e)
{
    ink_threads_settle(e->threads);
}

size_t ink_engine_kv_bytes(const InkEngine *e)
{
    return ink_kv_pool_used_bytes(e->kv);
}

size_t ink_engine_cached_bytes(const InkEngine *e, uint32_t scope)
{
    return ink_prefix_cache_bytes(e->prefixes, scope);
}

void ink_engine_trim(InkEngine *e, uint32_t scope, size_t keep_bytes)
{
    ink_prefix_cache_trim(e->prefixes, scope, keep_bytes);
}

/* --- text to tokens --- */

int ink_engine_render_chat(const InkEngine *e, const InkMessage *messages, size_t n_messages,
                           bool add_generation_prompt, InkRendered *ret, InkError *reterr)
{
    INK_CHECK(e->template != NULL, EOPNOTSUPP, reterr, "no chat template: %s",
              e->template_error.message);
    const InkTemplateInput input = {
        .messages = messages,
        .n_messages = n_messages,
        .add_generation_prompt = add_generation_prompt,
        .bos_token = e->bos_text,
        .eos_token = e->eos_text,
    };
    return ink_template_render(e->template, &input, ret, reterr);
}

/* A template writes its own beginning-of-text token where the model wants one (E6). */
int ink_engine_encode_chat(const InkEngine *e, const InkMessage *messages, size_t n_messages,
                           bool add_generation_prompt, InkTokens *tokens, InkError *reterr)
{
    _cleanup_(ink_rendered_done) InkRendered rendered = INK_RENDERED_INIT;
    INK_TRY(
        ink_engine_render_chat(e, messages, n_messages, add_generation_prompt, &rendered, reterr));
    size_t before = tokens->n;
    int r = ink_tokenizer_encode(e->tokenizer, rendered.spans, rendered.n_spans, tokens, reterr);
    if (r < 0)
        tokens->n = before;
    return r;
}

int ink_engine_encode_prompt(const InkEngine *e, const char *text, size_t n_bytes,
                             InkTokens *tokens, InkError *reterr)
{
    size_t before = tokens->n;
    uint32_t bos = ink_tokenizer_bos(e->tokenizer);
    int r = 0;
    if (ink_tokenizer_adds_bos(e->tokenizer) && bos != INK_TOKEN_NONE)
        r = ink_tokens_push(tokens, bos);
    if (r < 0)
        return INK_RAISE(-r, reterr, "no room for the prompt's tokens");
    const InkTextSpan span = {text, n_bytes, false};
    r = ink_tokenizer_encode(e->tokenizer, &span, 1, tokens, reterr);
    if (r < 0)
        tokens->n = before;
    return r;
}
