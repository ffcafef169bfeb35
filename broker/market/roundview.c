/* The happy path is: rows and records become JSON, field by field; a record's lots each get a
 * ladder, the sold blocks first in the order of their awards. Failure modes are: a record whose
 * bytes are not one, which the caller is told.
 */
#include "broker/market/roundview.h"

#include <stdlib.h>

#include "auction/record.h"
#include "broker/base/id.h"

static void put_hash(struct json_out *out, const char *key, struct str bytes)
{
    char hex[65];
    if (bytes.at != NULL) {
        must(bytes.len == 32);
        hex_encode((const uint8_t *)bytes.at, bytes.len, hex);
    }
    json_put_c(out, key, bytes.at != NULL ? hex : NULL);
}

void round_put(struct json_out *out, const char *market, const struct roundview_get_out *round)
{
    json_put_c(out, "market", market);
    json_put_i64(out, "round", round->round);
    json_put_str(out, "kind", round->kind);
    json_put_str(out, "state", round->state);
    json_put_i64(out, "arrivals_count", round->arrivals_count);
    json_put_i64(out, "awards_count", round->awards_count);
    put_hash(out, "inputs_root", round->inputs_root);
    put_hash(out, "seed", round->seed);
    put_hash(out, "record_sha256", round->record_sha256);
    put_hash(out, "previous_sha256", round->previous_sha256);
    json_put_time(out, "frozen_at", round->frozen_at_us);
    json_put_time(out, "committed_at", round->has_committed_at ? round->committed_at_us : 0);
}

static void put_count(struct json_out *out, const char *key, const int64_t *count)
{
    if (count != NULL)
        json_put_i64(out, key, *count);
    else
        json_put_null(out, key);
}

void lot_round_put(struct json_out *out, const struct roundview_lots_out *lot)
{
    int64_t supply = lot->supply_count;
    int64_t demand = lot->demand_count;
    json_put_str(out, "region", lot->region);
    json_put_str(out, "device_class", lot->class);
    json_put_i64(out, "block_size", lot->block_size);
    json_put_str(out, "tier", lot->tier);
    json_put_str(out, "trust", lot->trust);
    put_count(out, "index_uusd_per_hour",
              lot->has_index_uusd_per_hour ? &lot->index_uusd_per_hour : NULL);
    json_put_i64(out, "sold_count", lot->sold_count);
    put_count(out, "supply_count", lot->has_supply_count ? &supply : NULL);
    put_count(out, "demand_count", lot->has_demand_count ? &demand : NULL);
}

void price_put(struct json_out *out, const struct price_list_out *price)
{
    json_object_open(out, NULL);
    json_put_str(out, "region", price->region);
    json_put_str(out, "device_class", price->class);
    json_put_i64(out, "block_size", price->block_size);
    json_put_str(out, "tier", price->tier);
    json_put_str(out, "trust", price->trust);
    json_put_i64(out, "price_uusd_per_hour", price->price_uusd_per_hour);
    json_put_c(out, "source", price->has_round ? "index" : "catalogue");
    put_count(out, "round", price->has_round ? &price->round : NULL);
    json_object_close(out);
}

/* ---- the ladder of a record's lot */

struct rung { /* a block: the sold ones by their award, the others behind them by score */
    const struct record_block *block;
    const struct lot_award *award; /* NULL: not sold */
    int64_t score;
};

static int rung_order(const void *a, const void *b)
{
    const struct rung *left = a;
    const struct rung *right = b;
    if (left->award != NULL && right->award != NULL) /* one array, in rank order */
        return left->award < right->award ? -1 : 1;
    if ((left->award != NULL) != (right->award != NULL))
        return left->award != NULL ? -1 : 1;
    if (left->score != right->score)
        return left->score < right->score ? -1 : 1;
    return str_compare(left->block->id, right->block->id);
}

