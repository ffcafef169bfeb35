/* What no lot can say, held against a node: versions, isolation, room; and distance, estimated. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "broker/market/direct.h"
#include "api/distance.h"

static void versions_compare_number_by_number(void **state)
{
    (void)state;
    static const struct {
        const char *version, *least;
        bool is_enough;
    } rows[] = {
        {"535", "535", true},
        {"535.104", "535", true},
        {"535", "535.0", true},
        {"535", "535.0.1", false},
        {"535.9", "535.10", false},
        {"535.104.5", "535.104", true},
        {"550.1", "535.104.5", true},
        {"534.999", "535", false},
        {"8.6", "8.9", false},
        {"9.0", "8.9", true},
        {"10.0", "9.9", true},
        {"", "1", false},
        {"", "0", true},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (version_is_at_least(str_of(rows[i].version), str_of(rows[i].least)) !=
            rows[i].is_enough)
            fail_msg("%s against %s", rows[i].version, rows[i].least);
}

static const struct direct_facts node = {
    .driver = {.at = "550.54", .len = 6},
    .compute = {.at = "8.9", .len = 3},
    .isolation = {.at = "crun", .len = 4},
    .vcpu_spare_milli = 8000,
    .memory_spare_mib = 20000,
    .disk_spare_mib = 100,
    .vcpu_min = 4,
    .memory_mib_min = 8192,
    .disk_mib_min = 20480,
};

static void a_wish_fits_or_says_why_not(void **state)
{
    (void)state;
    static const struct {
        struct direct_wish wish;
        enum direct_fit fit;
        uint32_t blocks_max;
    } rows[] = {
        {{.vcpu_milli = 4000}, DIRECT_FITS, UINT32_MAX},
        {{.driver_min = STR("550")}, DIRECT_FITS, UINT32_MAX},
        {{.driver_min = STR("551")}, DIRECT_DRIVER_OLD, 0},
        {{.compute_min = STR("9.0")}, DIRECT_COMPUTE_LOW, 0},
        {{.isolation = STR("runsc")}, DIRECT_ISOLATION_OTHER, 0},
        {{.isolation = STR("crun"), .memory_mib = 8192 + 10000}, DIRECT_FITS, 2},
        {{.memory_mib = 8192 + 20001}, DIRECT_ROOM_SHORT, 0},
        {{.vcpu_milli = 7000, .memory_mib = 8192 + 10001}, DIRECT_FITS, 1},
        {{.disk_mib = 20480 + 101}, DIRECT_ROOM_SHORT, 0},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint32_t blocks_max = 7;
        enum direct_fit fit = direct_judge(&rows[i].wish, &node, 1, &blocks_max);
        if (fit != rows[i].fit || blocks_max != rows[i].blocks_max)
            fail_msg("row %zu: %s, %u blocks", i, direct_fit_text(fit), blocks_max);
    }
    const struct direct_facts silent = {.isolation = STR("")};
    uint32_t blocks_max;
    assert_int_equal(direct_judge(&rows[1].wish, &silent, 1, &blocks_max), DIRECT_DRIVER_OLD);
}

static void room_that_was_taken_is_gone(void **state)
{
    (void)state;
    struct direct_facts facts = node;
    const struct direct_wish wish = {.memory_mib = 2 * 8192 + 15000};
    uint32_t blocks_max;
    assert_int_equal(direct_judge(&wish, &facts, 2, &blocks_max), DIRECT_FITS);
    direct_take_room(&wish, 2, &facts);
    assert_int_equal(facts.memory_spare_mib, 5000);
    assert_int_equal(facts.vcpu_spare_milli, node.vcpu_spare_milli);
    assert_int_equal(direct_judge(&wish, &facts, 2, &blocks_max), DIRECT_ROOM_SHORT);
}

static void a_wish_is_read_from_its_json(void **state)
{
    (void)state;
    char why[64];
    json_t *json =
        json_parse(STR("{\"is_direct\":true,\"driver_min\":\"535\",\"spread\":\"region\","
                       "\"latency\":{\"eu-west\":0,\"us-east\":7}}"),
                   why, sizeof(why));
    struct direct_wish wish = direct_wish_of(json);
    assert_true(str_equal_c(wish.driver_min, "535"));
    assert_null(wish.compute_min.at);
    assert_int_equal(wish.spread, DIRECT_SPREAD_REGION);
    assert_int_equal(direct_latency(json, STR("us-east")), 7);
    assert_int_equal(direct_latency(json, STR("us-west")), 0);
    json_decref(json);
    assert_int_equal(direct_wish_of(NULL).spread, DIRECT_SPREAD_NONE);
    assert_int_equal(direct_latency(NULL, STR("us-east")), 0);
}

/* Distances as atlases give them, within one per cent. */
static void distance_is_that_of_the_great_circle(void **state)
{
    (void)state;
    const struct place amsterdam = {52370000, 4895000}, singapore = {1352000, 103820000},
                       tokyo = {35682000, 139759000}, virginia = {39044000, -77487000},
                       oregon = {45840000, -119700000}, sydney = {-33868000, 151207000};
    static const int64_t expected_km[] = {0, 10513, 6220, 3503, 9325, 7820};
    const struct place pairs[][2] = {{tokyo, tokyo},        {amsterdam, singapore},
                                     {virginia, amsterdam}, {virginia, oregon},
                                     {tokyo, amsterdam},    {sydney, tokyo}};
    for (size_t i = 0; i < 6; i++) {
        int64_t km = great_circle_km(pairs[i][0], pairs[i][1]);
        assert_in_range(km, expected_km[i] * 99 / 100, expected_km[i] * 101 / 100);
        assert_int_equal(km, great_circle_km(pairs[i][1], pairs[i][0]));
    }
    assert_int_equal(great_circle_km((struct place){0, 179000000}, (struct place){0, -179000000}),
                     222);
    assert_int_equal(great_circle_km((struct place){90000000, 0}, (struct place){-90000000, 9}),
                     20015);
}

static void round_trips_follow_the_line(void **state)
{
    (void)state;
    const struct place here = {0, 0}, there = {0, 180000000};
    assert_int_equal(rtt_estimate_ms(here, here), 38);   /* 37.4, rounded up */
    assert_int_equal(rtt_estimate_ms(here, there), 360); /* 37.4 + 0.0161 x 20 015 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(versions_compare_number_by_number),
        cmocka_unit_test(a_wish_fits_or_says_why_not),
        cmocka_unit_test(room_that_was_taken_is_gone),
        cmocka_unit_test(a_wish_is_read_from_its_json),
        cmocka_unit_test(distance_is_that_of_the_great_circle),
        cmocka_unit_test(round_trips_follow_the_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
