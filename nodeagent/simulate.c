#include "nodeagent/simulate.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/base/log.h"
#include "broker/base/str.h"
#include "nodeagent/agent.h"

struct fleet_node {
    struct agent *agent;
    pthread_t thread;
};

struct fleet {
    struct fleet_node *nodes;
    size_t nodes_count;
};

static void *node_main(void *arg)
{
    struct agent *agent = arg;
    char why[256] = "";
    char quoted[300];
    bool is_enrolled = agent_is_enrolled(agent) || agent_enrol(agent, why);
    if (!is_enrolled || !agent_run(agent, why))
        log_event(LOG_ERROR, "node_failed", "why=%s",
                  log_quote(str_of(why), quoted, sizeof(quoted)));
    return NULL;
}

static bool node_start(const struct config *config, size_t index, const char *token,
                       struct fleet_node *ret_node, char ret_why[256])
{
    struct config own = *config;
    char suffix[16];
    size_t name_len = strlen(own.name);
    bool fits = str_format(own.state_dir, sizeof(own.state_dir), "%s/node-%03zu", config->state_dir,
                           index) &&
                str_format(own.name + name_len, sizeof(own.name) - name_len, "%s%03zu",
                           name_len ? "-" : "sim-", index) &&
                str_format(own.token, sizeof(own.token), "%s", token) &&
                str_format(suffix, sizeof(suffix), "/sim-%03zu", index);
    if (!fits) {
        (void)str_format(ret_why, 256, "a name or folder is too long");
        return false;
    }
    ret_node->agent = agent_create(&own, suffix, ret_why);
    if (!ret_node->agent)
        return false;
    must(pthread_create(&ret_node->thread, NULL, node_main, ret_node->agent) == 0);
    return true;
}

struct fleet *fleet_start(const struct config *config, char ret_why[256])
{
    FILE *tokens = fopen(config->tokens_file, "re");
    if (!tokens) {
        (void)str_format(ret_why, 256, "cannot read the tokens file %.200s", config->tokens_file);
        return NULL;
    }
    struct fleet *fleet = calloc(1, sizeof(*fleet));
    must(fleet);
    fleet->nodes = calloc((size_t)config->simulate_nodes, sizeof(*fleet->nodes));
    must(fleet->nodes);
    bool is_good = true;
    char line[300];
    while (is_good && fleet->nodes_count < (size_t)config->simulate_nodes &&
           fgets(line, sizeof(line), tokens)) {
        line[strcspn(line, "\r\n")] = '\0';
        is_good = node_start(config, fleet->nodes_count, line, &fleet->nodes[fleet->nodes_count],
                             ret_why);
        fleet->nodes_count += is_good;
    }
    fclose(tokens);
    if (is_good && fleet->nodes_count < (size_t)config->simulate_nodes) {
        (void)str_format(ret_why, 256, "the tokens file has only %zu tokens", fleet->nodes_count);
        is_good = false;
    }
    if (is_good)
        return fleet;
    fleet_stop(fleet);
    return NULL;
}

void fleet_stop(struct fleet *fleet)
{
    for (size_t i = 0; i < fleet->nodes_count; i++)
        agent_stop(fleet->nodes[i].agent);
    for (size_t i = 0; i < fleet->nodes_count; i++) {
        pthread_join(fleet->nodes[i].thread, NULL);
        agent_destroy(fleet->nodes[i].agent);
    }
    free(fleet->nodes);
    free(fleet);
}
