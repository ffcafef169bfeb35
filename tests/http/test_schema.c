/* The binder, against the tables that openapi.yaml became: one row per request, with every mistake
 * named. */
#include "tests/lib/test.h"

#include <stdio.h>
#include <string.h>

#include "api/query.h"
#include "api/schema.h"
#include "api/time.h"
#include "broker/base/hash.h"
#include "gen/api/operations.h"
#include "tests/lib/arena.h"

struct bound {
    struct arena arena;
    struct schema_binding binding;
    json_t *json;
    _Alignas(max_align_t) char value[4096];
};

static void bind_json(struct bound *b, const struct schema *schema, const char *text)
{
    char why[200] = "";
    *b = (struct bound){.binding = {.alloc = arena_alloc}};
    b->binding.data = &b->arena;
    b->json = json_parse(str_of(text), why, sizeof(why));
    if (b->json == NULL)
        fail_msg("%s: %s", text, why);
    assert_true(schema->size <= sizeof(b->value));
    schema_bind(&b->binding, schema, b->json, b->value);
}

static void finish(struct bound *b)
{
    json_decref(b->json);
    arena_finish(&b->arena);
}

/* "pointer code, pointer code" in the order found. */
static const char *errors_of(const struct bound *b)
{
    static char text[2000];
    size_t len = 0;
    text[0] = '\0';
    for (int i = 0; i < b->binding.errors_count; i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s %s", i > 0 ? ", " : "",
                                b->binding.errors[i].pointer, b->binding.errors[i].code);
    return text;
}

/* Without a parser; what cannot be read so says nothing. */
static bool read_text(const struct schema *schema, const char *text)
{
    struct bound b = {.binding = {.alloc = arena_alloc}};
    b.binding.data = &b.arena;
    bool is_read = schema_read(&b.binding, schema, str_of(text), b.value);
    arena_finish(&b.arena);
    return is_read;
}

struct row {
    const char *json, *errors;
};

static void check_rows(const struct schema *schema, const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct bound b;
        bind_json(&b, schema, rows[i].json);
        if (strcmp(errors_of(&b), rows[i].errors) != 0)
            fail_msg("%s\n  gave   %s\n  wanted %s", rows[i].json, errors_of(&b), rows[i].errors);
        if (rows[i].errors[0] != '\0' && read_text(schema, rows[i].json))
            fail_msg("%s was read", rows[i].json);
        finish(&b);
    }
}

#define M_HEAD \
    "{\"image\":\"a\",\"resources\":{\"device\":{\"count\":1}},\"reserve_uusd_per_hour\":1"
#define M(rest) M_HEAD "," rest "}"

