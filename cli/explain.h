/* explain.h - an explanation of the API as lines for a person.
 *
 * main thread.
 */
#ifndef UNDERCUT_CLI_EXPLAIN_H
#define UNDERCUT_CLI_EXPLAIN_H

#include "broker/base/json.h"

/* What each constraint took away, what it costs, and what would have won; on stdout. */
void explain_print(const json_t *explain);

#endif
