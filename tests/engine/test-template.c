/* SPDX-License-Identifier: Apache-2.0
 * Copyright 2026 the inkling authors */
#include "engine/template.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "engine/base/alloc.h"

#define CONTROL "<|im_end|>"

static const InkMessage hello = {"user", "Hello", 5};

static int render_with(const char *source, const InkMessage *messages, size_t n, InkRendered *ret,
                       InkError *error)
{
    _cleanup_(ink_template_free_p) InkTemplate *t = NULL;
    INK_TRY(ink_template_parse(source, strlen(source), &t, error));
    InkTemplateInput input = {messages, n, true, "<s>", NULL};
    return ink_template_render(t, &input, ret, error);
}

static void assert_renders(const char *source, const char *expected)
{
    _cleanup_rendered_ InkRendered out = INK_RENDERED_INIT;
    InkError error = {0};
    int r = render_with(source, &hello, 1, &out, &error);
    if (r < 0)
        print_message("%s\n%s\n", source, error.message);
    assert_int_equal(r, 0);
    assert_string_equal(out.text.size_bytes != 0 ? out.text.data : "", expected);
    size_t n = 0;
    for (size_t i = 0; i < out.n_spans; i++) {
        assert_ptr_equal(out.spans[i].text, out.text.data + n);
        n += out.spans[i].n_bytes;
    }
    assert_int_equal(n, out.text.size_bytes);
}

static void assert_refused(const char *source, int code, const char *part)
{
    _cleanup_rendered_ InkRendered out = INK_RENDERED_INIT;
    InkError error = {0};
    int r = render_with(source, &hello, 1, &out, &error);
    if (r != -code || strstr(error.message, part) == NULL)
        print_message("%.80s: %d %s\n", source, r, error.message);
    assert_int_equal(r, -code);
    assert_non_null(strstr(error.message, part));
    assert_null(out.text.data);
    assert_null(out.spans);
}

static void test_template_expressions(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"{{ 1 + 2 * 3 - 4 // 3 }} {{ 7 / 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 2.5 * 2 }}",
         "6 3.5 -4 2 5.0"},
        {"{{ 1e20 }} {{ 1e15 }} {{ 0.1 }} {{ 1.5e-7 }} {{ 100.0 }}",
         "1e+20 1000000000000000.0 0.1 1.5e-07 100.0"},
        {"{{ 'a' ~ 1 ~ none ~ true ~ 2.0 }}", "a1NoneTrue2.0"},
        {"{{ 'a' 'b' \"c\" }}", "abc"},
        {"{{ '\\n\\t\\x41\\u00e9\\'\\q\\\\' }}", "\n\tA\xC3\xA9'\\q\\"},
        {"{{ 1 < 2 < 3 }}{{ 1 < 2 > 3 }}{{ 1 == 1.0 }}{{ 'a' < 'b' }}{{ not 1 == 2 }}",
         "TrueFalseTrueTrueTrue"},
        {"{{ 'b' in 'abc' }}{{ 'z' not in 'abc' }}{{ 2 in [1, 2] }}{{ 'k' in {'k': 1} }}{{ 1 in "
         "nope }}",
         "TrueTrueTrueTrueFalse"},
        {"{{ 'x' or 'y' }}{{ '' or 'y' }}{{ 0 and 1 }}{{ 'a' and 'b' }}", "xy0b"},
        {"{{ 'a' if false }}{{ 'b' if true else 'c' }}{{ 'd' if 0 else 'e' if 0 else 'f' }}", "bf"},
        {"{{ [1, 'a', none, [2]] }} {{ (1,) }} {{ {'a': 1} }} {{ () }} {{ [\"it's\"] }}",
         "[1, 'a', None, [2]] (1,) {'a': 1} () [\"it's\"]"},
        {"{{ 'h\xC3\xA9llo'[1:3] }}{{ 'abc'[::-1] }}{{ 'abc'[-1] }}{{ 'abc'[5] }}{{ [1,2,3][1:] "
         "}}{{ [1,2,3,4][::-2] }}",
         "\xC3\xA9lcbac[2, 3][4, 2]"},
        {"{{ 'abc' * 2 }}{{ 3 * '-' }}{{ [1] + [2] }}", "abcabc---[1, 2]"},
        {"{{ -1 | abs }}{{ 1 - -1 }}{{ (1, 2)[1] }}{{ {'a': {'b': 5}}.a.b }}{{ [7].0 }}", "1"
                                                                                          "2"
                                                                                          "2"
                                                                                          "5"
                                                                                          "7"},
        {"{{ nope }}|{{ nope is defined }}|{{ nope == nope2 }}|{{ messages.nope is defined }}",
         "|False|True|False"},
        {"{{ messages[0].role }}{{ messages[-1]['content'] }}{{ messages[0].get('x', 'd') }}{{ "
         "messages[0].get('x') }}",
         "userHellodNone"},
        {"{{ {'a': 1, 'a': 2} }}{{ {'b': 1}.items() | list }}{{ {'b': 1}.keys() | list }}{{ {'b': "
         "1}.values() | list }}",
         "{'a': 2}[('b', 1)]['b'][1]"},
        {"{{ bos_token }}{{ eos_token is defined }}{{ tools is none }}{{ strftime_now is defined "
         "}}",
         "<s>FalseTrueFalse"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_renders(cases[i][0], cases[i][1]);
}

