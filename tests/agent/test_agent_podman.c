/* The agent with a real Podman: what happens to containers, their output, and their metered time,
 * also when the agent is killed. Fails, and does not skip, where Podman is absent. */
#include "tests/lib/test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/base/clock.h"
#include "broker/base/hash.h"
#include "broker/base/id.h"
#include "tests/agent/lib_broker.h"
#include "tests/agent/lib_podman.h"
#include "tests/agent/lib_process.h"

#define WAIT_MS 20000

static struct podman podman; /* one service for all tests of this program */

struct rig {
    struct broker *broker;
    char folder[64];
    char state_dir[96];
    char gpus_path[96];
    pid_t agent;
    char lease_id[ID_TEXT_SIZE];
    int64_t wanted_mono_ms;
};

static pid_t start(struct rig *rig)
{
    char library[512];
    program_path("fake-nvml/libnvidia-ml.so.1", library, sizeof(library));
    const char *const more[] = {"--engine", podman.url, "--cpu-slots", "cpu-2c4g:4",
                                "--nvml",   library,    NULL};
    return agent_start(broker_url(rig->broker), rig->state_dir, more);
}

static int rig_up(void **state)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    folder_make_temporary(rig->folder);
    assert_true(str_format(rig->state_dir, sizeof(rig->state_dir), "%s/state", rig->folder));
    assert_true(str_format(rig->gpus_path, sizeof(rig->gpus_path), "%s/gpus", rig->folder));
    file_put(rig->gpus_path, "gpu NVIDIA GeForce RTX 4090\n uuid=GPU-rig mem_mb=24564 cc=8.9\n");
    setenv("UNDERCUT_FAKE_NVML", rig->gpus_path, 1);
    rig->broker = broker_start();
    lease_id_text(lease_id_new(), rig->lease_id);
    rig->agent = start(rig);
    *state = rig;
    return 0;
}

static int rig_down(void **state)
{
    struct rig *rig = *state;
    broker_unlist(rig->broker, rig->lease_id);
    assert_true(broker_wait_forgotten(rig->broker, rig->lease_id, WAIT_MS));
    assert_int_equal(process_end(rig->agent, SIGTERM), 0);
    assert_int_equal(podman_count(&podman, rig->lease_id), 0);
    assert_string_equal(broker_violations(rig->broker), "");
    broker_stop(rig->broker);
    folder_remove(rig->folder);
    free(rig);
    return 0;
}

/* `more` are further members of the manifest, `lease_more` of the lease, each with a comma before
 * it. */
static void want_lease(struct rig *rig, const char *image, const char *script, const char *more,
                       const char *lease_more)
{
    char json[4096];
    assert_true(str_format(
        json, sizeof(json),
        "{\"stop_grace_s\":2,\"replica_index\":1,\"replica_count\":3,\"workload_name\":\"render\","
        "\"devices\":[\"cpu-2c4g/0\"],\"vcpu_milli\":1000,\"memory_mib\":48,\"disk_mib\":16,"
        "\"manifest\":{\"image\":\"%s\",\"command\":[\"/bin/sh\",\"-c\",\"%s\"],"
        "\"env\":{\"A\":\"one two\",\"LD_PRELOAD\":\"/evil.so\"}%s},"
        "\"secrets\":{\"TOKEN\":\"s3cret\"},\"registry_auth\":null%s}",
        image, script, more, lease_more));
    rig->wanted_mono_ms = clock_mono_ms();
    broker_want(rig->broker, rig->lease_id, 1, json);
}

static void want_with(struct rig *rig, const char *image, const char *script, const char *more)
{
    want_lease(rig, image, script, more, "");
}

static void want(struct rig *rig, const char *script)
{
    want_with(rig, PODMAN_IMAGE, script, "");
}

static void assert_exit(struct rig *rig, const char *reason, int exit_code)
{
    assert_true(broker_wait_state(rig->broker, rig->lease_id, "exited", WAIT_MS));
    json_t *report = broker_report(rig->broker, rig->lease_id);
    struct str told = json_str(report, "reason");
    if (!str_equal_c(told, reason))
        print_error("reason %.*s, detail %.*s\n", STR_ARG(told),
                    STR_ARG(json_str(report, "detail")));
    assert_true(str_equal_c(told, reason));
    assert_int_equal(json_i64(report, "exit_code", -1), exit_code);
    json_decref(report);
}

