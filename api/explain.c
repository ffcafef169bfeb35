/* The happy path is: the workload and what it still wants, its manifest read again, what is on
 * offer, the judgement, the history of the one lot that matters, one answer. Failure modes are: a
 * workload that is not the caller's, and a stored manifest that no longer reads (ours to mend:
 * internal).
 */
#include "api/explain.h"

#include <string.h>

#include "api/catalogue.h"
#include "api/entry.h"
#include "api/manifest.h"
#include "api/watch.h"
#include "broker/base/clock.h"

#define NODES_AVOIDED_MAX 1024

static struct outlook_read *outlook_new(struct flow *flow, const struct manifest *manifest)
{
    struct outlook_read *read = flow_alloc(flow, sizeof(*read));
    read->manifest = manifest;
    return read;
}

struct outlook_read *outlook_of_terms(struct flow *flow, const struct manifest *manifest,
                                      const struct workload_terms *terms)
{
    const struct api_call *call = api_call_of(flow);
    struct outlook_read *read = outlook_new(flow, manifest);
    int64_t now_us = clock_now_us();
    bool is_now = str_equal_c(str_of(terms->award), "now");
    bool is_limit = str_equal_c(str_of(terms->price_policy), "limit");
    read->wish = (struct outlook_wish){
        .regions = terms->regions,
        .regions_count = terms->regions_count,
        .tier = str_of(terms->tier),
        .trust_min = str_of(terms->trust_min),
        .sees_simulated = call->principal.is_test,
        .block_size = terms->block_size,
        .account_id = call->principal.account_id.u,
        .min_replicas = terms->min_replicas,
        .is_direct = terms->is_direct,
        .direct = {.driver_min = terms->direct.driver_min,
                   .compute_min = terms->direct.compute_min,
                   .isolation = terms->direct.isolation,
                   .vcpu_milli = terms->vcpu_milli,
                   .memory_mib = terms->memory_mib,
                   .disk_mib = terms->disk_mib},
        .excluded = terms->direct.excluded,
        .excluded_count = (size_t)terms->direct.excluded_count,
        .base = {.k = (uint32_t)terms->replicas, .kmin = (uint32_t)terms->min_replicas},
        .offer = {.policy = is_limit && !is_now ? PRICE_POLICY_LIMIT : PRICE_POLICY_MARKET,
                  .reserve_uusd_per_hour = terms->reserve_uusd_per_hour,
                  .posted_at_us = now_us,
                  .deadline_at_us = terms->has_deadline ? terms->deadline_at_us : 0,
                  .run_ms = terms->max_duration_s * 1000},
        .fee_bp = call->thread->world->settings.fee_bp,
        .now_us = now_us,
    };
    read->classes_count = terms->classes_count;
    memcpy(read->classes, terms->classes, sizeof(read->classes));
    return read;
}

static size_t ids_split(struct str text, struct uuid *ret_ids, size_t max)
{
    size_t count = 0;
    while (text.at != NULL && text.len > 0 && count < max)
        count += uuid_parse(str_cut(&text, ','), &ret_ids[count]);
    return count;
}

static void facts_load(struct flow *flow, struct outlook_read *read)
{
    read->facts.flow = flow;
    outlook_facts_submit(api_call_of(flow)->thread->db, &read->facts,
                         &(struct outlook_facts_in){
                             .regions = read->wish.regions,
                             .regions_count = (size_t)read->wish.regions_count,
                             .classes = read->classes,
                             .classes_count = (size_t)read->classes_count,
                             .block_size = read->wish.block_size,
                         });
}

void outlook_load(struct flow *flow, struct outlook_read *read)
{
    const struct api_call *call = api_call_of(flow);
    const struct api_settings *settings = &call->thread->world->settings;
    read->pools.flow = read->apart.flow = flow;
    outlook_pools_submit(call->thread->db, &read->pools,
                         &(struct outlook_pools_in){
                             .market = str_of(settings->market),
                             .block_size = read->wish.block_size,
                             .sealed_age_ms = settings->sealed_age_ms,
                         });
    outlook_apart_submit(call->thread->db, &read->apart,
                         &(struct outlook_apart_in){
                             .account_id = call->principal.account_id.u,
                             .block_size = read->wish.block_size,
                             .excluded = read->wish.excluded,
                             .excluded_count = read->wish.excluded_count,
                         });
    if (read->wish.is_direct)
        facts_load(flow, read);
}

/* Where a machine may have more than its class promises, its room is judged node by node. */
static uint32_t faults_of(const struct outlook_read *read, const struct catalogue_class *class)
{
    const uint32_t of_machine = CONSTRAINT_BIT(CONSTRAINT_VCPU) |
                                CONSTRAINT_BIT(CONSTRAINT_MEMORY) | CONSTRAINT_BIT(CONSTRAINT_DISK);
    uint32_t faults = manifest_class_faults(read->manifest, class);
    return read->wish.is_direct ? faults & ~of_machine : faults;
}

