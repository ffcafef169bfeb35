#include "broker/market/office.h"

#include "broker/base/log.h"
#include "broker/base/must.h"
#include "gen/broker/market/office.sql.h"

#define WHY_SIZE 256

static bool office_connect(struct office *office)
{
    char why[WHY_SIZE], quoted[WHY_SIZE];
    if (office->session != NULL && session_is_broken(office->session)) {
        session_close(office->session);
        office->session = NULL;
    }
    if (office->session != NULL)
        return true;
    office->session = session_open(office->conninfo, "undercutd", why, sizeof(why));
    office->connection++;
    if (office->session == NULL)
        log_event(LOG_WARN, "office_unconnected", "office=%s why=%s", office->name,
                  log_quote(str_of(why), quoted, sizeof(quoted)));
    return office->session != NULL && (!office->plans_anew || session_plan_anew(office->session));
}

static bool has_row(struct sql_result *result)
{
    bool has = sql_result_rows(result) > 0;
    sql_result_release(result);
    return has;
}

static void office_lose(struct office *office)
{
    log_event(LOG_WARN, "office_lost", "office=%s epoch=%lld", office->name,
              (long long)office->epoch);
    office->epoch = 0;
}

bool office_hold(struct office *office)
{
    if (!office_connect(office))
        return false;
    if (office->epoch != 0)
        return true;
    const struct office_claim_in in = {.market = str_of(office->name),
                                       .holder = str_of(office->holder),
                                       .address = str_of(office->address)};
    struct sql_result *result = NULL;
    enum err_code err = office_claim_run(office->session, &in, &result);
    if (err != ERR_OK) {
        office_fail(office, "office_claim", err);
        return false;
    }
    if (sql_result_rows(result) > 0) {
        struct office_claim_out out;
        office_claim_row(result, 0, &out);
        office->epoch = out.epoch;
        log_event(LOG_INFO, "office_taken", "office=%s epoch=%lld", office->name,
                  (long long)out.epoch);
    }
    sql_result_release(result);
    return office->epoch != 0;
}

bool office_renew(struct office *office)
{
    const struct office_renew_in in = {.market = str_of(office->name), .epoch = office->epoch};
    struct sql_result *result = NULL;
    enum err_code err = office_renew_run(office->session, &in, &result);
    if (err != ERR_OK) {
        office_fail(office, "office_renew", err);
        return false;
    }
    if (!has_row(result)) {
        office_lose(office);
        return false;
    }
    return true;
}

enum err_code office_fence(struct office *office)
{
    const struct office_check_in in = {.market = str_of(office->name), .epoch = office->epoch};
    struct sql_result *result = NULL;
    enum err_code err = office_check_run(office->session, &in, &result);
    if (err != ERR_OK || has_row(result))
        return err;
    office_lose(office);
    return ERR_NO_LEADER;
}

enum err_code office_begin(struct office *office)
{
    enum err_code err = session_begin(office->session);
    if (err != ERR_OK)
        return err;
    err = office_fence(office);
    if (err != ERR_OK)
        session_rollback(office->session);
    return err;
}

enum err_code office_commit(struct office *office)
{
    return session_commit(office->session);
}

void office_fail(struct office *office, const char *what, enum err_code err)
{
    char quoted[WHY_SIZE];
    if (err != ERR_NO_LEADER)
        log_event(LOG_ERROR, "office_failed", "office=%s what=%s sqlstate=%s why=%s", office->name,
                  what, session_sqlstate(office->session),
                  log_quote(str_of(session_why(office->session)), quoted, sizeof(quoted)));
    session_rollback(office->session);
}

void office_leave(struct office *office)
{
    const struct office_resign_in in = {.market = str_of(office->name), .epoch = office->epoch};
    if (office->session != NULL && office->epoch != 0 && !session_is_broken(office->session))
        (void)office_resign_run(office->session, &in, NULL);
    session_close(office->session);
    office->session = NULL;
    office->epoch = 0;
}
