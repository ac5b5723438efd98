/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */

/* Models coming, being looked at and going, with the real helper and the toy models; what answers
 * requests is the fake worker. */
#include "app-world.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>

#include "daemon/helper.h"
#include "daemon/model-file.h"
#include "engine/base/sha256.h"
#include "personalize/model-catalogue.h"

static World world;

/* ------------------------------------------------------------------ small tools */

static void new_world(void)
{
    world_new(&world, "echo");
    run_for(&world, 20000); /* the store has told what it knows */
}

static int open_toy(const char *name)
{
    char path[512];
    snprintf(path, sizeof path, "%s/tests/data/%s", getenv("INKLING_SOURCE_DIR"), name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static void sum_of(int fd, char hex[INK_SHA256_HEX_BYTES])
{
    static char data[1 << 20];
    InkSha256 s;
    uint8_t sum[INK_SHA256_BYTES];
    ssize_t n = pread(fd, data, sizeof data, 0);
    assert_true(n > 0 && n < (ssize_t)sizeof data);
    ink_sha256_init(&s, true);
    ink_sha256_update(&s, data, (size_t)n);
    ink_sha256_final(&s, sum);
    ink_sha256_to_hex(sum, hex);
}

static int import_as(Client *c, const char *name, const char *sha256, bool make_default, int fd,
                     InkError *error)
{
    const InkServiceImport import = {.name = name, .sha256 = sha256, .make_default = make_default};
    const InkCaller caller = {.sender = ":1.1", .app_id = "exe:test"};
    *c = (Client){.world = &world};
    c->sink = (InkTaskSink){.events = &events, .userdata = c, .credit_bytes = SIZE_MAX};
    return ink_app_ops()->import_model(world.app, &caller, &import, fd, &c->sink, &c->id, error);
}

/* Imports a toy and waits for the end. */
static void import(Client *c, const char *name, const char *toy, bool make_default)
{
    InkError error = {0};
    int r = import_as(c, name, NULL, make_default, open_toy(toy), &error);
    assert_string_equal(error.message, "");
    assert_int_equal(r, 0);
    run_until(&world, &c->ended);
}

static int refused_import(const char *name, const char *sha256, int fd, const char *words)
{
    InkError error = {0};
    int r = import_as(&one, name, sha256, false, fd, &error);
    if (r == 0 || strstr(error.message, words) == NULL)
        print_error("\"%s\": %d, \"%s\"\n", name, r, error.message);
    assert_true(r < 0);
    assert_non_null(strstr(error.message, words));
    return r;
}

typedef struct Listed {
    const char *wanted;
    size_t n;
    bool found;
    InkServiceModel model;
} Listed;

static void each_model(void *userdata, const InkServiceModel *model)
{
    Listed *l = userdata;
    l->n++;
    if (strcmp(model->name, l->wanted) == 0) {
        l->found = true;
        l->model = *model;
    }
}

static Listed list(const char *wanted)
{
    Listed l = {.wanted = wanted};
    assert_int_equal(ink_app_ops()->list_models(world.app, each_model, &l, NULL), 0);
    return l;
}

static size_t count_files(const char *folder)
{
    size_t n = 0;
    DIR *d = opendir(folder);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    closedir(d);
    return n;
}

/* Of this process: the helpers. */
static unsigned kill_children(void)
{
    unsigned n = 0;
    DIR *d = opendir("/proc");
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        char path[300];
        int parent = 0;
        snprintf(path, sizeof path, "/proc/%s/stat", e->d_name);
        FILE *f = e->d_name[0] >= '1' && e->d_name[0] <= '9' ? fopen(path, "re") : NULL;
        if (f == NULL)
            continue;
        if (fscanf(f, "%*d %*[^)]) %*c %d", &parent) == 1 && parent == (int)getpid()) {
            assert_int_equal(kill(atoi(e->d_name), SIGKILL), 0);
            n++;
        }
        fclose(f);
    }
    closedir(d);
    return n;
}

typedef struct Answer {
    bool done;
    InkError error;
    InkServiceInspection told;
    char tokenizer[32], type[32], warning[320];
} Answer;

static void on_inspected(void *userdata, const InkError *error, const InkServiceInspection *i)
{
    Answer *a = userdata;
    assert_false(a->done);
    a->done = true;
    if (error != NULL) {
        a->error = *error;
        return;
    }
    a->told = *i;
    snprintf(a->tokenizer, sizeof a->tokenizer, "%s", i->tokenizer);
    if (i->n_tensor_types > 0)
        snprintf(a->type, sizeof a->type, "%s", i->tensor_types[0].name);
    if (i->n_warnings > 0)
        snprintf(a->warning, sizeof a->warning, "%s", i->warnings[i->n_warnings - 1]);
}

static Answer inspect(const char *name, bool verify)
{
    static Answer a;
    InkError error = {0};
    a = (Answer){0};
    int r = ink_app_ops()->inspect_model(world.app, &(InkCaller){.app_id = "exe:test"}, name,
                                         verify, on_inspected, &a, &error);
    if (r < 0) {
        a.error = error;
        return a;
    }
    run_until(&world, &a.done);
    return a;
}

typedef struct Done {
    bool done;
    InkError error;
} Done;

static void on_done(void *userdata, const InkError *error)
{
    Done *d = userdata;
    assert_false(d->done);
    d->done = true;
    if (error != NULL)
        d->error = *error;
}

static int remove_model(const char *name, bool force, InkError *error)
{
    Done d = {0};
    *error = (InkError){0};
    int r = ink_app_ops()->remove_model(world.app, &(InkCaller){.app_id = "exe:test"}, name, force,
                                        on_done, &d, error);
    if (r < 0)
        return r;
    run_until(&world, &d.done);
    *error = d.error;
    return -d.error.code;
}

static int use_model(const char *name, bool force, InkError *error)
{
    Done d = {0};
    *error = (InkError){0};
    int r = ink_app_ops()->set_default_model(world.app, &(InkCaller){.app_id = "exe:test"}, name,
                                             force, on_done, &d, error);
    if (r < 0)
        return r;
    run_until(&world, &d.done);
    *error = d.error;
    return -d.error.code;
}

/* ------------------------------------------------------------------ files */

static void test_model_file_appears_whole_or_not_at_all(void **state)
{
    (void)state;
    char folder[] = "/tmp/ink-import-XXXXXX", models[64], path[128];
    assert_non_null(mkdtemp(folder));
    snprintf(models, sizeof models, "%s/models", folder);
    for (int nameless = 0; nameless < 2; nameless++) {
        InkModelFile f = INK_MODEL_FILE_INIT;
        InkError e = {0};
        assert_int_equal(ink_model_file_create(models, "a", nameless != 0, &f, &e), 0);
        assert_int_equal(count_files(models), nameless != 0 ? 0 : 1);
        assert_true(ink_model_file_free_bytes(&f) > 0);
        ink_model_file_done(&f);
        assert_int_equal(count_files(models), 0);

        assert_int_equal(ink_model_file_create(models, "a", nameless != 0, &f, &e), 0);
        assert_int_equal(write(f.fd, "hello", 5), 5);
        assert_int_equal(ink_model_file_publish(&f, &e), 0);
        ink_model_file_done(&f);
        snprintf(path, sizeof path, "%s/a.gguf", models);
        struct stat st;
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_size, 5);
        assert_int_equal(st.st_mode & 0777, 0600);
        assert_int_equal(count_files(models), 1);

        assert_int_equal(ink_model_file_create(models, "a", nameless != 0, &f, &e), 0);
        assert_int_equal(ink_model_file_publish(&f, &e), -EEXIST);
        ink_model_file_done(&f);
        assert_int_equal(count_files(models), 1);
        assert_int_equal(remove(path), 0);
    }
    snprintf(path, sizeof path, "%s/.left.part", models);
    assert_true(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600) >= 0);
    static const char *const kept[] = {".kept",      ".part",    ".Some Download.part",
                                       ".a..b.part", ".fetch-a", "a.part"};
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", models, kept[i]);
        assert_true(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600) >= 0);
    }
    ink_model_file_sweep(models);
    assert_int_equal(count_files(models), 6);
    InkModelFile f = INK_MODEL_FILE_INIT;
    assert_int_equal(ink_model_file_create(models, "../a", true, &f, NULL), -EINVAL);
    assert_int_equal(ink_model_file_create("/proc/nowhere", "a", true, &f, NULL), -EIO);
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", models, kept[i]);
        assert_int_equal(remove(path), 0);
    }
    rmdir(models);
    rmdir(folder);
}

