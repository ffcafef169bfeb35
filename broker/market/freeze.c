/* The happy path is: in one trip wait for arrivals, take the round's number and a link and read
 * what stands in it; fix the seed, and later store the record and its leaf. Failure modes are:
 * another epoch in office or a link that was spent (no row), and a round that was left frozen,
 * which is voided with a record of its own.
 */
#include "broker/market/freeze.h"

#include <stdlib.h>
#include <string.h>

#include "broker/base/log.h"
#include "broker/base/merkle.h"
#include "broker/market/demand.h"
#include "broker/market/round.h"
#include "broker/market/transcript.h"
#include "gen/broker/market/freeze.sql.h"

static struct str bytes_of(const struct sha256 *hash)
{
    return (struct str){(const char *)hash->bytes, sizeof(hash->bytes)};
}

struct opening { /* the answers of one trip */
    struct sql_result *stored, *round, *arrivals, *wishes;
};

/* BEGIN, the wait for arrivals, the round's number and what stands in it; of a round of those who
 * want an award now also who they are, after storing those who were brought here. */
static enum err_code opening_ask(struct office *office, const struct seed_chain *chain,
                                 enum record_kind kind, const struct db_errand *errands,
                                 struct opening *opening)
{
    struct session *session = office->session;
    const struct str market = str_of(office->name);
    const struct arrivals_lock_in lock = {.market = market};
    const struct round_open_in open = {.market = market,
                                       .epoch = office->epoch,
                                       .chain_id = chain->chain_id,
                                       .chain_index = chain->next_index};
    const struct round_arrivals_in arrivals = {.market = market};
    const struct demand_query wishes = {.market = office->name, .only_now = true};
    session_pipe_open(session);
    session_begin(session);
    arrivals_lock_run(session, &lock, NULL);
    if (errands != NULL)
        db_errands_run(session, errands, &opening->stored);
    round_open_run(session, &open, &opening->round);
    round_arrivals_run(session, &arrivals, &opening->arrivals);
    if (kind == RECORD_NOW)
        demand_read(session, &wishes, &opening->wishes);
    return session_pipe_flush(session); /* knows what failed */
}

static void opening_finish(struct opening *opening)
{
    sql_result_release(opening->round);
    sql_result_release(opening->arrivals);
    sql_result_release(opening->wishes);
}

static void arrivals_gather(const struct sql_result *arrivals, struct frozen_round *round)
{
    round->arrivals_count = sql_result_rows(arrivals);
    size_t count = (size_t)round->arrivals_count;
    struct sha256 *leaves = malloc((count ? count : 1) * sizeof(struct sha256));
    must(leaves != NULL);
    for (int32_t i = 0; i < round->arrivals_count; i++) {
        struct round_arrivals_out row;
        struct sha256 message;
        round_arrivals_row(arrivals, i, &row);
        must(row.message_sha256.len == sizeof(message));
        memcpy(&message, row.message_sha256.at, sizeof(message));
        round->has_asks |= str_equal_c(row.kind, "ask") || str_equal_c(row.kind, "withdraw") ||
                           str_equal_c(row.kind, "bid") || str_equal_c(row.kind, "bid_withdraw");
        leaves[i] = arrival_leaf(round->round, row.place, &message);
    }
    round->arrivals_root = merkle_root(leaves, count);
    free(leaves);
}

static void seed_fix(const char *market, struct frozen_round *round)
{
    const struct seed_parts parts = {.market = str_of(market),
                                     .t = (uint64_t)round->round,
                                     .arrivals_root = round->arrivals_root,
                                     .chain_value = round->chain_value};
    round->seed = seed_of(&parts);
}

static struct str round_kind(const struct frozen_round *round)
{
    return round->kind == RECORD_NOW ? STR("now") : STR("auction");
}

static enum err_code round_row_store(struct office *office, const struct frozen_round *round)
{
    const struct round_freeze_in in = {
        .market = str_of(office->name),
        .round = round->round,
        .kind = round_kind(round),
        .epoch = office->epoch,
        .inputs_root = bytes_of(&round->arrivals_root),
        .arrivals_count = round->arrivals_count,
        .chain_id = round->chain_id,
        .chain_index = round->chain_index,
    };
    return round_freeze_run(office->session, &in, NULL);
}

enum err_code round_begin(struct office *office, struct seed_chain *chain, enum record_kind kind,
                          const struct db_errand *errands, struct frozen_round *ret_round)
{
    struct opening opening = {.round = NULL};
    *ret_round = (struct frozen_round){.kind = kind,
                                       .chain_id = chain->chain_id,
                                       .chain_index = chain->next_index,
                                       .chain_value = chain->links[chain->next_index]};
    enum err_code err = opening_ask(office, chain, kind, errands, &opening);
    ret_round->stored = opening.stored;
    if (err == ERR_OK && sql_result_rows(opening.round) == 0)
        err = ERR_NO_LEADER;
    if (err == ERR_OK) {
        struct round_open_out row;
        round_open_row(opening.round, 0, &row);
        ret_round->round = row.round;
        arrivals_gather(opening.arrivals, ret_round);
        seed_fix(office->name, ret_round);
        ret_round->wishes = opening.wishes;
        opening.wishes = NULL;
    }
    if (err == ERR_OK && kind != RECORD_NOW)
        err = round_row_store(office, ret_round);
    opening_finish(&opening);
    return err;
}

