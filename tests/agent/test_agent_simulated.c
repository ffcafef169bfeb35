/* The agent against a stand-in broker, with the simulated runner: enrolment, the life of a lease,
 * receipts over kills, refusals, forged answers, and a fleet in one process. */
#include "tests/lib/test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/base/hash.h"
#include "broker/base/id.h"
#include "tests/agent/lib_broker.h"
#include "tests/agent/lib_process.h"

#define WAIT_MS 10000

struct rig {
    struct broker *broker;
    char folder[64];
    char state_dir[96];
    pid_t agent;
    char lease_id[ID_TEXT_SIZE];
};

static const char *const simulated[] = {"--runner", "simulated", "--cpu-slots", "cpu-2c4g:2",
                                        "--price",  "0.31",      NULL};

static void lease_json(char *ret, size_t size, const char *device, const char *env)
{
    assert_true(str_format(ret, size,
                           "{\"stop_grace_s\":1,\"workload_name\":\"render\",\"devices\":[\"%s\"],"
                           "\"vcpu_milli\":2000,\"memory_mib\":64,\"manifest\":{\"image\":\"bb:1\","
                           "\"env\":%s},\"secrets\":{},\"registry_auth\":null}",
                           device, env));
}

static void want(struct rig *rig, const char *env)
{
    char json[1024];
    lease_json(json, sizeof(json), "cpu-2c4g/0", env);
    broker_want(rig->broker, rig->lease_id, 1, json);
}

static int rig_up(void **state)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    folder_make_temporary(rig->folder);
    assert_true(str_format(rig->state_dir, sizeof(rig->state_dir), "%s/state", rig->folder));
    rig->broker = broker_start();
    lease_id_text(lease_id_new(), rig->lease_id);
    rig->agent = agent_start(broker_url(rig->broker), rig->state_dir, simulated);
    *state = rig;
    return 0;
}

static int rig_down(void **state)
{
    struct rig *rig = *state;
    if (rig->agent > 0)
        assert_int_equal(process_end(rig->agent, SIGTERM), 0);
    assert_string_equal(broker_violations(rig->broker), "");
    broker_stop(rig->broker);
    folder_remove(rig->folder);
    free(rig);
    return 0;
}

static void restart(struct rig *rig, int signal)
{
    process_end(rig->agent, signal);
    rig->agent = agent_start(broker_url(rig->broker), rig->state_dir, simulated);
}

static void assert_report(struct rig *rig, const char *key, const char *value)
{
    json_t *report = broker_report(rig->broker, rig->lease_id);
    assert_true(str_equal_c(json_str(report, key), value));
    json_decref(report);
}

static void a_lease_runs_to_completion_and_is_forgotten(void **state)
{
    struct rig *rig = *state;
    bool is_final;
    want(rig, "{\"UNDERCUT_SIM_RUN_S\":\"1\"}");
    assert_true(broker_wait_state(rig->broker, rig->lease_id, "running", WAIT_MS));
    assert_true(broker_wait_state(rig->broker, rig->lease_id, "exited", WAIT_MS));
    assert_report(rig, "reason", "completed");
    int64_t healthy_ms = broker_receipt_healthy_ms(rig->broker, rig->lease_id, &is_final);
    assert_true(is_final);
    assert_in_range(healthy_ms, 800, 1001);
    assert_true(broker_wait_log(rig->broker, rig->lease_id, "simulated", WAIT_MS));
    broker_unlist(rig->broker, rig->lease_id);
    assert_true(broker_wait_forgotten(rig->broker, rig->lease_id, WAIT_MS));
}

static void a_failing_command_has_its_own_reason(void **state)
{
    struct rig *rig = *state;
    want(rig, "{\"UNDERCUT_SIM_RUN_S\":\"0\",\"UNDERCUT_SIM_EXIT\":\"3\"}");
    assert_true(broker_wait_state(rig->broker, rig->lease_id, "exited", WAIT_MS));
    assert_report(rig, "reason", "command_failed");
}

static void the_inventory_says_simulated(void **state)
{
    struct rig *rig = *state;
    assert_true(broker_wait_syncs(rig->broker, 1, WAIT_MS));
    json_t *inventory = broker_inventory(rig->broker);
    const json_t *devices = json_object_get(inventory, "devices");
    assert_true(json_bool(inventory, "is_simulated", false));
    assert_int_equal(json_array_size(devices), 2);
    assert_true(json_bool(json_array_get(devices, 1), "is_simulated", false));
    assert_true(str_equal_c(json_str(json_array_get(devices, 1), "hardware_id"), "cpu-2c4g/1"));
    json_decref(inventory);
}