/* ------------------------------------------------------------------ importing */

static void test_import_makes_a_model_that_is_known_at_once_and_after_a_restart(void **state)
{
    (void)state;
    char hex[INK_SHA256_HEX_BYTES];
    new_world();
    int fd = open_toy("toy-llama-q.gguf");
    sum_of(fd, hex);
    close(fd);
    import(&one, "small", "toy-llama-q.gguf", false);
    assert_int_equal(one.result.status, INK_TASK_SUCCESS);
    assert_int_equal(one.n_ends, 1);
    assert_string_equal(one.model, "small");
    assert_string_equal(one.stages, "checking storing ");
    for (int restarted = 0; restarted < 2; restarted++) {
        Listed l = list("small");
        /* The store's rows come some time after the start. */
        for (int i = 0; i < 500 && l.model.sha256[0] == '\0'; i++) {
            run_for(&world, 10000);
            l = list("small");
        }
        assert_true(l.found && l.n == 2);
        assert_string_equal(l.model.sha256, hex);
        assert_string_equal(l.model.architecture, "llama");
        assert_true(l.model.parameters > 0 && l.model.context_window > 0);
        assert_true(l.model.is_default); /* the first by name */
        assert_false(l.model.loaded || l.model.is_system);
        world.app = ink_app_free(world.app);
        world_start(&world);
    }
    world_done(&world);
}

