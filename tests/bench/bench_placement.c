/* Replays a cluster's list of requests against its nodes, one by one and without departures, and
 * says how much of the devices' capacity could be given away. Each request is a lot of one
 * workload, cleared by lot_clear() over the nodes that have room: score = ask + phi
 * (auction/frag.h). Beside it, on the same arrivals, policies that do not look at prices: least
 * fragmentation and best fit.
 *
 *   bench_placement NODES.csv REQUESTS.csv SEEDS      one logfmt line per policy and seed
 *
 * Requests: the whole list, then more drawn from it until 130 % of the capacity is asked for, all
 * of it shuffled. The typical types of the market are all requests of the list, those of the
 * published policy, as in its own replay, the commonest that make up 95 % of it. Asks are drawn per
 * node and seed from a log-normal distribution, median 1 USD per device-hour, sigma 0.30; a block's
 * ask is that times the devices (or the share of one) that it holds. Times are the process's CPU
 * time for everything that placing takes: scores, the lot, the walk, its prices, the node's new
 * state.
 *
 * The happy path is: read both files, then, per seed and policy, draw arrivals and asks, place what
 * arrives, print. Failure modes are: a file that is missing or has too many or too short lines,
 * which ends the program with what and where.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "auction/clear.h"
#include "auction/frag.h"

#define NODES_MAX      4096
#define NEEDS_MAX      1024
#define REQUESTS_MAX   65536
#define MODELS_MAX     63
#define ARRIVALS_PCT   130
#define ASK_UUSD       1000000 /* median, per device-hour */
#define ASK_SIGMA      0.30
#define RESERVE_UUSD   (100 * (int64_t)ASK_UUSD)
#define CPU_ONLY_MILLI 100 /* what a request without devices pays, as if it held so much of one */

enum policy { POLICY_MARKET = 1, POLICY_FGD, POLICY_BEST_FIT };

struct run {
    const char *name;
    enum policy policy;
    int64_t lambda_bp;
    int typical_pct; /* share of the list that the typical types make up */
};

static const struct run runs[] = {
    {"market_0.5", POLICY_MARKET, 5000, 100}, {"market_0.1", POLICY_MARKET, 1000, 100},
    {"market_0", POLICY_MARKET, 0, 100},      {"own_fgd", POLICY_FGD, 0, 95},
    {"own_best_fit", POLICY_BEST_FIT, 0, 95},
};

struct trace {
    struct frag_node nodes[NODES_MAX];
    uint32_t nodes_count;
    struct frag_need needs[NEEDS_MAX];
    int64_t needs_seen[NEEDS_MAX];
    uint32_t needs_count;
    uint16_t requests[REQUESTS_MAX]; /* indexes of needs */
    uint32_t requests_count;
    char models[MODELS_MAX][24];
    uint32_t models_count;
    int64_t capacity_milli, cpu_milli_max;
    struct frag_types types;
};

struct replay {
    const struct trace *trace;
    struct frag_node nodes[NODES_MAX];
    struct frag_cache cache;
    int64_t asks[NODES_MAX];
    char ids[NODES_MAX][16];
    uint16_t arrivals[REQUESTS_MAX];
    uint32_t arrivals_count;
    struct lot_block blocks[NODES_MAX];
    uint32_t block_nodes[NODES_MAX];
    int64_t deltas[NODES_MAX]; /* of the blocks */
    struct lot_clear lot;
    int64_t given_milli, given_at_100, asked_milli;
    int64_t paid_uusd, paid_milli; /* up to half of the arrivals */
    uint32_t placed_count;
    uint64_t random;
};

static struct trace trace;
static struct replay replay;

static void die(const char *what, const char *where)
{
    fprintf(stderr, "bench_placement: %s: %s\n", where, what);
    exit(2);
}

/* Reading --------------------------------------------------------------------------------------*/

static uint64_t model_bit(const char *name, size_t len)
{
    for (uint32_t i = 0; i < trace.models_count; i++)
        if (strlen(trace.models[i]) == len && memcmp(trace.models[i], name, len) == 0)
            return (uint64_t)1 << i;
    if (trace.models_count == MODELS_MAX || len >= sizeof(trace.models[0]))
        die("too many models, or a name too long", "models");
    memcpy(trace.models[trace.models_count], name, len);
    return (uint64_t)1 << trace.models_count++;
}

static uint64_t models_of(const char *list)
{
    uint64_t bits = 0;
    while (*list) {
        size_t len = strcspn(list, "|");
        bits |= model_bit(list, len);
        list += len + (list[len] == '|');
    }
    return bits ? bits : FRAG_MODELS_ANY;
}

