/* The agents' protocol over HTTP: signatures, replays, floors, held calls, a lease's life, logs. */
#include "tests/http/broker_fixture.h"

#include <pthread.h>

#include "broker/base/clock.h"

#define INVENTORY                                                                                \
    "{\"hostname\":\"h\",\"vcpu\":4,\"memory_mib\":8192,\"disk_mib\":9999,\"engine\":{\"name\":" \
    "\"podman\","                                                                                \
    "\"version\":\"4\"},\"isolation\":\"runc\",\"is_simulated\":false,\"devices\":["             \
    "{\"hardware_id\":\"cpu-1c2g/0\",\"index\":0,\"vendor\":\"cpu\",\"model\":\"cpu-1c2g\","     \
    "\"vram_mib\":0,\"is_simulated\":false}]}"

static struct broker broker;
static char owner_key[64], owner[ID_TEXT_SIZE];

struct agent { /* what an agent keeps */
    struct ed25519_public public_key;
    struct ed25519_secret secret_key;
    char node_id[ID_TEXT_SIZE];
    struct uuid node_uuid, boot;
    int64_t seq, receipt_seq;
};

static struct agent agent_enrol(const char *name)
{
    struct agent agent = {.boot = uuid_v7()};
    char body[1024], key[48];
    ed25519_generate(&agent.public_key, &agent.secret_key);
    base64url_encode(agent.public_key.bytes, 32, key);
    struct ask_of token = {
        "POST", "/v1/node-tokens", owner_key, "{\"region\":\"us-west\"}", {NULL}};
    assert_int_equal(broker_ask(&broker, &token), 201);
    must(str_format(body, sizeof(body),
                    "{\"token\":\"%s\",\"public_key\":\"%s\",\"name\":\"%s\","
                    "\"inventory\":" INVENTORY "}",
                    broker_text(&broker, "token"), key, name));
    struct ask_of enrol = {"POST", "/v1/nodes", NULL, body, {NULL}};
    assert_int_equal(broker_ask(&broker, &enrol), 201);
    must(str_format(agent.node_id, sizeof(agent.node_id), "%s", broker_text(&broker, "node_id")));
    struct node_id id;
    assert_true(node_id_parse(str_of(agent.node_id), &id));
    agent.node_uuid = id.u;
    return agent;
}

static void text_sign(const struct ed25519_secret *key, const char *text, char signature[96])
{
    struct ed25519_signature made = ed25519_sign(key, text, strlen(text));
    base64url_encode(made.bytes, sizeof(made.bytes), signature);
}

static void hash_hex(struct str bytes, char hex[65])
{
    struct sha256 digest = sha256_of(bytes.at, bytes.len);
    hex_encode(digest.bytes, sizeof(digest.bytes), hex);
}

/* Sends as it is, with this seq. */
static long call_as(const struct agent *agent, const char *action, const char *body, int64_t seq)
{
    char path[96], boot[ID_TEXT_SIZE], hex[65], text[512], signature[96], headers[3][160];
    must(str_format(path, sizeof(path), "/v1/nodes/%s/%s", agent->node_id, action));
    hash_hex(str_of(body), hex);
    must(str_format(text, sizeof(text), "undercut/sync/v1|POST|%s|%s|%s|%lld|%s", path,
                    agent->node_id, uuid_text(agent->boot, boot), (long long)seq, hex));
    text_sign(&agent->secret_key, text, signature);
    must(str_format(headers[0], 160, "Undercut-Boot: %s", boot));
    must(str_format(headers[1], 160, "Undercut-Seq: %lld", (long long)seq));
    must(str_format(headers[2], 160, "Undercut-Signature: %s", signature));
    struct ask_of ask = {"POST", path, NULL, body, {headers[0], headers[1], headers[2]}};
    return broker_ask(&broker, &ask);
}

static bool reply_is_signed(const struct agent *agent)
{
    struct ed25519_signature signature;
    char boot[ID_TEXT_SIZE], hex[65], text[512];
    hash_hex(buf_str(&broker.body), hex);
    must(str_format(text, sizeof(text), "undercut/reply/v1|%s|%s|%lld|200|%s", agent->node_id,
                    uuid_text(agent->boot, boot), (long long)agent->seq, hex));
    return base64url_decode(str_of(broker.signature), signature.bytes, 64) == 64 &&
           ed25519_verify(&broker.api.market_public, &signature, text, strlen(text));
}