/* Rows of files that were deleted by hand must not fill the catalogue for ever. */
static void test_import_finds_room_in_a_full_catalogue(void **state)
{
    (void)state;
    InkStore *store = NULL;
    world_init(&world, "echo");
    assert_int_equal(chmod(world.data, 0700), 0);
    assert_int_equal(ink_store_open(world.data, &store, NULL), 0);
    for (unsigned i = 0; i < INK_STORE_MAX_MODELS; i++) {
        char name[16];
        snprintf(name, sizeof name, "gone%u", i);
        const InkStoredModel row = {
            .name = name, .architecture = "llama", .quantization = "F32", .license = ""};
        assert_int_equal(ink_store_put_model(store, &row, NULL), 0);
    }
    ink_store_close(store);
    world_start(&world);
    run_for(&world, 100000);
    import(&one, "a", "toy-llama-q.gguf", false);
    assert_string_equal(one.result.error.message, "");
    assert_int_equal(one.result.status, INK_TASK_SUCCESS);
    import(&two, "b", "toy-llama-q.gguf", false);
    assert_int_equal(two.result.status, INK_TASK_SUCCESS);
    assert_int_equal(strlen(list("b").model.sha256), 64);
    world_done(&world);
}

static void test_import_refuses_at_the_door(void **state)
{
    (void)state;
    new_world();
    int fd = open_toy("toy-llama-q.gguf");
    static const char *const names[] = {"", "A", "../x", ".x", "a b", "a..b"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_int_equal(refused_import(names[i], NULL, fd, "name:"), -EINVAL);
    assert_int_equal(refused_import("toy", NULL, fd, "installed already"), -EEXIST);
    assert_int_equal(refused_import("x", "abc", fd, "sha256:"), -EINVAL);

    int pair[2];
    assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
    assert_int_equal(refused_import("x", NULL, pair[0], "file: not a regular file"), -EINVAL);
    assert_int_equal(refused_import("x", NULL, pair[1], "file: not open for reading"), -EINVAL);
    int other = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    assert_int_equal(refused_import("x", NULL, other, "file: not a regular file"), -EINVAL);
    close(other);
    other = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(refused_import("x", NULL, other, "file: not a regular file"), -EINVAL);
    close(other);
    other = open("/tmp", O_PATH | O_CLOEXEC);
    assert_int_equal(refused_import("x", NULL, other, "file: not open for reading"), -EINVAL);
    close(other);
    other = memfd_create("empty", MFD_CLOEXEC);
    assert_int_equal(refused_import("x", NULL, other, "0 bytes"), -EBADMSG);
    assert_int_equal(ftruncate(other, INT64_MAX / 2), 0);
    assert_int_equal(refused_import("x", NULL, other, "the disk is full"), -EIO);
    close(other);
    close(pair[0]);
    close(pair[1]);
    close(fd);
    assert_int_equal(count_files(world.models), 1);
    world_done(&world);
}

static void test_import_of_a_bad_file_leaves_nothing(void **state)
{
    (void)state;
    static const char zeros[INK_SHA256_HEX_BYTES] =
        "0000000000000000000000000000000000000000000000000000000000000000";
    InkError e = {0};
    new_world();
    int fd = memfd_create("text", MFD_CLOEXEC);
    assert_int_equal(write(fd, "this is no model", 16), 16);
    assert_int_equal(import_as(&one, "bad", NULL, true, fd, &e), 0);
    run_until(&world, &one.ended);
    assert_int_equal(one.result.status, INK_TASK_FAILED);
    assert_int_equal(one.result.error.code, EBADMSG);

    assert_int_equal(import_as(&two, "bad", zeros, true, open_toy("toy-llama-q.gguf"), &e), 0);
    run_until(&world, &two.ended);
    assert_int_equal(two.result.status, INK_TASK_FAILED);
    assert_int_equal(two.result.error.code, EBADMSG);
    assert_non_null(strstr(two.result.error.message, "sha256 of the file is"));
    assert_int_equal(count_files(world.models), 1);
    assert_true(list("toy").model.is_default);
    world_done(&world);
}

static void test_import_one_at_a_time_and_cancelled_for_good(void **state)
{
    (void)state;
    InkError e = {0};
    new_world();
    assert_int_equal(import_as(&one, "a", NULL, false, open_toy("toy-llama.gguf"), &e), 0);
    const char *word;
    uint32_t position;
    InkPriority priority;
    assert_int_equal(ink_app_ops()->task_state(world.app, one.id, &word, &position, &priority), 0);
    assert_string_equal(word, "running");
    assert_int_equal(ink_app_n_requests(world.app), 1);
    int fd = open_toy("toy-llama.gguf");
    const InkServiceImport second = {.name = "b"};
    uint64_t id;
    assert_int_equal(ink_app_ops()->import_model(world.app, &(InkCaller){.app_id = "exe:test"},
                                                 &second, fd, &one.sink, &id, &e),
                     -EBUSY);
    close(fd);
    ink_app_ops()->cancel(world.app, one.id, INK_CANCEL_CALLER);
    assert_true(one.ended);
    assert_int_equal(one.result.status, INK_TASK_CANCELLED);
    assert_int_equal(one.result.reason, INK_FINISH_CANCELLED);
    assert_int_equal(ink_app_n_requests(world.app), 0);
    ink_app_ops()->cancel(world.app, one.id, INK_CANCEL_CALLER); /* an old id */
    run_for(&world, 20000);
    assert_int_equal(one.n_ends, 1);
    assert_int_equal(count_files(world.models), 1);
    import(&two, "a", "toy-llama.gguf", false);
    assert_int_equal(two.result.status, INK_TASK_SUCCESS);
    world_done(&world);
}

/* The end of the service at any moment of an import: nothing, or a whole file. */
static void test_import_and_the_end_of_the_service(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 12; i++) {
        InkError e = {0};
        new_world();
        assert_int_equal(import_as(&one, "a", NULL, false, open_toy("toy-llama-q.gguf"), &e), 0);
        run_for(&world, i * 4000);
        world.app = ink_app_free(world.app);
        assert_true(one.ended);
        assert_int_equal(one.n_ends, 1);
        size_t n = count_files(world.models);
        assert_int_equal(n, one.result.status == INK_TASK_SUCCESS ? 2 : 1);
        if (one.result.status != INK_TASK_SUCCESS)
            assert_int_equal(one.result.error.code, ESHUTDOWN);
        world_done(&world);
    }
}

