/* The engine adapter against a scripted engine: both flavours, their error shapes, and the bodies
 * that are sent; and the parsers behind it. */
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/base/hash.h"
#include "broker/base/id.h"
#include "nodeagent/attach.h"
#include "nodeagent/cgroup.h"
#include "nodeagent/container.h"
#include "nodeagent/engine.h"
#include "nodeagent/http.h"
#include "nodeagent/readiness.h"
#include "tests/agent/lib_engine.h"
#include "tests/agent/lib_process.h"

#define PODMAN                                                                 \
    {"GET /v1.41/version", 200,                                                \
     "{\"Version\":\"4.3.1\",\"Components\":[{\"Name\":\"Podman Engine\"}]}"}, \
    {                                                                          \
        "GET /v1.41/info", 200, "{\"DefaultRuntime\":\"runc\"}"                \
    }
#define DOCKER                                                             \
    {"GET /v1.41/version", 200,                                            \
     "{\"Version\":\"20.10.24\",\"Components\":[{\"Name\":\"Engine\"}]}"}, \
    {                                                                      \
        "GET /v1.41/info", 200, "{\"DefaultRuntime\":\"runc\"}"            \
    }

struct rig {
    struct fake_engine *fake;
    struct engine *engine;
};

static struct rig rig_of(const struct engine_row *rows, size_t count)
{
    char why[ENGINE_WHY_SIZE];
    struct rig rig = {.fake = fake_engine_start(rows, count)};
    rig.engine = engine_open(fake_engine_url(rig.fake), why);
    assert_non_null(rig.engine);
    return rig;
}

static void rig_end(struct rig *rig)
{
    engine_close(rig->engine);
    fake_engine_stop(rig->fake);
}

static void flavours_are_told_apart(void **state)
{
    (void)state;
    static const struct engine_row podman[] = {PODMAN};
    static const struct engine_row docker[] = {DOCKER};
    struct rig rig = rig_of(podman, ARRAY_COUNT(podman));
    assert_int_equal(engine_facts(rig.engine)->flavour, ENGINE_PODMAN);
    assert_string_equal(engine_facts(rig.engine)->version, "4.3.1");
    assert_string_equal(engine_facts(rig.engine)->isolation, "runc");
    rig_end(&rig);
    rig = rig_of(docker, ARRAY_COUNT(docker));
    assert_int_equal(engine_facts(rig.engine)->flavour, ENGINE_DOCKER);
    rig_end(&rig);
}

static void an_absent_engine_is_said_so(void **state)
{
    (void)state;
    char why[ENGINE_WHY_SIZE];
    assert_null(engine_open("unix:///nonexistent/engine.sock", why));
    assert_non_null(strstr(why, "no container engine answers"));
    assert_null(engine_open("tcp://127.0.0.1:2375", why));
    assert_non_null(strstr(why, "unix:///path"));
}

struct pull_case {
    const char *last_line;
    enum image_outcome outcome;
};

/* Lines as Podman 4.3.1 and Docker 20.10 sent them. */
static void a_pull_is_judged_by_its_last_line(void **state)
{
    (void)state;
    static const struct pull_case cases[] = {
        {"{\"status\":\"Download complete\",\"id\":\"15cef0377b39\"}", IMAGE_PRESENT},
        {"{\"error\":\"initializing source docker://r/x:1: reading manifest 1 in r/x: manifest "
         "unknown\",\"errorDetail\":{\"message\":\"...\"}}",
         IMAGE_NOT_FOUND},
        {"{\"errorDetail\":{\"message\":\"not found\"},\"error\":\"manifest for r/x:1 not found\"}",
         IMAGE_NOT_FOUND},
        {"{\"error\":\"pinging container registry r: dial tcp: connection refused\"}",
         IMAGE_PULL_FAILED},
        {"{\"error\":\"unauthorized: authentication required\"}", IMAGE_NOT_FOUND},
        {"{\"error\":\"pull access denied for r/x\"}", IMAGE_NOT_FOUND},
        {"{\"error\":\"toomanyrequests: slow down\"}", IMAGE_PULL_FAILED},
        {"", IMAGE_PRESENT},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        char why[ENGINE_WHY_SIZE] = "";
        struct buf answer = {0};
        buf_add_c(&answer, "{\"status\":\"Pulling\"}\n");
        buf_add_c(&answer, cases[i].last_line);
        buf_add_c(&answer, "\r\n");
        assert_int_equal(engine_pull_verdict(buf_str(&answer), why), cases[i].outcome);
        assert_int_equal(why[0] != '\0', cases[i].outcome != IMAGE_PRESENT);
        buf_finish(&answer);
    }
}

