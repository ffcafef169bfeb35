/* terms.h - a manifest in the market's words: which lots it may enter, what each replica needs,
 * what it holds.
 *
 * pure. Slices are borrowed from the manifest and the catalogue that the terms were made from.
 */
#ifndef UNDERCUT_MARKET_TERMS_H
#define UNDERCUT_MARKET_TERMS_H

#include <stdbool.h>
#include <stdint.h>

#include "broker/base/str.h"

#define TERMS_CHOICES_MAX     32
#define CATALOGUE_CLASSES_MAX 64
#define CATALOGUE_MODELS_MAX  8

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
    int regions_count;
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