static void test_import_survives_a_helper_that_is_killed(void **state)
{
    (void)state;
    InkError e = {0};
    new_world();
    assert_int_equal(import_as(&one, "a", NULL, false, open_toy("toy-llama.gguf"), &e), 0);
    assert_true(kill_children() > 0);
    run_until(&world, &one.ended);
    assert_int_equal(one.result.status, INK_TASK_FAILED);
    assert_int_equal(one.result.error.code, EREMOTEIO);
    assert_int_equal(count_files(world.models), 1);
    world_done(&world);
}

/* ------------------------------------------------------------------ looking */

static void test_inspect_tells_and_verifies(void **state)
{
    (void)state;
    char path[256];
    new_world();
    import(&one, "small", "toy-llama-q.gguf", false);
    Answer a = inspect("small", false);
    assert_string_equal(a.error.message, "");
    assert_true(a.told.layers > 0 && a.told.embedding_length > 0 && a.told.vocabulary > 0);
    assert_true(a.told.heads >= a.told.kv_heads && a.told.n_tensor_types > 0);
    assert_string_equal(a.told.model.name, "small");
    assert_false(a.told.was_verified);
    assert_true(a.tokenizer[0] != '\0');

    a = inspect("small", true);
    assert_true(a.told.was_verified && a.told.verified);

    /* One byte of a weight, at the end of the file: sound, and not what was imported. */
    snprintf(path, sizeof path, "%s/small.gguf", world.models);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    struct stat st;
    char byte;
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    assert_int_equal(pread(fd, &byte, 1, st.st_size - 1), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, st.st_size - 1), 1);
    a = inspect("small", true);
    assert_string_equal(a.error.message, "");
    assert_true(a.told.was_verified && !a.told.verified);
    assert_non_null(strstr(a.warning, "recorded is"));
    assert_string_equal(list("small").model.sha256, ""); /* the record is about another file */

    byte ^= 1; /* as it was, with another date */
    assert_int_equal(pwrite(fd, &byte, 1, st.st_size - 1), 1);
    close(fd);
    a = inspect("small", true);
    assert_true(a.told.was_verified && a.told.verified);
    assert_int_equal(strlen(list("small").model.sha256), 64);

    a = inspect("toy", false); /* a text of 18 bytes */
    assert_int_equal(a.error.code, EBADMSG);
    a = inspect("none", false);
    assert_int_equal(a.error.code, ENOENT);
    world_done(&world);
}