static int64_t final_ms(struct rig *rig)
{
    bool is_final;
    int64_t healthy_ms = broker_receipt_healthy_ms(rig->broker, rig->lease_id, &is_final);
    assert_true(is_final);
    return healthy_ms;
}

static void a_command_runs_to_completion(void **state)
{
    struct rig *rig = *state;
    want(rig, "echo A=$A $UNDERCUT_WORKLOAD $UNDERCUT_REPLICA_INDEX/$UNDERCUT_REPLICA_COUNT $TOKEN "
              "[$LD_PRELOAD]; echo bad >&2; sleep 1; echo end");
    assert_exit(rig, "completed", 0);
    assert_true(
        broker_wait_log(rig->broker, rig->lease_id, "A=one two render 1/3 s3cret []\n", WAIT_MS));
    assert_true(broker_wait_log(rig->broker, rig->lease_id, "bad\n", WAIT_MS));
    assert_true(broker_wait_log(rig->broker, rig->lease_id, "end\n", WAIT_MS));
    assert_in_range(final_ms(rig), 850, 1400);
}

static void a_command_that_exits_with_1_failed(void **state)
{
    struct rig *rig = *state;
    want(rig, "exit 1");
    assert_exit(rig, "command_failed", 1);
}

static void a_command_over_its_memory_limit_is_told_so(void **state)
{
    struct rig *rig = *state;
    want(rig, "head -c 200000000 /dev/zero | tail -c 199999999 >/dev/null");
    assert_exit(rig, "out_of_memory", 137);
}

static void a_command_that_kills_itself_did_not_run_out_of_memory(void **state)
{
    struct rig *rig = *state;
    want(rig, "(sleep 0.2; exit 137); exit 137");
    assert_exit(rig, "command_failed", 137);
}

static void an_image_that_does_not_exist_is_not_found(void **state)
{
    struct rig *rig = *state;
    want_with(rig, "localhost/uc-nowhere:1", "true", "");
    assert_exit(rig, "image_not_found", -1);
    assert_int_equal(final_ms(rig), 0);
}

static void an_unreachable_registry_is_a_failed_pull(void **state)
{
    struct rig *rig = *state;
    want_with(rig, "127.0.0.1:1/nobody/home:1", "true", "");
    assert_exit(rig, "image_pull_failed", -1);
}

static void assert_mistake(struct rig *rig, const char *manifest)
{
    char json[1024];
    lease_id_text(lease_id_new(), rig->lease_id);
    assert_true(str_format(json, sizeof(json),
                           "{\"devices\":[\"cpu-2c4g/0\"],\"memory_mib\":48,\"manifest\":{"
                           "\"image\":\"%s\",%s}}",
                           PODMAN_IMAGE, manifest));
    broker_want(rig->broker, rig->lease_id, 1, json);
    assert_exit(rig, "command_failed", -1);
    broker_unlist(rig->broker, rig->lease_id);
    assert_true(broker_wait_forgotten(rig->broker, rig->lease_id, WAIT_MS));
}

static void what_the_image_lacks_is_its_authors_mistake(void **state)
{
    struct rig *rig = *state;
    assert_mistake(rig, "\"command\":[\"/bin/absent\"]");
    assert_mistake(rig, "\"command\":[\"/tmp\"]");
    assert_mistake(rig, "\"command\":[\"/bin/sh\"],\"user\":\"nobody-of-that-name\"");
    assert_mistake(rig, "\"env\":{}"); /* neither the manifest nor the image says what to run */
}

static void the_sandbox_has_walls(void **state)
{
    struct rig *rig = *state;
    want(rig, "touch /x 2>/dev/null || echo root is read-only; touch /tmp/x && echo tmp is not; "
              "while read k v; do case $k in CapEff:|NoNewPrivs:|Seccomp:|Uid:) echo $k $v;; esac; "
              "done </proc/self/status; head -c 30000000 /dev/zero >/tmp/y || echo tmp is bounded");
    assert_exit(rig, "completed", 0);
    static const char *const said[] = {
        "root is read-only\n", "tmp is not\n", "CapEff: 0000000000000000\n", "NoNewPrivs: 1\n",
        "Seccomp: 2\n",        "Uid: 65534",   "tmp is bounded\n",
    };
    for (size_t i = 0; i < ARRAY_COUNT(said); i++)
        assert_true(broker_wait_log(rig->broker, rig->lease_id, said[i], WAIT_MS));
}

