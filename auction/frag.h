/* frag.h - how much of a node's idle capacity is of no use to what is typically asked for, and what
 * taking a request from the node would add to that.
 *
 * pure, integers only, no allocation: the caller lends the memory. Devices are counted in
 * thousandths, so that a share of a device has the same unit as a whole one.
 *
 * F_n = sum over the typical types m, each with its weight, of
 *   all idle milli of n              if m does not fit there, or needs no device;
 *   the idle milli on devices that have less free than m needs of one   otherwise.
 * dF = F after - F before. F and dF are kept multiplied by the weights, whose sum is
 * frag_types.weight_total: dF in devices = dF / (1000 x weight_total).
 * The measure is that of Weng et al., "Beware of Fragmentation" (USENIX ATC 2023). As a score adder
 * it is public and independent of the ask:
 *   phi = ceil(lambda x P x (dF - the least dF of the lot)), P the usual price of one device.
 * Counted from the least and not from 0, because a request that uses up what was of no use has a
 * dF below 0, and a node that offers this is worth choosing; and so that the best place carries
 * nothing, and no trade fails for want of a better one.
 */
#ifndef UNDERCUT_AUCTION_FRAG_H
#define UNDERCUT_AUCTION_FRAG_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/base/must.h"

#define FRAG_DEVICES_MAX   16
#define FRAG_DEVICE_MILLI  1000 /* a whole device */
#define FRAG_TYPES_MAX     256
#define FRAG_GRAINS_MAX    64 /* different sizes of a share among the types */
#define FRAG_WEIGHT_MAX    ((int64_t)1 << 31)
#define FRAG_LAMBDA_BP     1000 /* lambda = 0.1 */
#define FRAG_LAMBDA_ONE_BP 10000
#define FRAG_MODELS_ANY    UINT64_MAX

struct frag_need { /* a request, or a typical type */
    int64_t cpu_milli, memory_mib;
    uint64_t models;        /* one bit for each model it accepts */
    uint32_t devices_count; /* 0..FRAG_DEVICES_MAX; 0: none */
    uint32_t device_milli;  /* of each device, 1..1000 */
};

struct frag_type {
    struct frag_need need;
    int64_t weight; /* 0..FRAG_WEIGHT_MAX */
};

struct frag_types {                          /* as frag_types_start() leaves it */
    struct frag_type at[FRAG_TYPES_MAX];     /* that need a device, ascending by vCPU */
    int64_t weight_from[FRAG_TYPES_MAX + 1]; /* of this one and all after it */
    uint8_t grain_of[FRAG_TYPES_MAX];        /* index into grains */
    uint16_t grains_milli[FRAG_GRAINS_MAX];  /* the different device_milli */
    uint32_t count, grains_count;
    int64_t weight_total; /* those without a device included */
};

struct frag_node {
    int64_t cpu_milli, memory_mib; /* free */
    uint64_t model;                /* its one bit */
    uint32_t devices_count;
    uint32_t version;                      /* rises with every change; frag_node_take() does it */
    uint16_t free_milli[FRAG_DEVICES_MAX]; /* 0..1000 */
};

struct frag_fit {
    int64_t delta;    /* dF, weighted */
    uint16_t devices; /* which to take, one bit each */
    bool fits;        /* false: the rest means nothing */
    uint32_t version; /* of the node that it holds for */
    bool is_known;    /* false in fresh, zeroed memory */
};

/* False: too many types or grains, or a need or weight out of range; nothing is usable then. */
MUST_USE bool frag_types_start(struct frag_types *types, const struct frag_type *list,
                               uint32_t count);

/* F of the node as it is, weighted; >= 0. */
int64_t frag_measure(const struct frag_types *types, const struct frag_node *node);

/* Where on the node the request adds least; among equals the fullest device, then the first.
 * `before` is the node's own measure, which many requests share. */
struct frag_fit frag_fit_find(const struct frag_types *types, const struct frag_node *node,
                              int64_t before, const struct frag_need *need);

/* Takes what a fit says, or gives it back. */
void frag_node_take(struct frag_node *node, const struct frag_need *need, uint16_t devices);
void frag_node_give(struct frag_node *node, const struct frag_need *need, uint16_t devices);

struct frag_known {
    int64_t measure;
    uint32_t version;
    bool is_known;
};

/* Remembers fits per (need, node), and the node's measure, until the node's version changes. */
struct frag_cache {
    const struct frag_types *types;
    const struct frag_need *needs;
    const struct frag_node *nodes;
    struct frag_fit *fits;       /* needs x nodes_count, zeroed by the caller */
    struct frag_known *measures; /* nodes_count, zeroed by the caller */
    uint32_t nodes_count;
    uint64_t found_count; /* how often it had to be reckoned */
};
const struct frag_fit *frag_cache_fit(struct frag_cache *cache, uint32_t need, uint32_t node);

/* phi of a block whose dF is `over` above the least. `usual_uusd_per_hour` is of one whole device,
 * at most 2^40; lambda_bp at most 10000. */
int64_t frag_adder(int64_t weight_total, int64_t over, int64_t usual_uusd_per_hour,
                   int64_t lambda_bp);

/* In service the shares that a node sells are devices of their own, so all are whole and types are
 * the block sizes: 1, 2, 4, 8 devices. Their weights are half what is typical (the shares of
 * FRAG_TYPICAL, counted in a production cluster of 6,212 devices) and half what is wanted now, in
 * blocks. deltas[i] is dF of selling one device of a node that has i of them idle; the last stands
 * for any more than 8, where every size still fits.
 */
#define FRAG_SIZES    4
#define FRAG_IDLE_MAX 9
#define FRAG_TYPICAL \
    {                \
        989, 3, 2, 6 \
    } /* of 1000 workloads that want devices */
struct frag_whole {
    int64_t deltas[FRAG_IDLE_MAX + 1];
    int64_t weight_total;
};
struct frag_whole frag_whole_of(const int64_t wanted[FRAG_SIZES]);
int64_t frag_whole_delta(const struct frag_whole *whole, uint32_t idle_count);

#endif