static void a_manifest_is_checked_field_by_field(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {M_HEAD "}", ""},
        {M("\"extra\":1"), "/extra unknown"},
        {M("\"a/b~c\":1"), "/a~1b~0c unknown"},
        {"{}", "/image required, /resources required,  required"},
        {"[]", " type"},
        {"{\"image\":\"a\",\"resources\":{},\"reserve_uusd_per_hour\":1}", "/resources required"},
        {"{\"image\":\"a\",\"resources\":{\"cpu\":{\"vcpu\":1,\"memory_mib\":64},\"device\":{"
         "\"count\":1}},"
         "\"reserve_uusd_per_hour\":1}",
         "/resources conflict"},
        {M("\"reserve_usd_per_hour\":\"0.60\""), " conflict"},
        {M("\"replicas\":0"), "/replicas range"},
        {M("\"replicas\":101"), "/replicas range"},
        {M("\"replicas\":\"1\""), "/replicas type"},
        {M("\"replicas\":1.0"), "/replicas type"},
        {M("\"replicas\":null"), "/replicas type"},
        {M("\"name\":\"\""), "/name format"},
        {M("\"name\":\"Upper\""), "/name format"},
        {M("\"name\":\"-x\""), "/name format"},
        {M("\"name\":\"a23456789-123456789-123456789-123456789-123456789-123456789-123\""), ""},
        {M("\"name\":\"a23456789-123456789-123456789-123456789-123456789-123456789-1234\""),
         "/name length"},
        {M("\"image\\u0020\":\"x\""), "/image  unknown"},
        {M("\"tier\":\"spot\""), ""},
        {M("\"tier\":\"gold\""), "/tier enum"},
        {M("\"tier\":\"flexible\""), ""},
        {M("\"exclusive\":false"), ""},
        {M("\"exclusive\":true"), "/exclusive not_supported_yet"},
        {M("\"volumes\":[]"), "/volumes not_supported_yet"},
        {M("\"placement\":{\"near\":{\"lat\":1},\"trust_min\":\"attested\"}"),
         "/placement/near/lon required, /placement/trust_min not_supported_yet"},
        {M("\"placement\":{\"near\":{\"lat\":-90,\"lon\":179.5}}"), ""},
        {M("\"placement\":{\"near\":{\"lat\":90.1,\"lon\":-180.5}}"),
         "/placement/near/lat range, /placement/near/lon range"},
        {M("\"placement\":{\"near\":{\"lat\":\"1\",\"lon\":true}}"),
         "/placement/near/lat type, /placement/near/lon type"},
        {M("\"placement\":{\"regions\":[]}"), "/placement/regions count"},
        {M("\"placement\":{\"regions\":[\"eu-west\",\"us-east\",\"eu-west\"]}"),
         "/placement/regions/2 duplicate"},
        {M("\"env\":{\"A\":\"1\",\"B\":2,\"9\":\"x\"}"), "/env/B type, /env/9 format"},
        {M("\"ports\":[{\"container_port\":80},{\"container_port\":0,\"public\":true}]"),
         "/ports/1/container_port range, /ports/1/public not_supported_yet"},
        {M("\"readiness\":{}"), "/readiness required"},
        {M("\"readiness\":{\"tcp\":{\"port\":80},\"exec\":{\"command\":[\"x\"]}}"),
         "/readiness conflict"},
        {M("\"deadline\":\"2026-11-21T12:00:00Z\""), ""},
        {M("\"deadline\":\"tomorrow\""), "/deadline format"},
        {M("\"working_dir\":\"relative\""), "/working_dir format"},
        {M("\"labels\":{\"team/a\":\"x\"}"), ""},
    };
    check_rows(&manifest_schema, rows, ARRAY_COUNT(rows));
}

static void other_bodies_are_checked_too(void **state)
{
    (void)state;
    static const struct row accounts[] = {
        {"{\"name\":\"x\",\"email\":\"a@b\"}", ""},
        {"{\"name\":\"x\",\"email\":\"a b@c\"}", "/email format"},
        {"{\"name\":\"\",\"mode\":\"demo\"}", "/name length, /mode enum"},
    };
    static const struct row keys[] = {
        {"{\"name\":\"x\",\"scopes\":[\"admin\",\"admin\"]}", "/scopes/1 duplicate"},
        {"{\"name\":\"x\",\"scopes\":[\"root\"]}", "/scopes/0 enum"},
        {"{\"name\":\"x\",\"scopes\":[]}", "/scopes count"},
    };
    static const struct row credits[] = {
        {"{\"account_id\":\"acct_01jd3k0000000000000000000a\",\"amount_uusd\":1}", ""},
        {"{\"account_id\":\"wl_01jd3k0000000000000000000a\",\"amount_uusd\":1}",
         "/account_id format"},
        {"{\"account_id\":1,\"amount_uusd\":-1}", "/account_id type, /amount_uusd range"},
    };
    check_rows(&account_create_request_schema, accounts, ARRAY_COUNT(accounts));
    check_rows(&api_key_create_request_schema, keys, ARRAY_COUNT(keys));
    check_rows(&admin_credit_request_schema, credits, ARRAY_COUNT(credits));
}

