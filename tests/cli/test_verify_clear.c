/* The verifier's slow rule against the engine's fast one, on drawn lots and direct clearings: they
 * share no code, so where they agree, both say what the definitions say.
 */
#include "cli/verify_clear.h"

#include "auction/recompute.h"
#include "tests/lib/lot_draw.h"
#include "tests/lib/test.h"

static struct lot_drawn drawn;
static struct record_block blocks[DRAWN_BLOCKS_MAX];
static struct record_demand demands[DRAWN_DEMANDS_MAX];
static char why[VERIFY_WHY_SIZE];

static struct uuid uuid_number(uint32_t number)
{
    struct uuid id = {{0}};
    id.bytes[15] = (uint8_t)number;
    return id;
}

static struct record_lot lot_of_drawn(void)
{
    for (uint32_t i = 0; i < drawn.input.blocks_count; i++)
        blocks[i] = (struct record_block){
            .id = drawn.blocks[i].id,
            .owner = uuid_number(drawn.blocks[i].owner),
            .ask_uusd_per_hour = drawn.blocks[i].ask_uusd_per_hour,
            .adder_uusd_per_hour = drawn.blocks[i].adder_uusd_per_hour,
        };
    for (uint32_t i = 0; i < drawn.input.demands_count; i++)
        demands[i] = (struct record_demand){
            .id = drawn.demands[i].id,
            .owner = uuid_number(drawn.demands[i].owner == LOT_OWNER_NONE ? 255
                                                                          : drawn.demands[i].owner),
            .r_uusd_per_hour = drawn.demands[i].r_uusd_per_hour,
            .k = drawn.demands[i].k,
            .kmin = drawn.demands[i].kmin,
        };
    return (struct record_lot){.key = STR("eu-west/rtx-4090/1"),
                               .blocks = blocks,
                               .demands = demands,
                               .blocks_count = drawn.input.blocks_count,
                               .demands_count = drawn.input.demands_count};
}

static const struct draw_shape shape = {.blocks_max = 9,
                                        .demands_max = 6,
                                        .owners_max = 4,
                                        .k_max = 4,
                                        .price_steps = 7,
                                        .self_percent = 15,
                                        .has_adders = true};

static void both_rules_clear_every_drawn_lot_alike(void **state)
{
    (void)state;
    PROP_FOR(p, 20000)
    {
        struct buf memory = {0};
        lot_draw(&p, &shape, &drawn);
        struct record_lot lot = lot_of_drawn();
        prop_check(&p,
                   record_lot_clear(&lot, &drawn.input.seed, &memory, &lot.outcome) == LOT_CLEARED);
        prop_check(&p, verify_lot(&lot, &drawn.input.seed, why));
        buf_finish(&memory);
    }
}

/* Any one number of an outcome that is one more than it should be is found. */
static void an_outcome_that_is_off_by_one_is_named(void **state)
{
    (void)state;
    PROP_FOR(p, 3000)
    {
        struct buf memory = {0};
        lot_draw(&p, &shape, &drawn);
        struct record_lot lot = lot_of_drawn();
        prop_check(&p,
                   record_lot_clear(&lot, &drawn.input.seed, &memory, &lot.outcome) == LOT_CLEARED);
        struct lot_award *awards = (struct lot_award *)(uintptr_t)lot.outcome.awards;
        struct lot_prefix *prefixes = (struct lot_prefix *)(uintptr_t)lot.outcome.prefixes;
        int64_t *places[] = {
            &lot.outcome.index_uusd_per_hour,
            lot.outcome.awards_count ? &awards[0].theta_uusd_per_hour : NULL,
            lot.outcome.awards_count ? &awards[0].price_uusd_per_hour : NULL,
            lot.outcome.prefixes_count ? &prefixes[0].r_uusd_per_hour : NULL,
        };
        for (size_t i = 0; i < ARRAY_COUNT(places); i++) {
            if (places[i] == NULL)
                continue;
            (*places[i])++;
            why[0] = '\0';
            prop_check(&p, !verify_lot(&lot, &drawn.input.seed, why) && why[0] != '\0');
            (*places[i])--;
        }
        prop_check(&p, verify_lot(&lot, &drawn.input.seed, why));
        buf_finish(&memory);
    }
}

#define CANDIDATES_MAX 8

static void direct_draw(struct prop *p, struct record_candidate *candidates,
                        struct record_direct *ret_direct)
{
    static char ids[CANDIDATES_MAX][4];
    static const struct str regions[] = {{"a", 1}, {"b", 1}, {"c", 1}};
    uint32_t count = (uint32_t)prop_range(p, 0, CANDIDATES_MAX);
    for (uint32_t i = 0; i < count; i++) {
        (void)str_format(ids[i], sizeof(ids[i]), "c%u", i);
        candidates[i] = (struct record_candidate){
            .id = str_of(ids[i]),
            .owner = uuid_number((uint32_t)prop_range(p, 1, 4)),
            .node = uuid_number((uint32_t)prop_range(p, 1, 5)),
            .region = regions[prop_range(p, 0, 2)],
            .class = STR("rtx-4090"),
            .kind = DIRECT_PRICE_ASK,
            .price_uusd_per_hour = prop_range(p, 0, 8),
            .adder_uusd_per_hour = prop_range(p, 0, 2),
            .latency_uusd_per_hour = prop_range(p, 0, 2),
        };
    }
    uint32_t k = (uint32_t)prop_range(p, 1, 4);
    *ret_direct = (struct record_direct){
        .id = STR("w"),
        .owner = uuid_number((uint32_t)prop_range(p, 4, 9)),
        .tier = STR("flexible"),
        .devices = 1,
        .spread = (enum direct_spread)prop_range(p, DIRECT_SPREAD_NONE, DIRECT_SPREAD_REGION),
        .r_uusd_per_hour = prop_range(p, 0, 12),
        .k = k,
        .kmin = (uint32_t)prop_range(p, 1, k),
        .candidates = candidates,
        .candidates_count = count,
    };
}

static void both_rules_clear_every_drawn_direct_clearing_alike(void **state)
{
    (void)state;
    PROP_FOR(p, 20000)
    {
        struct record_candidate candidates[CANDIDATES_MAX];
        struct record_direct direct;
        struct sha256 seed = sha256_of(&p.seed, sizeof(p.seed));
        struct buf memory = {0};
        direct_draw(&p, candidates, &direct);
        prop_check(&p,
                   record_direct_clear(&direct, &seed, &memory, &direct.outcome) == LOT_CLEARED);
        prop_check(&p, verify_direct(&direct, &seed, why));
        if (direct.outcome.awards_count > 0) {
            struct rfq_award *awards = (struct rfq_award *)(uintptr_t)direct.outcome.awards;
            awards[direct.outcome.awards_count - 1].theta_uusd_per_hour--;
            prop_check(&p, !verify_direct(&direct, &seed, why));
        }
        buf_finish(&memory);
    }
}

int main(void)
{
    hash_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_rules_clear_every_drawn_lot_alike),
        cmocka_unit_test(an_outcome_that_is_off_by_one_is_named),
        cmocka_unit_test(both_rules_clear_every_drawn_direct_clearing_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
