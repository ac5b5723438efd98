/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* `doctor --offline`: that no process of the service can reach a network, seen from inside (each of
 * them tries) and from outside (what the kernel says of it in /proc). */
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "clients/cli.h"

typedef struct Evidence {
    uint32_t pid;
    char process[32];
    size_t n_tries, n_refused;
    char open_call[64];               /* the first try that went through, "" = none */
    char refusals[512];               /* "socket AF_INET, stream: EPERM; ..." */
    int seccomp, no_new_privileges;   /* of /proc, -1 = not readable */
    int n_sockets, n_foreign_sockets; /* -1 = not readable */
} Evidence;

/* ------------------------------------------------------------ from outside */

static int status_field(const char *status, const char *name)
{
    const char *at = strstr(status, name);
    return at != NULL ? atoi(at + strlen(name)) : -1;
}

static void read_status_file(Evidence *e)
{
    char path[64], text[8192];
    e->seccomp = e->no_new_privileges = -1;
    snprintf(path, sizeof(path), "/proc/%" PRIu32 "/status", e->pid);
    _cleanup_fclose_ FILE *f = fopen(path, "re");
    if (f == NULL)
        return;
    text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
    e->seccomp = status_field(text, "\nSeccomp:\t");
    e->no_new_privileges = status_field(text, "\nNoNewPrivs:\t");
}

static bool is_local_socket(uint32_t pid, unsigned long inode)
{
    char path[64], line[512];
    snprintf(path, sizeof(path), "/proc/%" PRIu32 "/net/unix", pid);
    _cleanup_fclose_ FILE *f = fopen(path, "re");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        unsigned long found;
        if (sscanf(line, "%*s %*s %*s %*s %*s %*s %lu", &found) == 1 && found == inode)
            return true;
    }
    return false;
}

/* The sealed worker is not dumpable, so that its descriptors are hidden from everybody but root. */
static void read_sockets(Evidence *e)
{
    char path[64], link[64];
    snprintf(path, sizeof(path), "/proc/%" PRIu32 "/fd", e->pid);
    DIR *folder = opendir(path);
    e->n_sockets = e->n_foreign_sockets = folder != NULL ? 0 : -1;
    for (struct dirent *d; folder != NULL && (d = readdir(folder)) != NULL;) {
        unsigned long inode;
        ssize_t n = readlinkat(dirfd(folder), d->d_name, link, sizeof(link) - 1);
        link[n > 0 ? n : 0] = '\0';
        if (sscanf(link, "socket:[%lu]", &inode) != 1)
            continue;
        e->n_sockets++;
        e->n_foreign_sockets += !is_local_socket(e->pid, inode);
    }
    if (folder != NULL)
        closedir(folder);
}

/* ------------------------------------------------------------- from inside */

static int read_tries(sd_bus_message *m, Evidence *e)
{
    const char *call, *outcome;
    size_t at = 0;
    INK_TRY(sd_bus_message_enter_container(m, 'v', "a(ss)"));
    INK_TRY(sd_bus_message_enter_container(m, 'a', "(ss)"));
    int r;
    while ((r = sd_bus_message_read(m, "(ss)", &call, &outcome)) > 0) {
        bool open = strcmp(outcome, "open") == 0;
        e->n_tries++;
        e->n_refused += !open;
        if (open && e->open_call[0] == '\0')
            snprintf(e->open_call, sizeof(e->open_call), "%s", call);
        if (at < sizeof(e->refusals))
            at += (size_t)snprintf(e->refusals + at, sizeof(e->refusals) - at, "%s%s: %s",
                                   at > 0 ? "; " : "", call, outcome);
    }
    INK_TRY(r);
    INK_TRY(sd_bus_message_exit_container(m));
    return sd_bus_message_exit_container(m);
}

