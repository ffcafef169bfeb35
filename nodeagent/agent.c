/* agent.c - the loop, and everything it needs, made and unmade in order.
 *
 * The happy path is: prepare receipts, build the report, post it (the broker holds it until
 * something changes), apply the answer, again. A change on this side cuts the held call short.
 * Failure modes are: no broker (back off with jitter, go on running), an unsigned answer (dropped),
 * a refusal (said in the log, tried again: the operator must act), another agent on the same state
 * folder (refused at start).
 */
#include "nodeagent/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <unistd.h>

#include "broker/base/clock.h"
#include "broker/base/json.h"
#include "broker/base/log.h"
#include "nodeagent/converge.h"
#include "nodeagent/pricer.h"
#include "nodeagent/report.h"

#define PATH_SIZE           512
#define HOLD_MS             4000
#define SYNC_TIMEOUT_MS     12000
#define CUT_AFTER_MS        50  /* a held call is never younger: bounds the rate of syncs ... */
#define CUT_AGAIN_MS        250 /* ... and a slow broker gets time to answer after a cut */
#define BACKOFF_FIRST_MS    200
#define BACKOFF_MAX_MS      5000
#define INVENTORY_MS        5000
#define RECEIPT_INTERVAL_MS 60000
#define PRICING_FILE_SIZE   16384
#define URL_DEFAULT         "http://127.0.0.1:8080"
#define BOOT_ID_PATH        "/proc/sys/kernel/random/boot_id"

struct agent {
    struct config config;
    char suffix[16];
    char boot_id[40];
    struct identity identity;
    int folder_fd; /* locked, so that no second agent uses the state */
    int stop_fd;
    atomic_bool is_stopping;
    struct engine *engine;
    struct gpu_source *nvml;
    struct gpu_source *amd;
    struct runner runner;
    struct inventory inventory;
    struct journal *journal;
    struct roster roster;
    struct receipts receipts;
    struct link link;
    struct logs *logs;
    struct http_client *client; /* of the sync */
    struct converge converge;
    struct pricing pricing;
    struct pricer *pricer; /* NULL: prices stand still */
    json_t *open;          /* what it may bid on, as last heard; NULL at first */
    char known_version[80];
    bool has_inventory_due;
    int64_t inventory_due_mono_ms;
    int64_t backoff_ms;
    int64_t cut_after_ms;
};

static bool folder_lock(struct agent *agent, char ret_why[256]);
static bool devices_open(struct agent *agent, char ret_why[256]);
static bool pricing_load(struct agent *agent, char ret_why[256]);
static void boot_id_read(char ret_id[40]);
static bool serve_start(struct agent *agent, char ret_why[256]);
static void serve_end(struct agent *agent);
static bool sync_once(struct agent *agent);
static void inventory_refresh(struct agent *agent);
static void back_off(struct agent *agent);

struct agent *agent_create(const struct config *config, const char *suffix, char ret_why[256])
{
    struct agent *agent = calloc(1, sizeof(*agent));
    must(agent);
    agent->config = *config;
    agent->folder_fd = -1;
    agent->stop_fd = eventfd(0, EFD_CLOEXEC);
    must(agent->stop_fd >= 0);
    must(str_format(agent->suffix, sizeof(agent->suffix), "%s", suffix));
    boot_id_read(agent->boot_id);
    agent->client = http_client_create();
    http_client_set_ca_file(agent->client, config->ca_file);
    if (!identity_load(config->state_dir, &agent->identity, ret_why) ||
        !folder_lock(agent, ret_why) || !pricing_load(agent, ret_why) ||
        !devices_open(agent, ret_why)) {
        agent_destroy(agent);
        return NULL;
    }
    if (!agent->config.url[0])
        (void)str_format(agent->config.url, sizeof(agent->config.url), "%s",
                         agent->identity.is_enrolled ? agent->identity.url : URL_DEFAULT);
    inventory_refresh(agent);
    return agent;
}

void agent_destroy(struct agent *agent)
{
    if (!agent)
        return;
    inventory_finish(&agent->inventory);
    gpu_close(agent->nvml);
    gpu_close(agent->amd);
    engine_close(agent->engine);
    json_decref(agent->open);
    http_client_destroy(agent->client);
    if (agent->folder_fd >= 0)
        close(agent->folder_fd);
    close(agent->stop_fd);
    free(agent);
}

const struct identity *agent_identity(const struct agent *agent)
{
    return &agent->identity;
}

bool agent_is_enrolled(const struct agent *agent)
{
    return agent->identity.is_enrolled;
}

void agent_stop(struct agent *agent)
{
    agent->is_stopping = true;
    (void)eventfd_write(agent->stop_fd, 1);
    http_client_cut(agent->client);
}

