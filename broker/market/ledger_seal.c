#include "broker/market/ledger_seal.h"

#include <endian.h>
#include <string.h>

#include "broker/base/hash.h"
#include "broker/base/must.h"
#include "gen/broker/market/ledger_seal.sql.h"

#define JOURNALS_MAX 10000
#define XACT_SIZE    32

struct sealed_upto { /* the place behind a seal */
    int64_t seal_id, journal_id, journals_count;
    char xact[XACT_SIZE];
    struct sha256 seal;
};

static void add_text(struct buf *to, struct str text)
{
    buf_add(to, "|", 1);
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] == '\\')
            buf_add_c(to, "\\\\");
        else if (text.at[i] == '|')
            buf_add_c(to, "\\b");
        else if (text.at[i] == '\n')
            buf_add_c(to, "\\n");
        else
            buf_add(to, &text.at[i], 1);
    }
}

static void add_journal(struct buf *to, const struct ledger_seal_lines_out *row)
{
    buf_add_format(to, "J|%lld", (long long)row->journal_id);
    add_text(to, row->kind);
    add_text(to, row->actor);
    add_text(to, row->request_id);
    if (row->has_epoch)
        buf_add_format(to, "|%lld", (long long)row->epoch);
    else
        buf_add_c(to, "|");
    add_text(to, row->memo);
    add_text(to, row->source_key);
    buf_add_format(to, "|%lld\n", (long long)row->created_at_us);
}

static void add_entry(struct buf *to, const struct ledger_seal_lines_out *row)
{
    if (!row->has_line)
        return;
    buf_add_format(to, "E|%d|%lld|%lld", row->line, (long long)row->ledger_account_id,
                   (long long)row->amount_uusd);
    add_text(to, row->ref);
    buf_add_c(to, "\n");
    buf_add_str(to, row->parts);
}

/* Moves `place` behind the rows and to their seal. */
static void place_advance(struct sealed_upto *place, const struct sql_result *rows)
{
    static const char domain[] = "undercut/ledger-seal/v1|";
    struct buf lines = {0};
    struct sha256_run run;
    place->journals_count = 0;
    for (int i = 0; i < sql_result_rows(rows); i++) {
        struct ledger_seal_lines_out row;
        ledger_seal_lines_row(rows, i, &row);
        if (i == 0 || row.journal_id != place->journal_id) {
            add_journal(&lines, &row);
            place->journals_count++;
        }
        add_entry(&lines, &row);
        place->journal_id = row.journal_id;
        must(str_format(place->xact, XACT_SIZE, "%.*s", STR_ARG(row.xact)));
    }
    uint64_t count = htobe64((uint64_t)place->journals_count);
    sha256_run_start(&run);
    sha256_run_add(&run, domain, sizeof(domain) - 1);
    sha256_run_add(&run, &place->seal, sizeof(place->seal));
    sha256_run_add(&run, &count, sizeof(count));
    sha256_run_add(&run, lines.at, lines.len);
    place->seal = sha256_run_end(&run);
    place->seal_id++;
    buf_finish(&lines);
}

static enum err_code place_load(struct session *session, struct sealed_upto *ret_place)
{
    struct sql_result *result = NULL;
    *ret_place = (struct sealed_upto){.xact = "0"};
    enum err_code err = ledger_seal_last_run(session, &result);
    if (err == ERR_OK && sql_result_rows(result) > 0) {
        struct ledger_seal_last_out row;
        ledger_seal_last_row(result, 0, &row);
        ret_place->seal_id = row.seal_id;
        ret_place->journal_id = row.last_journal_id;
        must(str_format(ret_place->xact, XACT_SIZE, "%.*s", STR_ARG(row.last_xact)));
        must(row.seal_sha256.len == sizeof(struct sha256));
        memcpy(&ret_place->seal, row.seal_sha256.at, sizeof(struct sha256));
    }
    sql_result_release(result);
    return err;
}

/* One seal; none when nothing is left to seal. */
static enum err_code seal_next(struct session *session, bool *ret_is_sealed)
{
    struct sealed_upto place;
    struct sql_result *rows = NULL;
    *ret_is_sealed = false;
    enum err_code err = place_load(session, &place);
    if (err != ERR_OK)
        return err;
    const struct ledger_seal_lines_in in = {.after_xact = str_of(place.xact),
                                            .after_journal_id = place.journal_id,
                                            .upto_xact = STR_NONE,
                                            .journals_max = JOURNALS_MAX};
    err = ledger_seal_lines_run(session, &in, &rows);
    if (err == ERR_OK && sql_result_rows(rows) > 0) {
        place_advance(&place, rows);
        const struct ledger_seal_store_in seal = {
            .seal_id = place.seal_id,
            .journals_count = place.journals_count,
            .last_xact = str_of(place.xact),
            .last_journal_id = place.journal_id,
            .seal_sha256 = {(const char *)&place.seal, sizeof(place.seal)},
        };
        err = ledger_seal_store_run(session, &seal, NULL);
        *ret_is_sealed = err == ERR_OK;
    }
    sql_result_release(rows);
    return err;
}

enum err_code ledger_seal_all(struct office *office, int32_t *ret_seals_count)
{
    enum err_code err = ERR_OK;
    bool is_sealed = true;
    *ret_seals_count = 0;
    while (err == ERR_OK && is_sealed) {
        err = office_begin(office);
        if (err == ERR_OK)
            err = seal_next(office->session, &is_sealed);
        if (err == ERR_OK)
            err = office_commit(office);
        *ret_seals_count += err == ERR_OK && is_sealed;
    }
    return err;
}

static enum err_code seal_recompute(struct session *session, struct sealed_upto *place,
                                    const struct ledger_seal_list_out *seal, bool *ret_holds)
{
    const struct ledger_seal_lines_in in = {.after_xact = str_of(place->xact),
                                            .after_journal_id = place->journal_id,
                                            .upto_xact = seal->last_xact,
                                            .upto_journal_id = seal->last_journal_id,
                                            .journals_max = JOURNALS_MAX + 1};
    struct sql_result *rows = NULL;
    enum err_code err = ledger_seal_lines_run(session, &in, &rows);
    if (err != ERR_OK)
        return err;
    place_advance(place, rows);
    sql_result_release(rows);
    *ret_holds = place->seal_id == seal->seal_id && place->journal_id == seal->last_journal_id &&
                 place->journals_count == seal->journals_count &&
                 seal->seal_sha256.len == sizeof(struct sha256) &&
                 memcmp(&place->seal, seal->seal_sha256.at, sizeof(struct sha256)) == 0;
    return ERR_OK;
}

enum err_code ledger_seal_check(struct session *session, int64_t *ret_bad_seal_id)
{
    struct sealed_upto place = {.xact = "0"};
    *ret_bad_seal_id = 0;
    for (;;) {
        const struct ledger_seal_list_in in = {.after = place.seal_id};
        struct sql_result *seals = NULL;
        enum err_code err = ledger_seal_list_run(session, &in, &seals);
        int count = err == ERR_OK ? sql_result_rows(seals) : 0;
        bool holds = true;
        for (int i = 0; err == ERR_OK && holds && i < count; i++) {
            struct ledger_seal_list_out seal;
            ledger_seal_list_row(seals, i, &seal);
            err = seal_recompute(session, &place, &seal, &holds);
            if (!holds)
                *ret_bad_seal_id = seal.seal_id;
        }
        sql_result_release(seals);
        if (err != ERR_OK || count == 0 || !holds)
            return err;
    }
}
