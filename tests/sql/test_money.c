/* Balances, entries and credits on a real database: sums hold, and a cause is booked once. */
#include "broker/market/money.h"

#include "broker/base/hash.h"
#include "tests/sql/market_fixture.h"

static struct market_world world;

static struct uuid account(int who)
{
    return world_uuid(world_ask(&world, "select fx.account(%d)", who));
}

static int64_t credit(const char *source_key, struct uuid who, int64_t amount_uusd)
{
    struct sql_result *result = NULL;
    struct credit_store_out row = {.journal_id = 0};
    struct credit_store_in in = {.source_key = str_of(source_key),
                                 .credited_account_id = who,
                                 .amount_uusd = amount_uusd,
                                 .memo = STR("welcome"),
                                 .actor = STR("admin")};
    assert_int_equal(credit_store_run(world.session, &in, &result), ERR_OK);
    if (sql_result_rows(result) == 1)
        credit_store_row(result, 0, &row);
    sql_result_release(result);
    return row.journal_id;
}

static struct balance_get_out balance(struct uuid who)
{
    struct sql_result *result = NULL;
    struct balance_get_out row;
    struct balance_get_in in = {.account_id = who};
    assert_int_equal(balance_get_run(world.session, &in, &result), ERR_OK);
    balance_get_row(result, 0, &row);
    sql_result_release(result);
    return row;
}

static void a_credit_is_booked_once_and_balances(void **state)
{
    (void)state;
    int64_t journal_id = credit("credit:a:1", account(1), 25000000);
    assert_true(journal_id > 0);
    assert_int_equal(credit("credit:a:1", account(1), 25000000), 0);
    assert_int_equal(balance(account(1)).wallet_uusd, 25000000);

    struct sql_result *result = NULL;
    struct credit_find_out found;
    struct credit_find_in in = {.source_key = STR("credit:a:1")};
    assert_int_equal(credit_find_run(world.session, &in, &result), ERR_OK);
    assert_int_equal(sql_result_rows(result), 1);
    credit_find_row(result, 0, &found);
    assert_int_equal(found.journal_id, journal_id);
    assert_int_equal(found.amount_uusd, 25000000);
    assert_true(uuid_equal(found.credited_account_id, account(1)));
    sql_result_release(result);
    world_is_sound(&world);
}

static void a_credit_to_nobody_books_nothing(void **state)
{
    (void)state;
    assert_int_equal(credit("credit:a:nobody", uuid_v7(), 5), 0);
    assert_string_equal(world_ask(&world, "select count(*) from journals where source_key = "
                                          "'credit:a:nobody'"),
                        "0");
}

static void credits_of_different_callers_do_not_collide(void **state)
{
    (void)state;
    char one[CREDIT_SOURCE_KEY_SIZE], two[CREDIT_SOURCE_KEY_SIZE];
    credit_source_key(account_id_new(), STR("k"), one);
    credit_source_key(account_id_new(), STR("k"), two);
    assert_string_not_equal(one, two);
    assert_true(credit(one, account(2), 7) > 0);
    assert_true(credit(two, account(2), 7) > 0);
    assert_int_equal(balance(account(2)).wallet_uusd, 14);
}

static void the_burn_rate_counts_running_leases_with_their_fee(void **state)
{
    (void)state;
    world_do(&world, "select fx.make_account(10, 10000000), fx.make_account(11, 0)");
    world_do(&world, "select fx.make_node(1, 11, 'eu-west', 'cpu-1c2g', 2, 10000)");
    world_do(&world, "select fx.make_workload(1, 10, 2, 30000)");
    world_do(&world, "select fx.award(1, 0, 1, 10001), fx.award(1, 1, 1, 20000)");
    struct balance_get_out before = balance(account(10));
    assert_int_equal(before.burn_uusd_per_hour, 0);
    assert_int_equal(runway_s(&before), -1);
    world_do(&world, "update leases set state = 'running', running_at = now()");

    struct balance_get_out after = balance(account(10));
    assert_int_equal(after.burn_uusd_per_hour, 10001 + 1000 + 20000 + 2000);
    assert_int_equal(after.escrow_uusd, 2 * 5000);
    assert_int_equal(after.wallet_uusd + after.escrow_uusd, 10000000);
    assert_int_equal(runway_s(&after), 10000000LL * 3600 / 33001);
}

