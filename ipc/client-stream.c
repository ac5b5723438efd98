/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* The reader's side of StartPipe: one JSON object a line. The bus is served while waiting, so that
 * signals do not pile up in its socket. */
#include "ipc/client.h"

#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <string.h>

#include "engine/base/alloc.h"
#include "engine/base/clock.h"
#include "ipc/client-private.h"
#include "ipc/names.h"

#define MAX_LINE_BYTES (1u << 20)
#define READ_BYTES     16384u

struct InkStream {
    InkClient *client; /* borrowed */
    char *path;
    int fd;
    InkBuffer buffer;
    size_t n_used_bytes; /* of `buffer`: the line of the last frame */
    size_t n_seen_bytes; /* of `buffer`: known to hold no line end after n_used_bytes */
    json_t *line;        /* what the last frame points into */
    char *results;
    bool finished, bus_broken, dont_block;
};

/* ------------------------------------------------------------------- start */

static int append_start(sd_bus_message *m, const char *kind, InkClientAppend *append_input,
                        InkClientAppend *append_options, void *userdata)
{
    INK_TRY(sd_bus_message_append(m, "s", kind));
    INK_TRY(sd_bus_message_open_container(m, 'a', "{sv}"));
    if (append_input != NULL)
        INK_TRY(append_input(m, userdata));
    INK_TRY(sd_bus_message_close_container(m));
    INK_TRY(sd_bus_message_open_container(m, 'a', "{sv}"));
    if (append_options != NULL)
        INK_TRY(append_options(m, userdata));
    return sd_bus_message_close_container(m);
}

int ink_client_start_pipe(InkClient *c, const char *kind, InkClientAppend *append_input,
                          InkClientAppend *append_options, void *userdata, InkStream **ret,
                          InkError *reterr)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
    _cleanup_(ink_stream_free_p) InkStream *s = ink_alloc_array(1, sizeof(*s));
    const char *path;
    int fd;
    INK_CHECK(s != NULL, ENOMEM, reterr, "out of memory");
    s->client = c;
    s->fd = -1;
    int r = sd_bus_message_new_method_call(ink_client_bus(c), &m, INK_BUS_NAME, INK_BUS_PATH,
                                           INK_BUS_TEXT, "StartPipe");
    if (r >= 0)
        r = append_start(m, kind, append_input, append_options, userdata);
    if (r < 0)
        return ink_client_raise(c, r, "StartPipe", reterr);
    INK_TRY(ink_client_send(c, m, &reply, reterr));
    r = sd_bus_message_read(reply, "oh", &path, &fd);
    if (r <= 0)
        return ink_client_raise(c, r < 0 ? r : -EPROTO, "StartPipe", reterr);
    s->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    s->path = strdup(path);
    INK_CHECK(s->fd >= 0 && s->path != NULL, ENOMEM, reterr, "no room for the stream");
    *ret = INK_TAKE(s);
    return 0;
}

InkStream *ink_stream_free(InkStream *s)
{
    if (s == NULL)
        return NULL;
    if (s->fd >= 0)
        close(s->fd);
    json_decref(s->line);
    free(s->results);
    free(s->path);
    ink_buffer_done(&s->buffer);
    free(s);
    return NULL;
}

int ink_stream_cancel(InkStream *s, InkError *reterr)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
    int r = sd_bus_message_new_method_call(ink_client_bus(s->client), &m, INK_BUS_NAME, s->path,
                                           INK_BUS_REQUEST, "Cancel");
    if (r >= 0)
        r = sd_bus_message_set_auto_start(m, false);
    if (r < 0)
        return ink_client_raise(s->client, r, "Cancel", reterr);
    return ink_client_send(s->client, m, NULL, reterr);
}

/* ------------------------------------------------------------------ frames */

static const char *get_string(const json_t *o, const char *key)
{
    const char *v = json_string_value(json_object_get(o, key));
    return v != NULL ? v : "";
}

/* Exact up to 2^53: counts and microseconds. */
static uint64_t get_number(const json_t *o, const char *key)
{
    double v = json_number_value(json_object_get(o, key));
    return v >= 0 && v < 0x1p64 ? (uint64_t)v : 0;
}

/* A seed may need all 64 bits, which no number of jansson holds; the line itself has them. */
static uint64_t get_seed(const char *line)
{
    const char *at = strstr(line, ",\"seed\":");
    return at != NULL ? strtoull(at + 8, NULL, 10) : 0;
}

