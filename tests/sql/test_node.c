/* Nodes and asks on a real database: enrolment, what syncs store, receipts, logs, floors,
 * retirement. */
#include "broker/market/node.h"

#include "broker/market/account.h"
#include "broker/market/ask.h"
#include "broker/market/node_seq.h"
#include "tests/sql/market_fixture.h"

#define SLOTS                                                                                      \
    "{\"vcpu\":4,\"memory_mib\":8192,\"disk_mib\":100000,\"is_simulated\":false,\"devices\":["     \
    "{\"hardware_id\":\"a\",\"index\":0,\"vendor\":\"cpu\",\"model\":\"cpu-1c2g\",\"vram_mib\":0," \
    "\"is_simulated\":false},"                                                                     \
    "{\"hardware_id\":\"b\",\"index\":1,\"vendor\":\"cpu\",\"model\":\"cpu-1c2g\",\"vram_mib\":0," \
    "\"is_simulated\":false}]}"
#define SIMULATED                                                                                  \
    "{\"vcpu\":1,\"memory_mib\":64,\"disk_mib\":10,\"is_simulated\":true,\"devices\":["            \
    "{\"hardware_id\":\"b\",\"index\":0,\"vendor\":\"cpu\",\"model\":\"cpu-2c4g\",\"vram_mib\":0," \
    "\"is_simulated\":true}]}"

static struct market_world world;

static struct uuid id_of(const char *function, int who)
{
    return world_uuid(world_ask(&world, "select fx.%s(%d)", function, who));
}

static struct credential token_make(int who, const char *region, bool is_expired)
{
    struct credential token = credential_make(CREDENTIAL_NODE_TOKEN);
    struct sql_result *result = NULL;
    struct node_token_create_out row;
    struct node_token_create_in in = {
        .account_id = id_of("account", who),
        .token_id = token_id_new().u,
        .secret_sha256 = sha256_slice(&token.sha256),
        .region = str_of(region),
        .expires_at_us = is_expired ? 1000000 : 4000000000000000,
        .idem_key = STR_NONE,
        .idem_body_sha256 = STR_NONE,
        .idem_response = STR_NONE,
    };
    assert_int_equal(node_token_create_run(world.session, &in, &result), ERR_OK);
    node_token_create_row(result, 0, &row);
    assert_true(row.is_region && row.is_done);
    sql_result_release(result);
    return token;
}

struct enrolled {
    char outcome[16];
    struct uuid node_id;
};

static struct enrolled enrol(const struct credential *token, const char *key, const char *region)
{
    struct sha256 public_key = sha256_of(key, strlen(key));
    struct sql_result *result = NULL;
    struct enrolled enrolled = {.outcome = "unknown"};
    struct node_enrol_in in = {
        .secret_sha256 = sha256_slice(&token->sha256),
        .public_key = sha256_slice(&public_key),
        .node_id = node_id_new().u,
        .name = STR("rack-1"),
        .region = str_of(region),
        .inventory = STR(SLOTS),
    };
    assert_int_equal(node_enrol_run(world.session, &in, &result), ERR_OK);
    if (sql_result_rows(result) == 1) {
        struct node_enrol_out row;
        node_enrol_row(result, 0, &row);
        must(str_format(enrolled.outcome, sizeof(enrolled.outcome), "%.*s", STR_ARG(row.outcome)));
        enrolled.node_id = row.node_id;
    }
    sql_result_release(result);
    return enrolled;
}

static void a_token_enrols_one_machine_once(void **state)
{
    (void)state;
    struct credential token = token_make(1, "eu-west", false);
    struct enrolled first = enrol(&token, "key 1", NULL);
    assert_string_equal(first.outcome, "enrolled");
    struct enrolled again = enrol(&token, "key 1", NULL);
    assert_string_equal(again.outcome, "again");
    assert_true(uuid_equal(first.node_id, again.node_id));
    assert_string_equal(enrol(&token, "key 2", NULL).outcome, "used");

    char id[ID_TEXT_SIZE];
    assert_string_equal(world_ask(&world,
                                  "select string_agg(class, ',' order by hardware_id) from "
                                  "devices where node_id = '%s'",
                                  uuid_text(first.node_id, id)),
                        "cpu-1c2g,cpu-1c2g");
}