static void a_pull_names_tag_or_digest_and_carries_the_credentials(void **state)
{
    (void)state;
    static const struct engine_row rows[] = {
        PODMAN,
        {"GET /v1.41/images/", 404, "{\"message\":\"no such image\"}"},
        {"POST /v1.41/images/create", 200, "{\"error\":\"manifest unknown\"}"},
    };
    struct rig rig = rig_of(rows, ARRAY_COUNT(rows));
    char id[IMAGE_ID_SIZE];
    char why[ENGINE_WHY_SIZE];
    json_t *auth = json_pack("{s:s,s:s}", "username", "u", "password", "p");
    assert_int_equal(engine_image_get(rig.engine, STR("reg:5000/a/b"), auth, id, why),
                     IMAGE_NOT_FOUND);
    assert_int_equal(engine_image_get(rig.engine, STR("reg:5000/a/b:2"), NULL, id, why),
                     IMAGE_NOT_FOUND);
    assert_int_equal(engine_image_get(rig.engine, STR("a/b@sha256:00ff"), NULL, id, why),
                     IMAGE_NOT_FOUND);
    const char *asked = fake_engine_asked(rig.fake);
    assert_non_null(strstr(asked, "fromImage=reg%3A5000/a/b&tag=latest "));
    assert_non_null(strstr(asked, "fromImage=reg%3A5000/a/b&tag=2 "));
    assert_non_null(strstr(asked, "fromImage=a/b&tag=sha256%3A00ff "));
    assert_non_null(strstr(asked, "X-Registry-Auth: eyJ1c2VybmFtZSI6InUiLCJwYXNzd29yZCI6InAifQ=="));
    json_decref(auth);
    rig_end(&rig);
}

static void what_one_tenant_had_pulled_another_does_not_get_unasked(void **state)
{
    (void)state;
    static const struct engine_row rows[] = {
        PODMAN,
        {"GET /v1.41/images/", 200, "{\"Id\":\"15cef0377b39\"}"},
        {"POST /v1.41/images/create", 200, "{\"error\":\"unauthorized: access denied\"}"},
    };
    struct rig rig = rig_of(rows, ARRAY_COUNT(rows));
    char id[IMAGE_ID_SIZE];
    char why[ENGINE_WHY_SIZE];
    assert_int_equal(engine_image_get(rig.engine, STR("reg/private:1"), NULL, id, why),
                     IMAGE_NOT_FOUND);
    assert_int_equal(engine_image_get(rig.engine, STR("15cef0377b39"), NULL, id, why),
                     IMAGE_NOT_FOUND);
    rig_end(&rig);
}

static void an_image_is_named_by_its_id_on_both_engines(void **state)
{
    (void)state;
    static const struct engine_row rows[] = {
        PODMAN,
        {"GET /v1.41/images/localhost/bare/json", 200, "{\"Id\":\"15cef0377b39\"}"},
        {"GET /v1.41/images/localhost/prefixed/json", 200, "{\"Id\":\"sha256:15cef0377b39\"}"},
    };
    struct rig rig = rig_of(rows, ARRAY_COUNT(rows));
    char id[IMAGE_ID_SIZE];
    char why[ENGINE_WHY_SIZE];
    assert_int_equal(engine_image_get(rig.engine, STR("localhost/bare"), NULL, id, why),
                     IMAGE_PRESENT);
    assert_string_equal(id, "sha256:15cef0377b39");
    assert_int_equal(engine_image_get(rig.engine, STR("localhost/prefixed"), NULL, id, why),
                     IMAGE_PRESENT);
    assert_string_equal(id, "sha256:15cef0377b39");
    rig_end(&rig);
}

