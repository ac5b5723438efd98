/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* A completion in C, printed as it is made.
 *     cc complete.c $(pkg-config --cflags --libs inkling) -o complete
 *     ./complete "Once upon a time" */
#include <inkling.h>
#include <stdio.h>

static int append_input(sd_bus_message *m, void *prompt)
{
    return sd_bus_message_append(m, "{sv}", "prompt", "s", (const char *)prompt);
}

static int append_options(sd_bus_message *m, void *prompt)
{
    (void)prompt;
    return sd_bus_message_append(m, "{sv}{sv}", "max-tokens", "u", 48u, "max-lines", "u", 3u);
}

int main(int argc, char **argv)
{
    char *prompt = argc > 1 ? argv[1] : "Once upon a time";
    InkClient *client = NULL;
    InkStream *stream = NULL;
    InkStreamFrame frame;
    InkError error = {0};
    int r = ink_client_new(&client, &error);
    if (r >= 0)
        r = ink_client_start_pipe(client, "complete", append_input, append_options, prompt, &stream,
                                  &error);
    while (r >= 0 && (r = ink_stream_next(stream, &frame, &error)) > 0) {
        if (r == INK_STREAM_TEXT) {
            fwrite(frame.text, 1, frame.n_text_bytes, stdout);
            fflush(stdout);
        } else if (r == INK_STREAM_FINISHED) {
            if (frame.status != 0)
                fprintf(stderr, "%s\n", frame.error_message);
            else
                printf("\n[%llu tokens]\n", (unsigned long long)frame.output_tokens);
            break;
        }
    }
    if (r < 0)
        fprintf(stderr, "%s\n", error.message);
    ink_stream_free(stream);
    ink_client_free(client);
    return r < 0 || frame.status != 0;
}