static void test_inspect_records_the_hash_of_what_was_put_there_by_hand(void **state)
{
    (void)state;
    char from[512], to[800], hex[INK_SHA256_HEX_BYTES];
    new_world();
    snprintf(from, sizeof from, "%s/tests/data/toy-llama-q.gguf", getenv("INKLING_SOURCE_DIR"));
    snprintf(to, sizeof to, "cp '%s' %s/models/hand.gguf", from, world.folder);
    assert_int_equal(system(to), 0);
    Answer a = inspect("hand", true);
    assert_false(a.told.was_verified);
    assert_non_null(strstr(a.warning, "no hash was recorded"));
    int fd = open_toy("toy-llama-q.gguf");
    sum_of(fd, hex);
    close(fd);
    assert_string_equal(list("hand").model.sha256, hex);
    a = inspect("hand", true);
    assert_true(a.told.was_verified && a.told.verified);
    world_done(&world);
}

static void test_inspect_is_bounded_and_ends_with_the_service(void **state)
{
    (void)state;
    static Answer answers[INK_LIMIT_INSPECTIONS + 1];
    InkError e = {0};
    new_world();
    import(&one, "small", "toy-llama-q.gguf", false);
    memset(answers, 0, sizeof answers);
    for (size_t i = 0; i <= INK_LIMIT_INSPECTIONS; i++) {
        const InkCaller caller = {.app_id = i < 2 ? "exe:one" : i < 4 ? "exe:two" : "exe:three"};
        int r = ink_app_ops()->inspect_model(world.app, &caller, "small", true, on_inspected,
                                             &answers[i], &e);
        assert_int_equal(r, i < INK_LIMIT_INSPECTIONS ? 0 : -EBUSY);
        if (i == 1) /* one program has half of them at most */
            assert_int_equal(ink_app_ops()->inspect_model(world.app, &caller, "small", true,
                                                          on_inspected, &answers[4], &e),
                             -EBUSY);
    }
    world.app = ink_app_free(world.app);
    for (size_t i = 0; i < INK_LIMIT_INSPECTIONS; i++) {
        assert_true(answers[i].done);
        assert_int_equal(answers[i].error.code, ESHUTDOWN);
    }
    assert_false(answers[INK_LIMIT_INSPECTIONS].done);
    world_done(&world);
}