static void a_bad_token_enrols_nothing(void **state)
{
    (void)state;
    struct credential unknown = credential_make(CREDENTIAL_NODE_TOKEN);
    struct credential expired = token_make(1, "eu-west", true);
    struct credential fixed = token_make(1, "eu-west", false);
    struct credential open = token_make(1, NULL, false);
    const char *before = world_ask(&world, "select count(*) from nodes");
    int64_t count = strtoll(before, NULL, 10);
    assert_string_equal(enrol(&unknown, "key 3", "eu-west").outcome, "unknown");
    assert_string_equal(enrol(&expired, "key 3", "eu-west").outcome, "expired");
    assert_string_equal(enrol(&fixed, "key 3", "us-east").outcome, "region");
    assert_string_equal(enrol(&open, "key 3", "atlantis").outcome, "region");
    assert_string_equal(enrol(&open, "key 3", NULL).outcome, "region");
    assert_int_equal(world_number(&world, "select count(*) from nodes"), count);
    assert_string_equal(enrol(&open, "key 3", "us-east").outcome, "enrolled");
}

static void a_key_stays_one_node_of_one_account(void **state)
{
    (void)state;
    struct credential one = token_make(1, "eu-west", false), two = token_make(1, "us-east", false);
    struct credential three = token_make(1, "us-east", false),
                      other = token_make(2, "eu-west", false);
    struct enrolled first = enrol(&one, "key 4", NULL);
    assert_string_equal(enrol(&two, "key 4", NULL).outcome, "again");
    assert_string_equal(enrol(&other, "key 4", NULL).outcome, "taken");

    struct node_retire_in retire = {.account_id = id_of("account", 1), .node_id = first.node_id};
    assert_int_equal(node_retire_run(world.session, &retire, NULL), ERR_OK);
    struct enrolled back = enrol(&three, "key 4", NULL);
    assert_string_equal(back.outcome, "enrolled");
    assert_true(uuid_equal(back.node_id, first.node_id));
    char id[ID_TEXT_SIZE];
    assert_string_equal(world_ask(&world,
                                  "select state || ' ' || region || ' ' || (select count(*) from "
                                  "devices d where d.node_id = n.node_id and d.is_present) "
                                  "from nodes n where node_id = '%s'",
                                  uuid_text(back.node_id, id)),
                        "live us-east 2");
}

static bool store(struct uuid node, struct uuid boot, const char *floors, const char *inventory)
{
    struct sql_result *result = NULL;
    struct node_sync_store_in in = {.node_id = node,
                                    .boot = boot,
                                    .seq = 1,
                                    .is_opted_in = true,
                                    .floors = str_of(floors),
                                    .inventory = str_of(inventory),
                                    .inventory_sha256 = str_of(inventory ? "aa" : NULL)};
    assert_int_equal(node_sync_store_run(world.session, &in, 1, &result), ERR_OK);
    bool is_stored = sql_result_rows(result) == 1;
    sql_result_release(result);
    return is_stored;
}