static int read_finished(InkStream *s, const json_t *f, const char *line, InkStreamFrame *ret,
                         InkError *reterr)
{
    /* The inner object of {"finished":{...}} as it stands in the line. */
    size_t n = strlen(line);
    const char *inner = strchr(line + 1, '{');
    INK_CHECK(inner != NULL && n >= 2, EPROTO, reterr, "the stream's last line is not readable");
    free(s->results);
    s->results = strndup(inner, n - 1 - (size_t)(inner - line));
    INK_CHECK(s->results != NULL, ENOMEM, reterr, "out of memory");
    s->finished = true;
    *ret = (InkStreamFrame){
        .status = (uint32_t)get_number(f, "status"),
        .results_json = s->results,
        .finish_reason = get_string(f, "finish-reason"),
        .model = get_string(f, "model"),
        .error_name = get_string(f, "error-name"),
        .error_message = get_string(f, "error-message"),
        .kernels = get_string(f, "kernels"),
        .prompt_tokens = get_number(f, "prompt-tokens"),
        .cached_tokens = get_number(f, "cached-tokens"),
        .output_tokens = get_number(f, "output-tokens"),
        .queue_usec = get_number(f, "queue-usec"),
        .load_usec = get_number(f, "load-usec"),
        .prefill_usec = get_number(f, "prefill-usec"),
        .decode_usec = get_number(f, "decode-usec"),
        .seed = get_seed(line),
    };
    return INK_STREAM_FINISHED;
}

/* Positive: an event; 0: a frame that this version does not know. */
static int read_line(InkStream *s, const char *line, InkStreamFrame *ret, InkError *reterr)
{
    json_decref(s->line);
    /* Integers of jansson are signed, and it refuses the whole line over one that does not fit. */
    s->line = json_loads(line, JSON_DECODE_INT_AS_REAL | JSON_REJECT_DUPLICATES, NULL);
    INK_CHECK(json_is_object(s->line), EPROTO, reterr, "the stream is not readable");
    const json_t *text = json_object_get(s->line, "text");
    if (json_is_string(text)) {
        *ret = (InkStreamFrame){.text = json_string_value(text),
                                .n_text_bytes = json_string_length(text),
                                .offset_bytes = get_number(s->line, "offset")};
        return INK_STREAM_TEXT;
    }
    const json_t *progress = json_object_get(s->line, "progress");
    if (json_is_object(progress)) {
        *ret =
            (InkStreamFrame){.stage = get_string(progress, "stage"),
                             .fraction = json_number_value(json_object_get(progress, "fraction"))};
        return INK_STREAM_PROGRESS;
    }
    const json_t *finished = json_object_get(s->line, "finished");
    return json_is_object(finished) ? read_finished(s, finished, line, ret, reterr) : 0;
}

/* ----------------------------------------------------------------- waiting */

static void serve_bus(InkStream *s)
{
    int r;
    do
        r = sd_bus_process(ink_client_bus(s->client), NULL);
    while (r > 0);
    if (r < 0)
        s->bus_broken = true; /* the pipe will end too, and says it better */
}

/* Positive: there is something to read; 0: not now. */
static int wait_readable(InkStream *s, InkError *reterr)
{
    for (;;) {
        if (!s->bus_broken)
            serve_bus(s);
        sd_bus *bus = ink_client_bus(s->client);
        struct pollfd fds[2] = {{.fd = s->fd, .events = POLLIN}, {.fd = -1}};
        uint64_t until = UINT64_MAX;
        int timeout_msec = -1;
        if (!s->bus_broken && sd_bus_get_fd(bus) >= 0) {
            int events = sd_bus_get_events(bus);
            fds[1] = (struct pollfd){.fd = sd_bus_get_fd(bus),
                                     .events = (short)(events > 0 ? events : POLLIN)};
            if (sd_bus_get_timeout(bus, &until) >= 0 && until != UINT64_MAX) {
                uint64_t now = ink_clock_monotonic_usec();
                uint64_t left = until > now ? (until - now) / 1000 + 1 : 0;
                timeout_msec = left > 60000 ? 60000 : (int)left;
            }
        }
        if (s->dont_block)
            timeout_msec = 0;
        if (poll(fds, 2, timeout_msec) < 0)
            return INK_RAISE(errno, reterr, "waiting for the stream: %s", strerror(errno));
        if (fds[0].revents != 0 || s->dont_block)
            return fds[0].revents != 0;
    }
}

int ink_stream_fd(const InkStream *s)
{
    return s->fd;
}

void ink_stream_set_blocking(InkStream *s, bool blocking)
{
    s->dont_block = !blocking;
}

/* One line, terminated in place; it stays until the next call. */
static char *take_line(InkStream *s)
{
    ink_buffer_consume(&s->buffer, s->n_used_bytes);
    s->n_seen_bytes -= s->n_used_bytes;
    s->n_used_bytes = 0;
    if (s->buffer.size_bytes == s->n_seen_bytes)
        return NULL;
    char *end =
        memchr(s->buffer.data + s->n_seen_bytes, '\n', s->buffer.size_bytes - s->n_seen_bytes);
    if (end == NULL) {
        s->n_seen_bytes = s->buffer.size_bytes;
        return NULL;
    }
    *end = '\0';
    s->n_used_bytes = s->n_seen_bytes = (size_t)(end - s->buffer.data) + 1;
    return s->buffer.data;
}