static void values_and_defaults_arrive(void **state)
{
    (void)state;
    struct bound b;
    bind_json(
        &b, &manifest_schema,
        M("\"env\":{\"A\":\"1\"},\"command\":[\"sh\",\"-c\"],\"deadline\":\"1970-01-01T00:00:01Z\","
          "\"ports\":[{\"container_port\":80}],\"min_replicas\":1"));
    const struct manifest *m = (const struct manifest *)b.value;
    assert_string_equal(errors_of(&b), "");
    assert_true(str_equal_c(m->image, "a"));
    assert_int_equal(m->command.count, 2);
    assert_true(str_equal_c(m->command.at[1], "-c"));
    assert_true(str_equal_c(schema_pairs_get(&m->env, "A"), "1"));
    assert_null(schema_pairs_get(&m->env, "B").at);
    assert_true(m->resources.has_device && !m->resources.has_cpu);
    assert_int_equal(m->resources.device.count, 1);
    assert_int_equal(m->deadline_at_us, 1000000);
    assert_true(m->has_deadline && m->has_min_replicas && !m->has_budget_uusd && !m->has_placement);
    assert_int_equal(m->replicas, 1);
    assert_int_equal(m->max_duration_s, 3600);
    assert_int_equal(m->tier, MANIFEST_TIER_FLEXIBLE);
    assert_string_equal(manifest_restart_text(m->restart), "never");
    assert_int_equal(m->ports.at[0].protocol, PORT_PROTOCOL_HTTP);
    assert_null(m->name.at);
    finish(&b);
}

static void ids_arrive_typed(void **state)
{
    (void)state;
    struct bound b;
    char text[ID_TEXT_SIZE];
    bind_json(&b, &admin_credit_request_schema,
              "{\"account_id\":\"acct_01jd3k0000000000000000000a\",\"amount_uusd\":5}");
    const struct admin_credit_request *request = (const struct admin_credit_request *)b.value;
    assert_string_equal(account_id_text(request->account_id, text),
                        "acct_01jd3k0000000000000000000a");
    finish(&b);
}

static void more_mistakes_than_fit_are_counted(void **state)
{
    (void)state;
    struct bound b;
    bind_json(
        &b, &account_create_request_schema,
        "{\"a\":1,\"b\":1,\"c\":1,\"d\":1,\"e\":1,\"f\":1,\"g\":1,\"h\":1,\"i\":1,\"j\":1,\"k\":1,"
        "\"l\":1,\"m\":1,\"n\":1,\"o\":1,\"p\":1,\"q\":1,\"name\":\"x\"}");
    assert_int_equal(b.binding.errors_count, SCHEMA_ERRORS_MAX);
    assert_int_equal(b.binding.errors_total, 17);
    finish(&b);
}

static void every_example_of_the_document_is_accepted(void **state)
{
    (void)state;
    int examples = 0, reads = 0;
    for (int op = 1; op < OP_COUNT; op++) {
        struct bound b;
        if (operations[op].body == NULL)
            continue;
        bind_json(&b, operations[op].body, operations[op].example);
        if (errors_of(&b)[0] != '\0')
            fail_msg("%s: %s", operations[op].operation_id, errors_of(&b));
        finish(&b);
        reads += read_text(operations[op].body, operations[op].example);
        examples++;
    }
    assert_true(examples >= 10 && reads >= 10);
}

static void what_is_plain_and_flawless_is_read_without_a_parser(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool is_read;
    } rows[] = {
        {M_HEAD "}", true},
        {" \t\r\n" M("\"labels\" : { } , \"stop_grace_s\": 0 , \"command\":[ \"a\" , \"b\" ]") "\n",
         true},
        {M("\"command\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\"]"), true},
        {M("\"env\":{\"A\":\"1\",\"B\":\"\",\"C\":\"3\",\"D\":\"4\",\"E\":\"5\"}"), true},
        {M("\"placement\":{\"near\":{\"lat\":-5,\"lon\":0}}"), true},
        {M("\"deadline\":\"2027-01-01T00:00:00Z\",\"exclusive\":false"), true},
        /* good all the same */
        {M("\"labels\":{\"a\":\"\\n\"}"), false},
        {M("\"labels\":{\"a\":\"\xc3\xa4\"}"), false},
        {M("\"placement\":{\"near\":{\"lat\":5.5,\"lon\":0}}"), false},
        {M("\"replicas\":-0"), false},
        /* not JSON, or not JSON that we take */
        {"", false},
        {"5", false},
        {M_HEAD, false},
        {M_HEAD "}}", false},
        {M_HEAD "} x", false},
        {M_HEAD ",}", false},
        {M("\"replicas\":01"), false},
        {M("\"replicas\":1 1"), false},
        {M("\"replicas\":1e0"), false},
        {M("\"replicas\":1,\"replicas\":1"), false},
        {M("\"exclusive\":falsey"), false},
        {M("\"exclusive\":null"), false},
        {M("\"env\":{\"A\":\"1\",\"A\":\"1\"}"), false},
        {M("\"env\":{\"A\":\"1\",}"), false},
        {M("\"command\":[\"a\",]"), false},
        {M("\"command\":[\"a\" \"b\"]"), false},
        {M("\"labels\":{\"a\":\"\x01\"}"), false},
        {M("\"labels\":{\"a\":\"\xff\"}"), false},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        if (read_text(&manifest_schema, rows[i].text) != rows[i].is_read)
            fail_msg("%s", rows[i].text);
    }
}