static void a_refusal_keeps_the_engines_sentence(void **state)
{
    (void)state;
    static const struct engine_row rows[] = {
        DOCKER,
        {"POST /v1.41/containers/create", 409, "{\"message\":\"name in use\"}"},
        {"POST /v1.41/containers/c1/start", 500,
         "{\"cause\":\"rlimit\",\"message\":\"error setting rlimit type 7\",\"response\":500}"},
        {"POST /v1.41/containers/c1/kill", 409, "{\"message\":\"is not running\"}"},
        {"GET /v1.41/containers/c1/json", 200, "{\"State\":{\"Running\":false},\"Image\":\"x\"}"},
        {"DELETE /v1.41/containers/c2", 404, "{\"message\":\"no such container\"}"},
    };
    struct rig rig = rig_of(rows, ARRAY_COUNT(rows));
    char id[CONTAINER_ID_SIZE];
    char why[ENGINE_WHY_SIZE];
    assert_int_equal(engine_container_create(rig.engine, "n", STR("{}"), id, why), ENGINE_CONFLICT);
    assert_string_equal(why, "name in use");
    assert_int_equal(engine_container_start(rig.engine, "c1", why), ENGINE_REFUSED);
    assert_string_equal(why, "error setting rlimit type 7");
    assert_int_equal(engine_container_kill(rig.engine, "c1", "SIGTERM"), ENGINE_OK);
    assert_int_equal(engine_container_remove(rig.engine, "c2"), ENGINE_OK);
    rig_end(&rig);
}

/* As the engines and runtimes say it; Podman's with runc were read off 4.3.1. */
#define RUNC "runc create failed: unable to start container process: "
#define SHIM "failed to create shim task: OCI runtime create failed: " RUNC
static const struct refusal {
    int status;
    bool is_mistake;
    const char *message;
} refusals[] = {
    /* Podman with runc */
    {500, true,
     "runc: " RUNC "exec: '/nope': stat /nope: no such file or directory: OCI "
     "runtime attempted to invoke a command that was not found"},
    {500, true,
     "runc: " RUNC "exec: 'nope': executable file not found in $PATH: OCI runtime "
     "attempted to invoke a command that was not found"},
    {500, true, "runc: " RUNC "exec: '/etc': permission denied: OCI permission denied"},
    {500, true, "unable to find user x: no matching entries in passwd file"},
    {500, true, "workdir '/a' does not exist on container 97ca"},
    {500, true, "workdir '/etc/passwd' exists on container 97ca, but is not a directory"},
    {500, true,
     "container create: no command or entrypoint provided, and no CMD or ENTRYPOINT "
     "from image"},
    /* Podman with crun */
    {500, true,
     "crun: executable file `/nope` not found in $PATH: No such file or directory: "
     "OCI runtime attempted to invoke a command that was not found"},
    {500, true, "crun: open executable: Permission denied: OCI permission denied"},
    {500, true, "crun: exec container process `/x`: Exec format error: OCI runtime error"},
    {500, true,
     "crun: chdir to `/a`: No such file or directory: OCI runtime attempted to "
     "invoke a command that was not found"},
    /* Docker */
    {400, true,
     "OCI runtime create failed: container_linux.go:380: starting container process "
     "caused: exec: 'nope': executable file not found in $PATH: unknown"},
    {400, true, SHIM "exec: '/etc': permission denied: unknown"},
    {400, true,
     SHIM "error during container init: exec: 'nope': executable file not found in "
          "$PATH: unknown"},
    {400, true,
     SHIM "error during container init: chdir to cwd ('/a') set in config.json "
          "failed: not a directory: unknown"},
    {400, true, "No command specified"},
    {400, true, "no command specified"},
    {500, true, "unable to find user x: no matching entries in passwd file"},
    /* The machine's own faults, in much the same words */
    {500, false, "netavark: No such file or directory (os error 2)"},
    {500, false, "container create: stat /dev/nvidia0: no such file or directory"},
    {500, false,
     "crun: cgroups in hybrid mode not supported, drop all controllers from "
     "cgroupv2: OCI runtime error"},
    {500, false, "crun: mount `/x` to `/y`: Permission denied: OCI permission denied"},
    {500, false, "error setting rlimit type 7: operation not permitted"},
    {400, false,
     SHIM "error during container init: error mounting '/x' to rootfs at '/y': not "
          "a directory: Are you trying to mount a directory onto a file (or vice-versa)?"},
    {500, false,
     "error gathering device information while adding custom device '/dev/dri': no "
     "such file or directory"},
    {500, false, "could not select device driver '' with capabilities: [[gpu]]"},
    /* What another answer says is not about a refusal. */
    {404, false, "No such container: exec container process"},
    {409, false, "container process: exec: is in use"},
    {500, false, ""},
};