static void entries_come_newest_first_and_only_ones_own(void **state)
{
    (void)state;
    char key[64];
    for (int i = 0; i < 5; i++) {
        must(str_format(key, sizeof(key), "page:%d", i));
        assert_true(credit(key, account(3), i + 1) > 0);
        must(str_format(key, sizeof(key), "other:%d", i));
        assert_true(credit(key, account(4), 100) > 0);
    }
    struct ledger_list_in page = {.account_id = account(3), .limit_count = 2};
    int64_t expected = 5;
    for (int rows = 2; rows == 2;) {
        struct sql_result *result = NULL;
        assert_int_equal(ledger_list_run(world.session, &page, &result), ERR_OK);
        rows = sql_result_rows(result);
        for (int i = 0; i < rows; i++) {
            struct ledger_list_out row;
            ledger_list_row(result, i, &row);
            assert_int_equal(row.amount_uusd, expected--);
            assert_true(str_equal_c(row.ledger_account, "tenant_wallet"));
            page.before_journal_id = row.journal_id;
            page.before_line = row.line;
            page.has_before_journal_id = page.has_before_line = true;
        }
        sql_result_release(result);
    }
    assert_int_equal(expected, 0);
}

/* Books lines (kind of ledger account, currency, amount) of account 1 and the platform; returns
 * "" when the door takes it, else the constraint that it breaks. */
static const char *refusal_of(const char *journal, const char *values)
{
    static char constraint[64];
    char text[1024];
    must(str_format(
        text, sizeof(text),
        "with j as (insert into journals (kind, actor) values ('correction', 'test')"
        " returning journal_id) insert into entries (journal_id, line,"
        " ledger_account_id, amount_uusd) select %s, row_number() over (),"
        " (select ledger_account_id from ledger_accounts where kind = v.kind and currency"
        " = v.currency and coalesce(account_id, fx.account(1)) = fx.account(1)),"
        " v.amount from j, (values %s) v (kind, currency, amount)",
        journal, values));
    PGresult *result = PQexec(world.conn, text);
    const char *broken = PQresultErrorField(result, PG_DIAG_CONSTRAINT_NAME);
    must(str_format(constraint, sizeof(constraint), "%s", broken != NULL ? broken : ""));
    assert_int_equal(PQresultStatus(result) == PGRES_COMMAND_OK, broken == NULL);
    PQclear(result);
    return constraint;
}

static void what_does_not_balance_is_not_booked(void **state)
{
    (void)state;
    assert_string_equal(
        refusal_of("journal_id", "('promo', 'USD', -5), ('tenant_wallet', 'USD', 4)"),
        "journals_balance");
    assert_string_equal(refusal_of("journal_id", "('tenant_wallet', 'USD', 5)"),
                        "journals_balance");
    assert_string_equal(
        refusal_of("journal_id", "('promo', 'USD', -5), ('chain_clearing', 'USDC', 5)"),
        "journals_balance");
    assert_string_equal(
        refusal_of("journal_id - 1", "('promo', 'USD', -5), ('tenant_wallet', 'USD', 5)"),
        "entries_point_somewhere");
    assert_string_equal(
        refusal_of("journal_id", "('promo', 'USD', -5), ('tenant_wallet', 'USD', 5)"), "");
    assert_string_equal(
        world_ask(&world, "select count(*) from invariant_violations() where rule ~ '^L[0-9]'"),
        "0");
}

static int open_world(void **state)
{
    (void)state;
    world_open(&world);
    for (int who = 1; who <= 4; who++)
        world_do(&world, "select fx.make_account(%d, 0)", who);
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
        cmocka_unit_test(a_credit_is_booked_once_and_balances),
        cmocka_unit_test(a_credit_to_nobody_books_nothing),
        cmocka_unit_test(credits_of_different_callers_do_not_collide),
        cmocka_unit_test(the_burn_rate_counts_running_leases_with_their_fee),
        cmocka_unit_test(entries_come_newest_first_and_only_ones_own),
        cmocka_unit_test(what_does_not_balance_is_not_booked),
    };
    return cmocka_run_group_tests_name("money", tests, open_world, close_world);
}
