/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "engine/worker/inspect.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "engine/base/alloc.h"
#include "engine/base/clock.h"
#include "engine/base/sha256.h"
#include "engine/base/utf8.h"
#include "engine/model.h"
#include "engine/template.h"
#include "engine/tokenizer.h"
#include "engine/worker/wire-io.h"

/* A slow disk still gives several of these between two signs of life. */
#define CHUNK_BYTES (1u << 20)
/* Written, and not yet on the disk: so much at most, so that the last sync is short. */
#define SYNC_BYTES  (32u << 20)

typedef struct Inspection {
    int socket;
    uint64_t told_usec;
    InkInspectJob job;
    int model_fd, copy_fd;
    InkInspectResult result;
} Inspection;

/* -- what a file holds ------------------------------------------------------------------------- */

typedef struct Mapping {
    void *data;
    size_t size_bytes;
} Mapping;

static void unmap(Mapping *m)
{
    if (m->data != NULL)
        munmap(m->data, m->size_bytes);
}

static void copy_text(const InkGguf *g, const char *key, char *out, size_t out_bytes)
{
    InkGgufString text;
    if (ink_gguf_get_string(g, key, NULL, &text, NULL) == 0)
        ink_utf8_copy_printable(out, out_bytes, text.text, text.n_bytes);
}

static void warn(InkInspectResult *r, const char *what, const char *why)
{
    char text[INK_INSPECT_WARNING_BYTES + INK_ERROR_MESSAGE_BYTES];
    if (r->n_warnings == INK_INSPECT_MAX_WARNINGS)
        return;
    int n = snprintf(text, sizeof(text), "%s%s", what, why);
    ink_utf8_copy_printable(r->warnings[r->n_warnings++], INK_INSPECT_WARNING_BYTES, text,
                            (size_t)n);
}

/* A template that this build cannot run leaves a model that completes but does not chat. */
static int check_template(const InkGguf *g, InkInspectResult *ret, InkError *reterr)
{
    _cleanup_(ink_template_free_p) InkTemplate *template = NULL;
    InkGgufString source;
    InkError why = {0};
    if (!ink_gguf_has(g, "tokenizer.chat_template")) {
        warn(ret, "no chat template in the file: it completes texts, but does not chat", "");
        return 0;
    }
    int r = ink_gguf_get_string(g, "tokenizer.chat_template", NULL, &source, &why);
    if (r == 0)
        r = ink_template_parse(source.text, source.n_bytes, &template, &why);
    INK_CHECK(r != -ENOMEM, ENOMEM, reterr, "no memory for the chat template");
    ret->has_template = r == 0;
    if (r < 0)
        warn(ret, "it does not chat, its chat template is not usable: ", why.message);
    return 0;
}

static int check_tokenizer(const InkGguf *g, const InkModel *model, InkInspectResult *ret,
                           InkError *reterr)
{
    _cleanup_(ink_tokenizer_free_p) InkTokenizer *tokenizer = NULL;
    INK_TRY(ink_tokenizer_new(g, &tokenizer, reterr));
    INK_CHECK(ink_tokenizer_n_vocab(tokenizer) <= model->hyper.n_vocab, EBADMSG, reterr,
              "tokenizer.ggml.tokens has %zu tokens, tensor token_embd.weight only %zu rows",
              ink_tokenizer_n_vocab(tokenizer), model->hyper.n_vocab);
    if (ink_tokenizer_eos(tokenizer) == INK_TOKEN_NONE)
        warn(ret, "no end-of-text token in the file: answers end at their limit only", "");
    return 0;
}

static int sum_types(const InkGguf *g, InkInspectResult *ret, InkError *reterr)
{
    for (size_t i = 0; i < ink_gguf_n_tensors(g); i++) {
        const InkGgufTensor *t = ink_gguf_tensor_at(g, i);
        const char *name = ink_quant_type(t->type)->name;
        size_t k = 0;
        while (k < ret->n_types && strcmp(ret->types[k].name, name) != 0)
            k++;
        INK_CHECK(k < INK_INSPECT_MAX_TYPES, EOPNOTSUPP, reterr,
                  "the file has more than %u types of tensors", INK_INSPECT_MAX_TYPES);
        if (k == ret->n_types) {
            snprintf(ret->types[k].name, sizeof(ret->types[k].name), "%s", name);
            ret->n_types++;
        }
        ret->types[k].n_bytes += t->size_bytes;
    }
    return 0;
}

static void describe(const InkGguf *g, const InkModel *m, InkInspectResult *ret)
{
    copy_text(g, "general.name", ret->name, sizeof(ret->name));
    copy_text(g, "general.license", ret->license, sizeof(ret->license));
    copy_text(g, "tokenizer.ggml.model", ret->tokenizer, sizeof(ret->tokenizer));
    snprintf(ret->architecture, sizeof(ret->architecture), "%s", m->architecture->name);
    snprintf(ret->quantization, sizeof(ret->quantization), "%s", m->quantization);
    ret->n_layers = (uint32_t)m->hyper.n_layers;
    ret->n_embedding = (uint32_t)m->hyper.n_embedding;
    ret->n_heads = (uint32_t)m->hyper.n_heads;
    ret->n_kv_heads = (uint32_t)m->hyper.n_kv_heads;
    ret->n_vocab = (uint32_t)m->hyper.n_vocab;
    ret->n_context = (uint32_t)m->hyper.n_context;
    ret->n_parameters = m->n_parameters;
}