static void the_author_is_blamed_for_nothing_but_his_manifest(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(refusals); i++) {
        char body[512], why[ENGINE_WHY_SIZE];
        assert_true(str_format(body, sizeof(body), "{\"message\":\"%s\"}", refusals[i].message));
        const struct engine_row script[] = {
            DOCKER, {"POST /v1.41/containers/c1/start", refusals[i].status, body}};
        struct rig rig = rig_of(script, ARRAY_COUNT(script));
        enum engine_outcome outcome = engine_container_start(rig.engine, "c1", why);
        bool is_mistake = engine_blames_author(outcome, why);
        rig_end(&rig);
        if (is_mistake != refusals[i].is_mistake)
            fail_msg("%d %s: blamed: %d", refusals[i].status, refusals[i].message, is_mistake);
    }
    assert_false(engine_blames_author(ENGINE_UNREACHABLE, "unable to find user"));
}

static void a_state_is_read_whole(void **state)
{
    (void)state;
    static const struct engine_row rows[] = {
        DOCKER,
        {"GET /v1.41/containers/c1/json", 200,
         "{\"Image\":\"sha256:aa\",\"State\":{\"Status\":\"exited\",\"Running\":false,"
         "\"OOMKilled\":true,\"Pid\":0,\"ExitCode\":137,\"StartedAt\":"
         "\"2026-11-21T02:08:24.351538961Z\",\"FinishedAt\":\"2026-11-21T03:08:25.5+01:00\"}}"},
        {"GET /v1.41/containers/c2/json", 404, "{\"message\":\"no such container\"}"},
        {"GET /v1.41/containers/c3/json", 200, "this is not JSON"},
    };
    struct rig rig = rig_of(rows, ARRAY_COUNT(rows));
    struct container_state seen;
    assert_int_equal(engine_container_inspect(rig.engine, "c1", &seen), ENGINE_OK);
    assert_true(seen.is_oom && !seen.is_running);
    assert_int_equal(seen.exit_code, 137);
    assert_int_equal(seen.finished_at_us - seen.started_at_us, 1148462);
    assert_int_equal(engine_container_inspect(rig.engine, "c2", &seen), ENGINE_NO_SUCH);
    assert_int_equal(engine_container_inspect(rig.engine, "c3", &seen), ENGINE_REFUSED);
    rig_end(&rig);
}

static void our_containers_are_listed_by_label(void **state)
{
    (void)state;
    static const struct engine_row rows[] = {
        PODMAN,
        {"GET /v1.41/containers/json?all=1&filters=%7B%22label%22", 200,
         "[{\"Id\":\"c1\",\"Labels\":{\"undercut.lease\":\"lse_a\",\"undercut.epoch\":\"3\"}},"
         "{\"Id\":\"c2\",\"Labels\":{}}]"},
    };
    struct rig rig = rig_of(rows, ARRAY_COUNT(rows));
    struct container_found *found;
    size_t count;
    assert_int_equal(engine_container_list(rig.engine, "node_x", &found, &count), ENGINE_OK);
    assert_int_equal(count, 2);
    assert_string_equal(found[0].lease_id, "lse_a");
    assert_int_equal(found[0].epoch, 3);
    assert_int_equal(found[1].epoch, 0);
    free(found);
    rig_end(&rig);
}

static void times_of_the_engines_are_understood(void **state)
{
    (void)state;
    assert_int_equal(engine_time_parse(STR("0001-01-01T00:00:00Z")), 0);
    assert_int_equal(engine_time_parse(STR("")), 0);
    assert_int_equal(engine_time_parse(STR("yesterday")), 0);
    assert_int_equal(engine_time_parse(STR("1970-01-01T00:00:01.000002Z")), 1000002);
    assert_int_equal(engine_time_parse(STR("1970-01-01T01:00:01+01:00")), 1000000);
}

static json_t *body_of(enum engine_flavour flavour, const char *order_text)
{
    char why[256];
    struct buf text = {0};
    struct desired_lease order = {.epoch = 2,
                                  .stop_grace_ms = 10000,
                                  .replica_index = 4,
                                  .replica_count = 6,
                                  .vcpu_milli = 500,
                                  .memory_mib = 256,
                                  .disk_mib = 1024,
                                  .lease_id = "lse_a",
                                  .workload_name = "render"};
    order.json = json_parse(str_of(order_text), why, sizeof(why));
    assert_non_null(order.json);
    struct container_spec spec = {.flavour = flavour,
                                  .node_id = "node_x",
                                  .order = &order,
                                  .image_id = "sha256:aa",
                                  .has_cgroup_parent = true};
    container_body(&spec, &text);
    json_t *body = json_parse(buf_str(&text), why, sizeof(why));
    assert_non_null(body);
    buf_finish(&text);
    desired_lease_finish(&order);
    return body;
}

