/* prop.h - seeds for property tests: every failure prints the seed that makes it happen again.
 *
 * Tests only. `SEED=123 test_x` replays one seed; without it a run starts at seed 1, so that a red
 * test is red for everybody. `SEED_FROM=n` starts elsewhere, `ROUNDS=n` makes a run n times as long
 * and `CASES_MAX=n` makes it short.
 *
 *     PROP_FOR(prop, 20000) {
 *         int64_t a = prop_range(&prop, 0, 100);
 *         prop_check(&prop, a <= 100);
 *     }
 */
#ifndef UNDERCUT_TESTS_LIB_PROP_H
#define UNDERCUT_TESTS_LIB_PROP_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

struct prop {
    uint64_t seed; /* of this case */
    uint64_t state;
    uint64_t left; /* cases still to run, this one included */
};

static inline uint64_t prop_env(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 0) : otherwise;
}

/* splitmix64 (Steele, Lea, Flood 2014) spreads neighbouring seeds; xorshift64* (Vigna 2016) goes
 * on from there. */
static inline void prop_seed(struct prop *p, uint64_t seed)
{
    uint64_t z = (seed + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    p->seed = seed;
    p->state = (z ^ z >> 31) | 1;
}

static inline struct prop prop_start(uint64_t cases)
{
    uint64_t most = prop_env("CASES_MAX", UINT64_MAX);
    cases *= prop_env("ROUNDS", 1);
    struct prop p = {.left = getenv("SEED") ? 1 : cases < most ? cases : most};
    prop_seed(&p, prop_env("SEED", prop_env("SEED_FROM", 1)));
    return p;
}

static inline void prop_next(struct prop *p)
{
    p->left--;
    prop_seed(p, p->seed + 1);
}

static inline uint64_t prop_u64(struct prop *p)
{
    p->state ^= p->state >> 12;
    p->state ^= p->state << 25;
    p->state ^= p->state >> 27;
    return p->state * 0x2545f4914f6cdd1du;
}

/* low..high, both included */
static inline int64_t prop_range(struct prop *p, int64_t low, int64_t high)
{
    uint64_t span = (uint64_t)high - (uint64_t)low + 1;
    return (int64_t)((uint64_t)low + (span ? prop_u64(p) % span : prop_u64(p)));
}

static inline bool prop_chance(struct prop *p, unsigned percent)
{
    return prop_u64(p) % 100 < percent;
}

#define PROP_FOR(p, cases) for (struct prop p = prop_start(cases); p.left > 0; prop_next(&p))

#define prop_check(p, condition)                                                \
    do {                                                                        \
        if (!(condition)) {                                                     \
            fprintf(stderr, "%s:%d: SEED=%llu breaks %s\n", __FILE__, __LINE__, \
                    (unsigned long long)(p)->seed, #condition);                 \
            abort();                                                            \
        }                                                                       \
    } while (0)

#endif
