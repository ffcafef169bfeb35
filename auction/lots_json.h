/* lots_json.h - lots as JSON text in, their clearing as JSON text out.
 *
 * pure apart from malloc. One lot or an array of lots:
 *   {"seed": 64 hex digits, "fee_bp": 0,
 *    "sellers": {"A": {"ask": 200000, "adder": 0, "blocks": 1}},
 *    "workloads": {"w1": {"reserve": 600000, "k": 1, "kmin": 1, "owner": "A"}}}
 * An ask is above 0. `fee_bp`, `adder` (0), `blocks` (1), `kmin` (k) and `owner` (nobody) may be
 * left out; block n of seller A is called "A/n". Other members of a lot are ignored, those of a
 * seller or workload refused. Each result has the members K, S_star, accepted, assignment, sold,
 * pay_uniform, theta and pay_vickrey. Prices are micro-USD per block-hour.
 */
#ifndef UNDERCUT_AUCTION_LOTS_JSON_H
#define UNDERCUT_AUCTION_LOTS_JSON_H

#include <stdbool.h>
#include <stddef.h>

#include "broker/base/str.h"

#define LOTS_JSON_BLOCKS_MAX 10000000
#define LOTS_JSON_TEXT_MAX   (64 << 20)

/* Appends the results to `to`, an array for an array. False on a bad text, and what was appended is
 * of no use; `ret_why` then says where, which fault, and what would be right, for example
 * "/3/sellers/A/ask: out_of_range: must be a whole number from 1 to 1099511627775". The faults are
 * missing, wrong_type, unknown_member, out_of_range and too_many; what is no JSON, a name that
 * occurs twice included, is told by line and column. A longer text than the limit is a bug. */
MUST_USE bool lots_json_clear(struct str text, struct buf *to, char *ret_why, size_t why_size);

#endif