static long call(struct agent *agent, const char *action, const char *body)
{
    long status = call_as(agent, action, body, ++agent->seq);
    if (status == 200)
        assert_true(reply_is_signed(agent));
    return status;
}

static long sync_with(struct agent *agent, const char *more)
{
    char body[4096];
    must(str_format(body, sizeof(body), "{\"known\":\"\",\"hold_ms\":0,\"is_opted_in\":true%s}",
                    more));
    return call(agent, "sync", body);
}

static void only_the_nodes_own_fresh_calls_count(void **state)
{
    (void)state;
    struct agent agent = agent_enrol("fresh"), other = agent_enrol("other");
    const char *body = "{\"known\":\"\",\"hold_ms\":0,\"is_opted_in\":true,\"leases\":[]}";
    assert_int_equal(sync_with(&agent, ",\"leases\":[]"), 200);
    assert_int_equal(call_as(&agent, "sync", body, agent.seq), 401);
    assert_int_equal(call_as(&agent, "sync", body, agent.seq + 100), 200);
    assert_int_equal(call_as(&agent, "sync", body, agent.seq + 99), 200);
    assert_int_equal(call_as(&agent, "sync", body, agent.seq + 30), 401);

    struct agent thief = agent;
    thief.secret_key = other.secret_key;
    assert_int_equal(call_as(&thief, "sync", body, agent.seq + 200), 401);
    struct agent restarted = agent;
    restarted.boot = uuid_v7();
    assert_int_equal(call_as(&restarted, "sync", body, 1), 200);
    assert_int_equal(call_as(&agent, "sync", body, agent.seq + 300), 401);
    struct agent nobody = agent;
    must(node_id_text(node_id_new(), nobody.node_id) != NULL);
    assert_int_equal(call_as(&nobody, "sync", body, 1), 401);
}

static void the_inventory_is_asked_for_until_it_is_known(void **state)
{
    (void)state;
    struct agent agent = agent_enrol("inventory");
    assert_int_equal(sync_with(&agent, ",\"leases\":[],\"inventory_sha256\":\"aa\""), 200);
    assert_true(json_bool(broker.json, "want_inventory", false));
    assert_int_equal(
        sync_with(&agent, ",\"leases\":[],\"inventory_sha256\":\"aa\",\"inventory\":" INVENTORY),
        200);
    assert_int_equal(sync_with(&agent, ",\"leases\":[],\"inventory_sha256\":\"aa\""), 200);
    assert_false(json_bool(broker.json, "want_inventory", true));
}

static void a_floor_stands_until_the_owner_says_otherwise(void **state)
{
    (void)state;
    struct agent agent = agent_enrol("floors");
    const char *floors =
        ",\"leases\":[],\"asks\":[{\"class\":\"*\",\"price_uusd_per_device_hour\":9000}]";
    assert_int_equal(sync_with(&agent, floors), 200);
    assert_string_equal(broker_text(&broker, "asks.0.status"), "standing");
    struct ask_of put = {"PUT",
                         "/v1/asks/cpu-1c2g/us-west",
                         owner_key,
                         "{\"price_uusd_per_device_hour\":8000}",
                         {NULL}};
    assert_int_equal(broker_ask(&broker, &put), 200);
    assert_int_equal(sync_with(&agent, floors), 200);
    assert_string_equal(broker_text(&broker, "asks.0.status"), "mismatch");
    const json_t *ask = json_array_get(json_object_get(broker.json, "asks"), 0);
    assert_int_equal(json_i64(ask, "price_uusd_per_device_hour", 0), 8000);
    assert_int_equal(json_i64(ask, "node_price_uusd_per_device_hour", 0), 9000);
    assert_int_equal(sync_with(&agent, ",\"leases\":[]"), 200);
    assert_string_equal(broker_text(&broker, "asks.0.status"), "standing");
}

