/* undercutd: the broker. Reads its settings, starts, waits for a signal, ends in order. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "broker/app.h"
#include "broker/base/hash.h"
#include "broker/base/log.h"
#include "broker/config.h"

/* Every descriptor we may have: connections are bounded by configuration, not by a shell's default.
 */
static void raise_limits(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* Blocked before any thread exists, so that only sigwait() ever sees them. */
static void block_signals(sigset_t *ret)
{
    sigemptyset(ret);
    sigaddset(ret, SIGINT);
    sigaddset(ret, SIGTERM);
    sigaddset(ret, SIGHUP);
    pthread_sigmask(SIG_BLOCK, ret, NULL);
}

/* Written aside and renamed, so that a reader never sees half a number. */
static bool write_port_file(const char *path, int port)
{
    char aside[300];
    if (path[0] == '\0')
        return true;
    str_format(aside, sizeof(aside), "%s.new", path);
    FILE *file = fopen(aside, "we");
    bool is_written = file != NULL && fprintf(file, "%d\n", port) > 0;
    if (file != NULL)
        is_written = fclose(file) == 0 && is_written;
    return is_written && rename(aside, path) == 0;
}

static void announce(const struct config *config, int port)
{
    struct buf settings = {0};
    config_write_masked(config, &settings);
    log_event(LOG_INFO, "broker_started", "%.*s", STR_ARG(buf_str(&settings)));
    buf_finish(&settings);
    printf("listening on http://%s:%d\n", config->listen, port);
    fflush(stdout);
}

static void wait_for_end(const sigset_t *signals, int argc, char **argv, struct config *config)
{
    int signal_number = 0;
    while (sigwait(signals, &signal_number) == 0 && signal_number == SIGHUP) {
        if (config_reload(argc, argv, config))
            log_set_level(log_level_of(str_of(config->log_level)));
    }
    log_event(LOG_INFO, "broker_stopping", "signal=%d", signal_number);
}

static int run(int argc, char **argv, struct config *config)
{
    char why[512] = "";
    sigset_t signals;
    block_signals(&signals);
    raise_limits();
    struct app *app = app_open(config, why, sizeof(why));
    if (app == NULL) {
        fprintf(stderr, "undercutd: %s\n", why);
        return EXIT_FAILURE;
    }
    app_run(app);
    if (write_port_file(config->port_file, app_port(app))) {
        announce(config, app_port(app));
        wait_for_end(&signals, argc, argv, config);
    } else {
        fprintf(stderr, "undercutd: %s cannot be written\n", config->port_file);
    }
    app_close(app);
    log_event(LOG_INFO, "broker_stopped", "clean=true");
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    static struct config config;
    hash_start();
    switch (config_start(argc, argv, &config)) {
    case CONFIG_RUN:
        log_set_level(log_level_of(str_of(config.log_level)));
        return run(argc, argv, &config);
    case CONFIG_MAKE_ADMIN_KEY:
        return app_make_admin_key(&config) ? EXIT_SUCCESS : EXIT_FAILURE;
    case CONFIG_DONE:
        return EXIT_SUCCESS;
    case CONFIG_BAD:
        return EXIT_FAILURE;
    }
    return EXIT_FAILURE;
}