static bool has_text(const json_t *array, const char *text)
{
    for (size_t i = 0; i < json_array_size(array); i++)
        if (strcmp(json_string_value(json_array_get(array, i)), text) == 0)
            return true;
    return false;
}

static void the_body_builds_the_walls(void **state)
{
    (void)state;
    json_t *body = body_of(ENGINE_PODMAN, "{\"manifest\":{\"args\":[\"-v\"]}}");
    const json_t *host = json_object_get(body, "HostConfig");
    assert_int_equal(json_i64(host, "Memory", 0), 268435456);
    assert_int_equal(json_i64(host, "MemorySwap", 0), 268435456);
    assert_int_equal(json_i64(host, "NanoCpus", 0), 500000000);
    assert_true(json_bool(host, "ReadonlyRootfs", false));
    assert_true(has_text(json_object_get(host, "CapDrop"), "ALL"));
    assert_true(has_text(json_object_get(host, "SecurityOpt"), "no-new-privileges"));
    assert_true(str_equal_c(json_str(host, "NetworkMode"), "none"));
    assert_true(str_equal_c(json_str(host, "CgroupParent"), "/undercut/lse_a"));
    assert_true(str_equal_c(json_str(body, "User"), "65534:65534"));
    /* Temporary space is memory: never more than the lease has. */
    assert_true(
        str_equal_c(json_str(json_object_get(host, "Tmpfs"), "/tmp"), "rw,size=256m,mode=1777"));
    assert_null(json_object_get(body, "Entrypoint"));
    assert_true(has_text(json_object_get(body, "Cmd"), "-v"));
    assert_null(json_object_get(host, "Init"));
    json_decref(body);
    body = body_of(ENGINE_DOCKER, "{\"manifest\":{\"user\":\"1000\"}}");
    assert_true(json_bool(json_object_get(body, "HostConfig"), "Init", false));
    assert_true(str_equal_c(json_str(body, "User"), "1000"));
    json_decref(body);
}

static void a_tenant_cannot_steer_loader_or_gpu_by_variables(void **state)
{
    (void)state;
    json_t *body = body_of(
        ENGINE_PODMAN, "{\"manifest\":{\"env\":{\"A\":\"1\",\"LD_PRELOAD\":\"x\",\"NVIDIA_VISIBLE_"
                       "DEVICES\":\"all\",\"CUDA_VISIBLE_DEVICES\":\"0\",\"UNDERCUT_LEASE_ID\":"
                       "\"mine\",\"B=C\":\"2\"}},\"secrets\":{\"S\":\"3\",\"LD_AUDIT\":\"y\"}}");
    const json_t *env = json_object_get(body, "Env");
    assert_true(has_text(env, "A=1") && has_text(env, "S=3"));
    assert_true(has_text(env, "UNDERCUT_LEASE_ID=lse_a"));
    assert_true(has_text(env, "UNDERCUT_REPLICA_INDEX=4"));
    assert_true(has_text(env, "UNDERCUT_REPLICA_COUNT=6"));
    assert_true(has_text(env, "UNDERCUT_WORKLOAD=render"));
    assert_true(has_text(env, "UNDERCUT_GRACE_S=10"));
    assert_true(has_text(env, "NVIDIA_VISIBLE_DEVICES=void"));
    assert_int_equal(json_array_size(env), 8);
    json_decref(body);
}

struct heard {
    struct buf out;
    struct buf err;
};

static void hear(void *arg, enum attach_stream stream, const char *bytes, size_t len)
{
    struct heard *heard = arg;
    buf_add(stream == ATTACH_ERR ? &heard->err : &heard->out, bytes, len);
}

static void frames_come_apart_however_they_arrive(void **state)
{
    (void)state;
    static const char bytes[] = "\1\0\0\0\0\0\0\3abc"
                                "\2\0\0\0\0\0\0\2XY"
                                "\1\0\0\0\0\0\0\0"
                                "\1\0\0\0\0\0\0\1d";
    for (size_t step = 1; step < sizeof(bytes); step++) {
        struct heard heard = {{0}, {0}};
        struct attach_parser parser = {{0}, 0, 0};
        for (size_t at = 0; at < sizeof(bytes) - 1; at += step) {
            size_t left = sizeof(bytes) - 1 - at;
            attach_feed(&parser, bytes + at, left < step ? left : step, hear, &heard);
        }
        assert_true(str_equal_c(buf_str(&heard.out), "abcd"));
        assert_true(str_equal_c(buf_str(&heard.err), "XY"));
        buf_finish(&heard.out);
        buf_finish(&heard.err);
    }
}