static void a_stop_ends_it_as_stopped(void **state)
{
    struct rig *rig = *state;
    want(rig, "{}");
    assert_true(broker_wait_state(rig->broker, rig->lease_id, "running", WAIT_MS));
    broker_want_stop(rig->broker, rig->lease_id);
    assert_true(broker_wait_state(rig->broker, rig->lease_id, "exited", WAIT_MS));
    assert_report(rig, "reason", "stopped");
}

static void a_lease_that_is_not_listed_any_more_is_stopped(void **state)
{
    struct rig *rig = *state;
    bool is_final = false;
    want(rig, "{}");
    assert_true(broker_wait_state(rig->broker, rig->lease_id, "running", WAIT_MS));
    broker_unlist(rig->broker, rig->lease_id);
    assert_true(broker_wait_forgotten(rig->broker, rig->lease_id, WAIT_MS));
    broker_receipt_healthy_ms(rig->broker, rig->lease_id, &is_final);
    assert_true(is_final);
}

static void a_newer_epoch_supersedes(void **state)
{
    struct rig *rig = *state;
    char json[1024];
    want(rig, "{}");
    assert_true(broker_wait_state(rig->broker, rig->lease_id, "running", WAIT_MS));
    lease_json(json, sizeof(json), "cpu-2c4g/0", "{\"UNDERCUT_SIM_RUN_S\":\"0\"}");
    broker_want(rig->broker, rig->lease_id, 2, json);
    assert_true(broker_wait_state(rig->broker, rig->lease_id, "exited", WAIT_MS));
    assert_report(rig, "reason", "completed");
}

static void a_device_of_another_machine_is_refused(void **state)
{
    struct rig *rig = *state;
    char json[1024];
    lease_json(json, sizeof(json), "GPU-elsewhere", "{}");
    broker_want(rig->broker, rig->lease_id, 1, json);
    assert_true(broker_wait_state(rig->broker, rig->lease_id, "exited", WAIT_MS));
    assert_report(rig, "reason", "agent_refused");
}

static void two_leases_on_one_device_run_one_after_the_other(void **state)
{
    struct rig *rig = *state;
    char second[ID_TEXT_SIZE];
    char json[1024];
    want(rig, "{}");
    assert_true(broker_wait_state(rig->broker, rig->lease_id, "running", WAIT_MS));
    lease_json(json, sizeof(json), "cpu-2c4g/0", "{}");
    lease_id_text(lease_id_new(), second);
    broker_want(rig->broker, second, 1, json);
    assert_true(broker_wait_state(rig->broker, second, "starting", WAIT_MS));
    assert_true(broker_wait_syncs(rig->broker, 2, WAIT_MS));
    assert_true(broker_wait_state(rig->broker, second, "starting", 1));
    broker_want_stop(rig->broker, rig->lease_id);
    assert_true(broker_wait_state(rig->broker, second, "running", WAIT_MS));
}

static void receipts_go_on_rising_over_kills(void **state)
{
    struct rig *rig = *state;
    bool is_final;
    broker_set_receipt_interval(rig->broker, 200);
    want(rig, "{}");
    for (int i = 0; i < 3; i++) {
        int64_t before = broker_receipt_seq(rig->broker);
        assert_true(broker_wait_syncs(rig->broker, 1, WAIT_MS));
        restart(rig, SIGKILL);
        assert_true(broker_wait_syncs(rig->broker, 2, WAIT_MS));
        assert_true(broker_receipt_seq(rig->broker) >= before);
    }
    /* A simulated run ends with its process; nobody may be charged for more than it ran. */
    assert_true(broker_wait_state(rig->broker, rig->lease_id, "exited", WAIT_MS));
    assert_report(rig, "reason", "agent_refused");
    broker_receipt_healthy_ms(rig->broker, rig->lease_id, &is_final);
    assert_true(is_final);
}

static void receipts_wait_until_the_broker_stores_them(void **state)
{
    struct rig *rig = *state;
    bool is_final = false;
    assert_true(broker_wait_syncs(rig->broker, 1, WAIT_MS));
    broker_set_mood(rig->broker, BROKER_UNACKING);
    want(rig, "{\"UNDERCUT_SIM_RUN_S\":\"0\"}");
    assert_true(broker_wait_state(rig->broker, rig->lease_id, "exited", WAIT_MS));
    broker_unlist(rig->broker, rig->lease_id);
    assert_true(broker_wait_syncs(rig->broker, 1, WAIT_MS));
    restart(rig, SIGKILL);
    assert_true(broker_wait_syncs(rig->broker, 1, WAIT_MS));
    assert_int_equal(broker_receipt_healthy_ms(rig->broker, rig->lease_id, &is_final), -1);
    broker_set_mood(rig->broker, BROKER_WELL);
    assert_true(broker_wait_forgotten(rig->broker, rig->lease_id, WAIT_MS));
    broker_receipt_healthy_ms(rig->broker, rig->lease_id, &is_final);
    assert_true(is_final);
}