static bool folder_lock(struct agent *agent, char ret_why[256])
{
    char path[PATH_SIZE];
    must(str_format(path, sizeof(path), "%s/lock", agent->config.state_dir));
    agent->folder_fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (agent->folder_fd >= 0 && flock(agent->folder_fd, LOCK_EX | LOCK_NB) == 0)
        return true;
    (void)str_format(ret_why, 256, "another agent uses the state folder %.200s",
                     agent->config.state_dir);
    return false;
}

static bool devices_open(struct agent *agent, char ret_why[256])
{
    agent->nvml = gpu_nvml_open(agent->config.nvml_path);
    agent->amd = gpu_amd_open(agent->config.amd_root);
    if (agent->config.runner == RUNNER_SIMULATED)
        return true;
    agent->engine = engine_open(agent->config.engine_url, ret_why);
    return agent->engine != NULL;
}

static bool pricing_load(struct agent *agent, char ret_why[256])
{
    const char *path = agent->config.pricing_file;
    char text[PRICING_FILE_SIZE], why[256];
    if (!path[0])
        return true;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof(text)) : -1;
    if (fd >= 0)
        close(fd);
    if (n < 0 || n == (ssize_t)sizeof(text)) {
        (void)str_format(ret_why, 256, "--pricing: %.150s %s", path,
                         n < 0 ? "cannot be read" : "is longer than 16 KiB");
        return false;
    }
    if (pricing_parse((struct str){text, (size_t)n}, &agent->pricing, why))
        return true;
    (void)str_format(ret_why, 256, "--pricing: %.100s: %.140s", path, why);
    return false;
}

static void boot_id_read(char ret_id[40])
{
    int fd = open(BOOT_ID_PATH, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, ret_id, 36) : 0;
    if (fd >= 0)
        close(fd);
    ret_id[n > 0 ? n : 0] = '\0';
}

/* Rings in the agent: the next look of the loop is due. */
static void wake(void *arg)
{
    struct agent *agent = arg;
    http_client_cut(agent->client);
}

static void inventory_refresh(struct agent *agent)
{
    struct inventory_source source = {
        .config = &agent->config,
        .engine_or_null = agent->engine ? engine_facts(agent->engine) : NULL,
        .nvml_or_null = agent->nvml,
        .amd_or_null = agent->amd,
        .suffix = agent->suffix,
    };
    if (inventory_read(&agent->inventory, &source))
        agent->has_inventory_due = true;
    agent->inventory_due_mono_ms = clock_mono_ms() + INVENTORY_MS;
}

static void name_of(const struct agent *agent, char ret_name[65])
{
    ret_name[0] = '\0';
    if (agent->config.name[0])
        (void)str_format(ret_name, 65, "%s", agent->config.name);
    else
        (void)gethostname(ret_name, 64);
}

static void enrol_body(const struct agent *agent, struct buf *to)
{
    char key[64];
    char name[65];
    struct json_out out;
    base64url_encode(agent->identity.public_key.bytes, sizeof(agent->identity.public_key.bytes),
                     key);
    name_of(agent, name);
    json_out_start(&out, to);
    json_object_open(&out, NULL);
    json_put_c(&out, "token", agent->config.token);
    json_put_c(&out, "public_key", key);
    json_put_c(&out, "name", name);
    if (agent->config.region[0])
        json_put_c(&out, "region", agent->config.region);
    json_put_raw(&out, "inventory", buf_str(&agent->inventory.json));
    json_object_close(&out);
}

bool agent_enrol(struct agent *agent, char ret_why[256])
{
    struct link link;
    struct buf body = {0};
    struct buf answer = {0};
    enum link_outcome outcome;
    link_start(&link, agent->config.url, &agent->identity);
    (void)str_format(link.ca_file, sizeof(link.ca_file), "%s", agent->config.ca_file);
    enrol_body(agent, &body);
    while ((outcome = link_enrol(&link, buf_str(&body), &answer, ret_why)) == LINK_UNREACHABLE &&
           !agent->is_stopping && !agent->config.is_once) {
        char why[300];
        log_event(LOG_WARN, "enrol_delayed", "why=%s",
                  log_quote(str_of(ret_why), why, sizeof(why)));
        back_off(agent);
    }
    bool is_enrolled =
        outcome == LINK_OK && identity_enrol(&agent->identity, agent->config.state_dir,
                                             agent->config.url, buf_str(&answer), ret_why);
    if (is_enrolled)
        log_event(LOG_INFO, "node_enrolled", "node=%s region=%s", agent->identity.node_id,
                  agent->identity.region);
    buf_finish(&body);
    buf_finish(&answer);
    link_finish(&link);
    agent->backoff_ms = 0;
    return is_enrolled;
}

