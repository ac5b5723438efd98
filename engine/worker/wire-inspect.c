/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "engine/worker/wire-inspect.h"

#include <string.h>

#include "engine/base/cleanup.h"
#include "engine/worker/wire-io.h"

#define REFUSE(...) return INK_RAISE(EPROTO, reterr, __VA_ARGS__)

void ink_inspect_frame_done(InkInspectFrame *f)
{
    for (size_t i = 0; i < INK_WIRE_MAX_FDS; i++) {
        if (f->n_fds > i && f->fds[i] >= 0)
            close(f->fds[i]);
        f->fds[i] = -1;
    }
    f->n_fds = 0;
}

static int check_job(const InkInspectFrame *f, InkError *reterr)
{
    const InkInspectJob *j = &f->job;
    if (j->version != INK_INSPECT_VERSION)
        REFUSE("INSPECT: version %u, this build has %u", j->version, INK_INSPECT_VERSION);
    if (j->copy > 1 || j->hash > 1)
        REFUSE("INSPECT: copy or hash is out of range");
    if (f->n_fds != 1u + j->copy)
        REFUSE("INSPECT: wrong number of descriptors, %zu", f->n_fds);
    if (!ink_wire_is_zero(j->reserved, sizeof(j->reserved)))
        REFUSE("INSPECT: reserved bytes are not 0");
    if (j->size_bytes == 0 || j->size_bytes > INT64_MAX)
        REFUSE("INSPECT: size_bytes is not the size of a file");
    return 0;
}

static int check_ready(const InkInspectFrame *f, InkError *reterr)
{
    const InkInspectReady *r = &f->ready;
    if (r->version != INK_INSPECT_VERSION)
        REFUSE("READY: version %u, this build has %u", r->version, INK_INSPECT_VERSION);
    if (r->seccomp > 1)
        REFUSE("READY: seccomp is out of range");
    if (!ink_wire_is_zero(r->reserved, sizeof(r->reserved)))
        REFUSE("READY: reserved bytes are not 0");
    return 0;
}

static int check_progress(const InkInspectFrame *f, InkError *reterr)
{
    const InkInspectProgress *p = &f->progress;
    if (p->stage != INK_INSPECT_CHECKING && p->stage != INK_INSPECT_STORING)
        REFUSE("PROGRESS: stage %u is unknown", p->stage);
    if (p->reserved != 0)
        REFUSE("PROGRESS: reserved is not 0");
    if (p->total == 0 || p->done > p->total)
        REFUSE("PROGRESS: done is over total, or total is 0");
    return 0;
}

static int check_types(const InkInspectResult *m, InkError *reterr)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < INK_INSPECT_MAX_TYPES; i++) {
        const InkInspectTensorType *t = &m->types[i];
        if (i >= m->n_types) {
            if (!ink_wire_is_zero((const uint8_t *)t, sizeof(*t)))
                REFUSE("RESULT: tensor types behind the last one");
            continue;
        }
        if (!ink_wire_is_text(t->name, sizeof(t->name)) || t->name[0] == '\0')
            REFUSE("RESULT: the name of tensor type %zu is not a terminated text", i);
        for (size_t k = 0; k < i; k++)
            if (strcmp(m->types[k].name, t->name) == 0)
                REFUSE("RESULT: tensor type %zu is there twice", i);
        if (t->n_bytes > m->size_bytes - sum)
            REFUSE("RESULT: tensors are larger than the file");
        sum += t->n_bytes;
    }
    return 0;
}

static int check_warnings(const InkInspectResult *m, InkError *reterr)
{
    for (size_t i = 0; i < INK_INSPECT_MAX_WARNINGS; i++) {
        bool is_used = i < m->n_warnings;
        if (!ink_wire_is_text(m->warnings[i], sizeof(m->warnings[i])) ||
            (m->warnings[i][0] != '\0') != is_used)
            REFUSE("RESULT: warning %zu is not a terminated text, or is none of them", i);
    }
    return 0;
}

