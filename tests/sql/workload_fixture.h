/* workload_fixture.h - posting, reading and stopping workloads through the product's own
 * statements.
 *
 * Tests only, over market_fixture.h: account 1 is rich, 2 can hold two replicas, 3 is poor.
 */
#ifndef UNDERCUT_TESTS_SQL_WORKLOAD_FIXTURE_H
#define UNDERCUT_TESTS_SQL_WORKLOAD_FIXTURE_H

#include <pthread.h>

#include "billing/meter.h"
#include "broker/market/account.h"
#include "broker/market/workload.h"
#include "tests/sql/market_fixture.h"

#define RESERVE 600000 /* 10 min of one replica: 100000 */

static struct market_world world;

static const char body_text[] = "the body";
static const char other_text[] = "another body";

static inline struct uuid account(int who)
{
    return world_uuid(world_ask(&world, "select fx.account(%d)", who));
}

static inline struct str hash_of(const char *text, struct sha256 *memory)
{
    *memory = sha256_of(text, strlen(text));
    return sha256_slice(memory);
}

static inline struct workload_store_in posting(struct uuid account_id, const char *name,
                                               int replicas)
{
    static struct sha256 message;
    int64_t hold = 0;
    must(hold_for(RESERVE, replicas, 600000, &hold));
    return (struct workload_store_in){
        .workload_id = uuid_v7(),
        .account_id = account_id,
        .name = str_of(name),
        .market = STR("main"),
        .manifest = STR("{\"image\":\"busybox\"}"),
        .image = STR("busybox"),
        .block_size = 1,
        .devices_count = 1,
        .classes = STR("cpu-1c2g,cpu-2c4g"),
        .regions = STR("eu-west"),
        .tier = STR("flexible"),
        .trust_min = STR("unverified"),
        .award = STR("auction"),
        .price_policy = STR("limit"),
        .reserve_uusd_per_hour = RESERVE,
        .fee_bp = 1000,
        .vcpu_milli = 1000,
        .memory_mib = 512,
        .disk_mib = 512,
        .replicas = replicas,
        .min_replicas = replicas,
        .restart = STR("never"),
        .on_interruption = STR("rebid"),
        .on_degraded = STR("continue"),
        .max_duration_s = 3600,
        .stop_grace_s = 10,
        .labels = STR("{\"team\":\"a\"}"),
        .message_sha256 = hash_of(body_text, &message),
        .hold_uusd = hold,
        .request_id = uuid_v7(),
    };
}

/* Stores some postings as one batch; says how many were stored. */
static inline int store_with(struct session *session, const struct workload_store_in *in,
                             size_t count, struct workload_store_out *ret_rows)
{
    struct sql_result *result = NULL;
    int stored = 0;
    if (workload_store_run(session, in, count, &result) != ERR_OK)
        return -1;
    must(sql_result_rows(result) == (int)count);
    for (size_t i = 0; i < count; i++) {
        workload_store_row(result, (int)i, &ret_rows[i]);
        must(ret_rows[i].ord == (int)i + 1);
        stored += ret_rows[i].is_stored;
    }
    sql_result_release(result);
    return stored;
}

static inline int store(const struct workload_store_in *in, size_t count,
                        struct workload_store_out *ret_rows)
{
    int stored = store_with(world.session, in, count, ret_rows);
    if (stored < 0)
        fail_msg("%s", session_why(world.session));
    return stored;
}

static inline struct uuid post(int who, const char *name, int replicas)
{
    struct workload_store_in in = posting(account(who), name, replicas);
    struct workload_store_out row;
    must(store(&in, 1, &row) == 1);
    return in.workload_id;
}

static inline bool named(struct uuid account_id, const char *name, struct uuid *ret_id)
{
    struct workload_named_in in = {.account_id = account_id, .name = str_of(name)};
    struct sql_result *result = NULL;
    struct workload_named_out row;
    must(workload_named_run(world.session, &in, &result) == ERR_OK);
    bool is_found = sql_result_rows(result) > 0;
    if (is_found) {
        workload_named_row(result, 0, &row);
        *ret_id = row.workload_id;
    }
    sql_result_release(result);
    return is_found;
}

/* One row of workload_get, decoded; texts live in `*ret_result`. */
static inline bool get(struct uuid account_id, const struct uuid *id, const char *name,
                       struct sql_result **ret_result, struct workload_get_out *ret_row)
{
    struct workload_get_in in = {.account_id = account_id};
    *ret_result = NULL;
    if (id != NULL)
        in.workload_id = *id;
    else if (!named(account_id, name, &in.workload_id))
        return false;
    must(workload_get_run(world.session, &in, 1, ret_result) == ERR_OK);
    if (sql_result_rows(*ret_result) == 0)
        return false;
    workload_get_row(*ret_result, 0, ret_row);
    return true;
}

struct stopped {
    int rows;
    struct workload_stop_out first;
};

static inline struct stopped stop_with(struct session *session, struct uuid account_id,
                                       struct uuid id)
{
    struct sha256 message = workload_cancel_message(STR("wl_x"));
    struct workload_stop_in in = {
        .account_id = account_id,
        .has_workload_id = true,
        .workload_id = id,
        .reason = STR("stopped_by_owner"),
        .message_sha256 = sha256_slice(&message),
    };
    struct sql_result *result = NULL;
    struct stopped stopped = {.rows = -1};
    if (workload_stop_run(session, &in, &result) != ERR_OK)
        return stopped;
    stopped.rows = sql_result_rows(result);
    if (stopped.rows > 0)
        workload_stop_row(result, 0, &stopped.first);
    sql_result_release(result);
    return stopped;
}

static inline struct stopped stop(int who, struct uuid id)
{
    struct stopped stopped = stop_with(world.session, account(who), id);
    if (stopped.rows < 0)
        fail_msg("%s", session_why(world.session));
    return stopped;
}

static inline int setup(void **state)
{
    (void)state;
    hash_start();
    world_open(&world);
    world_do(&world, "select fx.make_account(1, 10000000), fx.make_account(2, 250000),"
                     " fx.make_account(3, 0)");
    return 0;
}

static inline int teardown(void **state)
{
    (void)state;
    world_is_sound(&world);
    world_close(&world);
    return 0;
}

static inline const char *id_text(struct uuid id)
{
    static char buf[4][ID_TEXT_SIZE];
    static int next;
    return uuid_text(id, buf[next++ % 4]);
}

#endif