static void silence_pauses_meters_until_the_node_is_back(void **state)
{
    (void)state;
    struct uuid lease = world_uuid(world_ask(&world, "select fx.award(1, 0, 1, 20000)"));
    char id[ID_TEXT_SIZE];
    uuid_text(lease, id);
    world_do(&world,
             "update leases set state = 'running', running_at = now() - interval '60 s' "
             "where lease_id = '%s'",
             id);
    world_do(&world, "update replicas set state = 'running' where replica_id = fx.replica(1, 0)");
    world_do(&world, "update nodes set state = 'unknown', unknown_at = now() - interval '20 s' "
                     "where node_id = fx.node(1)");
    assert_true(store(id_of("node", 1), uuid_v7(), "{}", NULL));
    int64_t paused_ms = strtoll(
        world_ask(&world, "select paused_ms from leases where lease_id = '%s'", id), NULL, 10);
    assert_in_range(paused_ms, 20000, 25000);
    assert_string_equal(world_ask(&world,
                                  "select state || coalesce(unknown_at::text, '-') from nodes "
                                  "where node_id = fx.node(1)"),
                        "live-");
    assert_string_equal(world_ask(&world,
                                  "select count(*) from events where kind = 'node.live' and "
                                  "node_id = fx.node(1)"),
                        "1");
    world_is_sound(&world);
}

static void a_new_boot_supersedes_the_old_for_good(void **state)
{
    (void)state;
    struct uuid old = uuid_v7(), new = uuid_v7(), node = id_of("node", 2);
    assert_true(store(node, old, "{}", NULL));
    assert_true(store(node, new, "{}", NULL));
    assert_false(store(node, old, "{}", NULL));
    for (int i = 0; i < 20; i++)
        assert_true(store(node, uuid_v7(), "{}", NULL));
    assert_string_equal(world_ask(&world, "select cardinality(past_boots) from nodes "
                                          "where node_id = fx.node(2)"),
                        "16");
}

static void an_inventory_changes_devices_and_trust(void **state)
{
    (void)state;
    struct credential token = token_make(1, "eu-west", false);
    struct uuid node = enrol(&token, "key 5", NULL).node_id;
    char id[ID_TEXT_SIZE];
    uuid_text(node, id);
    assert_true(store(node, uuid_v7(), "{}", SIMULATED));
    assert_string_equal(world_ask(&world,
                                  "select n.trust || (select string_agg(d.hardware_id || "
                                  "d.class || d.is_present, ' ' order by d.hardware_id) from "
                                  "devices d where d.node_id = n.node_id) from nodes n "
                                  "where node_id = '%s'",
                                  id),
                        "simulatedacpu-1c2gfalse bcpu-2c4gtrue");
    assert_true(store(node, uuid_v7(), "{}", SLOTS));
    assert_string_equal(world_ask(&world,
                                  "select trust || inventory_sha256 from nodes "
                                  "where node_id = '%s'",
                                  id),
                        "unverifiedaa");
}

static void a_machine_offers_only_what_it_has(void **state)
{
    (void)state;
    assert_string_equal(
        world_ask(
            &world,
            "select string_agg(hardware_id || coalesce(class, '-'), ' ' order by "
            "device_index) from inventory_devices(jsonb_build_object('vcpu', 9, 'memory_mib', "
            "40000, "
            "'disk_mib', 99999, 'devices', jsonb_build_array("
            "jsonb_build_object('hardware_id', 'gpu', 'index', 0, 'vendor', 'nvidia', 'model', "
            "'NVIDIA GeForce RTX 4090', 'vram_mib', 24200, 'is_simulated', false),"
            "jsonb_build_object('hardware_id', 'big', 'index', 1, 'vendor', 'cpu', 'model', "
            "'cpu-4c8g', "
            "'vram_mib', 0, 'is_simulated', false),"
            "jsonb_build_object('hardware_id', 'over', 'index', 2, 'vendor', 'cpu', 'model', "
            "'cpu-2c4g', "
            "'vram_mib', 0, 'is_simulated', false),"
            "jsonb_build_object('hardware_id', 'small', 'index', 3, 'vendor', 'nvidia', 'model', "
            "'NVIDIA GeForce RTX 4090', 'vram_mib', 12000, 'is_simulated', true))))"),
        "gpurtx-4090 bigcpu-4c8g over- small-");
}