enum flow_next outlook_ask(struct flow *flow, struct outlook_read *read)
{
    const struct api_call *call = api_call_of(flow);
    const struct catalogue *catalogue = catalogue_of(flow);
    struct outlook_pools_out row;
    const struct outlook_calls calls = {.pools = &read->pools,
                                        .apart = &read->apart,
                                        .facts = read->wish.is_direct ? &read->facts : NULL};
    if (db_call_check(flow, &read->pools) != ERR_OK ||
        db_call_check(flow, &read->apart) != ERR_OK ||
        (calls.facts != NULL && db_call_check(flow, &read->facts) != ERR_OK))
        return FLOW_END;
    read->wish.catalogue = catalogue;
    for (int i = 0; i < catalogue->classes_count; i++)
        read->wish.class_faults[i] = faults_of(read, &catalogue->classes[i]);
    size_t count = (size_t)read->pools.row_count;
    read->outlook.pools = flow_alloc(flow, (count + 1) * sizeof(*read->outlook.pools));
    read->outlook.rows = flow_alloc(flow, (count + 1) * sizeof(*read->outlook.rows));
    outlook_judge(&read->wish, &calls, &read->outlook);
    if (read->outlook.shown == EXPLAIN_POOL_NONE)
        return FLOW_NEXT;
    outlook_pools_get(&read->pools, (int)read->outlook.rows[read->outlook.shown], &row);
    read->lot.flow = flow;
    outlook_lot_submit(call->thread->db, &read->lot,
                       &(struct outlook_lot_in){
                           .market = str_of(call->thread->world->settings.market),
                           .region = row.region,
                           .class = row.class,
                           .block_size = read->wish.block_size,
                           .tier = row.tier,
                           .trust = row.trust,
                           .sealed_age_ms = call->thread->world->settings.sealed_age_ms,
                       });
    return FLOW_WAIT;
}

enum err_code outlook_answered(struct flow *flow, struct outlook_read *read)
{
    return read->outlook.shown == EXPLAIN_POOL_NONE ? ERR_OK : db_call_check(flow, &read->lot);
}

void outlook_read_put(struct json_out *out, const struct outlook_read *read)
{
    outlook_put(out, &read->wish, &read->outlook, &read->lot);
}

/* ---- GET /v1/workloads/{workload}/explain */

struct explain_state {
    struct workload_watch watch; /* first */
    struct db_call wish;
    struct str regions[TERMS_CHOICES_MAX];
    struct outlook_read *read;
};

static enum flow_next workload_explain_start(struct flow *flow)
{
    const struct workload_explain_path *path = api_call_of(flow)->path;
    struct explain_state *state = api_state(flow, sizeof(*state));
    state->watch.wanted = watch_wanted(flow, path->workload);
    state->watch.goal = WATCH_ONCE;
    return FLOW_NEXT;
}

/* The manifest as it was stored, which was checked when it came. NULL: the flow has failed. */
static const struct manifest *manifest_again(struct flow *flow, struct str text)
{
    struct api_call *call = api_call_of(flow);
    char why[200] = "";
    struct schema_binding binding = entry_binding(flow);
    struct manifest *manifest = flow_alloc(flow, manifest_schema.size);
    call->json = json_parse(text, why, sizeof(why));
    if (call->json != NULL)
        schema_bind(&binding, &manifest_schema, call->json, manifest);
    if (call->json != NULL && binding.errors_total == 0)
        return manifest;
    flow_fail(flow, ERR_INTERNAL, "the stored manifest of this workload cannot be read");
    return NULL;
}

static enum flow_next workload_explain_answer(struct flow *flow)
{
    struct api_call *call = api_call_of(flow);
    struct explain_state *state = flow->state;
    const struct manifest *manifest = manifest_again(flow, state->watch.row.manifest);
    if (manifest == NULL)
        return FLOW_END;
    state->read = outlook_new(flow, manifest);
    state->wish.flow = flow;
    outlook_wish_submit(call->thread->db, &state->wish,
                        &(struct outlook_wish_in){
                            .account_id = call->principal.account_id.u,
                            .workload_id = state->watch.row.workload_id,
                        });
    return FLOW_WAIT;
}

static int words_split(struct str text, struct str ret_words[TERMS_CHOICES_MAX])
{
    int count = 0;
    while (text.at != NULL && text.len > 0 && count < TERMS_CHOICES_MAX)
        ret_words[count++] = str_cut(&text, ',');
    return count;
}

