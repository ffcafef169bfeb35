/* YAML in: what is accepted means what the core schema says, and what could surprise is refused. */
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/yaml.h"

struct row {
    const char *yaml;
    const char *json; /* NULL: refused */
};

static void check(const struct row *row)
{
    char why[256] = "";
    json_t *json = yaml_to_json(str_of(row->yaml), why, sizeof(why));
    char *text = json != NULL ? json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    bool is_as_wanted = row->json == NULL ? text == NULL && why[0] != '\0'
                                          : text != NULL && strcmp(text, row->json) == 0;
    if (!is_as_wanted)
        fail_msg("%s\n gave %s (%s)", row->yaml, text != NULL ? text : "nothing", why);
    free(text);
    json_decref(json);
}

static void plain_documents_are_read(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"a: 1", "{\"a\":1}"},
        {"a: [1, -2, +3, 0x1f, 0o17, 010]", "{\"a\":[1,-2,3,31,15,10]}"},
        {"a: [true, True, FALSE, yes, no, on, off, y]",
         "{\"a\":[true,true,false,\"yes\",\"no\",\"on\",\"off\",\"y\"]}"},
        {"a:\nb: ~\nc: null\nd: Null", "{\"a\":null,\"b\":null,\"c\":null,\"d\":null}"},
        {"a: '1'\nb: \"true\"\nc: |\n  x\n  y\n",
         "{\"a\":\"1\",\"b\":\"true\",\"c\":\"x\\ny\\n\"}"},
        {"a: 1.2.3\nb: 1-2\nc: v1\nd: '-'",
         "{\"a\":\"1.2.3\",\"b\":\"1-2\",\"c\":\"v1\",\"d\":\"-\"}"},
        {"a: 0.5\nb: -2.\nc: .25\nd: 1e2", "{\"a\":0.5,\"b\":-2.0,\"c\":0.25,\"d\":100.0}"},
        {"[., +, e1, 1e, 1e+, 10.0.0.1, 1_000, 12:30, 0xzz, 0o8]",
         "[\".\",\"+\",\"e1\",\"1e\",\"1e+\",\"10.0.0.1\",\"1_000\",\"12:30\",\"0xzz\",\"0o8\"]"},
        {"a: 2026-11-21T12:00:00Z", "{\"a\":\"2026-11-21T12:00:00Z\"}"},
        {"a: docker.io/library/busybox:1.36", "{\"a\":\"docker.io/library/busybox:1.36\"}"},
        {"- a\n- {b: c}", "[\"a\",{\"b\":\"c\"}]"},
        {"---\na: 1\n...\n", "{\"a\":1}"},
        {"# only a comment\na: 1 # and another", "{\"a\":1}"},
        {"1: x", "{\"1\":\"x\"}"},
        {"a: 9223372036854775807", "{\"a\":9223372036854775807}"},
        {"{\"a\": [\"json\", {\"is\": \"yaml\"}]}", "{\"a\":[\"json\",{\"is\":\"yaml\"}]}"},
        {"a: \xc3\xa9", "{\"a\":\"\xc3\xa9\"}"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
        check(&rows[i]);
}

static void surprises_are_refused(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"a: 1e999", NULL},
        {"", NULL},
        {"# nothing", NULL},
        {"a: &x 1\nb: *x", NULL},
        {"a: *x", NULL},
        {"&x a: 1", NULL},
        {"a: &x [1]", NULL},
        {"a: &x {b: 1}", NULL},
        {"a: !!str 1", NULL},
        {"a: !!python/object:os.system x", NULL},
        {"!!map {a: 1}", NULL},
        {"<<: {a: 1}", NULL},
        {"a: 1\na: 2", NULL},
        {"a: {b: 1, b: 2}", NULL},
        {"? [a]\n: 1", NULL},
        {"? {a: 1}\n: 1", NULL},
        {"a: 1\n---\nb: 2", NULL},
        {"a: [1", NULL},
        {"a: \"unclosed", NULL},
        {"a: b: c", NULL},
        {"\ta: 1", NULL},
        {"a: 9223372036854775808", NULL},
        {"a: 0xfffffffffffffffff", NULL},
        {"a: 0o7777777777777777777777777", NULL},
        {"a: -9223372036854775809", NULL},
        {"a: \"\\0\"", NULL},
        {"a: \xff\xfe", NULL},
        {"a: [[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]", NULL},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
        check(&rows[i]);
}

static void a_refusal_says_where(void **state)
{
    (void)state;
    char why[256] = "";
    assert_null(yaml_to_json(STR("a: 1\nb: 2\na: 3\n"), why, sizeof(why)));
    assert_string_equal(why, "line 3 column 1: the key is there twice");
    assert_null(yaml_to_json(STR("a: [1"), why, sizeof(why)));
    assert_non_null(strstr(why, "line "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_documents_are_read),
        cmocka_unit_test(surprises_are_refused),
        cmocka_unit_test(a_refusal_says_where),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
