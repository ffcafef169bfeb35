#include "broker/market/ask.h"

#include "broker/io/hub.h"
#include "broker/market/node.h"

void ask_wake_nodes(struct hub *hub, const struct db_call *found)
{
    for (int i = 0; i < found->row_count; i++) {
        struct ask_node_list_out row;
        char topic[HUB_TOPIC_SIZE];
        ask_node_list_get(found, i, &row);
        hub_wake(hub, node_topic(row.node_id, topic, sizeof(topic)));
    }
}