static void a_stop_gives_the_grace_to_clean_up(void **state)
{
    struct rig *rig = *state;
    want(rig, "trap 'echo tidy; exit 0' TERM; echo up; while true; do sleep 0.1; done");
    assert_true(broker_wait_log(rig->broker, rig->lease_id, "up\n", WAIT_MS));
    broker_want_stop(rig->broker, rig->lease_id);
    assert_exit(rig, "stopped", 0);
    assert_true(broker_wait_log(rig->broker, rig->lease_id, "tidy\n", WAIT_MS));
}

/* What the broker says of an interruption comes again in each answer; the signal does not. */
static void a_notice_is_told_once_and_does_not_stop(void **state)
{
    struct rig *rig = *state;
    const char *more = ",\"notice_signal\":\"SIGUSR1\"";
    const char *notice = ",\"interrupt_at_us\":1900000000000000";
    const char *script = "trap 'echo noticed' USR1; trap 'echo bye; exit 0' TERM; echo up; "
                         "while :; do sleep 0.1; done";
    want_with(rig, PODMAN_IMAGE, script, more);
    assert_true(broker_wait_log(rig->broker, rig->lease_id, "up\n", WAIT_MS));
    want_lease(rig, PODMAN_IMAGE, script, more, notice);
    assert_true(broker_wait_log(rig->broker, rig->lease_id, "up\nnoticed\n", WAIT_MS));
    want_lease(rig, PODMAN_IMAGE, script, more, notice);
    assert_true(broker_wait_syncs(rig->broker, 3, WAIT_MS));
    assert_true(broker_wait_state(rig->broker, rig->lease_id, "running", WAIT_MS));
    broker_want_stop(rig->broker, rig->lease_id);
    assert_true(broker_wait_log(rig->broker, rig->lease_id, "up\nnoticed\nbye\n", WAIT_MS));
    assert_exit(rig, "stopped", 0);
}

static void a_command_that_ignores_the_stop_is_killed_after_its_grace(void **state)
{
    struct rig *rig = *state;
    want(rig, "trap '' TERM; echo up; while true; do sleep 0.1; done");
    assert_true(broker_wait_log(rig->broker, rig->lease_id, "up\n", WAIT_MS));
    int64_t started_mono_ms = clock_mono_ms();
    broker_want_stop(rig->broker, rig->lease_id);
    assert_exit(rig, "stopped", 137);
    assert_in_range(clock_mono_ms() - started_mono_ms, 1900, 6000);
}

static void a_killed_agent_takes_its_container_up_again(void **state)
{
    struct rig *rig = *state;
    want(rig, "i=0; while test $i -lt 60; do echo line $i; i=$((i+1)); sleep 0.1; done; exit 5");
    assert_true(broker_wait_state(rig->broker, rig->lease_id, "running", WAIT_MS));
    int64_t running_mono_ms = clock_mono_ms();
    assert_true(broker_wait_log(rig->broker, rig->lease_id, "line 3\n", WAIT_MS));
    process_end(rig->agent, SIGKILL);
    assert_int_equal(podman_count(&podman, rig->lease_id), 1);
    rig->agent = start(rig);
    assert_true(broker_wait_log(rig->broker, rig->lease_id, "missing here", WAIT_MS));
    assert_int_equal(podman_count(&podman, rig->lease_id), 1);
    assert_exit(rig, "command_failed", 5);
    int64_t elapsed_ms = clock_mono_ms() - running_mono_ms;
    assert_in_range(final_ms(rig), 5500, elapsed_ms + 300);
}

static void a_container_that_ends_while_the_agent_is_dead_is_metered_to_its_end(void **state)
{
    struct rig *rig = *state;
    want(rig, "sleep 1; exit 4");
    assert_true(broker_wait_state(rig->broker, rig->lease_id, "running", WAIT_MS));
    process_end(rig->agent, SIGKILL);
    usleep(2500000); /* the container's second passes, and more */
    rig->agent = start(rig);
    assert_exit(rig, "command_failed", 4);
    assert_in_range(final_ms(rig), 800, 1300);
}

