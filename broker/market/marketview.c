#include "broker/market/marketview.h"

#include "auction/depth.h"
#include "billing/close_reason.h"
#include "broker/base/money.h"
#include "broker/io/db.h"

#define BP_ONE              10000
#define BLOCK_HOURS_PER_ONE 1000 /* interruptions are said per this many block-hours */

static void put_maybe(struct json_out *out, const char *key, bool has_value, int64_t value)
{
    if (has_value)
        json_put_i64(out, key, value);
    else
        json_put_null(out, key);
}

void lot_words_put(struct json_out *out, const struct lot_words *lot)
{
    json_put_str(out, "region", lot->region);
    json_put_str(out, "device_class", lot->class);
    json_put_i64(out, "block_size", lot->block_size);
    json_put_str(out, "tier", lot->tier);
    json_put_str(out, "trust", lot->trust);
}

/* What was had of what was wanted; null where it would speak of one or two accounts. */
static void put_unmet(struct json_out *out, int64_t awards, int64_t unmet, int32_t accounts_min)
{
    bool is_shown = accounts_min >= DEPTH_ACCOUNTS_MIN;
    put_maybe(out, "unmet_count", is_shown, unmet);
    put_maybe(out, "fill_ratio_bp", is_shown && awards + unmet > 0,
              awards + unmet > 0 ? mul_div_floor(awards, BP_ONE, awards + unmet) : 0);
}

static void put_volume(struct json_out *out, int64_t volume_ms, int64_t value_uusd)
{
    bool has_average = volume_ms > 0 && value_uusd >= 0;
    json_put_i64(out, "volume_ms", volume_ms);
    put_maybe(out, "vwap_uusd_per_hour", has_average,
              has_average ? mul_div_floor(value_uusd, MS_PER_HOUR, volume_ms) : 0);
}

void candle_put(struct json_out *out, const struct market_candles_out *candle)
{
    json_put_time(out, "at", candle->at_us);
    put_maybe(out, "open_uusd_per_hour", candle->has_open_uusd, candle->open_uusd);
    put_maybe(out, "high_uusd_per_hour", candle->has_high_uusd, candle->high_uusd);
    put_maybe(out, "low_uusd_per_hour", candle->has_low_uusd, candle->low_uusd);
    put_maybe(out, "close_uusd_per_hour", candle->has_close_uusd, candle->close_uusd);
    json_put_i64(out, "rounds_count", candle->rounds_count);
    json_put_i64(out, "awards_count", candle->awards_count);
    put_unmet(out, candle->awards_count, candle->unmet_count, candle->accounts_min);
    put_volume(out, candle->volume_ms, candle->value_uusd);
}

void depth_put(struct json_out *out, const struct market_depth_out *depth)
{
    json_put_time(out, "at", depth->at_us);
    json_put_i64(out, "round", depth->round);
    put_maybe(out, "index_uusd_per_hour", depth->has_index_uusd_per_hour,
              depth->index_uusd_per_hour);
    json_put_raw(out, "buckets", depth->buckets);
    json_put_raw(out, "asks_uusd_per_hour", depth->asks.at != NULL ? depth->asks : STR("null"));
    json_put_raw(out, "reserves_uusd_per_hour",
                 depth->reserves.at != NULL ? depth->reserves : STR("null"));
}

void stats_put(struct json_out *out, const struct market_stats_out *stats)
{
    put_maybe(out, "index_uusd_per_hour", stats->has_index_uusd_per_hour,
              stats->index_uusd_per_hour);
    put_maybe(out, "index_round", stats->has_index_round, stats->index_round);
    json_put_raw(out, "prices_uusd_per_hour",
                 stats->prices.at != NULL ? stats->prices : STR("null"));
    json_put_i64(out, "awards_count", stats->awards_count);
    put_unmet(out, stats->awards_count, stats->unmet_count, stats->accounts_min);
    put_volume(out, stats->volume_ms, stats->value_uusd);
    put_maybe(out, "fill_p50_ms", stats->has_fill_p50_ms, stats->fill_p50_ms);
    put_maybe(out, "fill_p90_ms", stats->has_fill_p90_ms, stats->fill_p90_ms);
    put_maybe(out, "start_p50_ms", stats->has_start_p50_ms, stats->start_p50_ms);
    put_maybe(out, "start_p90_ms", stats->has_start_p90_ms, stats->start_p90_ms);
}

/* Ends that ran and that neither the owner nor his money caused. */
static int64_t interruptions_of(const struct db_call *ends)
{
    int64_t count = 0;
    for (int i = 0; i < ends->row_count; i++) {
        struct market_ends_out row;
        market_ends_get(ends, i, &row);
        const struct close_info *info = close_info(close_reason_by_slug(row.reason));
        if (info->group == CLOSE_BY_OPERATOR || info->group == CLOSE_BY_PLATFORM)
            count += row.ran_count;
    }
    return count;
}

void ends_put(struct json_out *out, const struct db_call *ends, int64_t volume_ms)
{
    int64_t interruptions = interruptions_of(ends);
    json_put_i64(out, "interruptions_count", interruptions);
    put_maybe(out, "interruptions_per_1000_block_hours", volume_ms >= MS_PER_HOUR,
              volume_ms >= MS_PER_HOUR
                  ? mul_div_ceil(interruptions, BLOCK_HOURS_PER_ONE * MS_PER_HOUR, volume_ms)
                  : 0);
    json_object_open(out, "ends");
    for (int i = 0; i < ends->row_count; i++) {
        struct market_ends_out row;
        char reason[64];
        market_ends_get(ends, i, &row);
        if (str_format(reason, sizeof(reason), "%.*s", STR_ARG(row.reason)))
            json_put_i64(out, reason, row.ends_count);
    }
    json_object_close(out);
}

void cheapest_put(struct json_out *out, const struct market_cheapest_out *row)
{
    json_put_str(out, "region", row->region);
    json_put_str(out, "device_class", row->class);
    json_put_i64(out, "vram_mib", row->vram_mib);
    json_put_i64(out, "block_size", row->block_size);
    json_put_str(out, "tier", row->tier);
    json_put_i64(out, "price_uusd_per_device_hour", row->price_uusd_per_device_hour);
    json_put_c(out, "source", row->has_round ? "index" : "catalogue");
    put_maybe(out, "round", row->has_round, row->round);
}
