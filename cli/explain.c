#include "cli/explain.h"

#include <stdio.h>

#include "auction/explain.h"
#include "cli/table.h"

/* The sentence of a code; a newer broker may know more of them. */
static const char *lost_of(struct str slug)
{
    for (enum constraint c = CONSTRAINT_NONE + 1; c < CONSTRAINT_END; c++)
        if (str_equal_c(slug, constraint_info(c)->slug))
            return constraint_info(c)->lost;
    return "";
}

static void losses_print(const json_t *explain)
{
    const json_t *loss;
    size_t i;
    printf("%lld blocks on offer\n", (long long)json_i64(explain, "blocks_count", 0));
    json_array_foreach (json_object_get(explain, "rejections"), i, loss) {
        struct str slug = json_str(loss, "constraint");
        printf("  -%-5lld %-14.*s %s\n", (long long)json_i64(loss, "blocks_lost", 0), STR_ARG(slug),
               lost_of(slug));
    }
    printf("%lld left for %lld wanted\n", (long long)json_i64(explain, "blocks_left", 0),
           (long long)json_i64(explain, "wanted", 0));
}

static void lot_print(const json_t *lot)
{
    char usd[40];
    printf("%.*s in %.*s lately cost %s net (%.*s)", STR_ARG(json_str(lot, "device_class")),
           STR_ARG(json_str(lot, "region")),
           usd_format(json_i64(lot, "price_uusd_per_hour", 0), usd),
           STR_ARG(json_str(lot, "source")));
    if (json_is_integer(json_object_get(lot, "price_p90_uusd_per_hour"))) {
        printf(", p50 %s", usd_format(json_i64(lot, "price_p50_uusd_per_hour", 0), usd));
        printf(", p90 %s", usd_format(json_i64(lot, "price_p90_uusd_per_hour", 0), usd));
    }
    if (json_is_integer(json_object_get(lot, "start_p90_ms")))
        printf("; to running p50 %.1f s, p90 %.1f s",
               (double)json_i64(lot, "start_p50_ms", 0) / 1000,
               (double)json_i64(lot, "start_p90_ms", 0) / 1000);
    puts("");
}

static void change_print(const json_t *change, const char *lead)
{
    char usd[40];
    struct str constraint = json_str(change, "constraint");
    printf("%s%.*s: ", lead, STR_ARG(constraint));
    if (str_equal_c(constraint, "price"))
        printf("a reserve of %s", usd_format(json_i64(change, "reserve_uusd_per_hour", 0), usd));
    else if (str_equal_c(constraint, "time"))
        printf("wait %.0f s, until the offer has risen",
               (double)json_i64(change, "wait_ms", 0) / 1000);
    else if (str_equal_c(constraint, "count"))
        printf("min_replicas of %lld", (long long)json_i64(change, "min_replicas", 0));
    else if (str_equal_c(constraint, "taken"))
        printf("wait until a block is free");
    else
        printf("%.*s, %.*s, %.*s, %.*s", STR_ARG(json_str(change, "device_class")),
               STR_ARG(json_str(change, "region")), STR_ARG(json_str(change, "tier")),
               STR_ARG(json_str(change, "trust")));
    printf(" (%s net)\n", usd_format(json_i64(change, "price_uusd_per_hour", 0), usd));
}

void explain_print(const json_t *explain)
{
    const json_t *changes = json_object_get(explain, "changes");
    if (!json_is_string(json_object_get(explain, "at")))
        return (void)puts("no market data is old enough to speak from yet; ask again in a minute");
    losses_print(explain);
    if (json_is_object(json_object_get(explain, "lot")))
        lot_print(json_object_get(explain, "lot"));
    if (json_bool(explain, "would_win", false))
        puts("it would have won a minute ago");
    for (size_t i = 0; i < json_array_size(changes); i++)
        change_print(json_array_get(changes, i), i == 0 ? "smallest change: " : "or ");
}
