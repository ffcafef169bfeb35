/* Accounts and keys on a real database: one statement per effect, and nothing of another account's.
 */
#include "broker/market/account.h"

#include "tests/sql/market_fixture.h"

static struct market_world world;
static struct sha256 body_sha256;

static struct account_create_in account_of(const struct account_id *account,
                                           const struct credential *credential,
                                           const char *idem_key)
{
    return (struct account_create_in){
        .account_id = account->u,
        .name = STR("Ada's lab"),
        .email = STR_NONE,
        .mode = STR("live"),
        .created_at_us = 1763690000000000,
        .key_id = api_key_id_new().u,
        .secret_sha256 = sha256_slice(&credential->sha256),
        .scopes = STR("keys:write,money:read"),
        .idem_key = str_of(idem_key),
        .idem_body_sha256 = idem_key ? sha256_slice(&body_sha256) : STR_NONE,
        .idem_response = idem_key ? STR("sealed") : STR_NONE,
    };
}

static bool create(const struct account_create_in *in)
{
    struct sql_result *result = NULL;
    struct account_create_out row;
    assert_int_equal(account_create_run(world.session, in, &result), ERR_OK);
    account_create_row(result, 0, &row);
    sql_result_release(result);
    return row.is_done;
}

static bool find(const struct credential *credential, struct api_key_find_out *ret)
{
    struct sql_result *result = NULL;
    struct api_key_find_in in = {.secret_sha256 = sha256_slice(&credential->sha256)};
    assert_int_equal(api_key_find_run(world.session, &in, &result), ERR_OK);
    bool is_found = sql_result_rows(result) == 1;
    if (is_found)
        api_key_find_row(result, 0, ret);
    sql_result_release(result); /* slices of `ret` are gone; the rest stays */
    return is_found;
}

static struct uuid account_made(void)
{
    struct account_id account = account_id_new();
    struct credential credential = credential_make(CREDENTIAL_LIVE);
    struct account_create_in in = account_of(&account, &credential, NULL);
    assert_true(create(&in));
    return account.u;
}

static struct uuid first_key_of(struct uuid account)
{
    char id[ID_TEXT_SIZE];
    return world_uuid(world_ask(&world, "select key_id from api_keys where account_id = '%s'",
                                uuid_text(account, id)));
}

static void an_account_comes_with_a_key_and_four_ledger_accounts(void **state)
{
    (void)state;
    struct account_id account = account_id_new();
    struct credential credential = credential_make(CREDENTIAL_LIVE);
    struct account_create_in in = account_of(&account, &credential, NULL);
    assert_true(create(&in));

    char id[ID_TEXT_SIZE];
    struct api_key_find_out found;
    assert_true(find(&credential, &found));
    assert_true(uuid_equal(found.account_id, account.u));
    assert_true(found.is_live);
    assert_string_equal(world_ask(&world,
                                  "select count(*) from ledger_accounts where account_id = '%s'",
                                  uuid_text(account.u, id)),
                        "4");
    world_is_sound(&world);
}

static void the_same_idempotency_key_makes_one_account(void **state)
{
    (void)state;
    struct account_id first = account_id_new(), second = account_id_new();
    struct credential one = credential_make(CREDENTIAL_LIVE),
                      two = credential_make(CREDENTIAL_LIVE);
    struct account_create_in in = account_of(&first, &one, "again");
    assert_true(create(&in));
    in = account_of(&second, &two, "again");
    assert_false(create(&in));

    struct api_key_find_out found;
    assert_false(find(&two, &found));
    assert_string_equal(world_ask(&world,
                                  "select count(*) from idempotency where key = 'again' and "
                                  "operation = 'account_create'"),
                        "1");
}

static void keys_are_listed_newest_first_in_pages(void **state)
{
    (void)state;
    struct uuid account = account_made(), caller = first_key_of(account);
    for (int i = 0; i < 4; i++) {
        struct credential credential = credential_make(CREDENTIAL_TEST);
        struct api_key_create_in in = {.account_id = account,
                                       .key_id = api_key_id_new().u,
                                       .name = STR("ci"),
                                       .secret_sha256 = sha256_slice(&credential.sha256),
                                       .scopes = STR("money:read"),
                                       .created_at_us = 1763690000000000,
                                       .caller_key_id = caller,
                                       .idem_key = STR_NONE,
                                       .idem_body_sha256 = STR_NONE,
                                       .idem_response = STR_NONE};
        assert_int_equal(api_key_create_run(world.session, &in, NULL), ERR_OK);
    }
    struct api_key_list_in page = {.account_id = account, .limit_count = 2};
    int seen_count = 0;
    for (int rows = 2; rows == 2;) {
        struct sql_result *result = NULL;
        assert_int_equal(api_key_list_run(world.session, &page, &result), ERR_OK);
        rows = sql_result_rows(result);
        for (int i = 0; i < rows; i++, seen_count++) {
            struct api_key_list_out row;
            api_key_list_row(result, i, &row);
            assert_true(!page.has_before || memcmp(&row.key_id, &page.before, 16) < 0);
            page.before = row.key_id;
            page.has_before = true;
        }
        sql_result_release(result);
    }
    assert_int_equal(seen_count, 5);
}

static int revoke(struct uuid account, struct uuid key)
{
    struct sql_result *result = NULL;
    struct api_key_revoke_in in = {.account_id = account, .key_id = key};
    assert_int_equal(api_key_revoke_run(world.session, &in, &result), ERR_OK);
    int rows = sql_result_rows(result);
    sql_result_release(result);
    return rows;
}