static void a_forged_answer_is_dropped(void **state)
{
    struct rig *rig = *state;
    assert_true(broker_wait_syncs(rig->broker, 1, WAIT_MS));
    broker_set_mood(rig->broker, BROKER_FORGING);
    want(rig, "{}");
    assert_true(broker_wait_syncs(rig->broker, 2, WAIT_MS));
    assert_false(broker_wait_state(rig->broker, rig->lease_id, "starting", 1));
    broker_set_mood(rig->broker, BROKER_WELL);
    assert_true(broker_wait_state(rig->broker, rig->lease_id, "running", WAIT_MS));
}

static void a_silent_broker_stops_nothing(void **state)
{
    struct rig *rig = *state;
    bool is_final;
    want(rig, "{\"UNDERCUT_SIM_RUN_S\":\"1\"}");
    assert_true(broker_wait_state(rig->broker, rig->lease_id, "running", WAIT_MS));
    broker_set_mood(rig->broker, BROKER_SILENT);
    usleep(1500000); /* the run must end while nobody can be told */
    broker_set_mood(rig->broker, BROKER_WELL);
    assert_true(broker_wait_state(rig->broker, rig->lease_id, "exited", WAIT_MS));
    assert_report(rig, "reason", "completed");
    assert_in_range(broker_receipt_healthy_ms(rig->broker, rig->lease_id, &is_final), 800, 1001);
}

static void the_key_and_the_state_are_private(void **state)
{
    struct rig *rig = *state;
    static const char *const names[] = {"key.ed25519", "agent.json", "journal"};
    assert_true(broker_wait_syncs(rig->broker, 1, WAIT_MS));
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        char path[160];
        struct stat info;
        assert_true(str_format(path, sizeof(path), "%s/%s", rig->state_dir, names[i]));
        assert_int_equal(stat(path, &info), 0);
        assert_int_equal(info.st_mode & 0777, 0600);
    }
}

static void a_second_agent_on_the_same_state_is_refused(void **state)
{
    struct rig *rig = *state;
    assert_true(broker_wait_syncs(rig->broker, 1, WAIT_MS));
    pid_t second = agent_start(broker_url(rig->broker), rig->state_dir, simulated);
    assert_int_equal(process_end(second, 0), 1);
}

static void status_shows_leases_and_both_prices(void **state)
{
    struct rig *rig = *state;
    char command[1024];
    char program[512];
    char text[4096];
    want(rig, "{}");
    assert_true(broker_wait_state(rig->broker, rig->lease_id, "running", WAIT_MS));
    program_path("bin/undercut-agent", program, sizeof(program));
    assert_true(
        str_format(command, sizeof(command), "%s status --state-dir %s", program, rig->state_dir));
    FILE *pipe = popen(command, "re");
    assert_non_null(pipe);
    text[fread(text, 1, sizeof(text) - 1, pipe)] = '\0';
    assert_int_equal(pclose(pipe), 0);
    assert_non_null(strstr(text, rig->lease_id));
    assert_non_null(strstr(text, "running"));
    assert_non_null(strstr(text, "0.30        0.31  mismatch"));
}

static void an_enrolled_agent_remembers_its_broker(void **state)
{
    struct rig *rig = *state;
    char program[512];
    assert_true(broker_wait_syncs(rig->broker, 1, WAIT_MS));
    process_end(rig->agent, SIGTERM);
    program_path("bin/undercut-agent", program, sizeof(program));
    const char *const argv[] = {program,       "run",          "--runner", "simulated",
                                "--state-dir", rig->state_dir, NULL};
    rig->agent = process_start(argv);
    assert_true(broker_wait_syncs(rig->broker, 1, WAIT_MS));
}

static void a_bad_token_ends_the_agent_with_an_error(void **state)
{
    struct rig *rig = *state;
    char program[512];
    char other_dir[96];
    assert_true(broker_wait_syncs(rig->broker, 1, WAIT_MS));
    assert_true(str_format(other_dir, sizeof(other_dir), "%s/other", rig->folder));
    program_path("bin/undercut-agent", program, sizeof(program));
    const char *const argv[] = {program,       "enrol",     "--url",   broker_url(rig->broker),
                                "--runner",    "simulated", "--token", "uct_bad",
                                "--state-dir", other_dir,   NULL};
    assert_int_equal(process_run(argv), 1);
}