static void test_template_filters(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"{{ '  a b \\n' | trim }}|{{ 'xxaxx' | trim('x') }}", "a b|a"},
        {"{{ 'aBc dE' | upper }}{{ 'aBc' | lower }}{{ 'aBc dE' | title }}{{ 'aBc dE' | capitalize "
         "}}",
         "ABC DEabcAbc DeAbc de"},
        {"{{ 'h\xC3\xA9' | length }}{{ [1, 2] | count }}{{ nope | length }}", "220"},
        {"{{ [1, 2, 'x'] | join('-') }}{{ 'abc' | join(',') }}", "1-2-xa,b,c"},
        {"{{ nope | default('d') }}{{ '' | default('e') }}{{ '' | default('f', true) }}", "df"},
        {"{{ [3, 4] | first }}{{ [3, 4] | last }}{{ 'ab' | list }}{{ [1, 2] | reverse | list }}",
         "34['a', 'b'][2, 1]"},
        {"{{ {'a': [1, 2.5, none, true, 'q\"\\n\xC3\xA9']} | tojson }}",
         "{\"a\": [1, 2.5, null, true, \"q\\\"\\n\xC3\xA9\"]}"},
        {"{{ {'a': [1], 'b': {}} | tojson(indent=2) }}",
         "{\n  \"a\": [\n    1\n  ],\n  \"b\": {}\n}"},
        {"{{ '\xC3\xA9\xF0\x9F\x8C\x8D' | tojson(ensure_ascii=true) }}",
         "\"\\u00e9\\ud83c\\udf0d\""},
        {"{{ '12' | int }}{{ 'x' | int }}{{ '3.9' | int }}{{ '1.5' | float }}{{ 5 | string }}",
         "12031.55"},
        {"{{ 'aXbX' | replace('X', '-') }}{{ 'aXbX'.replace('X', '-', 1) }}{{ 'ab' | replace('', "
         "'.') }}",
         "a-b-a-bX.a.b."},
        {"{{ 'a\\nb\\n\\nc' | indent(2) }}", "a\n  b\n\n  c"},
        {"{{ messages | map(attribute='role') | join }}{{ ['a'] | map('upper') | list }}",
         "user['A']"},
        {"{{ messages | selectattr('role', 'equalto', 'user') | list | length }}{{ messages | "
         "rejectattr('role', '==', 'user') | list | length }}",
         "10"},
        {"{{ [1, 2, 3] | select('odd') | list }}{{ [0, 1] | reject | list }}", "[1, 3][0]"},
        {"{{ {'b': 1, 'A': 2} | dictsort }}{{ {'b': 1} | items | list }}",
         "[('A', 2), ('b', 1)][('b', 1)]"},
        {"{{ ' a b  c '.split() }}{{ 'a,b,c'.split(',', 1) }}{{ ''.split(',') }}{{ 'a b "
         "c'.split(none, 1) }}",
         "['a', 'b', 'c']['a', 'b,c']['']['a', 'b c']"},
        {"{{ ' x '.lstrip() }}|{{ ' x '.rstrip() }}|{{ 'abc'.startswith('ab') }}{{ "
         "'abc'.endswith(('x', 'c')) }}",
         "x | x|TrueTrue"},
        {"{% filter upper | replace('A', 'b') %}a{{ 'c' }}{% endfilter %}", "bC"},
        {"{{ \"they're bill's\".title() }}{{ \"they're x-y\" | title }}",
         "They'Re Bill'SThey're X-Y"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_renders(cases[i][0], cases[i][1]);
}

