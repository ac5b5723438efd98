/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* `inkling app`: which applications may what. */
#include "clients/cli.h"

#include <stdio.h>
#include <string.h>

#include "ipc/names.h"

static const char *const permissions[] = {
    "text", "embedding", "recommendation", "memory", "memory-shared", "personalize", "manage",
};
#define N_PERMISSIONS (sizeof(permissions) / sizeof(permissions[0]))

/* "default-allow" of the bus for people. */
static const char *words_for(const char *decision)
{
    return strcmp(decision, "default-allow") == 0  ? "allow (default)"
           : strcmp(decision, "default-deny") == 0 ? "deny (default)"
                                                   : decision;
}

static void print_line(const Cli *cli, size_t index, const char *app_id, const char *permission,
                       const char *decision)
{
    if (!cli->json) {
        cli_print_text(app_id, strlen(app_id));
        printf("%*s  %-14s  %s\n", strlen(app_id) < 36 ? (int)(36 - strlen(app_id)) : 0, "",
               permission, words_for(decision));
        return;
    }
    _cleanup_buffer_ InkBuffer out = INK_BUFFER_INIT;
    ink_buffer_append_str(&out, "{\"app-id\":");
    ink_buffer_json_string(&out, app_id, strlen(app_id));
    ink_buffer_append_str(&out, ",\"permission\":");
    ink_buffer_json_string(&out, permission, strlen(permission));
    ink_buffer_append_str(&out, ",\"decision\":");
    ink_buffer_json_string(&out, decision, strlen(decision));
    ink_buffer_append_str(&out, "}");
    if (ink_buffer_status(&out) == 0)
        printf("%s%s", index == 0 ? "" : ",", out.data);
}

/* Those of `app_id` and `permission`; NULL = all. */
static int print_list(Cli *cli, const char *app_id, const char *permission)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    InkError error = {0};
    const char *app, *name, *decision;
    size_t n = 0;
    if (ink_client_call(cli->client, "Manager", "ListPermissions", true, NULL, NULL, &reply,
                        &error) < 0)
        return cli_error(cli, ink_client_error_name(cli->client), &error);
    if (cli->json)
        printf("[");
    int r = sd_bus_message_enter_container(reply, 'a', "(sss)");
    while (r > 0 && (r = sd_bus_message_read(reply, "(sss)", &app, &name, &decision)) > 0)
        if ((app_id == NULL || strcmp(app, app_id) == 0) &&
            (permission == NULL || strcmp(name, permission) == 0))
            print_line(cli, n++, app, name, decision);
    /* It is not on the bus now, and nothing is decided for it any more. */
    for (size_t i = 0; n == 0 && app_id != NULL && i < N_PERMISSIONS; i++)
        if (permission == NULL || strcmp(permissions[i], permission) == 0)
            print_line(cli, i, app_id, permissions[i], "default");
    if (cli->json)
        printf("]\n");
    if (r < 0) {
        (void)ink_error_raise(&error, EPROTO, "the answer of the service is not readable");
        return cli_error(cli, NULL, &error);
    }
    return cli_flush(cli);
}

typedef struct Change {
    const char *app_id, *permission, *decision;
} Change;

static int append_change(sd_bus_message *m, void *userdata)
{
    const Change *c = userdata;
    return sd_bus_message_append(m, "sss", c->app_id, c->permission, c->decision);
}

static int set(Cli *cli, Change *change)
{
    InkError error = {0};
    if (ink_client_call(cli->client, "Manager", "SetPermission", true, append_change, change, NULL,
                        &error) >= 0)
        return CLI_OK;
    int r = cli_error(cli, ink_client_error_name(cli->client), &error);
    /* The remedy that an error names is this very command, which cannot help itself. */
    if (r == CLI_DENIED && strstr(error.message, "inkling app allow") != NULL)
        cli_warn(cli, "this command itself may not manage; another program decides for it: "
                      "busctl --user call " INK_BUS_NAME " " INK_BUS_PATH " " INK_BUS_MANAGER
                      " SetPermission sss ID manage reset");
    return r;
}

static bool is_permission(const char *word)
{
    for (size_t i = 0; i < N_PERMISSIONS; i++)
        if (strcmp(permissions[i], word) == 0)
            return true;
    return false;
}

static int run_app(Cli *cli)
{
    const char *what = cli->n_positionals > 0 ? cli->positionals[0] : "";
    const char *app_id = cli->n_positionals > 1 ? cli->positionals[1] : NULL;
    const char *permission = cli->n_positionals > 2 ? cli->positionals[2] : NULL;
    bool is_list = strcmp(what, "list") == 0, is_reset = strcmp(what, "reset") == 0;
    if (!is_list && !is_reset && strcmp(what, "allow") != 0 && strcmp(what, "deny") != 0)
        return cli_usage(cli, "app needs list, allow, deny or reset");
    if (is_list ? permission != NULL : app_id == NULL || (!is_reset && permission == NULL))
        return cli_usage(cli, "app %s needs %s", what,
                         is_list    ? "at most an application's id"
                         : is_reset ? "an application's id; inkling app list shows them"
                                    : "an application's id and a permission; inkling app list "
                                      "shows them");
    if (permission != NULL && !is_permission(permission))
        return cli_usage(cli,
                         "\"%.32s\" is no permission; they are text, embedding, "
                         "recommendation, memory, memory-shared, personalize, manage",
                         permission);
    int r = cli_connect(cli);
    for (size_t i = 0; r == CLI_OK && !is_list && i < N_PERMISSIONS; i++)
        if (permission == NULL || strcmp(permissions[i], permission) == 0)
            r = set(cli, &(Change){app_id, permissions[i], what});
    return r != CLI_OK ? r : print_list(cli, app_id, permission);
}

const CliVerb cli_verb_app = {
    .name = "app",
    .arguments = "list|allow|deny|reset",
    .summary = "which applications may what",
    .details = "  app list [ID]             applications that are there or were decided on\n"
               "  app allow ID PERMISSION   prints the new line; so do deny and reset\n"
               "  app deny ID PERMISSION\n"
               "  app reset ID [PERMISSION] back to the default\n"
               "Permissions: text, embedding, recommendation, memory, memory-shared, personalize,\n"
               "manage. Sandboxed applications may nothing until allowed, and manage never (exit\n"
               "4); host programs may all but memory-shared.\n",
    .examples = "  inkling app list\n"
                "  inkling app allow org.example.Notes text\n"
                "  inkling app deny exe:curl text\n",
    .max_positionals = 3,
    .run = run_app,
};