static void a_kill_at_any_moment_makes_no_twin(void **state)
{
    struct rig *rig = *state;
    want(rig, "echo once; sleep 4; exit 6");
    for (int i = 0; i < 8; i++) {
        usleep(60000); /* the kills fall into every stage of the start */
        process_end(rig->agent, SIGKILL);
        assert_true(podman_count(&podman, rig->lease_id) <= 1);
        rig->agent = start(rig);
    }
    assert_exit(rig, "command_failed", 6);
    assert_true(final_ms(rig) <= 4500);
}

static void a_container_that_somebody_removes_is_reported(void **state)
{
    struct rig *rig = *state;
    char command[256];
    want(rig, "while true; do sleep 0.1; done");
    assert_true(broker_wait_state(rig->broker, rig->lease_id, "running", WAIT_MS));
    process_end(rig->agent, SIGKILL);
    assert_true(str_format(command, sizeof(command),
                           "podman --root %s/root --runroot %s/run rm -f -t 0 undercut-%s-1",
                           podman.folder, podman.folder, rig->lease_id));
    const char *const argv[] = {"sh", "-c", command, NULL};
    assert_int_equal(process_run(argv), 0);
    rig->agent = start(rig);
    assert_exit(rig, "agent_refused", -1);
}

static void readiness_by_tcp_starts_the_meter(void **state)
{
    struct rig *rig = *state;
    want_with(rig, PODMAN_IMAGE, "sleep 1.5; nc -l -p 8080 -e /bin/true; sleep 1; exit 0",
              ",\"readiness\":{\"tcp\":{\"port\":8080},\"period_s\":1,\"failures\":30}");
    assert_true(broker_wait_state(rig->broker, rig->lease_id, "running", WAIT_MS));
    assert_true(clock_mono_ms() - rig->wanted_mono_ms >= 1500);
    assert_exit(rig, "completed", 0);
    assert_true(final_ms(rig) < 1500);
}

static void readiness_by_http_reads_the_status(void **state)
{
    struct rig *rig = *state;
    want_with(rig, PODMAN_IMAGE,
              "(echo 'HTTP/1.0 503 No'; echo) | nc -l -p 8080 >/dev/null; echo refused once; "
              "(echo 'HTTP/1.0 200 OK'; echo) | nc -l -p 8080; sleep 1",
              ",\"readiness\":{\"http_get\":{\"path\":\"/live\",\"port\":8080},\"period_s\":1,"
              "\"failures\":30}");
    assert_true(broker_wait_state(rig->broker, rig->lease_id, "running", WAIT_MS));
    assert_true(broker_wait_log(rig->broker, rig->lease_id, "refused once\n", WAIT_MS));
    assert_true(broker_wait_log(rig->broker, rig->lease_id, "GET /live HTTP/1.1", WAIT_MS));
    assert_exit(rig, "completed", 0);
}

static void readiness_by_command_asks_inside(void **state)
{
    struct rig *rig = *state;
    want_with(rig, PODMAN_IMAGE, "sleep 1; touch /tmp/ready; sleep 3; exit 0",
              ",\"readiness\":{\"exec\":{\"command\":[\"/bin/test\",\"-e\",\"/tmp/ready\"]},"
              "\"period_s\":1,\"failures\":30}");
    assert_true(broker_wait_state(rig->broker, rig->lease_id, "running", WAIT_MS));
    assert_true(clock_mono_ms() - rig->wanted_mono_ms >= 1000);
    assert_exit(rig, "completed", 0);
}

/* Else a probe that fails on purpose would be a machine for nothing. */
static void a_probe_that_fails_later_does_not_stop_the_meter(void **state)
{
    struct rig *rig = *state;
    want_with(rig, PODMAN_IMAGE, "touch /tmp/ready; sleep 2; rm /tmp/ready; sleep 4; exit 0",
              ",\"readiness\":{\"exec\":{\"command\":[\"/bin/test\",\"-e\",\"/tmp/ready\"]},"
              "\"period_s\":1,\"failures\":30}");
    assert_exit(rig, "completed", 0);
    assert_in_range(final_ms(rig), 4000, 7500);
}

