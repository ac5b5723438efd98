/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* What a generation works on: a prompt, the same in a sealed memory file, or messages. */
#include "ipc/options.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/base/alloc.h"
#include "engine/base/utf8.h"

static const char *const role_words[] = {"system", "user", "assistant", "tool", NULL};

void ink_task_input_done(InkTaskInput *in)
{
    free(in->messages);
    free(in->owned);
    *in = INK_TASK_INPUT_INIT;
}

static int read_words(sd_bus_message *m, const char *name, InkTaskInput *in, InkError *reterr)
{
    INK_TRY(ink_options_read_string(m, name, &in->prompt, reterr));
    in->n_prompt_bytes = strlen(in->prompt);
    INK_CHECK(in->n_prompt_bytes > 0, EINVAL, reterr, "%s is empty (0 bytes)", name);
    return 0;
}

int ink_options_read_prompt(sd_bus_message *m, InkTaskInput *in, InkError *reterr)
{
    return read_words(m, "prompt", in, reterr);
}

int ink_options_read_text(sd_bus_message *m, InkTaskInput *in, InkError *reterr)
{
    return read_words(m, "text", in, reterr);
}

static int read_message(sd_bus_message *m, size_t index, InkChatMessage *ret, InkError *reterr)
{
    const char *role, *text;
    int r = sd_bus_message_read(m, "(ss)", &role, &text);
    if (r == 0)
        return 0;
    INK_CHECK(r > 0, EINVAL, reterr, "messages are not readable");
    bool known = false;
    for (size_t i = 0; role_words[i] != NULL; i++)
        known = known || strcmp(role, role_words[i]) == 0;
    INK_CHECK(known, EINVAL, reterr, "message %zu: role is none of: system, user, assistant, tool",
              index);
    size_t n = strlen(text);
    INK_CHECK(n <= INK_BUS_MAX_STRING_BYTES, E2BIG, reterr,
              "message %zu has %zu bytes, the limit of a string is %u", index, n,
              INK_BUS_MAX_STRING_BYTES);
    *ret = (InkChatMessage){role, text, n};
    return 1;
}

int ink_options_read_messages(sd_bus_message *m, InkTaskInput *in, InkError *reterr)
{
    int r = sd_bus_message_enter_container(m, 'a', "(ss)");
    INK_CHECK(r >= 0, EINVAL, reterr, "messages are not of type a(ss)");
    /* One slot in front for the option `system`. */
    InkChatMessage *messages = ink_alloc_array(INK_BUS_MAX_MESSAGES + 1, sizeof(*messages));
    INK_CHECK(messages != NULL, ENOMEM, reterr, "out of memory for the messages");
    free(in->messages);
    in->messages = messages;
    InkChatMessage message = {0};
    size_t n = 0;
    while ((r = read_message(m, n, &message, reterr)) > 0) {
        INK_CHECK(n < INK_BUS_MAX_MESSAGES, E2BIG, reterr, "there are more than %u messages",
                  INK_BUS_MAX_MESSAGES);
        messages[1 + n++] = message;
    }
    INK_TRY(r);
    INK_CHECK(n > 0, EINVAL, reterr, "messages are empty");
    in->n_messages = n;
    r = sd_bus_message_exit_container(m);
    INK_CHECK(r >= 0, EINVAL, reterr, "messages are not readable");
    return 0;
}

/* ------------------------------------------------------- the input of Start */

static int set_prompt(const InkOption *o, sd_bus_message *m, void *field, InkError *reterr)
{
    InkTaskInput *in = (InkTaskInput *)((char *)field - o->offset);
    return ink_options_read_prompt(m, in, reterr);
}

static int set_messages(const InkOption *o, sd_bus_message *m, void *field, InkError *reterr)
{
    InkTaskInput *in = (InkTaskInput *)((char *)field - o->offset);
    return ink_options_read_messages(m, in, reterr);
}