static void test_template_statements(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"{% for x in [1, 2, 3] %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ "
         "loop.first }}{{ loop.last }}{{ loop.length }};{% endfor %}",
         "103TrueFalse3;212FalseFalse3;321FalseTrue3;"},
        {"{% for x in [] %}a{% else %}b{% endfor %}{% for k, v in {'a': 1}.items() %}{{ k }}{{ v "
         "}}{% endfor %}",
         "ba1"},
        {"{% for x in range(6) if x % 2 %}{{ x }}{{ loop.length }} {% endfor %}", "13 33 53 "},
        {"{% for x in range(9) %}{% if x == 1 %}{% continue %}{% endif %}{% if x == 3 %}{% break "
         "%}{% endif %}{{ x }}{% endfor %}",
         "02"},
        {"{% for x in range(5, 0, -2) %}{{ loop.previtem }}{{ loop.nextitem }} {% endfor %}",
         "3 51 3 "},
        {"{% set x = 1 %}{% for i in [1] %}{% set x = 2 %}{{ x }}{% endfor %}{{ x }}{% if true "
         "%}{% set x = 3 %}{% endif %}{{ x }}",
         "213"},
        {"{% set ns = namespace(n=0) %}{% for i in [1, 2] %}{% set ns.n = ns.n + i %}{% endfor "
         "%}{{ ns.n }}{{ ns['n'] }}",
         "33"},
        {"{% set a, b = 1, 2 %}{{ b }}{{ a }}{% set t %}x{{ a }}{% endset %}{{ t }}{% set u | "
         "upper %}y{% endset %}{{ u }}",
         "21x1Y"},
        {"{% if 0 %}a{% elif '' %}b{% elif 1 %}c{% else %}d{% endif %}", "c"},
        {"{% macro m(a, b=2) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{% set c = 9 %}{{ m(1) }}{{ "
         "m(b=3, a=4) }}{{ m() | length }}",
         "1294392"},
        {"{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}",
         "3210"},
        {"{% generation %}g{% endgeneration %}{# comment #}.", "g."},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_renders(cases[i][0], cases[i][1]);
}

static void test_template_white_space(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"a\n  {% if 1 %}\n  b\n  {% endif %}\nc\n", "a\n  b\nc"},
        {"a \n {%- if 1 -%} \n b \n {%- endif %} c", "ab c"},
        {"a {{- 1 -}} \n b", "a1b"},
        {"a\n  {%+ if 1 %}b{% endif +%}\nc", "a\n  b\nc"},
        {"a\n  {# x #}\nb{#- y -#} \n c", "a\nbc"},
        {"x {% if 1 %} y{% endif %}", "x  y"},
        {"  {{ 1 }}\n\n", "  1\n"},
        {"a\r\nb\rc", "a\nb\nc"},
        {"{{ {'a': {'b': 1}}['a']}}", "{'b': 1}"},
        {"{% set x = {'a': '}}'} %}{{ x.a }}", "}}"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_renders(cases[i][0], cases[i][1]);
}

