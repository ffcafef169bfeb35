/* Accounts, keys, tokens, credits, balances, asks and nodes over HTTP, as their owners use them. */
#include "tests/http/broker_fixture.h"

static struct broker broker;
static char key_one[64], key_two[64], account_one[ID_TEXT_SIZE], account_two[ID_TEXT_SIZE];

static long ask(const char *method, const char *path, const char *key, const char *body)
{
    return broker_ask(&broker, &(struct ask_of){method, path, key, body, {NULL}});
}

static long ask_once(const char *path, const char *key, const char *body,
                     const char *idempotency_key)
{
    char header[256];
    must(str_format(header, sizeof(header), "Idempotency-Key: %s", idempotency_key));
    return broker_ask(&broker, &(struct ask_of){"POST", path, key, body, {header}});
}

static int64_t number(const char *name)
{
    return json_i64(broker.json, name, -1);
}

static size_t data_count(void)
{
    return json_array_size(json_object_get(broker.json, "data"));
}

static void account_open(const char *name, char key[64], char account[ID_TEXT_SIZE])
{
    char body[128];
    must(str_format(body, sizeof(body), "{\"name\":\"%s\"}", name));
    assert_int_equal(ask("POST", "/v1/accounts", NULL, body), 201);
    must(str_format(key, 64, "%s", broker_text(&broker, "api_key.secret")));
    must(str_format(account, ID_TEXT_SIZE, "%s", broker_text(&broker, "account.account_id")));
}

static void an_account_opens_itself_and_sees_itself(void **state)
{
    (void)state;
    assert_true(strncmp(key_one, "uc_live_", 8) == 0);
    assert_int_equal(ask("GET", "/v1/account", key_one, NULL), 200);
    assert_string_equal(broker_text(&broker, "account_id"), account_one);
    assert_string_equal(broker_text(&broker, "name"), "one");
    assert_int_equal(ask("GET", "/v1/account", "uc_live_nobody", NULL), 401);
    assert_int_equal(ask("POST", "/v1/accounts", NULL, "{\"name\":\"x\",\"mode\":\"test\"}"), 201);
    assert_true(strncmp(broker_text(&broker, "api_key.secret"), "uc_test_", 8) == 0);
}

static void a_repeated_post_is_told_the_same(void **state)
{
    (void)state;
    char secret[64];
    assert_int_equal(ask_once("/v1/accounts", NULL, "{\"name\":\"twice\"}", "0123456789abcdef"),
                     201);
    must(str_format(secret, sizeof(secret), "%s", broker_text(&broker, "api_key.secret")));
    assert_string_equal(broker.replayed, "");
    assert_int_equal(ask_once("/v1/accounts", NULL, "{\"name\":\"twice\"}", "0123456789abcdef"),
                     201);
    assert_string_equal(broker.replayed, "true");
    assert_string_equal(broker_text(&broker, "api_key.secret"), secret);
    assert_int_equal(ask_once("/v1/accounts", NULL, "{\"name\":\"other\"}", "0123456789abcdef"),
                     422);
    assert_string_equal(broker_text(&broker, "code"), "idempotency_key_reused");

    assert_int_equal(ask_once("/v1/node-tokens", key_one, "{}", "tok"), 201);
    must(str_format(secret, sizeof(secret), "%s", broker_text(&broker, "token")));
    assert_int_equal(ask_once("/v1/node-tokens", key_one, "{}", "tok"), 201);
    assert_string_equal(broker_text(&broker, "token"), secret);
    assert_int_equal(ask_once("/v1/node-tokens", key_two, "{}", "tok"), 201);
    assert_string_not_equal(broker_text(&broker, "token"), secret);
}

static void a_key_gives_no_more_than_it_has(void **state)
{
    (void)state;
    char secret[64], path[64];
    assert_int_equal(ask("POST", "/v1/api-keys", key_one,
                         "{\"name\":\"r\",\"scopes\":[\"money:read\",\"keys:write\"]}"),
                     201);
    must(str_format(secret, sizeof(secret), "%s", broker_text(&broker, "secret")));
    must(str_format(path, sizeof(path), "/v1/api-keys/%s", broker_text(&broker, "key_id")));
    assert_int_equal(ask("GET", "/v1/nodes", secret, NULL), 403);
    assert_int_equal(
        ask("POST", "/v1/api-keys", secret, "{\"name\":\"x\",\"scopes\":[\"nodes:read\"]}"), 403);
    assert_int_equal(
        ask("POST", "/v1/api-keys", key_one, "{\"name\":\"x\",\"scopes\":[\"admin\"]}"), 403);

    assert_int_equal(ask("GET", "/v1/api-keys?limit=1", key_one, NULL), 200);
    assert_int_equal(data_count(), 1);
    assert_string_equal(broker_text(&broker, "data.0.name"), "r");
    char next[128];
    must(str_format(next, sizeof(next), "/v1/api-keys?limit=1&cursor=%s",
                    broker_text(&broker, "next_cursor")));
    assert_int_equal(ask("GET", next, key_one, NULL), 200);
    assert_string_equal(broker_text(&broker, "data.0.name"), "first");
    assert_int_equal(ask("GET", "/v1/api-keys?cursor=Zm9v", key_one, NULL), 422);

    assert_int_equal(ask("DELETE", path, key_two, NULL), 404);
    assert_int_equal(ask("GET", "/v1/balance", secret, NULL), 200);
    assert_int_equal(ask("DELETE", path, key_one, NULL), 204);
    assert_int_equal(ask("GET", "/v1/balance", secret, NULL), 401);
    assert_int_equal(ask("DELETE", path, key_one, NULL), 204);
}