static void *change_an_ask_soon(void *data)
{
    const struct agent *agent = data;
    struct timespec pause = {.tv_nsec = 300000000};
    nanosleep(&pause, NULL); /* the change has to come while the other call is held */
    char topic[HUB_TOPIC_SIZE], id[ID_TEXT_SIZE];
    world_do(&broker.world,
             "update asks set price_uusd_per_device_hour = 7000 where region = 'us-west'");
    must(str_format(topic, sizeof(topic), "node:%s", uuid_text(agent->node_uuid, id)));
    hub_wake(broker.api.hub, topic);
    return NULL;
}

static void a_sync_is_held_until_something_changes(void **state)
{
    (void)state;
    struct agent agent = agent_enrol("held");
    char known[80], body[256];
    pthread_t thread;
    assert_int_equal(sync_with(&agent, ",\"leases\":[]"), 200);
    must(str_format(known, sizeof(known), "%s", broker_text(&broker, "desired_version")));
    must(str_format(body, sizeof(body),
                    "{\"known\":\"%s\",\"hold_ms\":400,\"is_opted_in\":true,"
                    "\"leases\":[]}",
                    known));
    int64_t since_mono_ms = clock_mono_ms();
    assert_int_equal(call(&agent, "sync", body), 200);
    assert_in_range(clock_mono_ms() - since_mono_ms, 390, 2000);
    assert_string_equal(broker_text(&broker, "desired_version"), known);

    must(str_format(body, sizeof(body),
                    "{\"known\":\"%s\",\"hold_ms\":4000,\"is_opted_in\":true,"
                    "\"leases\":[]}",
                    known));
    assert_int_equal(pthread_create(&thread, NULL, change_an_ask_soon, &agent), 0);
    since_mono_ms = clock_mono_ms();
    assert_int_equal(call(&agent, "sync", body), 200);
    assert_in_range(clock_mono_ms() - since_mono_ms, 200, 3000);
    assert_string_not_equal(broker_text(&broker, "desired_version"), known);
    pthread_join(thread, NULL);
}

static const char *lease_report(const char *lease, const char *what)
{
    static char text[512];
    must(str_format(text, sizeof(text), ",\"leases\":[{\"lease_id\":\"%s\",\"epoch\":1,%s}]", lease,
                    what));
    return text;
}

static const char *receipt_of(struct agent *agent, const char *lease, int64_t healthy_ms)
{
    static char text[1024];
    char body[512], signed_text[600], escaped[600], signature[96];
    must(str_format(
        body, sizeof(body),
        "{\"v\":1,\"node_id\":\"%s\",\"seq\":%lld,\"leases\":[{"
        "\"lease_id\":\"%s\",\"epoch\":1,\"healthy_ms\":%lld,\"image_digest\":\"sha256:1\","
        "\"is_final\":true}]}",
        agent->node_id, (long long)++agent->receipt_seq, lease, (long long)healthy_ms));
    must(str_format(signed_text, sizeof(signed_text), "undercut/receipt/v1|%s", body));
    text_sign(&agent->secret_key, signed_text, signature);
    size_t len = 0;
    for (const char *at = body; *at; at++) {
        if (*at == '"')
            escaped[len++] = '\\';
        escaped[len++] = *at;
    }
    escaped[len] = '\0';
    must(str_format(text, sizeof(text),
                    ",\"receipts\":[{\"seq\":%lld,\"body\":\"%s\",\"signature\":"
                    "\"%s\"}]",
                    (long long)agent->receipt_seq, escaped, signature));
    return text;
}

/* An award by hand, because no leader runs here. */
static void award(const struct agent *agent, int workload, char lease[ID_TEXT_SIZE])
{
    char node[ID_TEXT_SIZE];
    const char *id = world_ask(&broker.world, "select fx.award_on(%d, 0, '%s', 20000)", workload,
                               uuid_text(agent->node_uuid, node));
    lease_id_text((struct lease_id){world_uuid(id)}, lease);
}

