#include "broker/market/figures.h"

#include "broker/market/history.h"
#include "broker/market/leader.h"
#include "broker/market/settle.h"

struct figure {
    const char *name, *type, *help;
    int64_t value;
};

static void write_figures(const struct figure *figures, size_t count, struct buf *to)
{
    for (size_t i = 0; i < count; i++)
        buf_add_format(to, "# HELP undercut_%s %s\n# TYPE undercut_%s %s\nundercut_%s %lld\n",
                       figures[i].name, figures[i].help, figures[i].name, figures[i].type,
                       figures[i].name, (long long)figures[i].value);
}

void figures_write_count(const struct figure_list_out *row, struct str *name_before, struct buf *to)
{
    if (!str_equal(row->name, *name_before))
        buf_add_format(to, "# HELP undercut_%.*s Alive, by state.\n# TYPE undercut_%.*s gauge\n",
                       STR_ARG(row->name), STR_ARG(row->name));
    *name_before = row->name;
    buf_add_format(to, "undercut_%.*s{state=\"%.*s\"} %lld\n", STR_ARG(row->name),
                   STR_ARG(row->state), (long long)row->count);
}

void figures_write_leader(const struct leader *leader, struct buf *to)
{
    struct leader_figures f;
    if (leader == NULL)
        return;
    leader_metrics(leader, &f);
    const struct figure figures[] = {
        {"leader_in_office", "gauge", "1: this process leads the market.", f.is_in_office},
        {"leader_epoch", "gauge", "Fencing number of its office.", f.epoch},
        {"leader_frozen", "gauge", "1: so many nodes are silent that it suspects itself.",
         f.is_frozen},
        {"round", "gauge", "The last round committed.", f.last_round},
        {"rounds_total", "counter", "Rounds cleared.", f.rounds_count},
        {"rounds_now_total", "counter", "Rounds cleared at once, for award: now.",
         f.now_rounds_count},
        {"rounds_void_total", "counter", "Rounds frozen and not committed.", f.void_count},
        {"rounds_failed_total", "counter", "Rounds that the database refused.", f.failed_count},
        {"awards_total", "counter", "Leases awarded.", f.awards_count},
        {"leases_closed_total", "counter", "Leases closed by the sweep.", f.closed_count},
        {"round_freeze_us", "gauge", "Freeze of the last round.", f.freeze_us},
        {"round_load_us", "gauge", "Reading supply and demand of the last round.", f.load_us},
        {"round_clear_us", "gauge", "Clearing and guards of the last round.", f.clear_us},
        {"round_store_us", "gauge", "Storing leases and record of the last round.", f.store_us},
        {"round_commit_us", "gauge", "Commit of the last round.", f.commit_us},
        {"sweep_us", "gauge", "The last sweep.", f.sweep_us},
    };
    write_figures(figures, ARRAY_COUNT(figures), to);
}

void figures_write_settle(const struct settle *settle, struct buf *to)
{
    struct settle_figures f;
    if (settle == NULL)
        return;
    settle_metrics(settle, &f);
    const struct figure figures[] = {
        {"settle_in_office", "gauge", "1: this process settles.", f.is_in_office},
        {"settle_ticks_total", "counter", "Settlements made.", f.ticks_count},
        {"settle_failed_total", "counter", "Settlements that failed and were tried again.",
         f.failed_count},
        {"settled_uusd_total", "counter", "Micro-USD settled, fees included.", f.gross_uusd},
        {"settle_tick_us", "gauge", "The last settlement.", f.tick_us},
    };
    write_figures(figures, ARRAY_COUNT(figures), to);
}

void figures_write_history(const struct history *history, struct buf *to)
{
    struct history_figures f;
    if (history == NULL)
        return;
    history_metrics(history, &f);
    const struct figure figures[] = {
        {"history_in_office", "gauge", "1: this process rolls up what the market was.",
         f.is_in_office},
        {"history_round", "gauge", "The last round in candles.", f.last_round},
        {"history_lot_rounds_total", "counter", "Lot-rounds folded into candles.",
         f.lot_rounds_count},
        {"history_depths_total", "counter", "Ladders folded into depth.", f.depths_count},
        {"history_failed_total", "counter", "Turns that failed and were tried again.",
         f.failed_count},
        {"history_turn_us", "gauge", "The last turn.", f.turn_us},
    };
    write_figures(figures, ARRAY_COUNT(figures), to);
}
