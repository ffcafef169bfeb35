/* lots_json.c - reads lots, clears each, writes what came out.
 *
 * The happy path is, per lot: count blocks, lay out the arrays, fill them, clear, group the awards
 * by seller, write.
 * Failure modes are: a text that is not JSON, a member that is missing, unknown or out of range;
 * each ends the run with the place, the kind of fault and what would be right.
 */
#include "auction/lots_json.h"

#include <stdlib.h>

#include "auction/clear.h"
#include "auction/policy.h"
#include "broker/base/json.h"

#define ID_NUMBER_SIZE 12 /* "/" and a number below LOTS_JSON_BLOCKS_MAX */
#define PLACE_SIZE     160
#define ID_SPARE_SIZE  128 /* what buf_add_format() wants free before it looks at the length */

struct why {
    char *text;
    size_t size;
    char place[PLACE_SIZE]; /* of the lot, seller or workload that is being read: "/3/sellers/A" */
    size_t lot_len;         /* how much of it names the lot */
};

struct lot_text {
    const json_t *sellers;
    const json_t *workloads;
    struct lot_block *blocks;
    struct lot_demand *demands;
    uint32_t *seller_awards; /* award positions, seller after seller */
    uint32_t *sold_ends;     /* per seller: where its awards end in seller_awards */
    void *memory;
    struct buf ids;
    uint32_t sellers_count;
    struct lot_input input;
    struct lot_result result;
};

/* A whole number within min..max; `otherwise` stands in for one that is left out. */
struct member {
    const char *name;
    int64_t otherwise;
    int64_t min, max;
    bool is_needed;
};

static bool lot_run(const json_t *lot, struct json_out *out, struct why *why);
static bool member_read(struct why *why, const json_t *object, const struct member *member,
                        int64_t *ret);
static bool lot_count(struct lot_text *lot, struct why *why);
static void lot_lay_out(struct lot_text *lot);
static bool sellers_fill(struct lot_text *lot, struct why *why);
static bool workloads_fill(struct lot_text *lot, int64_t fee_bp, struct why *why);
static void lot_clear_here(struct lot_text *lot);
static void awards_by_seller(struct lot_text *lot);
static void lot_write(const struct lot_text *lot, struct json_out *out);

bool lots_json_clear(struct str text, struct buf *to, char *ret_why, size_t why_size)
{
    struct why why = {.text = ret_why, .size = why_size};
    json_t *root = json_parse(text, ret_why, why_size);
    if (!root)
        return false;

    must(text.len <= LOTS_JSON_TEXT_MAX);
    struct json_out out;
    json_out_start(&out, to);
    bool is_good = true;
    if (json_is_array(root)) {
        json_array_open(&out, NULL);
        for (size_t i = 0; is_good && i < json_array_size(root); i++) {
            (void)str_format(why.place, sizeof(why.place), "/%zu", i);
            why.lot_len = str_of(why.place).len;
            is_good = lot_run(json_array_get(root, i), &out, &why);
        }
        json_array_close(&out);
    } else {
        is_good = lot_run(root, &out, &why);
    }
    json_decref(root);
    return is_good;
}

/* Where, which kind of fault, and what would be right. False, for the caller to hand on. */
static bool refuse(struct why *why, const char *member, const char *fault, const char *wanted)
{
    (void)str_format(why->text, why->size, "%s%s: %s: %s", why->place, member, fault, wanted);
    return false;
}

static void place_set(struct why *why, const char *part, const char *name)
{
    (void)str_format(why->place + why->lot_len, sizeof(why->place) - why->lot_len, "/%s/%s", part,
                     name);
}