static void a_token_is_a_key_for_minutes(void **state)
{
    (void)state;
    char token[2048];
    assert_int_equal(
        ask("POST", "/v1/tokens", key_one, "{\"scopes\":[\"money:read\"],\"ttl_s\":60}"), 201);
    assert_int_equal(number("expires_in"), 60);
    must(str_format(token, sizeof(token), "%s", broker_text(&broker, "access_token")));
    char header[2200];
    must(str_format(header, sizeof(header), "Authorization: Bearer %s", token));
    assert_int_equal(
        broker_ask(&broker, &(struct ask_of){"GET", "/v1/balance", NULL, NULL, {header}}), 200);
    assert_int_equal(
        broker_ask(&broker, &(struct ask_of){"GET", "/v1/nodes", NULL, NULL, {header}}), 403);
    assert_int_equal(
        broker_ask(&broker, &(struct ask_of){"POST", "/v1/tokens", NULL, "{}", {header}}), 401);
    assert_int_equal(ask("POST", "/v1/tokens", key_one, "{\"scopes\":[\"audit\"]}"), 403);
}

static void a_credit_is_booked_once_and_shown(void **state)
{
    (void)state;
    char body[256];
    must(str_format(body, sizeof(body),
                    "{\"account_id\":\"%s\",\"amount_uusd\":25000000,"
                    "\"memo\":\"welcome\"}",
                    account_one));
    assert_int_equal(ask_once("/v1/admin/credits", key_one, body, "c1"), 403);
    assert_int_equal(ask("POST", "/v1/admin/credits", broker.admin.text, body), 400);
    assert_int_equal(ask_once("/v1/admin/credits", broker.admin.text, body, "c1"), 201);
    int64_t journal_id = number("journal_id");
    assert_int_equal(ask_once("/v1/admin/credits", broker.admin.text, body, "c1"), 201);
    assert_int_equal(number("journal_id"), journal_id);
    assert_string_equal(broker.replayed, "true");
    must(str_format(body, sizeof(body),
                    "{\"account_id\":\"%s\",\"amount_uusd\":25000001,"
                    "\"memo\":\"welcome\"}",
                    account_one));
    assert_int_equal(ask_once("/v1/admin/credits", broker.admin.text, body, "c1"), 422);
    assert_int_equal(
        ask_once("/v1/admin/credits", broker.admin.text,
                 "{\"account_id\":\"acct_00000000000000000000000009\",\"amount_uusd\":1}", "c2"),
        404);

    assert_int_equal(ask("GET", "/v1/balance", key_one, NULL), 200);
    assert_int_equal(number("wallet_uusd"), 25000000);
    assert_true(json_is_null(json_object_get(broker.json, "runway_s")));
    assert_int_equal(ask("GET", "/v1/ledger/entries", key_one, NULL), 200);
    assert_int_equal(data_count(), 1);
    assert_string_equal(broker_text(&broker, "data.0.memo"), "welcome");
    assert_int_equal(ask("GET", "/v1/ledger/entries", key_two, NULL), 200);
    assert_int_equal(data_count(), 0);
    world_is_sound(&broker.world);
}