int ink_inspect_file(int fd, uint64_t size_bytes, InkInspectResult *ret, InkError *reterr)
{
    InkInspectResult result = {.size_bytes = size_bytes};
    const InkArchitecture *architecture;
    void *data = mmap(NULL, (size_t)size_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    INK_CHECK(data != MAP_FAILED, errno == ENOMEM ? ENOMEM : EINVAL, reterr,
              "the file of %llu bytes could not be mapped: errno %d",
              (unsigned long long)size_bytes, errno);
    _cleanup_(unmap) Mapping map = {data, (size_t)size_bytes};
    _cleanup_(ink_gguf_close_p) InkGguf *g = NULL;
    _cleanup_(ink_model_close_p) InkModel *model = NULL;
    INK_TRY(ink_gguf_open(map.data, map.size_bytes, &g, reterr));
    /* Before the tokenizer: whatever else an unknown family lacks, it is named. */
    INK_TRY(ink_architecture_find(g, &architecture, reterr));
    INK_TRY(ink_model_open(g, NULL, NULL, NULL, &model, reterr));
    INK_TRY(check_tokenizer(g, model, &result, reterr));
    INK_TRY(check_template(g, &result, reterr));
    INK_TRY(sum_types(g, &result, reterr));
    describe(g, model, &result);
    *ret = result;
    return 0;
}

/* -- hashing and copying ----------------------------------------------------------------------- */

static int tell(Inspection *i, InkInspectStage stage, uint64_t done, bool now, InkError *reterr)
{
    uint64_t usec = ink_clock_monotonic_usec();
    if (!now && usec - i->told_usec < INK_INSPECT_PROGRESS_USEC)
        return 0;
    i->told_usec = usec;
    InkInspectProgress p = {.header = {.type = INK_INSPECT_PROGRESS},
                            .stage = stage,
                            .done = done,
                            .total = i->job.size_bytes};
    int r = ink_wire_send(i->socket, 0, &p.header, sizeof(p), NULL, 0, NULL, 0);
    INK_CHECK(r == 0, ECONNRESET, reterr, "the broker is gone");
    return 0;
}

static int refuse_changed(InkError *reterr)
{
    return INK_RAISE(EBADMSG, reterr,
                     "the file changed while it was read; wait until it is complete");
}

static int read_chunk(int fd, uint64_t at, uint8_t *chunk, size_t n_bytes, InkError *reterr)
{
    for (size_t done = 0; done < n_bytes;) {
        ssize_t n = pread(fd, chunk + done, n_bytes - done, (off_t)(at + done));
        if (n < 0 && errno == EINTR)
            continue;
        INK_CHECK(n >= 0, EIO, reterr, "reading the file failed: %s", strerror(errno));
        if (n == 0)
            return refuse_changed(reterr);
        done += (size_t)n;
    }
    return 0;
}

static int write_chunk(int fd, uint64_t at, const uint8_t *chunk, size_t n_bytes, InkError *reterr)
{
    for (size_t done = 0; done < n_bytes;) {
        ssize_t n = pwrite(fd, chunk + done, n_bytes - done, (off_t)(at + done));
        if (n < 0 && errno == EINTR)
            continue;
        INK_CHECK(n > 0, n < 0 ? errno : EIO, reterr, "writing the copy failed: %s",
                  n < 0 ? strerror(errno) : "nothing was written");
        done += (size_t)n;
    }
    return 0;
}

static int sync_copy(int fd, InkError *reterr)
{
    INK_CHECK(fsync(fd) == 0, errno, reterr, "the copy could not be brought to the disk: %s",
              strerror(errno));
    return 0;
}

/* Reads the model once from its start to its end. */
static int read_all(Inspection *i, uint8_t *chunk, InkError *reterr)
{
    InkInspectStage stage = i->job.copy ? INK_INSPECT_STORING : INK_INSPECT_CHECKING;
    uint64_t synced = 0;
    InkSha256 sum;
    ink_sha256_init(&sum, false);
    for (uint64_t at = 0; at < i->job.size_bytes;) {
        uint64_t left = i->job.size_bytes - at;
        size_t n = left < CHUNK_BYTES ? (size_t)left : CHUNK_BYTES;
        INK_TRY(read_chunk(i->model_fd, at, chunk, n, reterr));
        ink_sha256_update(&sum, chunk, n);
        if (i->job.copy)
            INK_TRY(write_chunk(i->copy_fd, at, chunk, n, reterr));
        at += n;
        if (i->job.copy && at - synced >= SYNC_BYTES) {
            INK_TRY(sync_copy(i->copy_fd, reterr));
            synced = at;
        }
        INK_TRY(tell(i, stage, at, at == i->job.size_bytes, reterr));
    }
    if (i->job.copy)
        INK_TRY(sync_copy(i->copy_fd, reterr));
    ink_sha256_final(&sum, i->result.sha256);
    i->result.has_sha256 = 1;
    return 0;
}

static int check_source(const Inspection *i, struct stat *ret, InkError *reterr)
{
    INK_CHECK(fstat(i->model_fd, ret) == 0 && S_ISREG(ret->st_mode), EINVAL, reterr,
              "the model is not a regular file");
    if (ret->st_size < 0 || (uint64_t)ret->st_size != i->job.size_bytes)
        return refuse_changed(reterr);
    return 0;
}

/* All of the room first: what does not fit is said before anything is read. */
static int reserve(const Inspection *i, InkError *reterr)
{
    if (fallocate(i->copy_fd, 0, 0, (off_t)i->job.size_bytes) == 0)
        return 0;
    /* A file system that cannot: the writes will tell. */
    INK_CHECK(errno == EOPNOTSUPP || errno == ENOSYS, errno, reterr, "no room for the copy: %s",
              strerror(errno));
    return 0;
}

static int hash_or_copy(Inspection *i, InkError *reterr)
{
    struct stat before, after;
    _cleanup_free_ uint8_t *chunk = ink_alloc_aligned(CHUNK_BYTES);
    INK_CHECK(chunk != NULL, ENOMEM, reterr, "no memory for reading");
    INK_TRY(check_source(i, &before, reterr));
    if (i->job.copy)
        INK_TRY(reserve(i, reterr));
    INK_TRY(read_all(i, chunk, reterr));
    INK_TRY(check_source(i, &after, reterr));
    if (before.st_mtim.tv_sec != after.st_mtim.tv_sec ||
        before.st_mtim.tv_nsec != after.st_mtim.tv_nsec)
        return refuse_changed(reterr);
    return 0;
}

static int run_job(Inspection *i, InkError *reterr)
{
    struct stat st;
    INK_TRY(tell(i, INK_INSPECT_CHECKING, 0, true, reterr));
    INK_TRY(check_source(i, &st, reterr));
    /* First, so that a file that cannot serve costs no copy. */
    INK_TRY(ink_inspect_file(i->model_fd, i->job.size_bytes, &i->result, reterr));
    if (!i->job.copy && !i->job.hash)
        return 0;
    INK_TRY(hash_or_copy(i, reterr));
    if (!i->job.copy)
        return 0;
    /* What was checked may have been changed since; what lies in the copy may not. */
    InkInspectResult copied;
    INK_TRY(ink_inspect_file(i->copy_fd, i->job.size_bytes, &copied, reterr));
    memcpy(copied.sha256, i->result.sha256, sizeof(copied.sha256));
    copied.has_sha256 = 1;
    i->result = copied;
    return 0;
}

/* -- the connection ---------------------------------------------------------------------------- */

static int send_ready(int socket, const InkSealStatus *seal, InkError *reterr)
{
    InkInspectReady ready = {
        .header = {.type = INK_INSPECT_READY},
        .version = INK_INSPECT_VERSION,
        .seccomp = seal->seccomp,
        .landlock_abi = seal->landlock_abi < 255 ? (uint8_t)seal->landlock_abi : 255,
    };
    int r = ink_wire_send(socket, 0, &ready.header, sizeof(ready), NULL, 0, NULL, 0);
    INK_CHECK(r == 0, -r, reterr, "the broker is gone");
    return 0;
}

int ink_inspect_serve(int socket, const InkSealStatus *seal, InkError *reterr)
{
    InkInspectFrame frame = {.n_fds = 0};
    INK_TRY(send_ready(socket, seal, reterr));
    INK_TRY(ink_inspect_receive(socket, 0, true, &frame, reterr));
    _cleanup_close_ int model_fd = frame.fds[0];
    _cleanup_close_ int copy_fd = frame.job.copy ? frame.fds[1] : -1;
    Inspection i = {.socket = socket, .job = frame.job, .model_fd = model_fd, .copy_fd = copy_fd};
    InkError why = {0};
    int r = run_job(&i, &why);
    if (r == -ECONNRESET)
        return INK_RAISE(ECONNRESET, reterr, "%s", why.message);
    if (r < 0) {
        InkWireFailed failed = {.header = {.type = INK_INSPECT_FAILED}, .code = (uint32_t)-r};
        ink_utf8_copy_printable(failed.message, sizeof(failed.message), why.message,
                                strlen(why.message));
        r = ink_wire_send(socket, 0, &failed.header, sizeof(failed), NULL, 0, NULL, 0);
    } else {
        i.result.header = (InkWireHeader){.type = INK_INSPECT_RESULT};
        r = ink_wire_send(socket, 0, &i.result.header, sizeof(i.result), NULL, 0, NULL, 0);
    }
    INK_CHECK(r == 0, -r, reterr, "the broker is gone");
    return 0;
}