static bool lot_run(const json_t *json, struct json_out *out, struct why *why)
{
    struct lot_text lot = {
        .sellers = json_object_get(json, "sellers"),
        .workloads = json_object_get(json, "workloads"),
    };
    struct str seed = json_str(json, "seed");
    static const struct member fee = {"fee_bp", .min = 0, .max = FEE_BP_MAX};
    int64_t fee_bp;
    if (!json_is_object(lot.sellers) || !json_is_object(lot.workloads))
        return refuse(why, "", "wrong_type", "a lot has objects `sellers` and `workloads`");
    if (!hex_decode(seed, lot.input.seed.bytes, sizeof(lot.input.seed.bytes)))
        return refuse(why, "/seed", "wrong_type", "must be 64 hex digits");
    if (!member_read(why, json, &fee, &fee_bp) || !lot_count(&lot, why))
        return false;

    lot_lay_out(&lot);
    bool is_good = sellers_fill(&lot, why) && workloads_fill(&lot, fee_bp, why);
    if (is_good) {
        lot_clear_here(&lot);
        awards_by_seller(&lot);
        lot_write(&lot, out);
    }
    free(lot.blocks);
    free(lot.demands);
    free(lot.seller_awards);
    free(lot.sold_ends);
    free(lot.memory);
    buf_finish(&lot.ids);
    return is_good;
}

/* Reading --------------------------------------------------------------------------------------*/

static bool member_read(struct why *why, const json_t *object, const struct member *member,
                        int64_t *ret)
{
    const json_t *value = json_object_get(object, member->name);
    char name[32], wanted[96];
    (void)str_format(name, sizeof(name), "/%s", member->name);
    if (!value && member->is_needed)
        return refuse(why, name, "missing", "must be there");
    (void)str_format(wanted, sizeof(wanted), "must be a whole number from %lld to %lld",
                     (long long)member->min, (long long)member->max);
    if (value && json_typeof(value) != JSON_INTEGER)
        return refuse(why, name, "wrong_type", wanted);
    *ret = json_i64(object, member->name, member->otherwise);
    if (*ret < member->min || *ret > member->max)
        return refuse(why, name, "out_of_range", wanted);
    return true;
}

/* Is it an object of nothing but members that are known? */
static bool members_check(struct why *why, json_t *object, const char *const *known)
{
    const char *key;
    json_t *value;
    if (json_typeof(object) != JSON_OBJECT)
        return refuse(why, "", "wrong_type", "must be an object");
    json_object_foreach (object, key, value) {
        const char *const *name = known;
        while (*name && !str_equal_c(str_of(*name), key))
            name++;
        if (!*name)
            return refuse(why, "", "unknown_member", key);
    }
    return true;
}

static const struct member of_blocks = {"blocks", .otherwise = 1, .min = 1,
                                        .max = LOTS_JSON_BLOCKS_MAX};

static bool lot_count(struct lot_text *lot, struct why *why)
{
    static const char *const known[] = {"ask", "adder", "blocks", NULL};
    const char *name;
    json_t *seller;
    int64_t total = 0, blocks;
    size_t ids_size = 0;
    json_object_foreach ((json_t *)lot->sellers, name, seller) {
        place_set(why, "sellers", name);
        if (!members_check(why, seller, known) || !member_read(why, seller, &of_blocks, &blocks))
            return false;
        total += blocks;
        if (total > LOTS_JSON_BLOCKS_MAX)
            return refuse(why, "/blocks", "too_many", "a lot has at most 10000000 blocks");
        ids_size += (size_t)blocks * (str_of(name).len + ID_NUMBER_SIZE);
    }
    /* One reservation for all, because an id must lie still once a block points to it. */
    buf_reserve(&lot->ids, ids_size + ID_SPARE_SIZE);
    lot->input.blocks_count = (uint32_t)total;
    lot->input.demands_count = (uint32_t)json_object_size(lot->workloads);
    lot->sellers_count = (uint32_t)json_object_size(lot->sellers);
    return true;
}

static void *array_of(size_t count, size_t size)
{
    void *array = calloc(count ? count : 1, size);
    must(array != NULL);
    return array;
}

static void lot_lay_out(struct lot_text *lot)
{
    lot->blocks = array_of(lot->input.blocks_count, sizeof(*lot->blocks));
    lot->demands = array_of(lot->input.demands_count, sizeof(*lot->demands));
    lot->seller_awards = array_of(lot->input.blocks_count, sizeof(*lot->seller_awards));
    lot->sold_ends = array_of(lot->sellers_count + 1, sizeof(*lot->sold_ends));
    lot->input.blocks = lot->blocks;
    lot->input.demands = lot->demands;
}

