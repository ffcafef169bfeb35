/* Manifests to terms: which classes fit, which constraint is to blame, what it holds. One row per
 * case. */
#include "tests/lib/test.h"

#include <stdio.h>
#include <string.h>

#include "api/manifest.h"
#include "broker/base/hash.h"
#include "tests/lib/arena.h"

#define NOW_US INT64_C(1795225339000000)

static const struct catalogue CATALOGUE = {
    .classes =
        {
            {STR("rtx-4090"),
             STR("nvidia"),
             {STR("NVIDIA GeForce RTX 4090")},
             1,
             24564,
             4,
             8192,
             20480,
             390000},
            {STR("a100-80g"),
             STR("nvidia"),
             {STR("NVIDIA A100-SXM4-80GB"), STR("NVIDIA A100 80GB PCIe")},
             2,
             81920,
             8,
             32768,
             40960,
             1787500},
            {STR("mi300x"),
             STR("amd"),
             {STR("AMD Instinct MI300X")},
             1,
             196608,
             8,
             32768,
             40960,
             2590000},
            {STR("cpu-4c8g"), STR("cpu"), {STR("cpu-4c8g")}, 1, 0, 4, 8192, 1024, 80000},
            {STR("cpu-1c2g"), STR("cpu"), {STR("cpu-1c2g")}, 1, 0, 1, 2048, 1024, 20000},
        },
    .classes_count = 5,
    .regions = {STR("eu-west"), STR("us-east")},
    .places = {{STR("NL"), 52370000, 4895000}, {STR("US"), 39044000, -77487000}},
    .regions_count = 2,
};

struct read {
    struct arena arena;
    struct schema_binding binding;
    json_t *json;
    struct manifest manifest;
    struct workload_terms terms;
    bool is_good;
};

static void read_manifest(struct read *r, const char *text, bool is_test)
{
    char why[200] = "";
    *r = (struct read){.binding = {.alloc = arena_alloc}};
    r->binding.data = &r->arena;
    r->json = json_parse(str_of(text), why, sizeof(why));
    if (r->json == NULL || !schema_bind(&r->binding, &manifest_schema, r->json, &r->manifest))
        fail_msg("%s: %s %s", text, why,
                 r->binding.errors_count ? r->binding.errors[0].pointer : "");
    r->is_good = manifest_terms(
        &r->binding, &r->manifest,
        &(struct manifest_context){
            .catalogue = &CATALOGUE, .is_test = is_test, .now_us = NOW_US, .hold_s = 600},
        &r->terms);
}

static void finish(struct read *r)
{
    json_decref(r->json);
    arena_finish(&r->arena);
}

#define M(resources, more) \
    "{\"image\":\"a\",\"resources\":{" resources "},\"reserve_uusd_per_hour\":600000" more "}"
#define GPU(more)         M("\"device\":{\"count\":1" more "}", "")
#define CPU(vcpu, memory) M("\"cpu\":{\"vcpu\":" vcpu ",\"memory_mib\":" memory "}", "")

/* "classes | block | vcpu_milli memory disk", or "pointer code". */
static const char *summary_of(const struct read *r)
{
    static char text[512];
    size_t len = 0;
    if (!r->is_good) {
        snprintf(text, sizeof(text), "%s %s", r->binding.errors[0].pointer,
                 r->binding.errors[0].code);
        return text;
    }
    for (int i = 0; i < r->terms.classes_count; i++)
        len +=
            (size_t)snprintf(text + len, sizeof(text) - len, "%.*s ", STR_ARG(r->terms.classes[i]));
    snprintf(text + len, sizeof(text) - len, "| %d | %lld %lld %lld", r->terms.block_size,
             (long long)r->terms.vcpu_milli, (long long)r->terms.memory_mib,
             (long long)r->terms.disk_mib);
    return text;
}

static void classes_are_narrowed_and_the_culprit_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *manifest, *summary;
    } rows[] = {
        {GPU(""), "rtx-4090 a100-80g mi300x | 1 | 4000 8192 20480"},
        {GPU(",\"vendor\":\"amd\""), "mi300x | 1 | 8000 32768 40960"},
        {GPU(",\"models\":[\"RTX-4090\"]"), "rtx-4090 | 1 | 4000 8192 20480"},
        {GPU(",\"models\":[\"nvidia a100 80gb pcie\",\"mi300x\"]"),
         "a100-80g mi300x | 1 | 8000 32768 40960"},
        {GPU(",\"vram_mib_min\":80000"), "a100-80g mi300x | 1 | 8000 32768 40960"},
        {GPU(",\"vram_mib_min\":400000"), "/resources/device/vram_mib_min unplaceable"},
        {GPU(",\"models\":[\"h900\"]"), "/resources/device/models unplaceable"},
        {GPU(",\"vendor\":\"amd\",\"models\":[\"rtx-4090\"]"),
         "/resources/device/models unplaceable"},
        {M("\"device\":{\"count\":3},\"memory_mib\":40000", ""),
         "a100-80g mi300x | 4 | 32000 40000 163840"},
        {M("\"device\":{\"count\":1},\"vcpu\":9", ""),
         "rtx-4090 a100-80g mi300x | 1 | 9000 8192 20480"},
        {M("\"device\":{\"count\":1},\"disk_mib\":50000", ""),
         "rtx-4090 a100-80g mi300x | 1 | 4000 8192 50000"},
        {M("\"device\":{\"count\":8},\"vcpu\":64", ""),
         "a100-80g mi300x | 8 | 64000 262144 327680"},
        {CPU("1", "512"), "cpu-1c2g cpu-4c8g | 1 | 1000 512 1024"},
        {CPU("2", "512"), "cpu-4c8g | 1 | 2000 512 1024"},
        {CPU("8", "512"), "/resources/cpu/vcpu unplaceable"},
        {CPU("1", "9000"), "/resources/cpu/memory_mib unplaceable"},
        {M("\"cpu\":{\"vcpu\":1,\"memory_mib\":64},\"vcpu\":1", ""), "/resources/vcpu conflict"},
        {M("\"cpu\":{\"vcpu\":1,\"memory_mib\":64},\"memory_mib\":64", ""),
         "/resources/memory_mib conflict"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct read r;
        read_manifest(&r, rows[i].manifest, false);
        if (strcmp(summary_of(&r), rows[i].summary) != 0)
            fail_msg("%s\n gave   %s\n wanted %s", rows[i].manifest, summary_of(&r),
                     rows[i].summary);
        finish(&r);
    }
}

