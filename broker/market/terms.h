/* terms.h - a manifest in the market's words: which lots it may enter, what each replica needs,
 * what it holds.
 *
 * pure. Slices are borrowed from the manifest and the catalogue that the terms were made from.
 */
#ifndef UNDERCUT_MARKET_TERMS_H
#define UNDERCUT_MARKET_TERMS_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/base/id.h"
#include "broker/base/str.h"

#define TERMS_CHOICES_MAX     32
#define CATALOGUE_CLASSES_MAX 64
#define CATALOGUE_MODELS_MAX  8
#define TERMS_EXCLUDED_MAX    64

struct catalogue_class { /* a row of device_classes */
    struct str class, vendor;
    struct str models[CATALOGUE_MODELS_MAX];
    int models_count;
    int64_t vram_mib;
    int64_t vcpu_min, memory_mib_min, disk_mib_min; /* per device */
    int64_t catalogue_uusd_per_hour;
};

/* What is traded and where, as far as a manifest can name it. */
struct catalogue {
    struct catalogue_class classes[CATALOGUE_CLASSES_MAX];
    int classes_count;
    struct str regions[TERMS_CHOICES_MAX];
    struct catalogue_place {
        struct str country; /* ISO 3166 */
        int32_t lat_udeg, lon_udeg;
    } places[TERMS_CHOICES_MAX]; /* of the regions */
    int regions_count;
};

/* What is finer than a lot, as far as a manifest asks for it; see docs/direct.md. */
struct direct_terms {
    struct str driver_min, compute_min, isolation; /* STR_NONE: any */
    const char *spread;                            /* none, node or region */
    struct uuid excluded[TERMS_EXCLUDED_MAX];      /* nodes */
    int excluded_count;
    bool is_bigger; /* more vCPU, memory or disk than any class gives */
};

struct workload_terms {
    struct str name; /* STR_NONE: the broker makes one up */
    struct str image;
    int block_size;                        /* 1, 2, 4 or 8 */
    int devices_count;                     /* as asked; block_size is this rounded up */
    struct str classes[TERMS_CHOICES_MAX]; /* cheapest by catalogue first */
    int classes_count;
    struct str regions[TERMS_CHOICES_MAX];
    int regions_count;
    bool has_near;                                    /* then, of the regions: */
    int64_t rtt_ms[TERMS_CHOICES_MAX];                /* estimated; see api/distance.h */
    int64_t latency_uusd_per_hour[TERMS_CHOICES_MAX]; /* what that adds to a score, per replica */
    struct direct_terms direct;
    bool is_direct; /* cleared by itself, over every node that fits */
    const char *tier, *trust_min, *award, *price_policy;
    const char *restart, *on_interruption, *on_degraded;
    int64_t reserve_uusd_per_hour;            /* per replica, fees included */
    int64_t vcpu_milli, memory_mib, disk_mib; /* per replica */
    int64_t replicas, min_replicas;
    int64_t max_duration_s, stop_grace_s;
    bool has_deadline, has_budget;
    int64_t deadline_at_us;
    int64_t budget_uusd;
    int64_t hold_uusd; /* what posting moves to escrow, all replicas together */
};

#endif