static void test_template_refusals_name_the_thing_and_line(void **state)
{
    (void)state;
    static const struct {
        const char *source;
        int code;
        const char *part;
    } cases[] = {
        {"\n\n{{ x | frobnicate }}", EOPNOTSUPP, "line 3: filter 'frobnicate'"},
        {"{% include 'x' %}", EOPNOTSUPP, "tag 'include'"},
        {"{% import 'x' as y %}", EOPNOTSUPP, "tag 'import'"},
        {"{% call m() %}{% endcall %}", EOPNOTSUPP, "tag 'call'"},
        {"{{ x is wild }}", EOPNOTSUPP, "test 'wild'"},
        {"{{ ''.__class__ }}{{ ''.mro() }}", EOPNOTSUPP, "method 'mro'"},
        {"{{ open('x') }}", EOPNOTSUPP, "function 'open'"},
        {"{{ [1] | select('wild') }}", EOPNOTSUPP, "'select'"},
        {"{{ 2 ** 3 }}", EOPNOTSUPP, "'**'"},
        {"{% for x in y recursive %}{% endfor %}", EOPNOTSUPP, "'recursive'"},
        {"{{ 1 + }}", EBADMSG, "line 1"},
        {"{{ 'abc }}", EBADMSG, "string has no end"},
        {"{% if 1 %}", EBADMSG, "endif"},
        {"{% endif %}", EOPNOTSUPP, "tag 'endif'"},
        {"{{ 1", EBADMSG, "tag has no end"},
        {"{# x", EBADMSG, "comment has no end"},
        {"{% break %}", EBADMSG, "outside of a loop"},
        {"\n{{ raise_exception('No ' + messages[0].content + 'system!') }}", EINVAL,
         "line 2: the template refuses the conversation: No system!"},
        {"{{ nope.x }}", EINVAL, "undefined"},
        {"{{ strftime_now('%Y') }}", EINVAL, "'strftime_now' is undefined"},
        {"{% set f = range %}{{ f(3) }}", EOPNOTSUPP, "calling a function as 'f'"},
        {"{% set f = 'a'.upper %}{{ f() }}", EOPNOTSUPP, "calling a function as 'f'"},
        {"{{ 1 + 'a' }}", EINVAL, "operator '+'"},
        {"{{ 1 // 0 }}", EINVAL, "division by zero"},
        {"{{ 9223372036854775807 + 1 }}", E2BIG, "64 bits"},
        {"{{ messages.append(1) }}", EINVAL, "may not change"},
        {"{% set messages.x = 1 %}", EINVAL, "cannot be set"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_refused(cases[i].source, cases[i].code, cases[i].part);
}

static void test_template_limits(void **state)
{
    (void)state;
    assert_refused("{% set s = 'x' * 1000000 %}{% for i in range(1000) %}{% if 'y' in s %}{% endif "
                   "%}{% endfor %}",
                   E2BIG, "steps");
    assert_refused("{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
                   E2BIG, "MiB");
    assert_refused("{{ range(1000000000) }}", E2BIG, "range()");
    assert_refused("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", E2BIG, "deeper than 64");
    assert_refused("{% set s = 'x' * 1000000 %}{% for i in range(99) %}{{ s }}{% endfor %}", E2BIG,
                   "gives more");
    assert_refused("{% set n = namespace(s=['x']) %}{% for i in range(99) %}{% set n.s = n.s + n.s "
                   "%}{% endfor %}",
                   E2BIG, "MiB");
    assert_refused("{% set n = namespace(s=[]) %}{% for i in range(9999) %}{% set n.s = [n.s] %}{% "
                   "endfor %}{{ n.s }}",
                   E2BIG, "nested deeper");
    assert_refused("{{ 'x' * 99999999 }}", E2BIG, "");
    /* Looking for untrusted bytes walks over the text as well. */
    static const char *const numbers[] = {"int", "float"};
    for (size_t i = 0; i < 2; i++) {
        _cleanup_buffer_ InkBuffer source = INK_BUFFER_INIT;
        ink_buffer_printf(&source,
                          "{%% set s = 'x' * 1000000 ~ messages[0].content %%}{%% for i in "
                          "range(1000) %%}{%% set n = s | %s %%}{%% endfor %%}",
                          numbers[i]);
        assert_refused(source.data, E2BIG, "steps");
    }
    enum { N = 100000 };
    static const char *const repeated[][4] = {
        {"{{ ", "(", "1", ")"},   {"{{ 1", " + 1", "", ""}, {"{{ ", "-", "1", ""},
        {"{{ ", "not ", "1", ""}, {"{{ ", "[", "1", "]"},   {"{{ x", "|trim", "", ""},
        {"{{ x", ".a", "", ""},   {"{{ x", "[x", "", "]"},  {"{{ 1", " if 1 else 1", "", ""},
        {"{{ ", "{1:", "1", "}"},
    };
    for (size_t i = 0; i < sizeof(repeated) / sizeof(repeated[0]); i++) {
        _cleanup_buffer_ InkBuffer source = INK_BUFFER_INIT;
        size_t n = N / strlen(repeated[i][1]);
        ink_buffer_append_str(&source, repeated[i][0]);
        for (size_t k = 0; k < n; k++)
            ink_buffer_append_str(&source, repeated[i][1]);
        ink_buffer_append_str(&source, repeated[i][2]);
        for (size_t k = 0; k < n; k++)
            ink_buffer_append_str(&source, repeated[i][3]);
        ink_buffer_append_str(&source, " }}");
        assert_refused(source.data, E2BIG, "chat template line 1: ");
    }
    _cleanup_buffer_ InkBuffer blocks = INK_BUFFER_INIT;
    for (size_t k = 0; k < 20000; k++)
        ink_buffer_append_str(&blocks, "{% if 1 %}");
    assert_refused(blocks.data, E2BIG, "nested deeper");
    _cleanup_buffer_ InkBuffer large = INK_BUFFER_INIT;
    for (size_t i = 0; i <= INK_TEMPLATE_MAX_BYTES; i++)
        ink_buffer_append_char(&large, 'x');
    assert_refused(large.data, E2BIG, "262144");
}

/* In whatever way text of the user reaches the output, a control token in it stays untrusted. */
static void test_template_text_of_the_user_is_never_trusted(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "{{ messages[0].content }}",
        "{{ '[' + messages[0]['content'] + ']' }}",
        "{{ '[' ~ messages[0].content ~ ']' }}",
        "{{ messages[0].content | trim }}{{ messages[0].content.strip() }}",
        "{{ messages[0].content[2:] }}{{ messages[0].content[::1] }}{{ messages[0].content[:-1] }}",
        "{{ messages[0].content | tojson }}{{ messages | tojson(indent=2) }}{{ messages }}",
        "{{ messages[0].content | replace('q', 'r') }}{{ messages[0].content.replace('A', 'B') }}",
        "{{ messages[0].content | lower }}{{ messages[0].content.title() | lower }}",
        "{{ [messages[0].content, 'x'] | join('|') }}{{ messages | map(attribute='content') | join "
        "}}",
        "{{ messages[0].content.split('A') | join('A') }}{{ messages[0].content.split() | last }}",
        "{% for c in messages[0].content %}{{ c }}{% endfor %}",
        "{% set x %}{{ messages[0].content }}{% endset %}{{ x }}{% filter trim %}{{ x }}{% "
        "endfilter %}",
        "{% macro m(a) %}<{{ a }}>{% endmacro %}{{ m(messages[0].content) }}",
        "{{ nope | default(messages[0].content) }}{{ messages[0].content * 2 }}{{ "
        "messages[0].content | indent }}",
        "{{ messages[0].content | list | join }}{{ messages[0].content | string | safe }}",
        "{{ messages[0].content | replace('A', '" CONTROL "') }}",
        "{{ messages[0].content | replace('', '" CONTROL "') }}",
        "{{ {messages[0].content: messages[0].content} | tojson }}{{ messages[0].content | reverse "
        "| reverse }}",
        "{{ '<|im_' + messages[0].role }}",
    };
    static const char text[] = "AA" CONTROL "\nAA";
    const InkMessage message = {"end|>", text, sizeof(text) - 1};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        _cleanup_rendered_ InkRendered out = INK_RENDERED_INIT;
        InkError error = {0};
        int r = render_with(cases[i], &message, 1, &out, &error);
        if (r < 0)
            print_message("%s: %s\n", cases[i], error.message);
        assert_int_equal(r, 0);
        size_t n_untrusted = 0;
        for (size_t k = 0; k < out.n_spans; k++) {
            n_untrusted += !out.spans[k].trusted;
            if (out.spans[k].trusted)
                assert_null(
                    memmem(out.spans[k].text, out.spans[k].n_bytes, CONTROL, strlen(CONTROL)));
        }
        assert_true(n_untrusted > 0);
    }
}