static void fields_that_contradict_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *more, *summary;
    } rows[] = {
        {",\"replicas\":3,\"min_replicas\":4", "/min_replicas range"},
        {",\"placement\":{\"regions\":[\"eu-west\",\"moon-1\"]}", "/placement/regions/1 enum"},
        {",\"placement\":{\"trust_min\":\"simulated\"}", "/placement/trust_min enum"},
        {",\"deadline\":\"2026-11-21T01:42:19Z\"", "/deadline range"},
        {",\"env\":{\"A\":\"1\"},\"secrets\":{\"A\":\"2\"}", "/secrets/A conflict"},
        {",\"env\":{\"LD_PRELOAD\":\"/x\"}", "/env/LD_PRELOAD conflict"},
        {",\"secrets\":{\"NVIDIA_X\":\"1\",\"LD\":\"2\"}", "/secrets/NVIDIA_X conflict"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct read r;
        char text[512];
        str_format(text, sizeof(text),
                   "{\"image\":\"a\",\"resources\":{\"device\":{\"count\":1}},\"reserve_uusd_per_"
                   "hour\":1%s}",
                   rows[i].more);
        read_manifest(&r, text, false);
        assert_string_equal(summary_of(&r), rows[i].summary);
        finish(&r);
    }
}

static void reserves_come_in_either_unit(void **state)
{
    (void)state;
    static const struct {
        const char *usd;
        int64_t uusd; /* 0: refused */
    } rows[] = {{"0.60", 600000}, {"1", 1000000}, {"0.000001", 1},      {"1000000", 1000000000000},
                {"0", 0},         {"0.00", 0},    {"1000000.000001", 0}};
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        struct read r;
        char text[256];
        str_format(text, sizeof(text),
                   "{\"image\":\"a\",\"resources\":{\"device\":{\"count\":1}},\"reserve_usd_per_"
                   "hour\":\"%s\"}",
                   rows[i].usd);
        read_manifest(&r, text, false);
        assert_int_equal(r.is_good ? r.terms.reserve_uusd_per_hour : 0, rows[i].uusd);
        finish(&r);
    }
}

static void defaults_and_the_hold_are_worked_out(void **state)
{
    (void)state;
    struct read r;
    read_manifest(&r, M("\"device\":{\"count\":1}", ",\"replicas\":6,\"max_duration_s\":90"), true);
    assert_true(r.is_good);
    assert_int_equal(r.terms.replicas, 6);
    assert_int_equal(r.terms.min_replicas, 6);
    assert_int_equal(r.terms.hold_uusd, 6 * 15000); /* 600000 an hour for 90 s, each */
    assert_int_equal(r.terms.regions_count, 2);
    assert_string_equal(r.terms.tier, "flexible");
    assert_string_equal(r.terms.trust_min, "unverified");
    finish(&r);
    read_manifest(&r, M("\"device\":{\"count\":1}", ",\"max_duration_s\":86400"), true);
    assert_int_equal(r.terms.hold_uusd, 100000); /* ten minutes at most */
    finish(&r);
    read_manifest(&r, M("\"device\":{\"count\":1}", ",\"placement\":{\"trust_min\":\"simulated\"}"),
                  true);
    assert_true(r.is_good);
    assert_string_equal(r.terms.trust_min, "simulated");
    finish(&r);
}

static void secrets_are_kept_apart(void **state)
{
    (void)state;
    struct read r;
    struct buf shown = {0}, sealed = {0};
    read_manifest(&r,
                  M("\"device\":{\"count\":1}", ",\"secrets\":{\"K\":\"s3cret\"},\"registry_auth\":"
                                                "{\"username\":\"u\",\"password\":\"pw\"}"),
                  false);
    assert_true(manifest_has_secret(&r.manifest));
    manifest_write_public(r.json, &shown);
    manifest_write_secret(r.json, &sealed);
    assert_true(str_equal_c(buf_str(&shown),
                            "{\"image\":\"a\",\"resources\":{\"device\":{\"count\":1}},"
                            "\"reserve_uusd_per_hour\":600000}"));
    assert_true(str_equal_c(buf_str(&sealed), "{\"secrets\":{\"K\":\"s3cret\"},\"registry_auth\":"
                                              "{\"username\":\"u\",\"password\":\"pw\"}}"));
    finish(&r);
    read_manifest(&r, GPU(""), false);
    assert_false(manifest_has_secret(&r.manifest));
    finish(&r);
    read_manifest(&r, M("\"device\":{\"count\":1}", ",\"secrets\":{}"), false);
    assert_true(manifest_has_secret(&r.manifest)); /* none, but that is said */
    finish(&r);
    buf_finish(&shown);
    buf_finish(&sealed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes_are_narrowed_and_the_culprit_is_named),
        cmocka_unit_test(fields_that_contradict_are_refused),
        cmocka_unit_test(reserves_come_in_either_unit),
        cmocka_unit_test(defaults_and_the_hold_are_worked_out),
        cmocka_unit_test(secrets_are_kept_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
