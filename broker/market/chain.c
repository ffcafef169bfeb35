#include "broker/market/chain.h"

#include <stdlib.h>
#include <string.h>

#include "broker/base/log.h"
#include "gen/broker/market/chain.sql.h"

static void links_make(struct seed_chain *chain, const struct sha256 *secret, int32_t length)
{
    chain->length = length;
    chain->links = malloc(((size_t)length + 1) * sizeof(struct sha256));
    must(chain->links != NULL);
    chain->links[length] = *secret;
    for (int32_t i = length; i > 0; i--)
        chain->links[i - 1] = sha256_of(&chain->links[i], sizeof(struct sha256));
}

/* A chain whose links do not end in its anchor is not the one that was promised. */
static bool chain_take(const struct seed_chain_load_out *row, const struct seal_key *key,
                       struct seed_chain *ret_chain)
{
    struct buf plain = {0};
    struct sha256 secret;
    bool is_open = seal_open(key, row->secret_sealed, &plain) && plain.len == sizeof(secret);
    if (is_open)
        memcpy(&secret, plain.at, sizeof(secret));
    buf_finish(&plain);
    if (!is_open)
        return false;
    *ret_chain = (struct seed_chain){.chain_id = row->chain_id, .next_index = row->next_index};
    links_make(ret_chain, &secret, row->length);
    if (row->anchor.len == sizeof(struct sha256) &&
        memcmp(row->anchor.at, &ret_chain->links[0], sizeof(struct sha256)) == 0)
        return true;
    seed_chain_finish(ret_chain);
    return false;
}

static enum err_code chain_load(struct session *session, const struct seed_chain_load_in *in,
                                const struct seal_key *key, struct seed_chain *ret_chain)
{
    struct sql_result *result = NULL;
    enum err_code err = seed_chain_load_run(session, in, &result);
    if (err != ERR_OK)
        return err;
    *ret_chain = (struct seed_chain){.chain_id = 0};
    if (sql_result_rows(result) > 0) {
        struct seed_chain_load_out row;
        seed_chain_load_row(result, 0, &row);
        if (!chain_take(&row, key, ret_chain))
            log_event(LOG_WARN, "seed_chain_unopened", "chain_id=%lld", (long long)row.chain_id);
    }
    sql_result_release(result);
    return ERR_OK;
}

static enum err_code chain_make(struct session *session, const char *market,
                                const struct seal_key *key, struct seed_chain *ret_chain)
{
    struct sha256 secret;
    struct buf sealed = {0};
    random_bytes(&secret, sizeof(secret));
    *ret_chain = (struct seed_chain){.next_index = 1};
    links_make(ret_chain, &secret, SEED_CHAIN_LENGTH);
    seal_close(key, (struct str){(const char *)&secret, sizeof(secret)}, &sealed);
    const struct seed_chain_store_in in = {
        .market = str_of(market),
        .secret_sealed = buf_str(&sealed),
        .anchor = {(const char *)&ret_chain->links[0], sizeof(struct sha256)},
        .length = SEED_CHAIN_LENGTH,
    };
    struct sql_result *result = NULL;
    enum err_code err = seed_chain_store_run(session, &in, &result);
    buf_finish(&sealed);
    if (err != ERR_OK) {
        seed_chain_finish(ret_chain);
        return err;
    }
    struct seed_chain_store_out row;
    seed_chain_store_row(result, 0, &row);
    ret_chain->chain_id = row.chain_id;
    sql_result_release(result);
    return ERR_OK;
}

enum err_code seed_chain_open(struct session *session, const char *market,
                              const struct seal_key *key, struct seed_chain *ret_chain)
{
    const struct seed_chain_load_in in = {.market = str_of(market)};
    enum err_code err = chain_load(session, &in, key, ret_chain);
    if (err != ERR_OK)
        return err;
    if (ret_chain->chain_id != 0 && ret_chain->next_index <= ret_chain->length)
        return ERR_OK;
    seed_chain_finish(ret_chain);
    return chain_make(session, market, key, ret_chain);
}

bool seed_chain_open_old(struct session *session, const char *market, const struct seal_key *key,
                         int64_t chain_id, struct seed_chain *ret_chain)
{
    const struct seed_chain_load_in in = {
        .market = str_of(market), .chain_id = chain_id, .has_chain_id = true};
    return chain_load(session, &in, key, ret_chain) == ERR_OK && ret_chain->chain_id == chain_id;
}

void seed_chain_finish(struct seed_chain *chain)
{
    free(chain->links);
    *chain = (struct seed_chain){.chain_id = 0};
}