static void a_lease_lives_from_award_to_close(void **state)
{
    (void)state;
    struct agent agent = agent_enrol("lease");
    char lease[ID_TEXT_SIZE], more[2048];
    assert_int_equal(sync_with(&agent, ",\"leases\":[]"), 200);
    award(&agent, 1, lease);
    assert_int_equal(sync_with(&agent, ",\"leases\":[]"), 200);
    assert_string_equal(broker_text(&broker, "leases.0.lease_id"), lease);
    assert_string_equal(broker_text(&broker, "leases.0.want"), "run");
    assert_string_equal(broker_text(&broker, "leases.0.devices.0"), "cpu-1c2g/0");
    assert_string_equal(broker_text(&broker, "leases.0.secrets.TOKEN"), "hush");

    assert_int_equal(
        sync_with(&agent, lease_report(lease, "\"state\":\"starting\",\"stage\":\"pulling\"")),
        200);
    assert_string_equal(world_ask(&broker.world, "select state || stage from leases "
                                                 "where workload_id = fx.workload(1)"),
                        "startingpulling");
    assert_int_equal(
        sync_with(&agent, lease_report(lease, "\"state\":\"running\",\"healthy_ms\":5")), 200);
    assert_string_equal(world_ask(&broker.world, "select state from workloads "
                                                 "where workload_id = fx.workload(1)"),
                        "running");
    world_do(&broker.world,
             "update leases set running_at = running_at - interval '60 s', awarded_at = "
             "awarded_at - interval '60 s' where workload_id = fx.workload(1)");

    must(str_format(
        more, sizeof(more), "%s%s",
        lease_report(lease, "\"state\":\"exited\",\"reason\":\"completed\",\"exit_code\":0"),
        receipt_of(&agent, lease, 36000)));
    assert_int_equal(sync_with(&agent, more), 200);
    assert_int_equal(json_i64(broker.json, "receipt_seq", 0), 1);
    assert_int_equal(json_array_size(json_object_get(broker.json, "leases")), 0);
    assert_string_equal(world_ask(&broker.world,
                                  "select state || ' ' || close_reason || ' ' || billed_ms || "
                                  "' ' || net_uusd || ' ' || fee_uusd from leases "
                                  "where workload_id = fx.workload(1)"),
                        "closed completed 36000 200 20");
    assert_string_equal(world_ask(&broker.world, "select state from workloads "
                                                 "where workload_id = fx.workload(1)"),
                        "stopped");
    assert_int_equal(sync_with(&agent, more), 200); /* the same again changes nothing */
    world_is_sound(&broker.world);
}

static void a_forged_receipt_bills_nothing(void **state)
{
    (void)state;
    struct agent agent = agent_enrol("forger"), other = agent_enrol("victim");
    char lease[ID_TEXT_SIZE], more[2048];
    award(&agent, 2, lease);
    assert_int_equal(sync_with(&agent, lease_report(lease, "\"state\":\"running\"")), 200);
    struct agent mixed = agent;
    mixed.secret_key = other.secret_key;
    must(str_format(more, sizeof(more), "%s%s", lease_report(lease, "\"state\":\"running\""),
                    receipt_of(&mixed, lease, 36000)));
    assert_int_equal(sync_with(&agent, more), 200);
    assert_int_equal(json_i64(broker.json, "receipt_seq", -1), 0);
    assert_string_equal(world_ask(&broker.world, "select receipt_ms from leases "
                                                 "where workload_id = fx.workload(2)"),
                        "0");
    assert_int_equal(
        sync_with(&agent, lease_report(lease, "\"state\":\"exited\",\"reason\":\"agent_refused\"")),
        200);
    assert_string_equal(world_ask(&broker.world,
                                  "select state || attempt || (excluded_node_ids <> '{}') "
                                  "from replicas where workload_id = fx.workload(2)"),
                        "auctioning2true");
    world_is_sound(&broker.world);
}

#define CHUNK                                                                         \
    "{\"chunks\":[{\"lease_id\":\"%s\",\"epoch\":%d,\"offset\":0,\"stream\":\"out\"," \
    "\"at_us\":1763690000000000,\"data\":\"%s\"}]}"