int ink_stream_next(InkStream *s, InkStreamFrame *ret, InkError *reterr)
{
    char bytes[READ_BYTES];
    INK_CHECK(!s->finished, EPIPE, reterr, "the stream has ended");
    for (;;) {
        for (char *line = take_line(s); line != NULL; line = take_line(s)) {
            int r = read_line(s, line, ret, reterr);
            if (r != 0)
                return r;
        }
        INK_CHECK(s->buffer.size_bytes < MAX_LINE_BYTES, EPROTO, reterr,
                  "a line of the stream has more than %u bytes", MAX_LINE_BYTES);
        int ready = wait_readable(s, reterr);
        if (ready <= 0)
            return ready;
        ssize_t n = read(s->fd, bytes, sizeof(bytes));
        INK_CHECK(n >= 0, errno, reterr, "reading the stream: %s", strerror(errno));
        INK_CHECK(n > 0, EPIPE, reterr, "the service died before the answer was complete");
        ink_buffer_append(&s->buffer, bytes, (size_t)n);
        INK_CHECK(ink_buffer_status(&s->buffer) == 0, ENOMEM, reterr, "out of memory");
    }
}

/* ------------------------------------------------------------ whole answers */

typedef struct WholeInput {
    const char *prompt;
    const InkClientMessage *messages;
    size_t n_messages;
    InkClientAppend *append_options;
    void *userdata;
} WholeInput;

static int append_whole_prompt(sd_bus_message *m, void *userdata)
{
    const WholeInput *in = userdata;
    return sd_bus_message_append(m, "{sv}", "prompt", "s", in->prompt);
}

static int append_whole_messages(sd_bus_message *m, void *userdata)
{
    const WholeInput *in = userdata;
    INK_TRY(sd_bus_message_open_container(m, 'e', "sv"));
    INK_TRY(sd_bus_message_append(m, "s", "messages"));
    INK_TRY(sd_bus_message_open_container(m, 'v', "a(ss)"));
    INK_TRY(sd_bus_message_open_container(m, 'a', "(ss)"));
    for (size_t i = 0; i < in->n_messages; i++)
        INK_TRY(sd_bus_message_append(m, "(ss)", in->messages[i].role, in->messages[i].text));
    INK_TRY(sd_bus_message_close_container(m));
    INK_TRY(sd_bus_message_close_container(m));
    return sd_bus_message_close_container(m);
}

static int append_whole_options(sd_bus_message *m, void *userdata)
{
    const WholeInput *in = userdata;
    return in->append_options != NULL ? in->append_options(m, in->userdata) : 0;
}

static int raise_finished(InkClient *c, const InkStreamFrame *f, InkError *reterr)
{
    if (f->status == 0)
        return 0;
    bool named = f->error_name[0] != '\0';
    return ink_client_raise_named(
        c, named ? f->error_name : INK_BUS_ERROR_PREFIX "Cancelled",
        f->error_message[0] != '\0' ? f->error_message : "the request was cancelled", reterr);
}

static int collect(InkClient *c, const char *kind, InkClientAppend *append_input, WholeInput *in,
                   char **ret_text, InkError *reterr)
{
    _cleanup_(ink_stream_free_p) InkStream *s = NULL;
    _cleanup_buffer_ InkBuffer text = INK_BUFFER_INIT;
    InkStreamFrame frame;
    int r;
    INK_TRY(ink_client_start_pipe(c, kind, append_input, append_whole_options, in, &s, reterr));
    do {
        r = ink_stream_next(s, &frame, reterr);
        if (r == -EINTR)
            continue; /* a signal of the program's own; the answer still comes */
        INK_TRY(r);
        if (r == INK_STREAM_TEXT)
            ink_buffer_append(&text, frame.text, frame.n_text_bytes);
    } while (r != INK_STREAM_FINISHED);
    INK_TRY(raise_finished(c, &frame, reterr));
    ink_buffer_append(&text, "", 1);
    INK_CHECK(ink_buffer_status(&text) == 0, ENOMEM, reterr, "no memory for the answer");
    *ret_text = INK_TAKE(text.data);
    return 0;
}

int ink_client_complete(InkClient *c, const char *prompt, InkClientAppend *append_options,
                        void *userdata, char **ret_text, InkError *reterr)
{
    WholeInput in = {.prompt = prompt, .append_options = append_options, .userdata = userdata};
    return collect(c, "complete", append_whole_prompt, &in, ret_text, reterr);
}

int ink_client_chat(InkClient *c, const InkClientMessage *messages, size_t n_messages,
                    InkClientAppend *append_options, void *userdata, char **ret_text,
                    InkError *reterr)
{
    WholeInput in = {.messages = messages,
                     .n_messages = n_messages,
                     .append_options = append_options,
                     .userdata = userdata};
    return collect(c, "chat", append_whole_messages, &in, ret_text, reterr);
}