bool agent_run(struct agent *agent, char ret_why[256])
{
    bool is_started = serve_start(agent, ret_why);
    bool is_done = false;
    while (is_started && !agent->is_stopping && !is_done) {
        bool is_synced = sync_once(agent);
        is_done = is_synced && agent->config.is_once;
        if (!is_synced && !agent->is_stopping)
            back_off(agent);
    }
    serve_end(agent);
    return is_started;
}

static bool serve_start(struct agent *agent, char ret_why[256])
{
    const struct config *config = &agent->config;
    bool is_simulated = config->runner == RUNNER_SIMULATED;
    char path[PATH_SIZE];
    must(str_format(path, sizeof(path), "%s/journal", config->state_dir));
    agent->journal = journal_open(path, is_simulated ? JOURNAL_RELAXED : JOURNAL_DURABLE, ret_why);
    if (!agent->journal)
        return false;
    const struct identity *identity = &agent->identity;
    agent->runner = is_simulated ? runner_simulated(identity->node_id, config->time_scale)
                                 : runner_engine(agent->engine, identity->node_id);
    link_start(&agent->link, config->url, identity);
    must(str_format(agent->link.ca_file, sizeof(agent->link.ca_file), "%s", config->ca_file));
    receipts_start(&agent->receipts, agent->journal, identity->node_id, &identity->secret_key);
    roster_start(&agent->roster, agent->journal);
    agent->roster.wake = wake;
    agent->roster.wake_arg = agent;
    agent->logs = logs_create(&agent->link);
    agent->converge = (struct converge){
        .tools = {.roster = &agent->roster,
                  .runner = &agent->runner,
                  .logs = agent->logs,
                  .boot_id = agent->boot_id},
        .inventory = &agent->inventory,
        .receipts = &agent->receipts,
        .ignore_awards_pct = config->ignore_awards_pct,
        .receipt_interval_ms = RECEIPT_INTERVAL_MS,
        .receipt_due_mono_ms = clock_mono_ms() + RECEIPT_INTERVAL_MS,
    };
    agent->has_inventory_due = true;
    agent->cut_after_ms = CUT_AFTER_MS;
    if (config->pricing_file[0])
        agent->pricer = pricer_start(&(struct pricer_setup){.config = config,
                                                            .pricing = &agent->pricing,
                                                            .node_id = identity->node_id,
                                                            .region = identity->region,
                                                            .wake = wake,
                                                            .wake_arg = agent});
    log_event(LOG_INFO, "agent_started", "node=%s runner=%s devices=%zu leases=%zu",
              identity->node_id, agent->runner.name, agent->inventory.devices_count,
              agent->roster.leases_count);
    if (converge_start(&agent->converge))
        return true;
    (void)str_format(ret_why, 256, "the container engine does not list its containers");
    return false;
}

static void serve_end(struct agent *agent)
{
    if (!agent->journal)
        return;
    pricer_stop(agent->pricer);
    agent->pricer = NULL;
    converge_end(&agent->converge);
    logs_destroy(agent->logs);
    roster_finish(&agent->roster);
    link_finish(&agent->link);
    journal_close(agent->journal);
    agent->journal = NULL;
    log_event(LOG_INFO, "agent_ended", "node=%s", agent->identity.node_id);
}

/* Keeps the broker's view of our asks for `status`, and says so when a floor keeps us out. */
static void asks_note(struct agent *agent, const json_t *asks)
{
    size_t i;
    json_t *ask;
    char *text = json_is_array(asks) ? json_dumps(asks, JSON_COMPACT) : NULL;
    roster_lock(&agent->roster);
    bool is_news = text && !str_equal_c(journal_get(agent->journal, "asks"), text);
    if (is_news) {
        journal_put(agent->journal, "asks", str_of(text));
        journal_sync(agent->journal);
    }
    roster_unlock(&agent->roster);
    json_array_foreach (asks, i, ask) {
        if (!is_news || !str_equal_c(json_str(ask, "status"), "mismatch"))
            continue;
        log_event(LOG_WARN, "ask_mismatch", "class=%.*s floor_uusd=%lld ask_uusd=%lld",
                  STR_ARG(json_str(ask, "class")),
                  (long long)json_i64(ask, "node_price_uusd_per_device_hour", -1),
                  (long long)json_i64(ask, "price_uusd_per_device_hour", -1));
    }
    free(text);
}

