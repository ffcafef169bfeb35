/* Why a wish is not met: every block is lost once, and each change alone would do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "auction/explain.h"
#include "auction/policy.h"
#include "tests/lib/prop.h"

#define POOLS_MAX 12

static const struct explain_wish wish = {.k = 3, .kmin = 2, .limit_uusd_per_hour = 500};

static struct explain_pool pool(uint32_t faults, uint32_t blocks, uint32_t left, int64_t price)
{
    return (struct explain_pool){.faults = faults,
                                 .blocks_count = blocks,
                                 .free_count = left,
                                 .price_uusd_per_hour = price,
                                 .offered_uusd_per_hour = 400};
}

/* "region=3 taken=1 | price@2 region@0" */
static const char *said(const struct explain *explain)
{
    static char text[512];
    char *at = text, *end = text + sizeof(text);
    for (size_t i = 0; i < explain->losses_count; i++)
        at += snprintf(at, (size_t)(end - at), "%s=%u ",
                       constraint_info(explain->losses[i].constraint)->slug,
                       explain->losses[i].blocks_count);
    at += snprintf(at, (size_t)(end - at), "|");
    for (size_t i = 0; i < explain->changes_count; i++)
        at += snprintf(at, (size_t)(end - at), " %s@%zu",
                       constraint_info(explain->changes[i].constraint)->slug,
                       explain->changes[i].pool);
    return text;
}

struct explain_case {
    const char *what;
    struct explain_pool pools[POOLS_MAX];
    size_t count;
    const char *said;
    uint32_t left;
    size_t best;
    bool would_win;
};

#define P(bits, there, left, price)                                                              \
    {                                                                                            \
        .faults = bits, .blocks_count = there, .free_count = left, .price_uusd_per_hour = price, \
        .offered_uusd_per_hour = 400                                                             \
    }
#define BIT(name) CONSTRAINT_BIT(CONSTRAINT_##name)

static const struct explain_case cases[] = {
    {"nothing on offer", {P(0, 0, 0, 0)}, 0, "|", 0, EXPLAIN_POOL_NONE, false},
    {"a win needs no change",
     {P(BIT(REGION), 4, 4, 100), P(0, 5, 3, 400)},
     2,
     "region=4 taken=2 |",
     3,
     1,
     true},
    {"a small rise comes before the region",
     {P(BIT(REGION), 3, 3, 450), P(0, 4, 4, 550)},
     2,
     "region=3 price=4 | price@1 region@0",
     0,
     1,
     false},
    {"a large rise comes last",
     {P(BIT(REGION), 3, 3, 450), P(0, 4, 4, 551)},
     2,
     "region=3 price=4 | region@0 price@1",
     0,
     1,
     false},
    {"the offer will rise by itself", {P(0, 4, 4, 401)}, 1, "time=4 | time@0", 0, 0, false},
    {"fewer at once, or wait",
     {P(0, 4, 1, 300)},
     1,
     "taken=3 count=1 | count@0 taken@0",
     0,
     0,
     false},
    {"none free: only waiting helps", {P(0, 4, 0, 300)}, 1, "taken=4 | taken@0", 0, 0, false},
    {"none free and too dear: nothing helps", {P(0, 4, 0, 600)}, 1, "taken=4 |", 0, 0, false},
    {"too few there are, and too dear", {P(0, 1, 1, 600)}, 1, "count=1 |", 0, 0, false},
    {"too few there will ever be", {P(0, 1, 1, 300)}, 1, "count=1 | count@0", 0, 0, false},
    {"the first that stands against it takes the block",
     {P(BIT(MODEL) | BIT(TRUST) | BIT(REGION), 7, 7, 1)},
     1,
     "region=7 |",
     0,
     EXPLAIN_POOL_NONE,
     false},
    {"another tier is the same blocks again",
     {P(BIT(TIER), 5, 5, 200), P(0, 5, 5, 700)},
     2,
     "price=5 | tier@0 price@1",
     0,
     1,
     false},
    {"each kind of change, the smallest first",
     {P(BIT(TRUST), 2, 2, 1), P(BIT(DISK), 2, 2, 1), P(BIT(MEMORY), 2, 2, 1), P(BIT(VCPU), 2, 2, 1),
      P(BIT(VENDOR), 2, 2, 1), P(BIT(MODEL), 2, 2, 1), P(BIT(VRAM), 2, 2, 1), P(BIT(TIER), 2, 2, 1),
      P(BIT(REGION), 2, 2, 1), P(0, 2, 2, 500)},
     10,
     "region=2 vendor=2 model=2 vram=2 vcpu=2 memory=2 disk=2 trust=2 time=2 | time@9 region@8 "
     "tier@7 vram@6 model@5 vendor@4 vcpu@3 memory@2 disk@1 trust@0",
     0,
     9,
     false},
    {"too few or too dear elsewhere is no help",
     {P(BIT(REGION), 9, 1, 100), P(BIT(REGION), 9, 9, 501)},
     2,
     "region=18 |",
     0,
     EXPLAIN_POOL_NONE,
     false},
    {"own lots and avoided nodes are nobody's change",
     {P(BIT(OWN), 4, 4, 100)},
     1,
     "own_account=4 |",
     0,
     EXPLAIN_POOL_NONE,
     false},
    {"of several the cheapest, of equals the fullest",
     {P(BIT(REGION), 3, 3, 300), P(BIT(REGION), 3, 3, 200), P(BIT(REGION), 9, 9, 200),
      P(BIT(REGION), 3, 3, 250), P(0, 2, 1, 900), P(0, 2, 1, 800)},
     6,
     "region=18 taken=2 count=2 | region@2",
     0,
     5,
     false},
};

