#include "broker/io/db_lanes.h"

#include <stdlib.h>

#include "broker/base/must.h"
#include "broker/io/db_inner.h"
#include "broker/io/loop.h"

#define LANES_MAX 256

struct db_lanes {
    struct db *lanes[LANES_MAX];
    int count;
};

struct db_lanes *db_lanes_create(void)
{
    struct db_lanes *lanes = calloc(1, sizeof(*lanes));
    must(lanes != NULL);
    return lanes;
}

void db_lanes_join(struct db_lanes *lanes, struct db *db)
{
    must(lanes->count < LANES_MAX && db->lanes == NULL && db->write_queues == NULL);
    lanes->lanes[lanes->count++] = db;
    db->lanes = lanes;
}

struct db *db_lanes_home(struct db *db, const struct sql_statement *statement)
{
    const struct db_lanes *lanes = db->lanes;
    uint32_t hash = 2166136261; /* FNV-1a */
    if (lanes == NULL || !statement->is_batch)
        return db;
    for (const char *c = statement->name; *c != '\0'; c++)
        hash = (hash ^ (uint8_t)*c) * 16777619;
    return lanes->lanes[hash % (uint32_t)lanes->count];
}

void db_lanes_part(struct db_lanes *lanes)
{
    for (int i = 0; i < lanes->count; i++) /* what travels arrives */
        loop_run_posted(lanes->lanes[i]->loop);
    for (int i = 0; i < lanes->count; i++) {
        lanes->lanes[i]->lanes = NULL;
        pg_pipe_reset(lanes->lanes[i]->write.pipe); /* what is in flight is unknown */
        db_writes_drop(lanes->lanes[i]);
        db_queue_drop(lanes->lanes[i], &lanes->lanes[i]->refused);
    }
    for (int i = 0; i < lanes->count; i++) /* and comes back */
        loop_run_posted(lanes->lanes[i]->loop);
    lanes->count = 0;
}

void db_lanes_destroy(struct db_lanes *lanes)
{
    must(lanes == NULL || lanes->count == 0);
    free(lanes);
}