static void rung_put(struct json_out *out, const struct rung *rung, int64_t rank)
{
    char text[ID_TEXT_SIZE];
    json_object_open(out, NULL);
    json_put_i64(out, "rank", rank);
    json_put_str(out, "block_id", rung->block->id);
    json_put_c(out, "node_id", uuid_prefixed(rung->block->node, "node", text));
    json_put_c(out, "account_id", uuid_prefixed(rung->block->owner, "acct", text));
    json_put_i64(out, "ask_uusd_per_hour", rung->block->ask_uusd_per_hour);
    json_put_i64(out, "adder_uusd_per_hour", rung->block->adder_uusd_per_hour);
    json_put_i64(out, "score_uusd_per_hour", rung->score);
    json_put_bool(out, "is_sold", rung->award != NULL);
    put_count(out, "threshold_uusd_per_hour",
              rung->award ? &rung->award->theta_uusd_per_hour : NULL);
    put_count(out, "price_uusd_per_hour", rung->award ? &rung->award->price_uusd_per_hour : NULL);
    json_object_close(out);
}

static void supply_put(struct json_out *out, const struct record_lot *lot)
{
    struct rung *rungs = calloc(lot->blocks_count + 1, sizeof(*rungs));
    must(rungs != NULL);
    for (uint32_t i = 0; i < lot->blocks_count; i++)
        rungs[i] = (struct rung){
            .block = &lot->blocks[i],
            .score = lot->blocks[i].ask_uusd_per_hour + lot->blocks[i].adder_uusd_per_hour,
        };
    for (uint32_t i = 0; i < lot->outcome.awards_count; i++)
        rungs[lot->outcome.awards[i].block].award = &lot->outcome.awards[i];
    qsort(rungs, lot->blocks_count, sizeof(*rungs), rung_order);
    json_array_open(out, "supply");
    for (uint32_t i = 0; i < lot->blocks_count; i++)
        rung_put(out, &rungs[i], i + 1);
    json_array_close(out);
    free(rungs);
}

struct wish {
    const struct record_demand *demand;
    int64_t awarded;
};

static int wish_order(const void *a, const void *b)
{
    const struct wish *left = a;
    const struct wish *right = b;
    if (left->demand->r_uusd_per_hour != right->demand->r_uusd_per_hour)
        return left->demand->r_uusd_per_hour > right->demand->r_uusd_per_hour ? -1 : 1;
    return str_compare(left->demand->id, right->demand->id);
}

static void wish_put(struct json_out *out, const struct wish *wish)
{
    char text[ID_TEXT_SIZE];
    struct uuid id;
    json_object_open(out, NULL);
    if (uuid_parse(wish->demand->id, &id))
        json_put_c(out, "workload_id", uuid_prefixed(id, "wl", text));
    else
        json_put_str(out, "workload_id", wish->demand->id);
    json_put_c(out, "account_id", uuid_prefixed(wish->demand->owner, "acct", text));
    json_put_i64(out, "net_reserve_uusd_per_hour", wish->demand->r_uusd_per_hour);
    json_put_i64(out, "wanted", wish->demand->k);
    json_put_i64(out, "wanted_min", wish->demand->kmin);
    json_put_i64(out, "awarded", wish->awarded);
    json_object_close(out);
}

static void demand_put(struct json_out *out, const struct record_lot *lot)
{
    struct wish *wishes = calloc(lot->demands_count + 1, sizeof(*wishes));
    must(wishes != NULL);
    for (uint32_t i = 0; i < lot->demands_count; i++)
        wishes[i].demand = &lot->demands[i];
    for (uint32_t i = 0; i < lot->outcome.awards_count; i++)
        wishes[lot->outcome.awards[i].demand].awarded++;
    qsort(wishes, lot->demands_count, sizeof(*wishes), wish_order);
    json_array_open(out, "demand");
    for (uint32_t i = 0; i < lot->demands_count; i++)
        wish_put(out, &wishes[i]);
    json_array_close(out);
    free(wishes);
}

/* "region/class/devices/tier/trust", and "|workload" behind it where one was cleared by itself. */
static struct roundview_lots_out lot_of_key(struct str key)
{
    struct str rest = str_cut(&key, '|');
    struct roundview_lots_out lot = {.region = str_cut(&rest, '/')};
    int64_t devices = 0;
    lot.class = str_cut(&rest, '/');
    if (str_to_i64(str_cut(&rest, '/'), &devices))
        lot.block_size = (int32_t)devices;
    lot.tier = str_cut(&rest, '/');
    lot.trust = rest;
    return lot;
}