static bool sellers_fill(struct lot_text *lot, struct why *why)
{
    static const struct member of_ask = {"ask", .min = 1, .max = LOT_SCORE_MAX, .is_needed = true},
                               of_adder = {"adder", .min = 0, .max = LOT_SCORE_MAX};
    const char *name;
    json_t *seller;
    uint32_t owner = 0, next = 0;
    json_object_foreach ((json_t *)lot->sellers, name, seller) {
        int64_t ask, adder;
        place_set(why, "sellers", name);
        if (!member_read(why, seller, &of_ask, &ask) ||
            !member_read(why, seller, &of_adder, &adder))
            return false;
        int64_t blocks = json_i64(seller, "blocks", of_blocks.otherwise); /* checked above */
        if (ask + adder > LOT_SCORE_MAX)
            return refuse(why, "", "out_of_range", "ask and adder together exceed 1099511627775");
        for (int64_t i = 0; i < blocks; i++) {
            size_t start = lot->ids.len;
            buf_add_format(&lot->ids, "%s/%lld", name, (long long)i);
            lot->blocks[next++] = (struct lot_block){
                .id = {.at = lot->ids.at + start, .len = lot->ids.len - start},
                .owner = owner,
                .ask_uusd_per_hour = ask,
                .adder_uusd_per_hour = adder,
            };
        }
        owner++;
    }
    return true;
}

static uint32_t owner_by_name(const struct lot_text *lot, struct str name)
{
    const char *seller_name;
    json_t *seller;
    uint32_t owner = 0;
    if (!name.at)
        return LOT_OWNER_NONE;
    json_object_foreach ((json_t *)lot->sellers, seller_name, seller) {
        if (str_equal_c(name, seller_name))
            return owner;
        owner++;
    }
    return LOT_OWNER_NONE;
}

static bool workloads_fill(struct lot_text *lot, int64_t fee_bp, struct why *why)
{
    static const char *const known[] = {"reserve", "k", "kmin", "owner", NULL};
    static const struct member of_reserve = {"reserve", .min = 0, .max = LOT_SCORE_MAX,
                                             .is_needed = true},
                               of_k = {"k", .min = 1, .max = UINT32_MAX, .is_needed = true};
    const char *name;
    json_t *workload;
    uint32_t next = 0;
    json_object_foreach ((json_t *)lot->workloads, name, workload) {
        int64_t reserve, k, kmin;
        const json_t *owner = json_object_get(workload, "owner");
        place_set(why, "workloads", name);
        if (!members_check(why, workload, known) ||
            !member_read(why, workload, &of_reserve, &reserve) ||
            !member_read(why, workload, &of_k, &k))
            return false;
        const struct member of_kmin = {"kmin", .otherwise = k, .min = 1, .max = k};
        if (!member_read(why, workload, &of_kmin, &kmin))
            return false;
        if (owner && json_typeof(owner) != JSON_STRING)
            return refuse(why, "/owner", "wrong_type", "must be the name of a seller");
        lot->demands[next++] = (struct lot_demand){
            .id = str_of(name),
            .owner = owner_by_name(lot, json_str(workload, "owner")),
            .r_uusd_per_hour = reserve_net(reserve, fee_bp),
            .k = (uint32_t)k,
            .kmin = (uint32_t)kmin,
        };
    }
    return true;
}

/* Clearing -------------------------------------------------------------------------------------*/

static void lot_clear_here(struct lot_text *lot)
{
    const struct lot_limits limits = {
        .blocks_max = lot->input.blocks_count,
        .demands_max = lot->input.demands_count,
        .owners_max = lot->sellers_count,
    };
    struct lot_clear clear;
    lot->memory = array_of(1, lot_clear_size(&limits));
    lot_clear_start(&clear, &limits, lot->memory);
    must(lot_clear(&clear, &lot->input, &lot->result) == LOT_CLEARED); /* all of it was checked */
}