static void logs_are_taken_once_and_bounded(void **state)
{
    (void)state;
    struct agent agent = agent_enrol("logs");
    char lease[ID_TEXT_SIZE], body[512];
    award(&agent, 3, lease);
    must(str_format(body, sizeof(body), CHUNK, lease, 1, "aGVsbG8K"));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(call(&agent, "logs", body), 200);
        const json_t *row = json_array_get(json_object_get(broker.json, "leases"), 0);
        assert_int_equal(json_i64(row, "next_offset", -1), 6);
        assert_false(json_bool(row, "is_full", true));
    }
    assert_string_equal(
        world_ask(&broker.world, "select convert_from(bytes, 'UTF8') from log_chunks"), "hello\n");
    must(str_format(body, sizeof(body), CHUNK, lease, 7, "aGVsbG8K"));
    assert_int_equal(call(&agent, "logs", body), 200);
    assert_true(
        json_bool(json_array_get(json_object_get(broker.json, "leases"), 0), "is_full", false));
    must(str_format(body, sizeof(body), CHUNK, lease, 1, "aGVsbG8"));
    assert_int_equal(call(&agent, "logs", body), 422);
}

static void a_retired_node_hands_its_leases_back(void **state)
{
    (void)state;
    struct agent agent = agent_enrol("retired");
    char lease[ID_TEXT_SIZE], path[64];
    award(&agent, 4, lease);
    assert_int_equal(sync_with(&agent, lease_report(lease, "\"state\":\"running\"")), 200);
    must(str_format(path, sizeof(path), "/v1/nodes/%s", agent.node_id));
    struct ask_of retire = {"DELETE", path, owner_key, NULL, {NULL}};
    assert_int_equal(broker_ask(&broker, &retire), 204);
    assert_int_equal(sync_with(&agent, ",\"leases\":[]"), 409);
    assert_string_equal(broker_text(&broker, "code"), "node_revoked");
    assert_string_equal(world_ask(&broker.world,
                                  "select l.close_reason || ' ' || r.state from leases l join "
                                  "replicas r using (replica_id) "
                                  "where l.workload_id = fx.workload(4)"),
                        "node_withdrawn auctioning");
    world_is_sound(&broker.world);
}

static int start(void **state)
{
    (void)state;
    broker_open(&broker);
    struct ask_of open = {"POST", "/v1/accounts", NULL, "{\"name\":\"operator\"}", {NULL}};
    assert_int_equal(broker_ask(&broker, &open), 201);
    must(str_format(owner_key, sizeof(owner_key), "%s", broker_text(&broker, "api_key.secret")));
    must(str_format(owner, sizeof(owner), "%s", broker_text(&broker, "account.account_id")));
    world_do(&broker.world, "select fx.make_account(2, 10000000)");
    world_do(&broker.world, "select fx.make_workload(i, 2, 1, 30000) from generate_series(1, 4) i");
    world_do(&broker.world, /* fx.award for nodes that enrolled by themselves */
             "create function fx.award_on(w int, i int, who uuid, price int8) returns uuid "
             "language plpgsql"
             " as $$ declare text text; begin"
             "  text := replace(pg_get_functiondef('fx.award(int,int,int,int8)'::regprocedure), "
             "'fx.node(who)', 'who');"
             "  text := replace(text, 'who integer', 'who uuid');"
             "  execute text; return fx.award(w, i, who, price); end $$");
    struct buf sealed = {0};
    char hex[256];
    seal_close(&broker.api.secret_key,
               STR("{\"secrets\":{\"TOKEN\":\"hush\"},\"registry_auth\":null}"), &sealed);
    hex_encode((const uint8_t *)sealed.at, sealed.len, hex);
    world_do(&broker.world, "update workloads set secrets_sealed = decode('%s', 'hex')", hex);
    buf_finish(&sealed);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    broker_close(&broker);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_nodes_own_fresh_calls_count),
        cmocka_unit_test(the_inventory_is_asked_for_until_it_is_known),
        cmocka_unit_test(a_floor_stands_until_the_owner_says_otherwise),
        cmocka_unit_test(a_sync_is_held_until_something_changes),
        cmocka_unit_test(a_lease_lives_from_award_to_close),
        cmocka_unit_test(a_forged_receipt_bills_nothing),
        cmocka_unit_test(logs_are_taken_once_and_bounded),
        cmocka_unit_test(a_retired_node_hands_its_leases_back),
    };
    return cmocka_run_group_tests_name("sync", tests, start, stop);
}