static void a_revoked_key_is_dead_and_only_its_owner_revokes(void **state)
{
    (void)state;
    struct account_id account = account_id_new();
    struct credential credential = credential_make(CREDENTIAL_LIVE);
    struct account_create_in in = account_of(&account, &credential, NULL);
    assert_true(create(&in));

    struct api_key_find_out found;
    assert_int_equal(revoke(account_made(), in.key_id), 0);
    assert_true(find(&credential, &found) && found.is_live);
    assert_int_equal(revoke(account.u, in.key_id), 1);
    assert_true(find(&credential, &found));
    assert_false(found.is_live);
    int64_t revoked_at_us = found.revoked_at_us;
    assert_int_equal(revoke(account.u, in.key_id), 1);
    assert_true(find(&credential, &found));
    assert_int_equal(found.revoked_at_us, revoked_at_us);
}

static void an_expired_key_is_not_live(void **state)
{
    (void)state;
    struct credential credential = credential_make(CREDENTIAL_LIVE);
    struct uuid account = account_made();
    struct api_key_create_in in = {.account_id = account,
                                   .caller_key_id = first_key_of(account),
                                   .key_id = api_key_id_new().u,
                                   .name = STR("old"),
                                   .secret_sha256 = sha256_slice(&credential.sha256),
                                   .scopes = STR("money:read"),
                                   .created_at_us = 1000000,
                                   .has_expires_at = true,
                                   .expires_at_us = 2000000,
                                   .idem_key = STR_NONE,
                                   .idem_body_sha256 = STR_NONE,
                                   .idem_response = STR_NONE};
    assert_int_equal(api_key_create_run(world.session, &in, NULL), ERR_OK);
    struct api_key_find_out found;
    assert_true(find(&credential, &found));
    assert_false(found.is_live);
}

static void no_key_comes_from_a_revoked_an_expired_or_anothers_key(void **state)
{
    (void)state;
    struct uuid account = account_made(), caller = first_key_of(account), other = account_made();
    struct credential credential = credential_make(CREDENTIAL_LIVE);
    struct api_key_create_in in = {.account_id = account,
                                   .caller_key_id = first_key_of(other),
                                   .key_id = api_key_id_new().u,
                                   .name = STR("heir"),
                                   .secret_sha256 = sha256_slice(&credential.sha256),
                                   .scopes = STR("keys:write"),
                                   .created_at_us = 1000000,
                                   .idem_key = STR("heir"),
                                   .idem_body_sha256 = sha256_slice(&body_sha256),
                                   .idem_response = STR("sealed")};
    struct api_key_find_out found;
    assert_int_equal(api_key_create_run(world.session, &in, NULL), ERR_OK);
    in.caller_key_id = caller;
    world_do(&world, "update api_keys set expires_at = now()");
    assert_int_equal(api_key_create_run(world.session, &in, NULL), ERR_OK);
    world_do(&world, "update api_keys set expires_at = null");
    assert_int_equal(revoke(account, caller), 1);
    assert_int_equal(api_key_create_run(world.session, &in, NULL), ERR_OK);
    assert_false(find(&credential, &found));
    assert_string_equal(world_ask(&world, "select count(*) from idempotency where key = 'heir'"),
                        "0");
}

static void the_platform_gets_as_many_admin_keys_as_it_asks_for(void **state)
{
    (void)state;
    struct credential one, two;
    struct api_key_id first, second;
    struct api_key_find_out found;
    assert_int_equal(account_make_admin_key(world.session, &one, &first), ERR_OK);
    assert_int_equal(account_make_admin_key(world.session, &two, &second), ERR_OK);
    assert_true(find(&one, &found));
    assert_true(uuid_equal(found.account_id, platform_account_id().u));
    assert_true(find(&two, &found));
    assert_true(uuid_equal(found.key_id, second.u));
    world_is_sound(&world);
}

static void credentials_are_long_and_never_alike(void **state)
{
    (void)state;
    struct credential one = credential_make(CREDENTIAL_NODE_TOKEN);
    struct credential two = credential_make(CREDENTIAL_NODE_TOKEN);
    assert_true(str_starts_with(str_of(one.text), STR("uct_")));
    assert_int_equal(strlen(one.text), 4 + 43);
    assert_string_not_equal(one.text, two.text);
    struct sha256 again = credential_sha256(str_of(one.text));
    assert_true(sha256_equal(&one.sha256, &again));
}

static int open_world(void **state)
{
    (void)state;
    world_open(&world);
    body_sha256 = sha256_of("{}", 2);
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
        cmocka_unit_test(an_account_comes_with_a_key_and_four_ledger_accounts),
        cmocka_unit_test(the_same_idempotency_key_makes_one_account),
        cmocka_unit_test(keys_are_listed_newest_first_in_pages),
        cmocka_unit_test(a_revoked_key_is_dead_and_only_its_owner_revokes),
        cmocka_unit_test(an_expired_key_is_not_live),
        cmocka_unit_test(no_key_comes_from_a_revoked_an_expired_or_anothers_key),
        cmocka_unit_test(the_platform_gets_as_many_admin_keys_as_it_asks_for),
        cmocka_unit_test(credentials_are_long_and_never_alike),
    };
    return cmocka_run_group_tests_name("account", tests, open_world, close_world);
}