static int receipt(struct uuid node, int64_t seq)
{
    uint8_t zeros[64] = {0};
    struct sql_result *result = NULL;
    struct node_receipt_store_in in = {
        .node_id = node,
        .seq = seq,
        .body = STR("{}"),
        .signature = {.at = (const char *)zeros, .len = sizeof(zeros)}};
    assert_int_equal(node_receipt_store_run(world.session, &in, 1, &result), ERR_OK);
    int rows = sql_result_rows(result);
    sql_result_release(result);
    return rows;
}

static void receipts_only_rise(void **state)
{
    (void)state;
    struct uuid node = id_of("node", 2);
    assert_int_equal(receipt(node, 3), 1);
    assert_int_equal(receipt(node, 3), 0);
    assert_int_equal(receipt(node, 2), 0);
    assert_int_equal(receipt(node, 7), 1);
    assert_string_equal(
        world_ask(&world, "select receipt_seq from nodes where node_id = fx.node(2)"), "7");
}

static struct node_log_store_out log_store(struct uuid lease, int epoch, int64_t offset,
                                           const char *text)
{
    struct sql_result *result = NULL;
    struct node_log_store_out row;
    struct str stream = STR("out"), bytes = str_of(text);
    int32_t epoch32 = epoch;
    int64_t at_us = 1763690000000000;
    struct node_log_store_in in = {.node_id = id_of("node", 3),
                                   .lease_ids = &lease,
                                   .lease_ids_count = 1,
                                   .epochs = &epoch32,
                                   .epochs_count = 1,
                                   .offsets = &offset,
                                   .offsets_count = 1,
                                   .streams = &stream,
                                   .streams_count = 1,
                                   .ats_us = &at_us,
                                   .ats_us_count = 1,
                                   .bytes = &bytes,
                                   .bytes_count = 1,
                                   .bytes_max = 12};
    assert_int_equal(node_log_store_run(world.session, &in, &result), ERR_OK);
    assert_int_equal(sql_result_rows(result), 1);
    node_log_store_row(result, 0, &row);
    sql_result_release(result);
    return row;
}

static void logs_join_seamlessly_up_to_their_quota(void **state)
{
    (void)state;
    struct uuid lease = world_uuid(world_ask(&world, "select fx.award(1, 1, 3, 20000)"));
    assert_int_equal(log_store(lease, 1, 0, "").next_offset, 0);
    assert_int_equal(log_store(lease, 1, 0, "hello ").next_offset, 6);
    assert_int_equal(log_store(lease, 1, 0, "hello ").next_offset, 6);
    assert_int_equal(log_store(lease, 1, 8, "hole").next_offset, 6);
    assert_false(log_store(lease, 2, 6, "old").is_known);
    struct node_log_store_out full = log_store(lease, 1, 6, "world and more");
    assert_int_equal(full.next_offset, 12);
    assert_true(full.is_full && full.is_longer);
    full = log_store(lease, 1, 12, "x");
    assert_true(full.is_full && !full.is_longer);
    char id[ID_TEXT_SIZE];
    assert_string_equal(world_ask(&world,
                                  "select string_agg(convert_from(bytes, 'UTF8'), '' order by "
                                  "log_offset) from log_chunks where lease_id = '%s'",
                                  uuid_text(lease, id)),
                        "hello world ");
}

static const char *asks_of(struct uuid node)
{
    static char text[256];
    struct sql_result *result = NULL;
    struct ask_list_of_node_in in = {.node_id = node};
    text[0] = '\0';
    assert_int_equal(ask_list_of_node_run(world.session, &in, &result), ERR_OK);
    for (int i = 0; i < sql_result_rows(result); i++) {
        struct ask_list_of_node_out row;
        ask_list_of_node_row(result, i, &row);
        size_t len = strlen(text);
        must(str_format(text + len, sizeof(text) - len, "%.*s %.*s %lld/%lld%s;",
                        STR_ARG(row.class), STR_ARG(row.status), (long long)row.node_price,
                        (long long)row.price, row.is_new ? " new" : ""));
    }
    sql_result_release(result);
    return text;
}