/* ------------------------------------------------------------------ the default, and going */

static void test_models_use_changes_the_default_for_good(void **state)
{
    (void)state;
    InkError e;
    new_world();
    import(&one, "small", "toy-llama-q.gguf", false);
    import(&one, "other", "toy-llama-tied.gguf", true);
    assert_true(list("other").model.is_default);
    unsigned n_changes = world.n_state_changes;
    assert_int_equal(use_model("small", false, &e), 0);
    assert_true(list("small").model.is_default);
    InkServiceState s;
    ink_app_ops()->state(world.app, &s);
    assert_string_equal(s.model, "small");
    assert_true(s.context_window > 0); /* known, though it never was loaded */
    assert_true(world.n_state_changes > n_changes);
    assert_int_equal(use_model("none", false, &e), -ENOENT);
    world.app = ink_app_free(world.app);
    world_start(&world);
    for (int i = 0; i < 500 && !list("small").model.is_default; i++)
        run_for(&world, 10000); /* the store's rows come some time after the start */
    assert_true(list("small").model.is_default);
    assert_int_equal(use_model("", false, &e), 0); /* the order of models.h again */
    assert_true(list("other").model.is_default);

    /* A choice that is not installed any more is none; the configuration goes first. */
    assert_int_equal(use_model("small", false, &e), 0);
    char path[256];
    snprintf(path, sizeof path, "%s/small.gguf", world.models);
    assert_int_equal(remove(path), 0);
    assert_true(list("other").model.is_default);
    world.app = ink_app_free(world.app);
    strcpy(world.config.model, "toy");
    world_start(&world);
    run_for(&world, 50000);
    assert_true(list("toy").model.is_default);
    assert_int_equal(use_model("other", false, &e), -EOPNOTSUPP);
    assert_non_null(strstr(e.message, "inkling.conf"));
    world_done(&world);
}

/* Requests of both models at once: each runs on its own one, nothing is lost. */
static void test_models_switch_under_a_flood(void **state)
{
    (void)state;
    enum { N = 24 };
    InkError e;
    new_world();
    import(&one, "small", "toy-llama-q.gguf", false);
    clear_clients();
    for (unsigned i = 0; i < N; i++) {
        char app[16];
        InkTask task = make_task("x");
        task.model = i % 3 == 0 ? "small" : "toy";
        snprintf(app, sizeof app, "exe:t%u", i % 4);
        assert_int_equal(start_as(&world, &many[i], app, &task, &e), 0);
    }
    assert_int_equal(use_model("small", false, &e), -EBUSY);
    assert_int_equal(use_model("small", true, &e), 0);
    for (unsigned i = N; i < N + 8; i++) {
        char app[16];
        InkTask task = make_task("x");
        snprintf(app, sizeof app, "exe:t%u", i % 4);
        assert_int_equal(start_as(&world, &many[i], app, &task, &e), 0);
    }
    for (unsigned i = 0; i < N + 8; i++) {
        run_until(&world, &many[i].ended);
        assert_int_equal(many[i].result.status, INK_TASK_SUCCESS);
        assert_string_equal(many[i].model, i >= N || i % 3 == 0 ? "small" : "toy");
        assert_string_equal(many[i].text, FAKE_TEXT);
    }
    world_done(&world);
}

