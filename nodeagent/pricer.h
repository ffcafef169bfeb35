/* pricer.h - keeps a node's prices as its owner's rules and program say, on a thread of its own.
 *
 * Each `every_s` the rules are applied to the clock on the wall and to what the machine does; then
 * the program, if there is one, is asked: it reads one JSON object on its standard input and prints
 * one on its standard output. It must end with 0 before its deadline, else it is killed with all
 * its children and the ruled price stands. A price that changed rings `wake`.
 *
 * any thread. The owner of the pricer outlives it.
 */
#ifndef UNDERCUT_NODEAGENT_PRICER_H
#define UNDERCUT_NODEAGENT_PRICER_H

#include "nodeagent/config.h"
#include "nodeagent/pricing.h"

struct pricer;

struct pricer_setup {
    const struct config *config; /* prices of it are the base; borrowed */
    const struct pricing *pricing;
    const char *node_id, *region; /* borrowed; the program is told */
    void (*wake)(void *arg);
    void *wake_arg;
};

struct pricer *pricer_start(const struct pricer_setup *setup);
void pricer_stop(struct pricer *pricer); /* waits for a program that runs, its deadline at most */

/* How many devices there are and how many are leased, for the next price. */
void pricer_observe(struct pricer *pricer, int leased_count, int devices_count);
/* The prices as they are now; at most CONFIG_PRICES_MAX. */
size_t pricer_read(struct pricer *pricer, struct config_price ret_prices[CONFIG_PRICES_MAX]);

/* What `program` answers to `question`, before `deadline_ms` have passed: true with its output in
 * `ret_answer` (the caller finishes it), false with a sentence in `ret_why`. SIGPIPE is ignored. */
MUST_USE bool program_ask(const char *program, struct str question, int64_t deadline_ms,
                          struct buf *ret_answer, char ret_why[256]);

#endif