static void a_floor_becomes_the_first_ask_and_never_overrules_one(void **state)
{
    (void)state;
    struct uuid account = id_of("account", 2);
    struct credential token = token_make(2, "us-west", false);
    struct uuid node = enrol(&token, "key 6", NULL).node_id;
    assert_string_equal(asks_of(node), "cpu-1c2g none 0/0;");
    assert_true(store(node, uuid_v7(), "{\"*\": 900}", NULL));
    assert_string_equal(asks_of(node), "cpu-1c2g none 900/0 new;");

    struct ask_offer_in offer = {.account_id = account,
                                 .market = STR("main"),
                                 .class = STR("cpu-1c2g"),
                                 .region = STR("us-west"),
                                 .price_uusd_per_device_hour = 900};
    struct ask_offer_in twins[2] = {offer, offer};
    struct sql_result *result = NULL;
    assert_int_equal(ask_offer_run(world.session, twins, 2, &result), ERR_OK);
    assert_int_equal(sql_result_rows(result), 1);
    sql_result_release(result);
    assert_string_equal(asks_of(node), "cpu-1c2g standing 900/900;");

    offer.price_uusd_per_device_hour = 800;
    assert_int_equal(ask_offer_run(world.session, &offer, 1, NULL), ERR_OK);
    assert_string_equal(asks_of(node), "cpu-1c2g standing 900/900;");
    assert_true(store(node, uuid_v7(), "{\"*\": 900, \"cpu-1c2g\": 800}", NULL));
    assert_string_equal(asks_of(node), "cpu-1c2g mismatch 800/900;");

    struct ask_withdraw_in withdraw = {.account_id = account,
                                       .market = STR("main"),
                                       .class = STR("cpu-1c2g"),
                                       .region = STR("us-west")};
    assert_int_equal(ask_withdraw_run(world.session, &withdraw, NULL), ERR_OK);
    assert_string_equal(asks_of(node), "cpu-1c2g none 800/0;");
    assert_int_equal(ask_offer_run(world.session, &offer, 1, NULL), ERR_OK);
    assert_string_equal(asks_of(node), "cpu-1c2g none 800/0;");
}

static void every_change_of_an_ask_arrives_for_the_present_round(void **state)
{
    (void)state;
    world_do(&world, "update markets set round = 41 where market = 'main'");
    const struct str tier = STR("spot");
    struct ask_put_in in = {.account_id = id_of("account", 1),
                            .market = STR("main"),
                            .class = STR("l40s"),
                            .region = STR("us-west"),
                            .price_uusd_per_device_hour = 1000000,
                            .spot_multiplier_bp = 10000,
                            .guaranteed_multiplier_bp = 10000,
                            .tiers = &tier,
                            .tiers_count = 1};
    for (int version = 1; version <= 2; version++) {
        struct sql_result *result = NULL;
        struct ask_put_out row;
        assert_int_equal(ask_put_run(world.session, &in, &result), ERR_OK);
        ask_put_row(result, 0, &row);
        assert_int_equal(row.version, version);
        assert_int_equal(row.round, 41);
        assert_string_equal(world_ask(&world,
                                      "select kind || (message_sha256 = sha256(convert_to("
                                      "'undercut/ask/v2|' || account_id || "
                                      "'|l40s|us-west|1000000|10000|10000|spot|%.*s', 'UTF8'))) "
                                      "from arrivals where round = 41 and place = %lld",
                                      STR_ARG(row.salt), (long long)row.place),
                            "asktrue");
        sql_result_release(result);
    }
    in.class = STR("no-such-class");
    struct sql_result *result = NULL;
    assert_int_equal(ask_put_run(world.session, &in, &result), ERR_OK);
    assert_int_equal(sql_result_rows(result), 0);
    sql_result_release(result);
}