static void probes_are_read_from_the_manifest(void **state)
{
    (void)state;
    struct probe probe;
    assert_true(probe_parse(STR("{\"http_get\":{\"path\":\"/x\",\"port\":80},\"period_s\":2,"
                                "\"failures\":5}"),
                            &probe));
    assert_int_equal(probe.kind, PROBE_HTTP_GET);
    assert_int_equal(probe.period_ms, 2000);
    assert_int_equal(probe.failures_max, 5);
    assert_true(probe_parse(STR("{\"tcp\":{\"port\":1}}"), &probe));
    assert_true(probe_parse(STR("{\"exec\":{\"command\":[\"true\"]}}"), &probe));
    assert_int_equal(probe.kind, PROBE_EXEC);
    probe_finish(&probe);
    assert_false(probe_parse(STR("{\"tcp\":{\"port\":0}}"), &probe));
    assert_false(probe_parse(STR("{\"exec\":{\"command\":[]}}"), &probe));
    assert_false(probe_parse(STR("{\"period_s\":1}"), &probe));
}

static void memory_evidence_is_read_from_both_cgroup_versions(void **state)
{
    (void)state;
    char root[64];
    char path[256];
    folder_make_temporary(root);
    const char *const folders[] = {"mkdir", "-p", NULL, NULL};
    const char *argv[4];
    memcpy(argv, folders, sizeof(argv));
    assert_true(str_format(path, sizeof(path), "%s/memory/undercut/lse_a/inner", root));
    argv[2] = path;
    assert_int_equal(process_run(argv), 0);
    assert_false(cgroup_hit_memory_limit(root, "lse_a", 1000000));
    assert_true(
        str_format(path, sizeof(path), "%s/memory/undercut/lse_a/memory.max_usage_in_bytes", root));
    file_put(path, "60000000\n");
    assert_false(cgroup_hit_memory_limit(root, "lse_a", 64 << 20));
    file_put(path, "67108864\n");
    assert_true(cgroup_hit_memory_limit(root, "lse_a", 64 << 20));
    unlink(path);
    cgroup_remove(root, "lse_a");
    struct stat info;
    assert_true(str_format(path, sizeof(path), "%s/memory/undercut/lse_a", root));
    assert_int_equal(stat(path, &info), -1);

    assert_true(str_format(path, sizeof(path), "%s/undercut/lse_b", root));
    assert_int_equal(process_run(argv), 0);
    assert_true(str_format(path, sizeof(path), "%s/undercut/lse_b/memory.events", root));
    file_put(path, "low 0\nhigh 0\nmax 12\noom 1\noom_kill 0\n");
    assert_false(cgroup_hit_memory_limit(root, "lse_b", 1));
    file_put(path, "low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\n");
    assert_true(cgroup_hit_memory_limit(root, "lse_b", 1));
    folder_remove(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flavours_are_told_apart),
        cmocka_unit_test(an_absent_engine_is_said_so),
        cmocka_unit_test(a_pull_is_judged_by_its_last_line),
        cmocka_unit_test(a_pull_names_tag_or_digest_and_carries_the_credentials),
        cmocka_unit_test(what_one_tenant_had_pulled_another_does_not_get_unasked),
        cmocka_unit_test(an_image_is_named_by_its_id_on_both_engines),
        cmocka_unit_test(a_refusal_keeps_the_engines_sentence),
        cmocka_unit_test(the_author_is_blamed_for_nothing_but_his_manifest),
        cmocka_unit_test(a_state_is_read_whole),
        cmocka_unit_test(our_containers_are_listed_by_label),
        cmocka_unit_test(times_of_the_engines_are_understood),
        cmocka_unit_test(the_body_builds_the_walls),
        cmocka_unit_test(a_tenant_cannot_steer_loader_or_gpu_by_variables),
        cmocka_unit_test(frames_come_apart_however_they_arrive),
        cmocka_unit_test(probes_are_read_from_the_manifest),
        cmocka_unit_test(memory_evidence_is_read_from_both_cgroup_versions),
    };
    hash_start();
    http_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