static void the_document_is_served_whole(void **state)
{
    (void)state;
    json_t *json =
        json_loadb(openapi_json, openapi_json_len, 0, NULL); /* deeper than requests may be */
    assert_non_null(json);
    assert_true(str_equal_c(json_str(json, "openapi"), "3.1.0"));
    assert_true(json_object_size(json_object_get(json, "paths")) > 25);
    json_decref(json);
}

static void queries_are_bound(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"", ""},
        {"limit=10&state=running", ""},
        {"limit=0", "?limit range"},
        {"limit=x", "?limit type"},
        {"limit=5&limit=6", "?limit duplicate"},
        {"limit=", "?limit type"},
        {"colour=red", "?colour unknown"},
        {"state=gone", "?state enum"},
        {"label=a%3Db", ""},
        {"label=a%3", "? format"},
        {"label=%00", "? format"},
        {"name=%ff", "? format"},
        {"name=%c3%a9", ""},
        {"&&limit=7&", ""},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct bound b = {.binding = {.alloc = arena_alloc}};
        b.binding.data = &b.arena;
        query_bind(&b.binding, &workload_list_query_schema, str_of(rows[i].json), b.value);
        if (strcmp(errors_of(&b), rows[i].errors) != 0)
            fail_msg("%s gave %s", rows[i].json, errors_of(&b));
        finish(&b);
    }
}

static void query_values_are_decoded(void **state)
{
    (void)state;
    struct bound b = {.binding = {.alloc = arena_alloc}};
    b.binding.data = &b.arena;
    assert_true(query_bind(&b.binding, &workload_list_query_schema,
                           STR("label=team%2Fa=x+y&limit=7"), b.value));
    const struct workload_list_query *query = (const struct workload_list_query *)b.value;
    assert_true(str_equal_c(query->label, "team/a=x y"));
    assert_int_equal(query->limit, 7);
    finish(&b);
}

static void times_are_read_strictly(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t at_us; /* -1: refused */
    } rows[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2000-02-29T12:30:01.5Z", 951827401500000},
        {"2026-11-21T01:42:19.123456Z", 1795225339123456},
        {"2026-11-21T02:42:19+01:00", 1795225339000000},
        {"2026-11-20T20:42:19-05:00", 1795225339000000},
        {"2026-02-29T00:00:00Z", -1},
        {"2026-13-01T00:00:00Z", -1},
        {"2026-01-01T24:00:00Z", -1},
        {"2026-01-01T00:00:60Z", -1},
        {"2026-01-01T00:00:00", -1},
        {"2026-01-01", -1},
        {"2026-01-01T00:00:00Zx", -1},
        {"2026-01-01T00:00:00.Z", -1},
        {"2026-01-01T00:00:00.1234567Z", -1},
        {"1969-12-31T23:59:59Z", -1},
        {"", -1},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        int64_t at_us = -1;
        bool is_read = time_parse(str_of(rows[i].text), &at_us);
        if (is_read != (rows[i].at_us >= 0) || (is_read && at_us != rows[i].at_us))
            fail_msg("%s gave %lld", rows[i].text, (long long)at_us);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_manifest_is_checked_field_by_field),
        cmocka_unit_test(other_bodies_are_checked_too),
        cmocka_unit_test(values_and_defaults_arrive),
        cmocka_unit_test(ids_arrive_typed),
        cmocka_unit_test(more_mistakes_than_fit_are_counted),
        cmocka_unit_test(every_example_of_the_document_is_accepted),
        cmocka_unit_test(what_is_plain_and_flawless_is_read_without_a_parser),
        cmocka_unit_test(the_document_is_served_whole),
        cmocka_unit_test(queries_are_bound),
        cmocka_unit_test(query_values_are_decoded),
        cmocka_unit_test(times_are_read_strictly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
