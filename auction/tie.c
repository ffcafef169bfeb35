#include "auction/tie.h"

static void run_add_str(struct sha256_run *run, struct str s)
{
    sha256_run_add(run, s.at, s.len);
}

struct sha256 chain_value(struct sha256 secret, uint64_t steps)
{
    for (uint64_t i = 0; i < steps; i++)
        secret = sha256_of(secret.bytes, sizeof(secret.bytes));
    return secret;
}

bool chain_holds(struct sha256 anchor, struct sha256 value, uint64_t steps)
{
    struct sha256 reached = chain_value(value, steps);
    return sha256_equal(&reached, &anchor);
}

struct sha256 seed_of(const struct seed_parts *parts)
{
    uint8_t t[8];
    for (int i = 0; i < 8; i++)
        t[i] = (uint8_t)(parts->t >> (56 - 8 * i));

    struct sha256_run run;
    sha256_run_start(&run);
    run_add_str(&run, STR("undercut/seed/v1|"));
    run_add_str(&run, parts->market);
    sha256_run_add(&run, t, sizeof(t));
    sha256_run_add(&run, parts->arrivals_root.bytes, sizeof(parts->arrivals_root.bytes));
    sha256_run_add(&run, parts->chain_value.bytes, sizeof(parts->chain_value.bytes));
    return sha256_run_end(&run);
}

void tie_run_start(struct sha256_run *run, const struct sha256 *seed, enum tie_kind kind)
{
    sha256_run_start(run);
    run_add_str(run, STR("undercut/tie/v1|"));
    sha256_run_add(run, seed->bytes, sizeof(seed->bytes));
    run_add_str(run, kind == TIE_BLOCK ? STR("|u|") : STR("|w|"));
}

struct sha256 tie_hash(const struct sha256_run *run, struct str id)
{
    struct sha256_run copy = *run;
    run_add_str(&copy, id);
    return sha256_run_end(&copy);
}