static void blocks_are_lost_once_and_changes_are_ranked(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct explain explain;
        explain_pools(&wish, cases[i].pools, cases[i].count, &explain);
        if (strcmp(said(&explain), cases[i].said) != 0)
            fail_msg("%s: %s instead of %s", cases[i].what, said(&explain), cases[i].said);
        assert_int_equal(explain.left_count, cases[i].left);
        assert_int_equal(explain.best, cases[i].best);
        assert_int_equal(explain.would_win, cases[i].would_win);
    }
}

static void avoided_nodes_are_counted_apart(void **unused)
{
    (void)unused;
    struct explain explain;
    struct explain_pool one = pool(0, 5, 3, 300);
    explain_set_apart(&one, CONSTRAINT_EXCLUDED, (struct explain_apart){2, 1});
    explain_pools(&wish, &one, 1, &explain);
    assert_string_equal(said(&explain), "excluded_node=2 taken=1 |");
    one = pool(0, 3, 2, 300);
    explain_set_apart(&one, CONSTRAINT_EXCLUDED, (struct explain_apart){2, 1});
    explain_pools(&wish, &one, 1, &explain); /* what it avoids will not come free for it */
    assert_string_equal(said(&explain), "excluded_node=2 count=1 | count@0");
}

/* What does not fit is a change as well, if what it has free would be enough. */
static void nodes_that_do_not_fit_are_counted_apart(void **unused)
{
    (void)unused;
    struct explain explain;
    struct explain_pool one = pool(0, 6, 6, 300);
    explain_set_apart(&one, CONSTRAINT_DRIVER, (struct explain_apart){3, 3});
    explain_set_apart(&one, CONSTRAINT_COMPUTE, (struct explain_apart){1, 1});
    explain_set_apart(&one, CONSTRAINT_ISOLATION, (struct explain_apart){1, 1});
    explain_pools(&wish, &one, 1, &explain);
    assert_string_equal(said(&explain), "driver=3 compute=1 isolation=1 count=1 | count@0 "
                                        "driver@0 compute@0 isolation@0");
    explain_set_apart(&one, CONSTRAINT_ROOM, (struct explain_apart){9, 9}); /* one is left */
    explain_pools(&wish, &one, 1, &explain);
    assert_string_equal(said(&explain), "driver=3 compute=1 isolation=1 room=1 | driver@0");
    one.price_uusd_per_hour = 501;
    explain_pools(&wish, &one, 1, &explain);
    assert_int_equal(explain.changes_count, 0);
    one = pool(0, 4, 1, 300);
    explain_set_apart(&one, CONSTRAINT_OWN, (struct explain_apart){9, 0}); /* three are held */
    explain_pools(&wish, &one, 1, &explain);
    assert_string_equal(said(&explain), "own_account=3 count=1 | count@0");
}

static void a_reserve_for_a_net_price_is_the_smallest(void **unused)
{
    (void)unused;
    assert_int_equal(reserve_for_net(0, 1000), 0);
    assert_int_equal(reserve_for_net(3272727, 1000), 3600000);
    PROP_FOR(p, 20000)
    {
        int64_t net = prop_range(&p, 1, 1000000000), fee_bp = prop_range(&p, 0, 10000);
        int64_t reserve = reserve_for_net(net, fee_bp);
        prop_check(&p, reserve_net(reserve, fee_bp) >= net);
        prop_check(&p, reserve_net(reserve - 1, fee_bp) < net);
    }
}

/* Whatever the market: losses and what is left add up to what there is, and making the first change
 * makes the wish win. */
static void every_change_would_have_won(void **unused)
{
    (void)unused;
    PROP_FOR(p, 20000)
    {
        struct explain_pool pools[POOLS_MAX];
        struct explain explain;
        size_t count = (size_t)prop_range(&p, 0, POOLS_MAX);
        for (size_t i = 0; i < count; i++) {
            uint32_t blocks = (uint32_t)prop_range(&p, 0, 6);
            pools[i] =
                pool(0, blocks, (uint32_t)prop_range(&p, 0, blocks), prop_range(&p, 300, 700));
            if (prop_chance(&p, 60))
                pools[i].faults |=
                    CONSTRAINT_BIT(prop_range(&p, CONSTRAINT_REGION, CONSTRAINT_OWN));
        }
        explain_pools(&wish, pools, count, &explain);
        uint32_t sum = explain.left_count;
        for (size_t i = 0; i < explain.losses_count; i++)
            sum += explain.losses[i].blocks_count;
        prop_check(&p, sum == explain.blocks_count);
        prop_check(&p, explain.would_win == (explain.left_count > 0));
        for (size_t i = 0; i < explain.changes_count; i++) {
            struct explain_wish other = wish;
            struct explain_pool then = pools[explain.changes[i].pool];
            struct explain again;
            enum constraint c = explain.changes[i].constraint;
            then.faults &= ~CONSTRAINT_BIT(c);
            then.offered_uusd_per_hour = then.price_uusd_per_hour;
            if (c == CONSTRAINT_PRICE)
                other.limit_uusd_per_hour = then.price_uusd_per_hour;
            if (c == CONSTRAINT_COUNT)
                other.kmin = then.free_count;
            if (c == CONSTRAINT_TAKEN)
                then.free_count = then.blocks_count;
            explain_pools(&other, &then, 1, &again);
            prop_check(&p, again.would_win);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_lost_once_and_changes_are_ranked),
        cmocka_unit_test(avoided_nodes_are_counted_apart),
        cmocka_unit_test(nodes_that_do_not_fit_are_counted_apart),
        cmocka_unit_test(a_reserve_for_a_net_price_is_the_smallest),
        cmocka_unit_test(every_change_would_have_won),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