static int read_whole(int fd, size_t n_bytes, char *out)
{
    for (size_t done = 0; done < n_bytes;) {
        ssize_t n = pread(fd, out + done, n_bytes - done, (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -EIO;
        done += (size_t)n;
    }
    return 0;
}

/* The seals make sure that the sender cannot change or cut what is being checked. */
static int set_prompt_fd(const InkOption *o, sd_bus_message *m, void *field, InkError *reterr)
{
    const int wanted = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW;
    InkTaskInput *in = (InkTaskInput *)((char *)field - o->offset);
    struct stat st;
    int fd;
    int r = sd_bus_message_read_basic(m, 'h', &fd);
    INK_CHECK(r > 0, EINVAL, reterr, "%s: not readable", o->key);
    int seals = fcntl(fd, F_GET_SEALS);
    INK_CHECK(seals >= 0 && (seals & wanted) == wanted && fstat(fd, &st) == 0, EINVAL, reterr,
              "%s is not a memory file sealed against writing, shrinking and growing", o->key);
    INK_CHECK(st.st_size > 0, EINVAL, reterr, "%s is empty (0 bytes)", o->key);
    INK_CHECK((uint64_t)st.st_size <= INK_BUS_MAX_PROMPT_BYTES, E2BIG, reterr,
              "%s has %lld bytes, the limit of a prompt is %u", o->key, (long long)st.st_size,
              INK_BUS_MAX_PROMPT_BYTES);
    size_t n = (size_t)st.st_size;
    _cleanup_free_ char *text = ink_alloc_array(n + 1, 1);
    INK_CHECK(text != NULL, ENOMEM, reterr, "out of memory for %s", o->key);
    r = read_whole(fd, n, text);
    INK_CHECK(r == 0, EINVAL, reterr, "%s could not be read", o->key);
    INK_CHECK(memchr(text, '\0', n) == NULL, EINVAL, reterr, "%s holds a NUL byte", o->key);
    INK_CHECK(ink_utf8_valid(text, n), EINVAL, reterr, "%s is not valid UTF-8", o->key);
    in->owned = INK_TAKE(text);
    in->prompt = in->owned;
    in->n_prompt_bytes = n;
    return 0;
}

static const InkOption complete_rows[] = {
    {"prompt", "s", set_prompt, offsetof(InkTaskInput, prompt)},
    {"prompt-fd", "h", set_prompt_fd, offsetof(InkTaskInput, prompt)}};
static const InkOption chat_rows[] = {
    {"messages", "a(ss)", set_messages, offsetof(InkTaskInput, messages)}};

static int set_session(const InkOption *o, sd_bus_message *m, void *field, InkError *reterr)
{
    const char *v;
    int r = sd_bus_message_read_basic(m, 'o', &v);
    INK_CHECK(r > 0, EINVAL, reterr, "%s: not readable", o->key);
    *(const char **)field = v;
    return 0;
}

static int set_text(const InkOption *o, sd_bus_message *m, void *field, InkError *reterr)
{
    InkTaskInput *in = (InkTaskInput *)((char *)field - o->offset);
    return ink_options_read_text(m, in, reterr);
}

static const InkOption prompt_rows[] = {
    {"session", "o", set_session, offsetof(InkTaskInput, session)},
    {"text", "s", set_text, offsetof(InkTaskInput, prompt)},
    {"text-fd", "h", set_prompt_fd, offsetof(InkTaskInput, prompt)}};

static int read_turn(sd_bus_message *m, InkTaskInput *in, InkError *reterr)
{
    uint32_t seen = 0;
    INK_TRY(
        ink_options_read(m, prompt_rows, INK_OPTIONS_N(prompt_rows), "input: ", in, &seen, reterr));
    INK_CHECK(in->session != NULL, EINVAL, reterr, "input: session is missing");
    INK_CHECK(in->prompt != NULL, EINVAL, reterr, "input: text or text-fd is missing");
    INK_CHECK((seen & 6u) != 6u, EINVAL, reterr, "input: text and text-fd are both given");
    return 0;
}

int ink_options_read_input(sd_bus_message *m, InkTaskKind kind, InkTaskInput *in, InkError *reterr)
{
    uint32_t seen = 0;
    if (kind == INK_TASK_PROMPT)
        return read_turn(m, in, reterr);
    if (kind == INK_TASK_CHAT) {
        INK_TRY(
            ink_options_read(m, chat_rows, INK_OPTIONS_N(chat_rows), "input: ", in, &seen, reterr));
        INK_CHECK(seen != 0, EINVAL, reterr, "input: messages is missing");
        return 0;
    }
    INK_TRY(ink_options_read(m, complete_rows, INK_OPTIONS_N(complete_rows), "input: ", in, &seen,
                             reterr));
    INK_CHECK(seen != 0, EINVAL, reterr, "input: prompt or prompt-fd is missing");
    INK_CHECK(seen != 3, EINVAL, reterr, "input: prompt and prompt-fd are given together");
    return 0;
}

int ink_options_join_system(InkTaskInput *in, const char *system, const InkChatMessage **ret,
                            size_t *ret_n, InkError *reterr)
{
    if (in->messages == NULL)
        in->messages = ink_alloc_array(1, sizeof(*in->messages));
    INK_CHECK(in->messages != NULL, ENOMEM, reterr, "out of memory for the messages");
    InkChatMessage *first = in->messages + 1;
    size_t n = in->n_messages, n_bytes = 0;
    if (system != NULL) {
        INK_CHECK(n == 0 || strcmp(first->role, "system") != 0, EINVAL, reterr,
                  "system is given as an option and as the first message");
        first = in->messages;
        n++;
        *first = (InkChatMessage){"system", system, strlen(system)};
    }
    for (size_t i = 0; i < n; i++) /* each is at most 256 KiB, so that the sum cannot wrap */
        n_bytes += first[i].n_text_bytes;
    INK_CHECK(n == 0 || n_bytes > 0, EINVAL, reterr, "messages are empty (0 bytes)");
    INK_CHECK(n_bytes <= INK_BUS_MAX_PROMPT_BYTES, E2BIG, reterr,
              "messages have %zu bytes, the limit of a prompt is %u", n_bytes,
              INK_BUS_MAX_PROMPT_BYTES);
    *ret = first;
    *ret_n = n;
    return 0;
}

int ink_options_join(InkTaskOptions *options, InkTaskInput *in, InkError *reterr)
{
    if (options->task.kind == INK_TASK_CHAT)
        INK_TRY(ink_options_join_system(in, options->system, &options->task.messages,
                                        &options->task.n_messages, reterr));
    options->task.prompt = in->prompt;
    options->task.n_prompt_bytes = in->n_prompt_bytes;
    options->task.stops = options->stops;
    options->task.n_stops = options->n_stops;
    return 0;
}
