#include "broker/base/err.h"

static const struct err_info infos[ERR_COUNT] = {
#define ERR(code, http, slug_, title_, retryable, suggestion_) \
    [ERR_##code] = {.http_status = (http),                     \
                    .slug = (slug_),                           \
                    .title = (title_),                         \
                    .is_retryable = (retryable),               \
                    .suggestion = (suggestion_)},
#include "broker/base/err.def"
#undef ERR
};

const struct err_info *err_info(enum err_code code)
{
    must(code > ERR_OK && code < ERR_COUNT);
    return &infos[code];
}

enum err_code err_by_slug(struct str slug)
{
    for (enum err_code code = ERR_OK + 1; code < ERR_COUNT; code++)
        if (str_equal_c(slug, infos[code].slug))
            return code;
    return ERR_COUNT;
}