/* How busy the machine is, by what the broker wants to run. */
static void use_note(struct agent *agent, const struct desired *desired)
{
    size_t leased_count = 0;
    for (size_t i = 0; i < desired->leases_count; i++)
        if (desired->leases[i].want == LEASE_WANT_RUN)
            leased_count += desired_lease_devices_count(&desired->leases[i]);
    pricer_observe(agent->pricer, (int)leased_count, (int)agent->inventory.devices_count);
}

static void answer_apply(struct agent *agent, struct str answer)
{
    struct desired desired;
    char why[DESIRED_WHY_SIZE];
    if (!desired_parse(answer, &desired, why)) {
        char quoted[300];
        log_event(LOG_ERROR, "answer_unusable", "why=%s",
                  log_quote(str_of(why), quoted, sizeof(quoted)));
        return;
    }
    must(str_format(agent->known_version, sizeof(agent->known_version), "%s", desired.version));
    agent->has_inventory_due = desired.want_inventory;
    logs_set_quota(agent->logs, desired.log_bytes_max);
    asks_note(agent, json_object_get(desired.json, "asks"));
    if (agent->pricer)
        use_note(agent, &desired);
    json_decref(agent->open);
    agent->open = json_incref(json_object_get(desired.json, "direct_workloads"));
    converge_apply(&agent->converge, &desired);
    desired_finish(&desired);
}

static void failure_log(struct agent *agent, enum link_outcome outcome, const char *why)
{
    char quoted[300];
    enum log_level level = outcome == LINK_UNREACHABLE ? LOG_WARN : LOG_ERROR;
    if (agent->backoff_ms == 0 || outcome != LINK_UNREACHABLE)
        log_event(level, "sync_failed", "node=%s why=%s", agent->identity.node_id,
                  log_quote(str_of(why), quoted, sizeof(quoted)));
}

static void body_make(struct agent *agent, struct buf *to)
{
    struct report report = {
        .known_version = agent->known_version,
        .hold_ms = agent->config.is_once ? 0 : HOLD_MS,
        .config = &agent->config,
        .open_or_null = agent->open,
        .pricer_or_null = agent->pricer,
        .inventory = &agent->inventory,
        .has_inventory = agent->has_inventory_due,
        .roster = &agent->roster,
        .receipts = &agent->receipts,
    };
    roster_lock(&agent->roster);
    /* Changes from here on cut the call; those before are in the report. */
    http_client_cut_forget(agent->client);
    converge_prepare(&agent->converge);
    report_emit(&report, to);
    roster_unlock(&agent->roster);
}

/* True unless a back-off is due. */
static bool sync_once(struct agent *agent)
{
    struct buf body = {0};
    struct buf answer = {0};
    char why[256] = "";
    if (clock_mono_ms() >= agent->inventory_due_mono_ms)
        inventory_refresh(agent);
    body_make(agent, &body);
    struct http_call call = link_call("sync", buf_str(&body), SYNC_TIMEOUT_MS);
    call.can_cut = true;
    call.cut_after_ms = agent->cut_after_ms;
    if (agent->is_stopping)
        http_client_cut(agent->client); /* the stop may have come before the forgetting */
    enum link_outcome outcome = link_post(&agent->link, agent->client, &call, &answer, why);
    switch (outcome) {
    case LINK_OK:
        if (agent->backoff_ms)
            log_event(LOG_INFO, "broker_reached", "node=%s", agent->identity.node_id);
        agent->backoff_ms = 0;
        agent->cut_after_ms = CUT_AFTER_MS;
        answer_apply(agent, buf_str(&answer));
        break;
    case LINK_CUT:
        agent->cut_after_ms = CUT_AGAIN_MS;
        break;
    case LINK_UNREACHABLE:
    case LINK_REFUSED:
    case LINK_FORGED:
        failure_log(agent, outcome, why);
        break;
    }
    buf_finish(&body);
    buf_finish(&answer);
    return outcome == LINK_OK || outcome == LINK_CUT;
}

/* Twice as long each time, and each node a little different, so that a broker that comes back is
 * not met by all of them at once. */
static void back_off(struct agent *agent)
{
    uint32_t random;
    struct pollfd stop = {.fd = agent->stop_fd, .events = POLLIN};
    agent->backoff_ms = agent->backoff_ms ? agent->backoff_ms * 2 : BACKOFF_FIRST_MS;
    if (agent->backoff_ms > BACKOFF_MAX_MS)
        agent->backoff_ms = BACKOFF_MAX_MS;
    random_bytes(&random, sizeof(random));
    int64_t half_ms = agent->backoff_ms / 2;
    (void)poll(&stop, 1, (int)(half_ms + (int64_t)(random % (uint32_t)(half_ms + 1))));
}
