#include "broker/market/hindsight.h"

struct lot_name {
    struct str region, class, tier, trust;
    int64_t devices;
    bool is_alone;
};

/* "region/class/devices/tier/trust", and "|workload" behind it where one was cleared by itself. */
static struct lot_name lot_name_of(struct str key)
{
    struct str rest = str_cut(&key, '|');
    struct lot_name name = {.is_alone = key.at != NULL, .region = str_cut(&rest, '/')};
    name.class = str_cut(&rest, '/');
    must(str_to_i64(str_cut(&rest, '/'), &name.devices));
    name.tier = str_cut(&rest, '/');
    name.trust = rest;
    return name;
}

static bool is_there(const struct lot_name *name, const struct hindsight_place *place)
{
    return !name->is_alone && str_equal(name->region, place->region) &&
           str_equal(name->class, place->class);
}

static void lot_put(struct json_out *out, const struct lot_name *name, const struct record_lot *lot,
                    const struct ask_outcome *outcome)
{
    int64_t index = lot->outcome.index_uusd_per_hour;
    json_object_open(out, NULL);
    json_put_i64(out, "block_size", name->devices);
    json_put_str(out, "tier", name->tier);
    json_put_str(out, "trust", name->trust);
    json_put_c(out, "fate", ask_fate_slug(outcome->fate));
    json_put_i64(out, "blocks_count", outcome->blocks_count);
    json_put_i64(out, "sold_count", outcome->sold_count);
    if (index == LOT_INDEX_NONE)
        json_put_null(out, "index_uusd_per_hour");
    else
        json_put_i64(out, "index_uusd_per_hour", index);
    json_put_i64(out, "score_uusd_per_hour", outcome->score_uusd_per_hour);
    json_put_i64(out, "gap_uusd_per_hour", outcome->gap_uusd_per_hour);
    json_object_close(out);
}

/* Reads to the end, so that the record proves canonical. */
static bool record_end(struct record_reader *reader)
{
    struct record_direct direct;
    while (record_next_direct(reader, &direct))
        continue;
    return record_close(reader);
}

bool hindsight_put_lots(struct json_out *out, struct str record,
                        const struct hindsight_place *place)
{
    struct record_reader reader;
    struct record_head head;
    struct record_lot lot;
    bool is_open = record_open(&reader, record, &head);
    json_array_open(out, "lots");
    while (is_open && record_next_lot(&reader, &lot)) {
        struct lot_name name = lot_name_of(lot.key);
        struct ask_outcome outcome = ask_outcome_of(&lot, &place->account_id);
        if (is_there(&name, place) && outcome.fate != ASK_FATE_ABSENT)
            lot_put(out, &name, &lot, &outcome);
    }
    json_array_close(out);
    return record_end(&reader) && is_open;
}

bool hindsight_try(const struct hindsight_rounds_out *round, const struct hindsight_place *place,
                   const struct hindsight_ask *ask, struct hindsight_sum *sum)
{
    struct record_reader reader;
    struct record_head head;
    struct record_lot lot;
    bool is_open = record_open(&reader, round->record, &head);
    while (is_open && record_next_lot(&reader, &lot)) {
        struct lot_name name = lot_name_of(lot.key);
        if (!is_there(&name, place))
            continue;
        if (round->is_open)
            hindsight_replay(&lot, &head.seed, ask, sum);
        else
            hindsight_estimate(&lot, ask, sum);
    }
    return record_end(&reader) && is_open;
}

void hindsight_put_sum(struct json_out *out, const struct hindsight_sum *sum, int64_t rounds_count)
{
    json_put_i64(out, "rounds_count", rounds_count);
    json_put_i64(out, "lots_count", sum->lots_count);
    json_put_i64(out, "blocks_count", sum->blocks_count);
    json_put_i64(out, "sold_count", sum->sold_count);
    json_put_i64(out, "would_count", sum->would_count);
    json_put_i64(out, "revenue_uusd_per_hour", sum->revenue_uusd_per_hour);
    json_put_i64(out, "would_revenue_uusd_per_hour", sum->would_revenue_uusd_per_hour);
}
