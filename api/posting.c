/* The happy path is: the manifest becomes terms, the terms become the one row that workload_store
 * wants, with its texts in the flow's pool. Failure modes are: fields that contradict each other
 * or fit nothing that is traded (each listed with its pointer), and money that is short (said in
 * USD). */
#include "api/posting.h"

#include <string.h>

#include "api/catalogue.h"
#include "api/entry.h"
#include "api/manifest.h"
#include "api/placement.h"
#include "broker/base/clock.h"
#include "broker/base/money.h"
#include "broker/market/account.h"
#include "broker/market/promise.h"

#define NAME_DIGITS  12  /* of the id's random end, in a name that we make up */
#define AWARD_NOW_MS 300 /* how long the market has for an award at once */

static struct str kept(struct flow *flow, struct buf *text)
{
    struct str copy = {.at = flow_strdup(flow, buf_str(text)), .len = text->len};
    buf_finish(text);
    return copy;
}

/* "a,b,c"; the names then point into it, since the catalogue they came from may go. */
static struct str joined(struct flow *flow, struct str *names, int count)
{
    size_t size = 1;
    for (int i = 0; i < count; i++)
        size += names[i].len + 1;
    char *list = flow_alloc(flow, size), *at = list;
    for (int i = 0; i < count; i++) {
        if (i > 0)
            *at++ = ',';
        names[i].at = memcpy(at, names[i].at, names[i].len);
        at += names[i].len;
    }
    return (struct str){.at = list, .len = (size_t)(at - list)};
}

static struct str name_of(struct flow *flow, const struct posting *posting)
{
    char id[ID_TEXT_SIZE], name[2 + NAME_DIGITS + 1] = "w-";
    if (posting->terms.name.at != NULL)
        return posting->terms.name;
    workload_id_text(posting->id, id);
    memcpy(name + 2, id + strlen(id) - NAME_DIGITS, NAME_DIGITS);
    return str_of(flow_strdup(flow, str_of(name)));
}

static bool read_terms(struct flow *flow, struct str name, struct posting *posting)
{
    struct api_call *call = api_call_of(flow);
    struct schema_binding binding = entry_binding(flow);
    struct manifest_context context = {
        .catalogue = catalogue_of(flow),
        .is_test = call->principal.is_test,
        .now_us = clock_now_us(),
        .hold_s = call->thread->world->settings.hold_s,
    };
    bool has_terms = manifest_terms(&binding, posting->manifest, &context, &posting->terms);
    bool is_other = name.at != NULL && posting->manifest->name.at != NULL &&
                    !str_equal(name, posting->manifest->name);
    if (is_other)
        schema_refuse(&binding, ERR_INVALID_FIELD, "/name", "conflict", "must be the path's name");
    if (name.at != NULL)
        posting->terms.name = name;
    return entry_accept(flow, &binding) && has_terms;
}

static struct str labels_of(struct flow *flow, const struct manifest *manifest)
{
    struct buf text = {.at = NULL};
    struct json_out out;
    if (manifest->labels.count == 0)
        return STR("{}");
    json_out_start(&out, &text);
    json_object_open(&out, NULL);
    for (size_t i = 0; i < manifest->labels.count; i++)
        json_put_str(&out, manifest->labels.at[i].key.at, manifest->labels.at[i].value);
    json_object_close(&out);
    return kept(flow, &text);
}

/* As it was sent, where that is JSON and tells no secret. */
static struct str public_text(struct flow *flow, const struct manifest *manifest)
{
    const struct api_call *call = api_call_of(flow);
    if (!call->is_yaml && !manifest_has_secret(manifest))
        return call->raw_body;
    struct buf text = {.at = NULL};
    manifest_write_public(api_body_json(flow), &text);
    return kept(flow, &text);
}

static struct str sealed_secrets(struct flow *flow, const struct manifest *manifest)
{
    struct buf plain = {.at = NULL}, sealed = {.at = NULL};
    if (!manifest_has_secret(manifest))
        return STR_NONE;
    manifest_write_secret(api_body_json(flow), &plain);
    seal_close(&api_call_of(flow)->thread->world->secret_key, buf_str(&plain), &sealed);
    explicit_bzero(plain.at, plain.len);
    buf_finish(&plain);
    return kept(flow, &sealed);
}

static struct str constraints_of(struct flow *flow, const struct workload_terms *terms)
{
    struct buf text = {.at = NULL};
    placement_write(terms, &text);
    return text.len > 0 ? kept(flow, &text) : STR_NONE;
}

static void take_terms(struct flow *flow, struct posting *posting)
{
    struct workload_terms *terms = &posting->terms;
    struct workload_store_in *in = &posting->in;
    in->image = terms->image;
    in->block_size = terms->block_size;
    in->devices_count = terms->devices_count;
    in->classes = joined(flow, terms->classes, terms->classes_count);
    in->regions = joined(flow, terms->regions, terms->regions_count);
    in->tier = str_of(terms->tier);
    in->trust_min = str_of(terms->trust_min);
    in->award = str_of(terms->award);
    in->price_policy = str_of(terms->price_policy);
    in->reserve_uusd_per_hour = terms->reserve_uusd_per_hour;
    in->vcpu_milli = (int32_t)terms->vcpu_milli;
    in->memory_mib = (int32_t)terms->memory_mib;
    in->disk_mib = (int32_t)terms->disk_mib;
    in->replicas = (int32_t)terms->replicas;
    in->min_replicas = (int32_t)terms->min_replicas;
    in->restart = str_of(terms->restart);
    in->on_interruption = str_of(terms->on_interruption);
    in->on_degraded = str_of(terms->on_degraded);
    in->max_duration_s = (int32_t)terms->max_duration_s;
    in->has_deadline_at = terms->has_deadline;
    in->deadline_at_us = terms->deadline_at_us;
    in->has_budget_uusd = terms->has_budget;
    in->budget_uusd = terms->budget_uusd;
    in->stop_grace_s = (int32_t)terms->stop_grace_s;
    in->hold_uusd = terms->hold_uusd;
    in->constraints = constraints_of(flow, terms);
}