struct record_head frozen_round_head(const struct frozen_round *round, const char *market,
                                     uint32_t fee_bp)
{
    return (struct record_head){
        .kind = round->kind,
        .seed_parts = {.market = str_of(market),
                       .t = (uint64_t)round->round,
                       .arrivals_root = round->arrivals_root,
                       .chain_value = round->chain_value},
        .chain_index = (uint64_t)round->chain_index,
        .seed = round->seed,
        .fee_bp = fee_bp,
    };
}

/* The rest of round_end: the leaf, and the row that it belongs to. */
static enum err_code round_log(struct office *office, struct round_finish_in *in, struct str body)
{
    struct transcript_leaf leaf;
    struct sha256 digest = sha256_of(body.at, body.len);
    transcript_grow(office->transcript, body, &leaf);
    in->record_sha256 = bytes_of(&digest);
    in->log_size = leaf.size;
    in->log_body = leaf.body;
    in->leaf_sha256 = bytes_of(&leaf.leaf);
    in->root_sha256 = bytes_of(&leaf.root);
    in->nodes = (struct str){(const char *)leaf.nodes, leaf.nodes_len};
    return round_finish_run(office->session, in, NULL);
}

enum err_code round_end(struct office *office, const struct frozen_round *round, struct str record,
                        int32_t awards_count)
{
    struct sha256 secret;
    struct buf body = {0};
    transcript_seal(record, &secret, &body);
    bool is_shown = !round->is_link_lost;
    struct round_finish_in in = {
        .market = str_of(office->name),
        .round = round->round,
        .kind = round_kind(round),
        .epoch = office->epoch,
        .inputs_root = bytes_of(&round->arrivals_root),
        .arrivals_count = round->arrivals_count,
        .chain_id = round->chain_id,
        .chain_index = round->chain_index,
        .state = round->kind == RECORD_VOID ? STR("void") : STR("committed"),
        .chain_value = is_shown ? bytes_of(&round->chain_value) : STR_NONE,
        .seed = is_shown ? bytes_of(&round->seed) : STR_NONE,
        .record = record,
        .opening_secret = bytes_of(&secret),
        .awards_count = awards_count,
    };
    enum err_code err = round_log(office, &in, buf_str(&body));
    buf_finish(&body);
    return err;
}

/* Where the chain is not ours to open, the record says so: its link and seed are zeros. */
static enum err_code round_void_one(struct office *office, const struct seal_key *key,
                                    uint32_t fee_bp, const struct round_frozen_out *row)
{
    struct frozen_round round = {.round = row->round,
                                 .kind = RECORD_VOID,
                                 .chain_id = row->chain_id,
                                 .chain_index = row->chain_index,
                                 .is_link_lost = true};
    struct seed_chain chain = {.chain_id = 0};
    struct buf record = {0};
    must(row->inputs_root.len == sizeof(round.arrivals_root));
    memcpy(&round.arrivals_root, row->inputs_root.at, sizeof(round.arrivals_root));
    if (seed_chain_open_old(office->session, office->name, key, row->chain_id, &chain)) {
        round.is_link_lost = false;
        round.chain_value = chain.links[row->chain_index];
        seed_fix(office->name, &round);
    }
    struct record_head head = frozen_round_head(&round, office->name, fee_bp);
    record_put_head(&record, &head);
    log_event(LOG_WARN, "round_voided", "market=%s round=%lld", office->name,
              (long long)round.round);
    enum err_code err = round_end(office, &round, buf_str(&record), 0);
    buf_finish(&record);
    seed_chain_finish(&chain);
    return err;
}

enum err_code rounds_void(struct office *office, const struct seal_key *key, uint32_t fee_bp,
                          int32_t *ret_count)
{
    const struct round_frozen_in in = {.market = str_of(office->name)};
    struct sql_result *result = NULL;
    *ret_count = 0;
    enum err_code err = office_begin(office);
    if (err != ERR_OK)
        return err;
    err = round_frozen_run(office->session, &in, &result);
    for (int i = 0; err == ERR_OK && i < sql_result_rows(result); i++) {
        struct round_frozen_out row;
        round_frozen_row(result, i, &row);
        err = round_void_one(office, key, fee_bp, &row);
        *ret_count += err == ERR_OK;
    }
    sql_result_release(result);
    return err == ERR_OK ? office_commit(office) : err;
}