static int check_result(const InkInspectFrame *f, InkError *reterr)
{
    const InkInspectResult *m = &f->result;
    if (!ink_wire_is_text(m->name, sizeof(m->name)) ||
        !ink_wire_is_text(m->architecture, sizeof(m->architecture)) ||
        !ink_wire_is_text(m->quantization, sizeof(m->quantization)) ||
        !ink_wire_is_text(m->tokenizer, sizeof(m->tokenizer)) ||
        !ink_wire_is_text(m->license, sizeof(m->license)))
        REFUSE("RESULT: a name is not a terminated text");
    if (m->architecture[0] == '\0' || m->quantization[0] == '\0')
        REFUSE("RESULT: architecture or quantization is missing");
    if (m->n_layers == 0 || m->n_embedding == 0 || m->n_heads == 0 || m->n_kv_heads == 0 ||
        m->n_kv_heads > m->n_heads || m->n_vocab == 0 || m->n_context == 0 || m->n_parameters == 0)
        REFUSE("RESULT: a size of the model is 0, or n_kv_heads is over n_heads");
    if (m->has_template > 1 || m->has_sha256 > 1 || m->reserved != 0)
        REFUSE("RESULT: has_template, has_sha256 or reserved is out of range");
    if (m->has_sha256 == 0 && !ink_wire_is_zero(m->sha256, sizeof(m->sha256)))
        REFUSE("RESULT: a hash without has_sha256");
    if (m->n_types == 0 || m->n_types > INK_INSPECT_MAX_TYPES ||
        m->n_warnings > INK_INSPECT_MAX_WARNINGS)
        REFUSE("RESULT: n_types or n_warnings is out of range");
    if (m->size_bytes == 0 || m->size_bytes > INT64_MAX)
        REFUSE("RESULT: size_bytes is not the size of a file");
    INK_TRY(check_types(m, reterr));
    return check_warnings(m, reterr);
}

static int check_failed(const InkInspectFrame *f, InkError *reterr)
{
    if (f->failed.code == 0 || f->failed.code > 4095) /* MAX_ERRNO of the kernel */
        REFUSE("FAILED: code is not an errno");
    if (!ink_wire_is_text(f->failed.message, sizeof(f->failed.message)))
        REFUSE("FAILED: message is not a terminated text");
    if (f->failed.reserved != 0)
        REFUSE("FAILED: reserved is not 0");
    return 0;
}

static const struct FrameRule {
    uint32_t type;
    bool to_helper;
    const char *name;
    size_t n_bytes;
    size_t least_fds, most_fds;
    int (*check)(const InkInspectFrame *f, InkError *reterr);
} frame_rules[] = {
    {INK_INSPECT_INSPECT, true, "INSPECT", sizeof(InkInspectJob), 1, 2, check_job},
    {INK_INSPECT_READY, false, "READY", sizeof(InkInspectReady), 0, 0, check_ready},
    {INK_INSPECT_PROGRESS, false, "PROGRESS", sizeof(InkInspectProgress), 0, 0, check_progress},
    {INK_INSPECT_RESULT, false, "RESULT", sizeof(InkInspectResult), 0, 0, check_result},
    {INK_INSPECT_FAILED, false, "FAILED", sizeof(InkWireFailed), 0, 0, check_failed},
};

int ink_inspect_check(const InkInspectFrame *f, size_t received_bytes, bool to_helper,
                      InkError *reterr)
{
    if (received_bytes < sizeof(InkWireHeader) || received_bytes > sizeof(f->bytes))
        REFUSE("frame of %zu bytes is not in %zu..%zu", received_bytes, sizeof(InkWireHeader),
               sizeof(f->bytes));
    if (f->header.size_bytes != received_bytes)
        REFUSE("frame says %u bytes and has %zu", f->header.size_bytes, received_bytes);
    for (size_t i = 0; i < sizeof(frame_rules) / sizeof(frame_rules[0]); i++) {
        const struct FrameRule *rule = &frame_rules[i];
        if (rule->type != f->header.type || rule->to_helper != to_helper)
            continue;
        if (received_bytes != rule->n_bytes)
            REFUSE("%s: wrong size of %zu bytes", rule->name, received_bytes);
        if (f->n_fds < rule->least_fds || f->n_fds > rule->most_fds)
            REFUSE("%s: wrong number of descriptors, %zu", rule->name, f->n_fds);
        if (f->header.id != 0)
            REFUSE("%s: a helper has one job, its id is 0", rule->name);
        return rule->check(f, reterr);
    }
    REFUSE("frame type %u is unknown in this direction", f->header.type);
}

int ink_inspect_receive(int socket, int flags, bool to_helper, InkInspectFrame *f, InkError *reterr)
{
    size_t n_bytes;
    INK_TRY(ink_wire_receive_message(socket, flags, f->bytes, sizeof(f->bytes), &n_bytes, f->fds,
                                     &f->n_fds, reterr));
    int r = ink_inspect_check(f, n_bytes, to_helper, reterr);
    if (r < 0)
        ink_inspect_frame_done(f);
    return r;
}