static void a_probe_that_never_passes_ends_the_lease(void **state)
{
    struct rig *rig = *state;
    want_with(rig, PODMAN_IMAGE, "while true; do sleep 0.1; done",
              ",\"readiness\":{\"tcp\":{\"port\":9},\"period_s\":1,\"failures\":2}");
    assert_true(broker_wait_state(rig->broker, rig->lease_id, "exited", WAIT_MS));
    json_t *report = broker_report(rig->broker, rig->lease_id);
    assert_true(str_equal_c(json_str(report, "reason"), "readiness_failed"));
    json_decref(report);
    assert_int_equal(final_ms(rig), 0);
}

static void a_simulated_gpu_is_labelled_in_inventory_and_container(void **state)
{
    struct rig *rig = *state;
    char json[1024];
    assert_true(broker_wait_syncs(rig->broker, 1, WAIT_MS));
    json_t *inventory = broker_inventory(rig->broker);
    const json_t *gpu = json_array_get(json_object_get(inventory, "devices"), 0);
    assert_true(str_equal_c(json_str(gpu, "hardware_id"), "GPU-rig"));
    assert_true(json_bool(gpu, "is_simulated", false));
    assert_false(json_bool(inventory, "is_simulated", true));
    json_decref(inventory);
    assert_true(str_format(json, sizeof(json),
                           "{\"devices\":[\"GPU-rig\"],\"memory_mib\":48,\"manifest\":{\"image\":"
                           "\"%s\",\"command\":[\"/bin/sh\",\"-c\",\"echo gpu=$UNDERCUT_GPU\"]}}",
                           PODMAN_IMAGE));
    broker_want(rig->broker, rig->lease_id, 1, json);
    assert_exit(rig, "completed", 0);
    assert_true(broker_wait_log(rig->broker, rig->lease_id, "gpu=simulated\n", WAIT_MS));
}

static void much_output_arrives_whole(void **state)
{
    struct rig *rig = *state;
    want(rig, "i=0; while test $i -lt 20000; do echo $i 0123456789012345678901234567890123456789; "
              "i=$((i+1)); done; echo the last line");
    assert_exit(rig, "completed", 0);
    assert_true(broker_wait_log(rig->broker, rig->lease_id, "the last line\n", WAIT_MS));
    assert_false(broker_wait_log(rig->broker, rig->lease_id, "dropped", 1));
}

static int group_up(void **state)
{
    (void)state;
    podman_start(&podman);
    return 0;
}

static int group_down(void **state)
{
    (void)state;
    podman_stop(&podman);
    return 0;
}

#define RIGGED(test) cmocka_unit_test_setup_teardown(test, rig_up, rig_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RIGGED(a_command_runs_to_completion),
        RIGGED(a_command_that_exits_with_1_failed),
        RIGGED(a_command_over_its_memory_limit_is_told_so),
        RIGGED(a_command_that_kills_itself_did_not_run_out_of_memory),
        RIGGED(an_image_that_does_not_exist_is_not_found),
        RIGGED(an_unreachable_registry_is_a_failed_pull),
        RIGGED(what_the_image_lacks_is_its_authors_mistake),
        RIGGED(the_sandbox_has_walls),
        RIGGED(a_stop_gives_the_grace_to_clean_up),
        RIGGED(a_command_that_ignores_the_stop_is_killed_after_its_grace),
        RIGGED(a_notice_is_told_once_and_does_not_stop),
        RIGGED(a_killed_agent_takes_its_container_up_again),
        RIGGED(a_container_that_ends_while_the_agent_is_dead_is_metered_to_its_end),
        RIGGED(a_kill_at_any_moment_makes_no_twin),
        RIGGED(a_container_that_somebody_removes_is_reported),
        RIGGED(readiness_by_tcp_starts_the_meter),
        RIGGED(readiness_by_http_reads_the_status),
        RIGGED(readiness_by_command_asks_inside),
        RIGGED(a_probe_that_fails_later_does_not_stop_the_meter),
        RIGGED(a_probe_that_never_passes_ends_the_lease),
        RIGGED(a_simulated_gpu_is_labelled_in_inventory_and_container),
        RIGGED(much_output_arrives_whole),
    };
    hash_start();
    return cmocka_run_group_tests(tests, group_up, group_down);
}