/* One process; 0 at the end of the list. */
static int read_evidence(sd_bus_message *m, Evidence *e)
{
    const char *key, *text;
    int r = sd_bus_message_enter_container(m, 'a', "{sv}");
    if (r <= 0)
        return r;
    *e = (Evidence){0};
    while ((r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
        INK_TRY(sd_bus_message_read(m, "s", &key));
        if (strcmp(key, "process") == 0) {
            INK_TRY(sd_bus_message_read(m, "v", "s", &text));
            snprintf(e->process, sizeof(e->process), "%s", text);
        } else if (strcmp(key, "pid") == 0) {
            INK_TRY(sd_bus_message_read(m, "v", "u", &e->pid));
        } else if (strcmp(key, "tries") == 0) {
            INK_TRY(read_tries(m, e));
        } else {
            INK_TRY(sd_bus_message_skip(m, "v"));
        }
        INK_TRY(sd_bus_message_exit_container(m));
    }
    INK_TRY(r);
    INK_TRY(sd_bus_message_exit_container(m));
    return 1;
}

/* ------------------------------------------------------------------ report */

static bool is_proven(const Evidence *e)
{
    return e->n_tries > 0 && e->n_refused == e->n_tries && e->seccomp == 2 &&
           e->no_new_privileges == 1 && e->n_foreign_sockets <= 0;
}

static void print_json(const Evidence *e)
{
    printf("{\"process\":\"%s\",\"pid\":%" PRIu32 ",\"proven\":%s,\"tries\":%zu,\"refused\":%zu,"
           "\"seccomp\":%d,\"no-new-privileges\":%d,\"sockets\":%d,\"other-than-local\":%d}\n",
           e->process, e->pid, is_proven(e) ? "true" : "false", e->n_tries, e->n_refused,
           e->seccomp, e->no_new_privileges, e->n_sockets, e->n_foreign_sockets);
}

static void print_words(const Evidence *e)
{
    printf("%-5s %s, process %" PRIu32 "\n", is_proven(e) ? "ok" : "fail", e->process, e->pid);
    printf("      tried from inside: %zu of %zu doors to a network are shut%s%s\n", e->n_refused,
           e->n_tries, e->open_call[0] != '\0' ? "; open: " : "", e->open_call);
    printf("        %s\n", e->refusals);
    printf("      read from outside: seccomp %s, new privileges %s, ",
           e->seccomp == 2 ? "filter" : "MISSING",
           e->no_new_privileges == 1 ? "never" : "POSSIBLE");
    if (e->n_sockets < 0)
        printf("descriptors hidden (not dumpable)\n");
    else
        printf("%d sockets, %d of them not local\n", e->n_sockets, e->n_foreign_sockets);
}

static int append_no_options(sd_bus_message *m, void *userdata)
{
    (void)userdata;
    return sd_bus_message_append(m, "a{sv}", 0);
}

int cli_prove_offline(Cli *cli)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    InkError error;
    Evidence e;
    size_t n = 0, n_proven = 0;
    bool has_worker = false;
    if (ink_client_call(cli->client, "Manager", "ProveOffline", false, append_no_options, NULL,
                        &reply, &error) < 0)
        return cli_error(cli, ink_client_error_name(cli->client), &error);
    int r = sd_bus_message_enter_container(reply, 'a', "a{sv}");
    while (r >= 0 && (r = read_evidence(reply, &e)) > 0) {
        read_status_file(&e);
        read_sockets(&e);
        n++;
        n_proven += is_proven(&e);
        has_worker |= strcmp(e.process, "inkling-worker") == 0;
        if (cli->json)
            print_json(&e);
        else
            print_words(&e);
    }
    if (r < 0 || n == 0)
        return cli_error(cli, NULL, &(InkError){EPROTO, "the proof is not readable"});
    if (!has_worker && !cli->json)
        printf("      no worker runs now, so there is none to prove; one starts with the next "
               "answer\n");
    r = cli_flush(cli);
    return r != CLI_OK ? r : n_proven == n ? CLI_OK : CLI_FAILED;
}