static void awards_by_seller(struct lot_text *lot)
{
    uint32_t *ends = lot->sold_ends;
    for (uint32_t i = 0; i < lot->result.awards_count; i++)
        ends[lot->blocks[lot->result.awards[i].block].owner + 1]++;
    for (uint32_t owner = 0; owner < lot->sellers_count; owner++)
        ends[owner + 1] += ends[owner];
    /* Filling moves each seller's start on to its end. */
    for (uint32_t i = 0; i < lot->result.awards_count; i++)
        lot->seller_awards[ends[lot->blocks[lot->result.awards[i].block].owner]++] = i;
}

/* Writing --------------------------------------------------------------------------------------*/

static void workloads_write(const struct lot_text *lot, struct json_out *out, bool with_blocks)
{
    uint32_t from = 0;
    for (uint32_t q = 0; q < lot->result.prefixes_count; q++) {
        const struct lot_prefix *prefix = &lot->result.prefixes[q];
        const char *name = lot->demands[prefix->demand].id.at;
        if (!with_blocks) {
            json_put_i64(out, name, lot->result.accepted_counts[prefix->demand]);
            continue;
        }
        json_array_open(out, name);
        for (; from < prefix->k_total; from++)
            json_put_str(out, NULL, lot->blocks[lot->result.awards[from].block].id);
        json_array_close(out);
    }
}

enum seller_column { SELLER_SOLD = 1, SELLER_PAY_UNIFORM, SELLER_THETA, SELLER_PAY_VICKREY };

static int64_t award_pays(const struct lot_text *lot, const struct lot_award *award,
                          enum seller_column column)
{
    if (column == SELLER_SOLD)
        return 1;
    return column == SELLER_PAY_VICKREY
               ? award->price_uusd_per_hour
               : lot->result.index_uusd_per_hour - lot->blocks[award->block].adder_uusd_per_hour;
}

static void seller_write(const struct lot_text *lot, struct json_out *out, const char *name,
                         uint32_t owner, enum seller_column column)
{
    uint32_t from = owner ? lot->sold_ends[owner - 1] : 0;
    uint32_t end = lot->sold_ends[owner];
    if (column == SELLER_THETA && from == end)
        return;
    if (column == SELLER_THETA)
        json_array_open(out, name);
    int64_t sum = 0;
    for (uint32_t i = from; i < end; i++) {
        const struct lot_award *award = &lot->result.awards[lot->seller_awards[i]];
        if (column == SELLER_THETA)
            json_put_i64(out, NULL, award->theta_uusd_per_hour);
        else
            sum += award_pays(lot, award, column);
    }
    if (column == SELLER_THETA)
        json_array_close(out);
    else
        json_put_i64(out, name, sum);
}

static void sellers_write(const struct lot_text *lot, struct json_out *out, const char *key,
                          enum seller_column column)
{
    json_object_open(out, key);
    const char *name;
    json_t *seller;
    uint32_t owner = 0;
    json_object_foreach ((json_t *)lot->sellers, name, seller)
        seller_write(lot, out, name, owner++, column);
    json_object_close(out);
}

static void lot_write(const struct lot_text *lot, struct json_out *out)
{
    json_object_open(out, NULL);
    json_put_i64(out, "K", lot->result.awards_count);
    if (lot->result.index_uusd_per_hour == LOT_INDEX_NONE)
        json_put_null(out, "S_star");
    else
        json_put_i64(out, "S_star", lot->result.index_uusd_per_hour);
    json_object_open(out, "accepted");
    workloads_write(lot, out, /* with_blocks = */ false);
    json_object_close(out);
    json_object_open(out, "assignment");
    workloads_write(lot, out, /* with_blocks = */ true);
    json_object_close(out);
    sellers_write(lot, out, "sold", SELLER_SOLD);
    sellers_write(lot, out, "pay_uniform", SELLER_PAY_UNIFORM);
    sellers_write(lot, out, "theta", SELLER_THETA);
    sellers_write(lot, out, "pay_vickrey", SELLER_PAY_VICKREY);
    json_object_close(out);
}
