/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "store-test.h"

#include "personalize/model-catalogue.h"

typedef struct Seen {
    size_t n;
    char names[INK_STORE_MAX_MODELS + 1][64];
    InkStoredModel last; /* numbers only */
    char architecture[64], license[64];
} Seen;

static void each(void *userdata, const InkStoredModel *row)
{
    Seen *seen = userdata;
    assert_true(seen->n <= INK_STORE_MAX_MODELS);
    snprintf(seen->names[seen->n++], sizeof(seen->names[0]), "%s", row->name);
    seen->last = *row;
    snprintf(seen->architecture, sizeof(seen->architecture), "%s", row->architecture);
    snprintf(seen->license, sizeof(seen->license), "%s", row->license);
}

static Seen *list(InkStore *s)
{
    static Seen seen;
    seen = (Seen){0};
    assert_int_equal(ink_store_list_models(s, each, &seen, NULL), 0);
    return &seen;
}

static InkStoredModel sample(const char *name)
{
    InkStoredModel m = {.name = name,
                        .device = 66306,
                        .inode = UINT64_C(0xF000000000000001), /* overlayfs has such */
                        .size_bytes = 98000000,
                        .mtime_nsec = UINT64_C(1790000000123456789),
                        .architecture = "llama",
                        .quantization = "Q4_1",
                        .license = "apache-2.0",
                        .context_window = 8192,
                        .parameters = 134515008,
                        .has_template = true,
                        .imported_usec = NOON};
    for (size_t i = 0; i < sizeof(m.sha256); i++)
        m.sha256[i] = (uint8_t)(i * 8);
    return m;
}

static void test_model_catalogue_keeps_rows_over_a_restart(void **state)
{
    Place *place = *state;
    InkStore *s = open_store(place);
    InkStoredModel m = sample("smol"), n = sample("alpha");
    assert_int_equal(ink_store_put_model(s, &m, NULL), 0);
    assert_int_equal(ink_store_put_model(s, &n, NULL), 0);
    s = ink_store_close(s);
    s = open_store(place);
    Seen *seen = list(s);
    assert_int_equal(seen->n, 2);
    assert_string_equal(seen->names[0], "alpha");
    assert_string_equal(seen->names[1], "smol");
    assert_true(seen->last.inode == m.inode && seen->last.device == m.device);
    assert_true(seen->last.size_bytes == m.size_bytes && seen->last.mtime_nsec == m.mtime_nsec);
    assert_memory_equal(seen->last.sha256, m.sha256, sizeof(m.sha256));
    assert_string_equal(seen->architecture, "llama");
    assert_string_equal(seen->license, "apache-2.0");
    assert_int_equal(seen->last.context_window, 8192);
    assert_true(seen->last.has_template && seen->last.parameters == m.parameters);
    assert_true(seen->last.imported_usec == NOON);
    ink_store_close(s);
}

static void test_model_catalogue_put_replaces_and_remove_forgets(void **state)
{
    InkStore *s = open_store(*state);
    InkStoredModel m = sample("smol");
    assert_int_equal(ink_store_put_model(s, &m, NULL), 0);
    m.size_bytes = 5;
    m.license = "";
    assert_int_equal(ink_store_put_model(s, &m, NULL), 0);
    Seen *seen = list(s);
    assert_int_equal(seen->n, 1);
    assert_int_equal(seen->last.size_bytes, 5);
    assert_string_equal(seen->license, "");
    assert_int_equal(ink_store_remove_model(s, "other", NULL), 0);
    assert_int_equal(list(s)->n, 1);
    assert_int_equal(ink_store_remove_model(s, "smol", NULL), 0);
    assert_int_equal(list(s)->n, 0);
    ink_store_close(s);
}

static void test_model_catalogue_has_a_limit_and_refuses_bad_texts(void **state)
{
    InkStore *s = open_store(*state);
    InkError e = {0};
    InkStoredModel m = sample("");
    assert_int_equal(ink_store_put_model(s, &m, &e), -EINVAL);
    assert_non_null(strstr(e.message, "name"));
    m = sample("bad\xFF");
    assert_int_equal(ink_store_put_model(s, &m, &e), -EINVAL);
    m = sample("x");
    m.license = NULL;
    assert_int_equal(ink_store_put_model(s, &m, &e), -EINVAL);
    for (unsigned i = 0; i < INK_STORE_MAX_MODELS; i++) {
        char name[16];
        snprintf(name, sizeof(name), "m%03u", i);
        m = sample(name);
        assert_int_equal(ink_store_put_model(s, &m, NULL), 0);
    }
    m = sample("one-more");
    assert_int_equal(ink_store_put_model(s, &m, &e), -EDQUOT);
    m = sample("m007"); /* one that is there may change */
    assert_int_equal(ink_store_put_model(s, &m, NULL), 0);
    assert_int_equal(list(s)->n, INK_STORE_MAX_MODELS);
    ink_store_close(s);
}

static void test_model_catalogue_remembers_the_default(void **state)
{
    Place *place = *state;
    InkStore *s = open_store(place);
    char name[256] = "x";
    assert_int_equal(ink_store_default_model(s, name, NULL), 0);
    assert_string_equal(name, "");
    assert_int_equal(ink_store_set_default_model(s, "smol", NULL), 0);
    assert_int_equal(ink_store_set_default_model(s, "alpha", NULL), 0);
    s = ink_store_close(s);
    s = open_store(place);
    assert_int_equal(ink_store_default_model(s, name, NULL), 0);
    assert_string_equal(name, "alpha");
    assert_int_equal(ink_store_set_default_model(s, "", NULL), 0);
    assert_int_equal(ink_store_default_model(s, name, NULL), 0);
    assert_string_equal(name, "");
    ink_store_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        store_test(test_model_catalogue_keeps_rows_over_a_restart),
        store_test(test_model_catalogue_put_replaces_and_remove_forgets),
        store_test(test_model_catalogue_has_a_limit_and_refuses_bad_texts),
        store_test(test_model_catalogue_remembers_the_default),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