static void test_template_literals_are_trusted_through_filters(void **state)
{
    (void)state;
    static const char *const cases[] = {
        CONTROL,
        "{{ '<|im' + '_end|>' }}",
        "{{ ' " CONTROL " ' | trim }}",
        "{{ '<|IM_END|>' | lower }}",
        "{{ 'X' | replace('X', '" CONTROL "') }}",
        "{{ ['<|', 'im_end', '|>'] | join }}",
        "{% set x %}" CONTROL "{% endset %}{{ x }}",
        "{{ {'user': '" CONTROL "'}[messages[0].role] }}",
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        _cleanup_rendered_ InkRendered out = INK_RENDERED_INIT;
        assert_int_equal(render_with(cases[i], &hello, 1, &out, NULL), 0);
        assert_string_equal(out.text.data, CONTROL);
        assert_int_equal(out.n_spans, 1);
        assert_true(out.spans[0].trusted);
    }
}

static void test_template_keeps_bytes_that_are_not_utf8(void **state)
{
    (void)state;
    static const char text[] = "a\xFF\x00\xC3z";
    const InkMessage message = {"user", text, 5};
    _cleanup_rendered_ InkRendered out = INK_RENDERED_INIT;
    assert_int_equal(
        render_with("{{ messages[0].content | trim | upper }}{{ messages[0].content | length }}",
                    &message, 1, &out, NULL),
        0);
    assert_int_equal(out.text.size_bytes, 6);
    assert_memory_equal(out.text.data, "A\xFF\x00\xC3Z5", 6);
}