static void an_ask_is_answered_with_a_promise(void **state)
{
    (void)state;
    const char *path = "/v1/asks/rtx-4090/eu-west";
    assert_int_equal(ask("PUT", path, key_one, "{\"price_uusd_per_device_hour\":310000}"), 200);
    const json_t *promise = json_object_get(broker.json, "promise");
    uint8_t leaf[40]; /* be64(place) | message */
    struct ed25519_signature signature;
    assert_true(hex_decode(json_str(promise, "message_sha256"), leaf + 8, 32));
    for (int i = 0; i < 8; i++)
        leaf[i] = (uint8_t)(json_i64(promise, "place", -1) >> (8 * (7 - i)));
    struct sha256 root = merkle_leaf(leaf, sizeof(leaf)); /* alone in its batch */
    assert_int_equal(base64url_decode(json_str(promise, "signature"), signature.bytes, 64), 64);
    char text[256], hex[65];
    hex_encode(root.bytes, sizeof(root.bytes), hex);
    must(str_format(text, sizeof(text), "undercut/promise/v2|main|%lld|1|%s",
                    (long long)json_i64(promise, "round", -1), hex));
    assert_true(ed25519_verify(&broker.api.market_public, &signature, text, strlen(text)));

    assert_int_equal(ask("GET", "/v1/asks", key_one, NULL), 200);
    assert_int_equal(data_count(), 1);
    assert_int_equal(ask("GET", "/v1/asks", key_two, NULL), 200);
    assert_int_equal(data_count(), 0);
    assert_int_equal(ask("DELETE", path, key_two, NULL), 404);
    assert_int_equal(ask("DELETE", path, key_one, NULL), 204);
    assert_int_equal(ask("DELETE", path, key_one, NULL), 204);
    assert_int_equal(ask("GET", "/v1/asks", key_one, NULL), 200);
    assert_int_equal(data_count(), 0);
    assert_int_equal(
        ask("PUT", "/v1/asks/nothing/eu-west", key_one, "{\"price_uusd_per_device_hour\":1}"), 404);
}

static void a_node_is_its_owners_alone(void **state)
{
    (void)state;
    char token[64], body[1024], path[64];
    assert_int_equal(ask("POST", "/v1/node-tokens", key_one, "{\"region\":\"atlantis\"}"), 422);
    assert_int_equal(ask("POST", "/v1/node-tokens", key_one, "{\"region\":\"eu-west\"}"), 201);
    must(str_format(token, sizeof(token), "%s", broker_text(&broker, "token")));
    must(str_format(
        body, sizeof(body),
        "{\"token\":\"%s\",\"public_key\":"
        "\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\",\"name\":\"rack-1\",\"inventory\":"
        "{\"hostname\":\"h\",\"vcpu\":4,\"memory_mib\":8192,\"disk_mib\":9999,\"engine\":"
        "{\"name\":\"podman\",\"version\":\"4\"},\"isolation\":\"runc\",\"is_simulated\":false,"
        "\"devices\":[{\"hardware_id\":\"cpu-1c2g/0\",\"index\":0,\"vendor\":\"cpu\",\"model\":"
        "\"cpu-1c2g\",\"vram_mib\":0,\"is_simulated\":false}]}}",
        token));
    assert_int_equal(ask("POST", "/v1/nodes", NULL, body), 201);
    must(str_format(path, sizeof(path), "/v1/nodes/%s", broker_text(&broker, "node_id")));
    assert_string_equal(broker_text(&broker, "account_id"), account_one);
    assert_int_equal(ask("POST", "/v1/nodes", NULL, body), 200);
    body[12] ^= 1; /* another token */
    assert_int_equal(ask("POST", "/v1/nodes", NULL, body), 401);

    assert_int_equal(ask("GET", "/v1/nodes", key_one, NULL), 200);
    assert_int_equal(data_count(), 1);
    assert_string_equal(broker_text(&broker, "data.0.devices.0.class"), "cpu-1c2g");
    assert_int_equal(ask("GET", path, key_one, NULL), 200);
    assert_string_equal(broker_text(&broker, "name"), "rack-1");
    assert_int_equal(ask("GET", path, key_two, NULL), 404);
    assert_int_equal(ask("DELETE", path, key_two, NULL), 404);
    assert_int_equal(ask("DELETE", path, key_one, NULL), 204);
    assert_int_equal(ask("DELETE", path, key_one, NULL), 204);
    assert_int_equal(ask("GET", path, key_one, NULL), 200);
    assert_string_equal(broker_text(&broker, "state"), "retired");
}

static int start(void **state)
{
    (void)state;
    broker_open(&broker);
    account_open("one", key_one, account_one);
    account_open("two", key_two, account_two);
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
        cmocka_unit_test(an_account_opens_itself_and_sees_itself),
        cmocka_unit_test(a_repeated_post_is_told_the_same),
        cmocka_unit_test(a_key_gives_no_more_than_it_has),
        cmocka_unit_test(a_token_is_a_key_for_minutes),
        cmocka_unit_test(a_credit_is_booked_once_and_shown),
        cmocka_unit_test(an_ask_is_answered_with_a_promise),
        cmocka_unit_test(a_node_is_its_owners_alone),
    };
    return cmocka_run_group_tests_name("accounts", tests, start, stop);
}
