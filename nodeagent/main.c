/* main.c - undercut-agent: one command per run.
 *
 * Exit codes: 0 done, 1 it failed (stderr says why), 2 wrong usage.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/base/hash.h"
#include "broker/base/log.h"
#include "nodeagent/agent.h"
#include "nodeagent/config.h"
#include "nodeagent/http.h"
#include "nodeagent/simulate.h"
#include "nodeagent/status.h"

enum exit_code { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

struct service { /* what the agent's thread is given and gives back */
    struct agent *agent;
    bool only_enrol;
    bool is_good;
    char why[256];
};

static int fail(const char *why)
{
    fprintf(stderr, "undercut-agent: %s\n", why);
    return EXIT_FAILED;
}

static void *service_main(void *arg)
{
    struct service *service = arg;
    service->is_good =
        agent_is_enrolled(service->agent) || agent_enrol(service->agent, service->why);
    if (service->is_good && !service->only_enrol)
        service->is_good = agent_run(service->agent, service->why);
    /* The main thread waits for a signal; this is the one that says "done". */
    kill(getpid(), SIGTERM);
    return NULL;
}

/* Signals are blocked everywhere and waited for here, so that no handler races with anything. */
static void signals_block(sigset_t *ret_set)
{
    sigemptyset(ret_set);
    sigaddset(ret_set, SIGTERM);
    sigaddset(ret_set, SIGINT);
    must(pthread_sigmask(SIG_BLOCK, ret_set, NULL) == 0);
    signal(SIGPIPE, SIG_IGN);
}

static int serve_one(const struct config *config, const sigset_t *signals)
{
    struct service service = {.only_enrol = config->command == CONFIG_ENROL};
    service.agent = agent_create(config, "", service.why);
    if (!service.agent)
        return fail(service.why);
    if (!agent_is_enrolled(service.agent) && !config->token[0]) {
        agent_destroy(service.agent);
        return fail("this machine is not enrolled yet; give a --token (see --help)");
    }
    pthread_t thread;
    int signal_number;
    must(pthread_create(&thread, NULL, service_main, &service) == 0);
    must(sigwait(signals, &signal_number) == 0);
    agent_stop(service.agent);
    pthread_join(thread, NULL);
    if (service.is_good && service.only_enrol)
        printf("enrolled as %s in %s\n", agent_identity(service.agent)->node_id,
               agent_identity(service.agent)->region);
    agent_destroy(service.agent);
    return service.is_good ? EXIT_DONE : fail(service.why);
}

static int serve_fleet(const struct config *config, const sigset_t *signals)
{
    char why[256];
    int signal_number;
    struct fleet *fleet = fleet_start(config, why);
    if (!fleet)
        return fail(why);
    must(sigwait(signals, &signal_number) == 0);
    fleet_stop(fleet);
    return EXIT_DONE;
}

static int serve(const struct config *config)
{
    sigset_t signals;
    const char *level = getenv("UNDERCUT_LOG_LEVEL");
    if (level)
        log_set_level(log_level_of(str_of(level)));
    signals_block(&signals);
    hash_start();
    http_start();
    return config->simulate_nodes ? serve_fleet(config, &signals) : serve_one(config, &signals);
}

int main(int argc, char **argv)
{
    struct config config;
    char why[256] = "";
    if (!config_read(argc, argv, &config, why)) {
        fprintf(stderr, "undercut-agent: %s\n", why);
        return EXIT_USAGE;
    }
    switch (config.command) {
    case CONFIG_HELP:
        fputs(config_help(), stdout);
        return EXIT_DONE;
    case CONFIG_VERSION:
        puts("undercut-agent " UNDERCUT_VERSION);
        return EXIT_DONE;
    case CONFIG_STATUS:
        hash_start();
        return status_print(&config, why) ? EXIT_DONE : fail(why);
    case CONFIG_RUN:
    case CONFIG_ENROL:
        return serve(&config);
    }
    must_not_reach();
}