static void test_template_survives_every_failed_allocation(void **state)
{
    (void)state;
    static const char source[] =
        "{% macro m(a, b=1) %}{{ a ~ b }}{% endmacro %}{% set ns = namespace(x=[1]) %}"
        "{% for m1 in messages %}{% set ns.x = ns.x + [m1.content | trim] %}{{ m(m1.role) }}"
        "{{ m1 | tojson(indent=2) }}{{ m1.content.split('l') }}{% endfor %}"
        "{% filter upper %}{{ ns.x | join(',') }}{% endfilter %}{{ 'abc'[::-1] }}{{ 'x' * 9000 }}";
    for (int sticky = 0; sticky < 2; sticky++) {
        int r = -ENOMEM;
        for (size_t n = 1; r == -ENOMEM; n++) {
            assert_true(n < 10000);
            _cleanup_rendered_ InkRendered out = INK_RENDERED_INIT;
            ink_alloc_fail_at(n, sticky != 0);
            r = render_with(source, &hello, 1, &out, NULL);
            ink_alloc_fail_at(0, false);
            assert_true(r == 0 || out.text.data == NULL);
        }
        assert_int_equal(r, 0);
    }
}

static json_t *load_golden(void)
{
    char path[4096];
    const char *root = getenv("INKLING_SOURCE_DIR");
    snprintf(path, sizeof(path), "%s/tests/data/template-golden.json", root != NULL ? root : ".");
    json_t *golden = json_load_file(path, 0, NULL);
    assert_non_null(golden);
    return golden;
}

static int render_conversation(const InkTemplate *t, const json_t *conversation, InkRendered *ret,
                               InkError *error)
{
    InkMessage messages[16];
    json_t *list = json_object_get(conversation, "messages");
    size_t n = json_array_size(list);
    assert_true(n <= 16);
    for (size_t i = 0; i < n; i++) {
        json_t *m = json_array_get(list, i);
        json_t *text = json_object_get(m, "content");
        messages[i] = (InkMessage){json_string_value(json_object_get(m, "role")),
                                   json_string_value(text), json_string_length(text)};
    }
    bool prompt = json_is_true(json_object_get(conversation, "add_generation_prompt"));
    InkTemplateInput input = {messages, n, prompt, "<s>", "</s>"};
    return ink_template_render(t, &input, ret, error);
}

static void test_template_of_the_default_model_equals_jinja(void **state)
{
    (void)state;
    json_t *golden = load_golden(), *own = json_object_get(golden, "smollm2");
    json_t *source = json_object_get(own, "template");
    json_t *conversations = json_object_get(golden, "conversations");
    json_t *outputs = json_object_get(own, "outputs");
    _cleanup_(ink_template_free_p) InkTemplate *t = NULL;
    assert_int_equal(
        ink_template_parse(json_string_value(source), json_string_length(source), &t, NULL), 0);
    assert_int_equal(json_array_size(outputs), 12);
    for (size_t i = 0; i < 12; i++) {
        _cleanup_rendered_ InkRendered out = INK_RENDERED_INIT;
        assert_int_equal(render_conversation(t, json_array_get(conversations, i), &out, NULL), 0);
        assert_string_equal(out.text.data, json_string_value(json_array_get(outputs, i)));
    }
    json_decref(golden);
}