/* Cuts a line at its commas; columns may be empty. */
static uint32_t columns_cut(char *line, char **columns, uint32_t max)
{
    uint32_t count = 0;
    line[strcspn(line, "\r\n")] = '\0';
    for (char *at = line; at && count < max;) {
        columns[count++] = at;
        at = strchr(at, ',');
        if (at)
            *at++ = '\0';
    }
    return count;
}

static void node_read(char **columns)
{
    struct frag_node *node = &trace.nodes[trace.nodes_count];
    *node = (struct frag_node){.cpu_milli = strtoll(columns[1], NULL, 10),
                               .memory_mib = strtoll(columns[2], NULL, 10),
                               .devices_count = (uint32_t)strtoul(columns[3], NULL, 10),
                               .model = model_bit(columns[4], strlen(columns[4]))};
    if (node->devices_count > FRAG_DEVICES_MAX)
        die("a node has more than 16 devices", columns[0]);
    for (uint32_t i = 0; i < node->devices_count; i++)
        node->free_milli[i] = FRAG_DEVICE_MILLI;
    trace.capacity_milli += node->devices_count * FRAG_DEVICE_MILLI;
    if (node->cpu_milli > trace.cpu_milli_max)
        trace.cpu_milli_max = node->cpu_milli;
    trace.nodes_count++;
}

static void request_read(char **columns)
{
    struct frag_need need = {.cpu_milli = strtoll(columns[1], NULL, 10),
                             .memory_mib = strtoll(columns[2], NULL, 10),
                             .devices_count = (uint32_t)strtoul(columns[3], NULL, 10),
                             .device_milli = (uint32_t)strtoul(columns[4], NULL, 10),
                             .models = models_of(columns[5])};
    uint32_t i = 0;
    while (i < trace.needs_count && memcmp(&trace.needs[i], &need, sizeof(need)) != 0)
        i++;
    if (i == NEEDS_MAX)
        die("too many different requests", columns[0]);
    if (i == trace.needs_count)
        trace.needs[trace.needs_count++] = need;
    trace.needs_seen[i]++;
    trace.requests[trace.requests_count++] = (uint16_t)i;
}

static void file_read(const char *path, uint32_t columns_count, void (*take)(char **),
                      const uint32_t *count)
{
    char line[512], *columns[16];
    FILE *file = fopen(path, "r");
    if (!file || !fgets(line, sizeof(line), file))
        die("cannot be read", path);
    uint32_t max = take == node_read ? NODES_MAX : REQUESTS_MAX;
    while (fgets(line, sizeof(line), file)) {
        if (columns_cut(line, columns, 16) < columns_count || *count == max)
            die("a line has too few columns, or there are too many lines", path);
        take(columns);
    }
    fclose(file);
}

static void types_choose(int typical_pct)
{
    static struct frag_type list[FRAG_TYPES_MAX];
    bool is_taken[NEEDS_MAX] = {false};
    uint32_t count = 0;
    int64_t seen = 0;
    while (seen * 100 < (int64_t)trace.requests_count * typical_pct && count < FRAG_TYPES_MAX) {
        uint32_t best = NEEDS_MAX;
        for (uint32_t i = 0; i < trace.needs_count; i++)
            if (!is_taken[i] && (best == NEEDS_MAX || trace.needs_seen[i] > trace.needs_seen[best]))
                best = i;
        is_taken[best] = true;
        seen += trace.needs_seen[best];
        list[count++] = (struct frag_type){trace.needs[best], trace.needs_seen[best]};
    }
    if (!frag_types_start(&trace.types, list, count))
        die("the typical requests do not fit", "types");
}

/* Chance ---------------------------------------------------------------------------------------*/