/* What waits; of a workload that waits for nothing, what it would want if it were posted again. */
static struct explain_wish wanted_of(const struct workload_get_out *row,
                                     const struct outlook_wish_out *stored)
{
    struct explain_wish wish = {.k = (uint32_t)row->replicas, .kmin = (uint32_t)row->min_replicas};
    if (stored->waiting_count == 0)
        return wish;
    wish.k = (uint32_t)stored->waiting_count;
    if (stored->has_been_awarded)
        wish.kmin = 1;
    if (wish.kmin > wish.k)
        wish.kmin = wish.k;
    return wish;
}

static struct str kept(struct flow *flow, struct str text)
{
    return text.at == NULL ? STR_NONE : str_of(flow_strdup(flow, text));
}

static struct direct_wish direct_of(struct flow *flow, const struct outlook_wish_out *stored)
{
    struct direct_wish wish = {.vcpu_milli = stored->vcpu_milli,
                               .memory_mib = stored->memory_mib,
                               .disk_mib = stored->disk_mib};
    char why[200];
    json_t *json =
        stored->constraints.at != NULL ? json_parse(stored->constraints, why, sizeof(why)) : NULL;
    const struct direct_wish said = direct_wish_of(json);
    wish.driver_min = kept(flow, said.driver_min);
    wish.compute_min = kept(flow, said.compute_min);
    wish.isolation = kept(flow, said.isolation);
    json_decref(json);
    return wish;
}

static enum flow_next workload_explain_load(struct flow *flow)
{
    struct explain_state *state = flow->state;
    const struct workload_get_out *row = &state->watch.row;
    struct outlook_wish_out stored;
    if (db_call_check(flow, &state->wish) != ERR_OK)
        return FLOW_END;
    if (state->wish.row_count == 0)
        return flow_fail(flow, ERR_NOT_FOUND, "no workload of yours has this id or name");
    outlook_wish_get(&state->wish, 0, &stored);
    struct uuid *ids = flow_alloc(flow, NODES_AVOIDED_MAX * sizeof(*ids));
    state->read->classes_count = words_split(row->classes, state->read->classes);
    state->read->wish = (struct outlook_wish){
        .regions = state->regions,
        .regions_count = words_split(row->regions, state->regions),
        .tier = row->tier,
        .trust_min = row->trust_min,
        .sees_simulated = api_call_of(flow)->principal.is_test,
        .block_size = row->block_size,
        .account_id = api_call_of(flow)->principal.account_id.u,
        .min_replicas = wanted_of(row, &stored).kmin,
        .is_direct = stored.is_direct,
        .direct = direct_of(flow, &stored),
        .excluded = ids,
        .excluded_count = ids_split(stored.excluded, ids, NODES_AVOIDED_MAX),
        .base = wanted_of(row, &stored),
        .offer = {.policy = str_equal_c(row->price_policy, "limit") ? PRICE_POLICY_LIMIT
                                                                    : PRICE_POLICY_MARKET,
                  .reserve_uusd_per_hour = row->reserve_uusd_per_hour,
                  .posted_at_us = row->created_at_us,
                  .deadline_at_us = stored.has_deadline_at ? stored.deadline_at_us : 0,
                  .run_ms = (int64_t)stored.max_duration_s * 1000},
        .fee_bp = stored.fee_bp,
        .now_us = clock_now_us(),
    };
    outlook_load(flow, state->read);
    return FLOW_WAIT;
}

static enum flow_next workload_explain_judge(struct flow *flow)
{
    struct explain_state *state = flow->state;
    return outlook_ask(flow, state->read);
}

static enum flow_next workload_explain_reply(struct flow *flow)
{
    struct explain_state *state = flow->state;
    char id[ID_TEXT_SIZE];
    if (outlook_answered(flow, state->read) != ERR_OK)
        return FLOW_END;
    struct json_out *out = api_json(flow);
    json_object_open(out, NULL);
    json_put_c(out, "workload_id", uuid_prefixed(state->watch.row.workload_id, "wl", id));
    json_put_str(out, "name", state->watch.row.name);
    json_put_str(out, "state", state->watch.row.state);
    json_put_i64(out, "replicas_auctioning", state->watch.row.replicas_auctioning);
    json_object_open(out, "explain");
    outlook_read_put(out, state->read);
    json_object_close(out);
    json_object_close(out);
    return api_reply_json(flow, 200);
}

const struct flow_step workload_explain_steps[] = {
    CATALOGUE_STEPS,
    {"start", workload_explain_start},
    WORKLOAD_WATCH_STEPS,
    {"answer", workload_explain_answer},
    {"load", workload_explain_load},
    {"judge", workload_explain_judge},
    {"reply", workload_explain_reply},
    {0},
};