static void ignored_awards_are_never_acknowledged(void **state)
{
    struct rig *rig = *state;
    assert_true(broker_wait_syncs(rig->broker, 1, WAIT_MS));
    setenv("UNDERCUT_AGENT_IGNORE_AWARDS_PCT", "100", 1);
    restart(rig, SIGTERM);
    unsetenv("UNDERCUT_AGENT_IGNORE_AWARDS_PCT");
    assert_true(broker_wait_syncs(rig->broker, 1, WAIT_MS));
    want(rig, "{}");
    assert_true(broker_wait_syncs(rig->broker, 2, WAIT_MS)); /* the answer, and what follows it */
    assert_null(broker_report(rig->broker, rig->lease_id));
}

static int fleet_up(void **state)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    folder_make_temporary(rig->folder);
    rig->broker = broker_start();
    *state = rig;
    return 0;
}

/* The stand-in knows one node only, so this fleet has one: what is tested is the way through files.
 */
static void a_fleet_enrols_from_its_tokens_file(void **state)
{
    struct rig *rig = *state;
    char tokens[96];
    assert_true(str_format(tokens, sizeof(tokens), "%s/tokens", rig->folder));
    file_put(tokens, "uct_good\n");
    const char *const more[] = {"--runner", "simulated",   "--simulate-nodes", "1", "--tokens",
                                tokens,     "--cpu-slots", "cpu-2c4g:1",       NULL};
    rig->agent = agent_start(broker_url(rig->broker), rig->folder, more);
    assert_true(broker_wait_syncs(rig->broker, 1, WAIT_MS));
    json_t *inventory = broker_inventory(rig->broker);
    const json_t *device = json_array_get(json_object_get(inventory, "devices"), 0);
    assert_true(str_equal_c(json_str(device, "hardware_id"), "cpu-2c4g/0/sim-000"));
    json_decref(inventory);
}

/* What it is shown it bids its floor on, times the devices of a block; what is not shown any more
 * it leaves alone, and what it has no price for. Without the option it says nothing. */
static void a_node_that_takes_bids_bids_its_floor_on_what_it_is_shown(void **state)
{
    struct rig *rig = *state;
    static const char *const bidding[] = {"--runner",      "simulated", "--cpu-slots",
                                          "cpu-2c4g:2",    "--price",   "cpu-2c4g=0.31",
                                          "--direct-bids", "floor",     NULL};
    broker_open(rig->broker,
                "[{\"workload_id\":\"wl_1\",\"device_class\":\"cpu-2c4g\",\"block_size\":2},"
                "{\"workload_id\":\"wl_2\",\"device_class\":\"rtx-4090\",\"block_size\":1}]");
    assert_true(broker_wait_syncs(rig->broker, 2, WAIT_MS));
    assert_true(broker_wait_bids(rig->broker, "", WAIT_MS));
    process_end(rig->agent, SIGTERM);
    rig->agent = agent_start(broker_url(rig->broker), rig->state_dir, bidding);
    assert_true(broker_wait_bids(
        rig->broker, "[{\"workload_id\":\"wl_1\",\"price_uusd_per_hour\":620000}]", WAIT_MS));
    broker_open(rig->broker, "[]");
    assert_true(broker_wait_bids(rig->broker, "[]", WAIT_MS));
}

#define RIGGED(test) cmocka_unit_test_setup_teardown(test, rig_up, rig_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIGGED(a_lease_runs_to_completion_and_is_forgotten),
        RIGGED(a_failing_command_has_its_own_reason),
        RIGGED(the_inventory_says_simulated),
        RIGGED(a_stop_ends_it_as_stopped),
        RIGGED(a_lease_that_is_not_listed_any_more_is_stopped),
        RIGGED(a_newer_epoch_supersedes),
        RIGGED(a_device_of_another_machine_is_refused),
        RIGGED(two_leases_on_one_device_run_one_after_the_other),
        RIGGED(receipts_go_on_rising_over_kills),
        RIGGED(receipts_wait_until_the_broker_stores_them),
        RIGGED(a_forged_answer_is_dropped),
        RIGGED(a_silent_broker_stops_nothing),
        RIGGED(the_key_and_the_state_are_private),
        RIGGED(a_second_agent_on_the_same_state_is_refused),
        RIGGED(status_shows_leases_and_both_prices),
        RIGGED(an_enrolled_agent_remembers_its_broker),
        RIGGED(a_bad_token_ends_the_agent_with_an_error),
        RIGGED(ignored_awards_are_never_acknowledged),
        RIGGED(a_node_that_takes_bids_bids_its_floor_on_what_it_is_shown),
        cmocka_unit_test_setup_teardown(a_fleet_enrols_from_its_tokens_file, fleet_up, rig_down),
    };
    hash_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