static void record_lot_put(struct json_out *out, const struct record_lot *lot)
{
    struct roundview_lots_out view = lot_of_key(lot->key);
    view.has_index_uusd_per_hour = lot->outcome.index_uusd_per_hour != LOT_INDEX_NONE;
    view.index_uusd_per_hour = lot->outcome.index_uusd_per_hour;
    view.sold_count = (int32_t)lot->outcome.awards_count;
    view.has_supply_count = view.has_demand_count = true;
    view.supply_count = (int32_t)lot->blocks_count;
    view.demand_count = (int32_t)lot->demands_count;
    json_object_open(out, NULL);
    lot_round_put(out, &view);
    json_object_open(out, "ladder");
    supply_put(out, lot);
    demand_put(out, lot);
    json_object_close(out);
    json_object_close(out);
}

static void candidate_put(struct json_out *out, const struct record_candidate *candidate,
                          const struct rfq_award *award)
{
    char text[ID_TEXT_SIZE];
    json_object_open(out, NULL);
    json_put_str(out, "block_id", candidate->id);
    json_put_c(out, "node_id", uuid_prefixed(candidate->node, "node", text));
    json_put_c(out, "account_id", uuid_prefixed(candidate->owner, "acct", text));
    json_put_str(out, "region", candidate->region);
    json_put_str(out, "device_class", candidate->class);
    json_put_c(out, "kind", candidate->kind == DIRECT_PRICE_BID ? "bid" : "ask");
    json_put_i64(out, "price_uusd_per_hour", candidate->price_uusd_per_hour);
    json_put_i64(out, "adder_uusd_per_hour", candidate->adder_uusd_per_hour);
    json_put_i64(out, "latency_uusd_per_hour", candidate->latency_uusd_per_hour);
    json_put_bool(out, "is_sold", award != NULL);
    put_count(out, "threshold_uusd_per_hour", award ? &award->theta_uusd_per_hour : NULL);
    put_count(out, "paid_uusd_per_hour", award ? &award->price_uusd_per_hour : NULL);
    json_object_close(out);
}

static void candidates_put(struct json_out *out, const struct record_direct *direct)
{
    const struct rfq_award **awards =
        calloc(direct->candidates_count + 1, sizeof(struct rfq_award *));
    must(awards != NULL);
    for (uint32_t i = 0; i < direct->outcome.awards_count; i++)
        awards[direct->outcome.awards[i].candidate] = &direct->outcome.awards[i];
    json_array_open(out, "candidates");
    for (uint32_t i = 0; i < direct->candidates_count; i++)
        candidate_put(out, &direct->candidates[i], awards[i]);
    json_array_close(out);
    free(awards);
}

static void record_direct_put(struct json_out *out, const struct record_direct *direct)
{
    static const char *const spreads[] = {"", "none", "node", "region"};
    char text[ID_TEXT_SIZE];
    struct uuid id;
    json_object_open(out, NULL);
    if (uuid_parse(direct->id, &id))
        json_put_c(out, "workload_id", uuid_prefixed(id, "wl", text));
    else
        json_put_str(out, "workload_id", direct->id);
    json_put_c(out, "account_id", uuid_prefixed(direct->owner, "acct", text));
    json_put_str(out, "tier", direct->tier);
    json_put_i64(out, "block_size", direct->devices);
    json_put_c(out, "spread", spreads[direct->spread]);
    json_put_i64(out, "net_reserve_uusd_per_hour", direct->r_uusd_per_hour);
    json_put_i64(out, "wanted", direct->k);
    json_put_i64(out, "wanted_min", direct->kmin);
    put_count(out, "index_uusd_per_hour",
              direct->outcome.index_uusd_per_hour == LOT_INDEX_NONE
                  ? NULL
                  : &direct->outcome.index_uusd_per_hour);
    candidates_put(out, direct);
    json_object_close(out);
}

bool round_record_put(struct json_out *out, struct str record)
{
    struct record_reader reader;
    struct record_head head;
    struct record_lot lot;
    struct record_direct direct;
    bool is_open = record_open(&reader, record, &head);
    json_array_open(out, "lots");
    while (is_open && record_next_lot(&reader, &lot))
        record_lot_put(out, &lot);
    json_array_close(out);
    json_array_open(out, "directs");
    while (is_open && record_next_direct(&reader, &direct))
        record_direct_put(out, &direct);
    json_array_close(out);
    return record_close(&reader) && is_open;
}