static uint64_t random_next(void)
{
    uint64_t z = replay.random += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static uint32_t random_below(uint32_t end)
{
    return (uint32_t)((__uint128_t)random_next() * end >> 64);
}

static double random_normal(void)
{
    double u = ((double)(random_next() >> 11) + 0.5) * 0x1p-53;
    double v = (double)(random_next() >> 11) * 0x1p-53;
    return sqrt(-2 * log(u)) * cos(2 * M_PI * v);
}

static int64_t need_milli(const struct frag_need *need)
{
    return (int64_t)need->devices_count * need->device_milli;
}

static void arrivals_draw(void)
{
    int64_t milli = 0, milli_max = trace.capacity_milli * ARRIVALS_PCT / 100;
    uint32_t count = 0;
    for (; count < trace.requests_count; count++) {
        replay.arrivals[count] = trace.requests[count];
        milli += need_milli(&trace.needs[trace.requests[count]]);
    }
    while (count < REQUESTS_MAX) {
        uint16_t need = trace.requests[random_below(trace.requests_count)];
        if (milli + need_milli(&trace.needs[need]) > milli_max)
            break;
        milli += need_milli(&trace.needs[need]);
        replay.arrivals[count++] = need;
    }
    for (uint32_t i = count; i > 1; i--) {
        uint32_t j = random_below(i);
        uint16_t swap = replay.arrivals[i - 1];
        replay.arrivals[i - 1] = replay.arrivals[j];
        replay.arrivals[j] = swap;
    }
    replay.arrivals_count = count;
}

/* Policies: the node for a request, or nodes_count for none ------------------------------------*/

static uint32_t market_choose(uint32_t need, int64_t lambda_bp, int64_t *ret_price)
{
    const struct trace *t = &trace;
    int64_t held = need_milli(&t->needs[need]) ? need_milli(&t->needs[need]) : CPU_ONLY_MILLI;
    int64_t least_delta = INT64_MAX;
    uint32_t count = 0;
    for (uint32_t i = 0; i < t->nodes_count; i++) {
        const struct frag_fit *fit = frag_cache_fit(&replay.cache, need, i);
        if (!fit->fits)
            continue;
        least_delta = fit->delta < least_delta ? fit->delta : least_delta;
        replay.deltas[count] = fit->delta;
        replay.block_nodes[count] = i;
        replay.blocks[count++] = (struct lot_block){
            .id = str_of(replay.ids[i]),
            .owner = i,
            .ask_uusd_per_hour = replay.asks[i] * held / FRAG_DEVICE_MILLI,
        };
    }
    for (uint32_t i = 0; i < count; i++)
        replay.blocks[i].adder_uusd_per_hour =
            frag_adder(t->types.weight_total, replay.deltas[i] - least_delta, ASK_UUSD, lambda_bp);
    const struct lot_demand workload = {.id = str_of("w"),
                                        .owner = LOT_OWNER_NONE,
                                        .r_uusd_per_hour = RESERVE_UUSD,
                                        .k = 1,
                                        .kmin = 1};
    const struct lot_input input = {
        .blocks = replay.blocks, .demands = &workload, .blocks_count = count, .demands_count = 1};
    struct lot_result result;
    must(lot_clear(&replay.lot, &input, &result) == LOT_CLEARED);
    if (result.awards_count == 0)
        return t->nodes_count;
    *ret_price = replay.blocks[result.awards[0].block].ask_uusd_per_hour;
    return replay.block_nodes[result.awards[0].block];
}

/* The published replay rounds a sigmoid of the gradient to hundredths and takes the first of the
 * best; so does this, to be held against the same figure. */
static int64_t fgd_score(const struct frag_fit *fit)
{
    double devices = (double)fit->delta / (double)(FRAG_DEVICE_MILLI * trace.types.weight_total);
    return (int64_t)(100 / (1 + exp(devices)));
}

static int64_t best_fit_score(const struct frag_node *node, const struct frag_need *need)
{
    int64_t idle_milli = -need_milli(need);
    for (uint32_t i = 0; i < node->devices_count; i++)
        idle_milli += node->free_milli[i];
    double cpu = (double)(node->cpu_milli - need->cpu_milli) / (double)trace.cpu_milli_max;
    return (int64_t)(100 * (1 - (cpu + (double)idle_milli / 8000) / 2));
}

static uint32_t blind_choose(uint32_t need, enum policy policy)
{
    uint32_t best = trace.nodes_count;
    int64_t best_score = 0;
    for (uint32_t i = 0; i < trace.nodes_count; i++) {
        const struct frag_fit *fit = frag_cache_fit(&replay.cache, need, i);
        if (!fit->fits)
            continue;
        int64_t score = policy == POLICY_FGD ? fgd_score(fit)
                                             : best_fit_score(&replay.nodes[i], &trace.needs[need]);
        if (best == trace.nodes_count || score > best_score) {
            best = i;
            best_score = score;
        }
    }
    return best;
}

/* Best fit takes the fullest device that has room; the others what dF says. */
static uint16_t devices_of(const struct frag_node *node, uint32_t need_at, enum policy policy,
                           uint16_t least)
{
    const struct frag_need *need = &trace.needs[need_at];
    if (policy != POLICY_BEST_FIT || need->devices_count != 1)
        return least;
    uint32_t best = node->devices_count;
    for (uint32_t i = 0; i < node->devices_count; i++)
        if (node->free_milli[i] >= need->device_milli &&
            (best == node->devices_count || node->free_milli[i] < node->free_milli[best]))
            best = i;
    return (uint16_t)(1u << best);
}

static void arrival_place(const struct run *run, uint32_t need)
{
    int64_t milli = need_milli(&trace.needs[need]), price = 0;
    uint32_t node = run->policy == POLICY_MARKET ? market_choose(need, run->lambda_bp, &price)
                                                 : blind_choose(need, run->policy);
    replay.asked_milli += milli;
    if (node < trace.nodes_count) {
        uint16_t least = replay.cache.fits[(size_t)need * trace.nodes_count + node].devices;
        frag_node_take(&replay.nodes[node], &trace.needs[need],
                       devices_of(&replay.nodes[node], need, run->policy, least));
        replay.given_milli += milli;
        replay.placed_count++;
        bool is_early = replay.asked_milli * 2 <= trace.capacity_milli;
        replay.paid_uusd += is_early ? replay.asks[node] * milli / FRAG_DEVICE_MILLI : 0;
        replay.paid_milli += is_early ? milli : 0;
    }
    if (replay.asked_milli <= trace.capacity_milli)
        replay.given_at_100 = replay.given_milli;
}

static void replay_start(const struct run *run, uint64_t seed)
{
    static struct frag_fit *fits;
    static struct frag_known measures[NODES_MAX];
    size_t fits_size = (size_t)trace.needs_count * trace.nodes_count * sizeof(*fits);
    if (!fits)
        fits = malloc(fits_size);
    must(fits != NULL);
    memset(fits, 0, fits_size);
    memset(measures, 0, sizeof(measures));
    memcpy(replay.nodes, trace.nodes, sizeof(replay.nodes));
    types_choose(run->typical_pct);
    replay.random = seed;
    arrivals_draw();
    for (uint32_t i = 0; i < trace.nodes_count; i++)
        replay.asks[i] = llround(ASK_UUSD * exp(ASK_SIGMA * random_normal()));
    replay.cache = (struct frag_cache){.types = &trace.types,
                                       .needs = trace.needs,
                                       .nodes = replay.nodes,
                                       .fits = fits,
                                       .measures = measures,
                                       .nodes_count = trace.nodes_count};
    replay.given_milli = replay.given_at_100 = replay.asked_milli = 0;
    replay.paid_uusd = replay.paid_milli = 0;
    replay.placed_count = 0;
}

static double cpu_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static void run_print(const struct run *run, uint64_t seed)
{
    replay_start(run, seed);
    double began_us = cpu_us();
    for (uint32_t i = 0; i < replay.arrivals_count; i++)
        arrival_place(run, replay.arrivals[i]);
    double took_us = cpu_us() - began_us;
    double whole = (double)trace.capacity_milli / 100;
    printf("policy=%s seed=%llu arrivals=%u placed=%u alloc100=%.4f alloc130=%.4f us=%.3f "
           "evaluations=%llu ask_at_50=%.4f\n",
           run->name, (unsigned long long)seed, replay.arrivals_count, replay.placed_count,
           (double)replay.given_at_100 / whole, (double)replay.given_milli / whole,
           took_us / replay.arrivals_count, (unsigned long long)replay.cache.found_count,
           (double)replay.paid_uusd * FRAG_DEVICE_MILLI / (double)replay.paid_milli / ASK_UUSD);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    if (argc != 4)
        die("NODES.csv REQUESTS.csv SEEDS", "usage");
    file_read(argv[1], 5, node_read, &trace.nodes_count);
    file_read(argv[2], 6, request_read, &trace.requests_count);
    const struct lot_limits limits = {
        .blocks_max = NODES_MAX, .demands_max = 1, .owners_max = NODES_MAX};
    void *memory = malloc(lot_clear_size(&limits));
    must(memory != NULL);
    lot_clear_start(&replay.lot, &limits, memory);
    for (uint32_t i = 0; i < trace.nodes_count; i++)
        snprintf(replay.ids[i], sizeof(replay.ids[i]), "node-%u", i);
    for (uint64_t seed = 1; seed <= strtoull(argv[3], NULL, 10); seed++)
        for (size_t i = 0; i < sizeof(runs) / sizeof(*runs); i++)
            run_print(&runs[i], seed);
    free(memory);
    return 0;
}
