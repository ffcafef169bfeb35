#include "broker/market/taking.h"

void taking_init(struct taking *taking)
{
    *taking = (struct taking){.is_open = false};
    taking->tail = &taking->errands;
    pthread_mutex_init(&taking->mutex, NULL);
}

void taking_destroy(struct taking *taking)
{
    must(taking->errands == NULL);
    pthread_mutex_destroy(&taking->mutex);
}

bool taking_put(struct taking *taking, struct db_errand *errands)
{
    pthread_mutex_lock(&taking->mutex);
    bool is_open = taking->is_open;
    if (is_open) {
        *taking->tail = errands;
        while (*taking->tail != NULL)
            taking->tail = &(*taking->tail)->next;
    }
    pthread_mutex_unlock(&taking->mutex);
    return is_open;
}

bool taking_has_some(struct taking *taking)
{
    pthread_mutex_lock(&taking->mutex);
    bool has_some = taking->errands != NULL;
    pthread_mutex_unlock(&taking->mutex);
    return has_some;
}

struct db_errand *taking_take(struct taking *taking)
{
    pthread_mutex_lock(&taking->mutex);
    struct db_errand *errands = taking->errands;
    taking->errands = NULL;
    taking->tail = &taking->errands;
    pthread_mutex_unlock(&taking->mutex);
    return errands;
}

void taking_set_open(struct taking *taking, bool is_open)
{
    pthread_mutex_lock(&taking->mutex);
    taking->is_open = is_open;
    pthread_mutex_unlock(&taking->mutex);
}