static void only_the_owner_sees_and_retires_a_node(void **state)
{
    (void)state;
    struct node_list_in list = {.account_id = id_of("account", 1),
                                .has_one = true,
                                .one = id_of("node", 4),
                                .limit_count = 10};
    struct node_retire_in retire = {.account_id = id_of("account", 1), .node_id = id_of("node", 4)};
    for (int owner = 1; owner <= 2; owner++) {
        struct sql_result *result = NULL;
        list.account_id = retire.account_id = id_of("account", owner);
        assert_int_equal(node_list_run(world.session, &list, &result), ERR_OK);
        assert_int_equal(sql_result_rows(result), owner - 1);
        sql_result_release(result);
        assert_int_equal(node_retire_run(world.session, &retire, &result), ERR_OK);
        assert_int_equal(sql_result_rows(result), owner - 1);
        sql_result_release(result);
    }
    assert_false(store(id_of("node", 4), uuid_v7(), "{}", NULL));
    assert_string_equal(world_ask(&world, "select count(*) from devices where node_id = fx.node(4) "
                                          "and is_present"),
                        "0");
}

static void a_sequence_number_is_good_once(void **state)
{
    (void)state;
    struct seq_window window = seq_window_from(0);
    assert_false(seq_window_take(&window, 0));
    assert_true(seq_window_take(&window, 1));
    assert_false(seq_window_take(&window, 1));
    assert_true(seq_window_take(&window, 70));
    assert_true(seq_window_take(&window, 69));
    assert_true(seq_window_take(&window, 7));
    assert_false(seq_window_take(&window, 6)); /* 64 behind */
    assert_false(seq_window_take(&window, 69));
    seq_window_raise(&window, 500);
    assert_false(seq_window_take(&window, 500));
    assert_true(seq_window_take(&window, 499));
    assert_false(seq_window_take(&window, 70));
}

static void starts_of_an_agent_follow_each_other(void **state)
{
    (void)state;
    struct uuid old = uuid_v7(), new = uuid_v7();
    struct node_seq_stored stored = {.boot = old, .seq = 5};
    for (int i = 0; i < 400; i++) { /* more than the first table holds */
        struct node_id node = node_id_new();
        assert_false(node_seq_take(node, &stored, old, 5));
        assert_true(node_seq_take(node, &stored, old, 6));
        assert_true(node_seq_take(node, &stored, new, 1));
        assert_false(node_seq_take(node, &stored, new, 1));
        assert_false(node_seq_take(node, &stored, old, 7));
    }
}

static int open_world(void **state)
{
    (void)state;
    world_open(&world);
    world_do(&world, "select fx.make_account(1, 10000000), fx.make_account(2, 0)");
    world_do(&world, "select fx.make_node(i, 2, 'eu-west', 'cpu-1c2g', 2, 10000) from "
                     "generate_series(1, 4) i");
    world_do(&world, "select fx.make_workload(1, 1, 2, 30000)");
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    world_close(&world);
    return 0;
}

int main(void)
{
    hash_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_enrols_one_machine_once),
        cmocka_unit_test(a_bad_token_enrols_nothing),
        cmocka_unit_test(a_key_stays_one_node_of_one_account),
        cmocka_unit_test(silence_pauses_meters_until_the_node_is_back),
        cmocka_unit_test(a_new_boot_supersedes_the_old_for_good),
        cmocka_unit_test(an_inventory_changes_devices_and_trust),
        cmocka_unit_test(a_machine_offers_only_what_it_has),
        cmocka_unit_test(receipts_only_rise),
        cmocka_unit_test(logs_join_seamlessly_up_to_their_quota),
        cmocka_unit_test(a_floor_becomes_the_first_ask_and_never_overrules_one),
        cmocka_unit_test(every_change_of_an_ask_arrives_for_the_present_round),
        cmocka_unit_test(only_the_owner_sees_and_retires_a_node),
        cmocka_unit_test(a_sequence_number_is_good_once),
        cmocka_unit_test(starts_of_an_agent_follow_each_other),
    };
    return cmocka_run_group_tests_name("node", tests, open_world, close_world);
}