bool posting_make(struct flow *flow, struct str name, struct posting *ret)
{
    struct api_call *call = api_call_of(flow);
    const struct api_settings *settings = &call->thread->world->settings;
    *ret = (struct posting){.manifest = call->body, .id = workload_id_new()};
    if (!read_terms(flow, name, ret))
        return false;
    ret->in = (struct workload_store_in){
        .workload_id = ret->id.u,
        .account_id = call->principal.account_id.u,
        .name = name_of(flow, ret),
        .market = str_of(settings->market),
        .manifest = public_text(flow, ret->manifest),
        .secrets_sealed = sealed_secrets(flow, ret->manifest),
        .fee_bp = (int32_t)settings->fee_bp,
        .labels = labels_of(flow, ret->manifest),
        .message_sha256 = sha256_slice(&call->body_sha256),
        .request_id = flow->request_id.u,
    };
    if (call->idempotency_key.at != NULL) {
        ret->in.idem_key = call->idempotency_key;
        ret->in.idem_body_sha256 = sha256_slice(&call->body_sha256);
    }
    take_terms(flow, ret);
    return true;
}

void posting_want(struct workload_order *order, enum wait_for wait_for, int64_t timeout_s)
{
    const struct workload_store_in *in = &order->posting.in;
    struct workload_watch *watch = &order->watch;
    bool is_now = str_equal_c(in->award, "now");
    watch->wanted = (struct workload_wanted){
        .account_id = in->account_id,
        .has_workload_id = true,
        .workload_id = in->workload_id,
    };
    watch->goal = watch_goal_of(wait_for, is_now ? WATCH_AWARDED : WATCH_ONCE);
    watch->timeout_ms = watch->goal == WATCH_AWARDED ? AWARD_NOW_MS : timeout_s * 1000;
}

void posting_listen(struct flow *flow, struct workload_order *order)
{
    if (order->watch.goal != WATCH_ONCE && order->watch.wait.flow == NULL)
        watch_listen(flow, &order->watch);
}

bool posting_may_be_lent(const struct posting *posting)
{
    return str_equal_c(posting->in.award, "now");
}

void posting_announce(struct flow *flow, const struct workload_order *order)
{
    const struct posting *posting = &order->posting;
    const struct api_call *call = api_call_of(flow);
    char text[ID_TEXT_SIZE], topic[HUB_TOPIC_SIZE];
    account_wake(call->thread->hub, call->principal.account_id); /* no other waits for a new id */
    if (!str_equal_c(posting->in.award, "now") || order->stored.was_lent)
        return;
    must(str_format(topic, sizeof(topic), "market:now:%s", uuid_text(posting->id.u, text)));
    hub_wake(call->thread->hub, topic);
}

struct workload_get_out posting_stored(const struct posting *posting,
                                       const struct workload_store_out *row)
{
    const struct workload_store_in *in = &posting->in;
    return (struct workload_get_out){
        .workload_id = in->workload_id,
        .name = in->name,
        .state = STR("auctioning"),
        .status_reason = STR_NONE,
        .desired = STR("run"),
        .image = in->image,
        .tier = in->tier,
        .award = in->award,
        .price_policy = in->price_policy,
        .reserve_uusd_per_hour = in->reserve_uusd_per_hour,
        .replicas = in->replicas,
        .min_replicas = in->min_replicas,
        .replicas_auctioning = in->replicas,
        .classes = in->classes,
        .regions = in->regions,
        .block_size = in->block_size,
        .trust_min = in->trust_min,
        .escrow_uusd = in->hold_uusd,
        .version = 1,
        .created_at_us = row->created_at_us,
        .labels = in->labels,
        .manifest = in->manifest,
        .market = in->market,
        .arrived_round = row->round,
        .place = row->place,
        .message_sha256 = in->message_sha256,
    };
}

enum flow_next posting_refuse_short(struct flow *flow, int64_t hold_uusd, int64_t wallet_uusd)
{
    char hold[32], wallet[32], missing[32];
    return flow_fail(flow, ERR_FUNDS_SHORT,
                     "the hold is %s USD and the wallet has %s USD: %s USD are missing",
                     money_format_usd(hold_uusd, hold), money_format_usd(wallet_uusd, wallet),
                     money_format_usd(hold_uusd - wallet_uusd, missing));
}

static void fill_promise(struct flow *flow, struct workload_order *order)
{
    const struct workload_get_out *workload = &order->watch.row;
    struct promise *promise = &order->notary.promise;
    promise->market = api_call_of(flow)->thread->world->settings.market;
    promise->round = workload->arrived_round;
    promise->place = workload->place;
    must(sha256_of_slice(workload->message_sha256, &promise->message_sha256));
}

enum flow_next posting_sign(struct flow *flow, struct workload_order *order)
{
    fill_promise(flow, order);
    return notary_sign(flow, &order->notary);
}

void posting_put_promise(struct flow *flow, struct json_out *out, struct workload_order *order)
{
    const struct api_world *world = api_call_of(flow)->thread->world;
    struct promise *promise = &order->notary.promise;
    if (promise->count == 0) {
        fill_promise(flow, order);
        promise_sign(&promise, 1, &world->market_secret);
    }
    promise_put(out, "promise", promise, &world->market_public);
}