static void test_models_remove_takes_file_row_and_cache(void **state)
{
    (void)state;
    InkError e;
    new_world();
    import(&one, "small", "toy-llama-q.gguf", true);
    start(&world, &two, "x"); /* loads it, so that there is a packed form */
    run_until(&world, &two.ended);
    assert_string_equal(two.model, "small");
    assert_int_equal(count_files(world.cache), 1);
    assert_int_equal(remove_model("", false, &e), -EINVAL);
    assert_int_equal(remove_model("none", false, &e), -ENOENT);
    assert_int_equal(remove_model("small", false, &e), 0);
    assert_int_equal(count_files(world.models), 1);
    assert_int_equal(count_files(world.cache), 0);
    assert_false(list("small").found);
    assert_true(list("toy").model.is_default); /* the choice went with it */
    assert_int_equal(mkdir(world.system_models, 0755), 0);
    put_model(world.system_models, "sys", "x");
    assert_int_equal(remove_model("sys", true, &e), -EACCES);
    assert_non_null(strstr(e.message, "system folder"));
    world.app = ink_app_free(world.app);
    world_start(&world);
    run_for(&world, 50000);
    import(&one, "small", "toy-llama-q.gguf", false); /* the name is free again */
    assert_int_equal(one.result.status, INK_TASK_SUCCESS);
    world_done(&world);
}

static void test_models_remove_of_one_in_use_wants_force(void **state)
{
    (void)state;
    InkError e;
    world_new(&world, "slow");
    run_for(&world, 20000);
    import(&one, "small", "toy-llama-q.gguf", true);
    clear_clients();
    start(&world, &two, "x");
    run_until(&world, &two.got_text);
    assert_int_equal(remove_model("small", false, &e), -EBUSY);
    assert_int_equal(remove_model("toy", false, &e), 0); /* that one is not in use */
    assert_int_equal(remove_model("small", true, &e), 0);
    run_until(&world, &two.ended);
    assert_int_equal(two.result.status, INK_TASK_CANCELLED);
    assert_string_equal(state_of(&world), "no-model");
    world_done(&world);
}

static int forget_clients(void **state)
{
    (void)state;
    clear_clients();
    return 0;
}

#define IN_WORLD(test) cmocka_unit_test_setup(test, forget_clients)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model_file_appears_whole_or_not_at_all),
        IN_WORLD(test_import_makes_a_model_that_is_known_at_once_and_after_a_restart),
        IN_WORLD(test_import_finds_room_in_a_full_catalogue),
        IN_WORLD(test_import_refuses_at_the_door),
        IN_WORLD(test_import_of_a_bad_file_leaves_nothing),
        IN_WORLD(test_import_one_at_a_time_and_cancelled_for_good),
        IN_WORLD(test_import_and_the_end_of_the_service),
        IN_WORLD(test_import_survives_a_helper_that_is_killed),
        IN_WORLD(test_inspect_tells_and_verifies),
        IN_WORLD(test_inspect_records_the_hash_of_what_was_put_there_by_hand),
        IN_WORLD(test_inspect_is_bounded_and_ends_with_the_service),
        IN_WORLD(test_models_use_changes_the_default_for_good),
        IN_WORLD(test_models_switch_under_a_flood),
        IN_WORLD(test_models_remove_takes_file_row_and_cache),
        IN_WORLD(test_models_remove_of_one_in_use_wants_force),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
