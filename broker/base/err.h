/* err.h - the one list of errors, from err.def, as RFC 9457 problems.
 *
 * pure. An error is for the caller's eyes; outcomes are domain enums; bugs are must().
 */
#ifndef UNDERCUT_BASE_ERR_H
#define UNDERCUT_BASE_ERR_H

#include <stdbool.h>

#include "broker/base/must.h"
#include "broker/base/str.h"

enum err_code {
    ERR_OK = 0,
#define ERR(code, http, slug, title, retryable, suggestion) ERR_##code,
#include "broker/base/err.def"
#undef ERR
    ERR_COUNT
};

struct err_info {
    int http_status;
    const char *slug; /* `code` of the problem and last part of its `type` URI */
    const char *title;
    bool is_retryable;
    const char *suggestion; /* what to do next, one sentence */
};

const struct err_info *err_info(enum err_code code);
/* ERR_COUNT when there is none. */
enum err_code err_by_slug(struct str slug);

#endif
