/* table.h - rows of text in aligned columns on stdout, safe against control characters.
 *
 * main thread. Cells are copied. A column whose title starts with '>' is aligned to the right.
 */
#ifndef UNDERCUT_CLI_TABLE_H
#define UNDERCUT_CLI_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include "broker/base/must.h"
#include "broker/base/str.h"

#define TABLE_COLUMNS_MAX 16

struct table {
    const char *const *titles;
    size_t columns_count;
    char **cells;
    size_t cells_count;
    size_t cells_max;
};

/* `titles` ends with NULL and outlives the table. */
void table_start(struct table *table, const char *const *titles);
void table_cell(struct table *table, const char *format, ...) PRINTF_LIKE(2, 3);
/* Prints and frees. */
void table_end(struct table *table);

/* Prints text from elsewhere with control characters as '?', except line ends. */
void print_clean(struct str text);
/* "3s", "5m", "2h", "4d" since an RFC 3339 instant, "" when it is not one. `buf` holds 16 bytes. */
const char *age_format(const char *rfc3339, char buf[16]);
/* The same until it; "0s" when it is over. */
const char *left_format(const char *rfc3339, char buf[16]);
/* "$0.35" with as many decimals as are needed; `buf` holds 40 bytes. */
const char *usd_format(int64_t uusd, char buf[40]);

#endif