/* coreutils' word on a hash: the engine has no SHA-256 of its own. */
static void sha256_of(const char *data, size_t n_bytes, char out[65])
{
    char path[] = "/tmp/inkling-template-XXXXXX", command[128];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, n_bytes), (ssize_t)n_bytes);
    close(fd);
    snprintf(command, sizeof(command), "sha256sum < %s", path);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    assert_int_equal(fread(out, 1, 64, pipe), 64);
    out[64] = '\0';
    pclose(pipe);
    unlink(path);
}

static char *read_file(const char *path, size_t *n_bytes)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return NULL;
    char *data = malloc(INK_TEMPLATE_MAX_BYTES);
    assert_non_null(data);
    *n_bytes = fread(data, 1, INK_TEMPLATE_MAX_BYTES, file);
    fclose(file);
    return data;
}

typedef struct Tally {
    size_t n_equal, n_refused, n_outputs, n_errors, n_wrong;
} Tally;

static void compare_vendor(const char *name, const char *source, size_t n_bytes,
                           json_t *conversations, json_t *outputs, Tally *tally)
{
    InkError error = {0};
    _cleanup_(ink_template_free_p) InkTemplate *t = NULL;
    if (ink_template_parse(source, n_bytes, &t, &error) < 0) {
        print_message("refused: %s: %s\n", name, error.message);
        tally->n_refused++;
        return;
    }
    size_t n_wrong = 0;
    for (size_t i = 0; i < json_array_size(outputs); i++) {
        const char *expected = json_string_value(json_array_get(outputs, i));
        char hash[65] = "error";
        _cleanup_rendered_ InkRendered out = INK_RENDERED_INIT;
        int r = render_conversation(t, json_array_get(conversations, i), &out, &error);
        if (r == 0)
            sha256_of(out.text.size_bytes != 0 ? out.text.data : "", out.text.size_bytes, hash);
        tally->n_errors += strcmp(expected, "error") == 0;
        tally->n_outputs++;
        if (strcmp(hash, expected) != 0) {
            print_message("WRONG: %s, conversation %zu: %s\n", name, i,
                          r < 0 ? error.message : "text");
            n_wrong++;
        }
    }
    tally->n_wrong += n_wrong;
    tally->n_equal += n_wrong == 0;
}

static void test_template_of_vendors_equal_jinja_or_are_refused(void **state)
{
    (void)state;
    const char *folder = getenv("INKLING_VECTORS_DIR");
    if (folder == NULL)
        skip();
    json_t *golden = load_golden(), *vendors = json_object_get(golden, "vendors"), *vendor;
    const char *name;
    Tally tally = {0};
    json_object_foreach(vendors, name, vendor)
    {
        char path[4096], hash[65];
        size_t n_bytes = 0;
        snprintf(path, sizeof(path), "%s/templates/%s", folder, name);
        _cleanup_free_ char *source = read_file(path, &n_bytes);
        assert_non_null(source);
        sha256_of(source, n_bytes, hash);
        assert_string_equal(hash, json_string_value(json_object_get(vendor, "sha256")));
        compare_vendor(name, source, n_bytes, json_object_get(golden, "conversations"),
                       json_object_get(vendor, "outputs"), &tally);
    }
    print_message(
        "vendors' templates: %zu equal, %zu refused by name; %zu outputs compared (%zu are errors "
        "in Jinja2 too), %zu wrong\n",
        tally.n_equal, tally.n_refused, tally.n_outputs, tally.n_errors, tally.n_wrong);
    assert_int_equal(tally.n_wrong, 0);
    assert_true(tally.n_equal >= 24);
    json_decref(golden);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_template_expressions),
        cmocka_unit_test(test_template_filters),
        cmocka_unit_test(test_template_statements),
        cmocka_unit_test(test_template_white_space),
        cmocka_unit_test(test_template_refusals_name_the_thing_and_line),
        cmocka_unit_test(test_template_limits),
        cmocka_unit_test(test_template_text_of_the_user_is_never_trusted),
        cmocka_unit_test(test_template_literals_are_trusted_through_filters),
        cmocka_unit_test(test_template_keeps_bytes_that_are_not_utf8),
        cmocka_unit_test(test_template_survives_every_failed_allocation),
        cmocka_unit_test(test_template_of_the_default_model_equals_jinja),
        cmocka_unit_test(test_template_of_vendors_equal_jinja_or_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
