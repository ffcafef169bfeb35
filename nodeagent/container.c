/* container.c - manifest in, create body out.
 *
 * The happy path is a JSON object built top-down: what runs, its environment, its labels, its
 * walls. Failure modes are none: what is odd in a manifest (a variable that would steer the dynamic
 * linker, a value that is not text) is left out.
 */
#include "nodeagent/container.h"

#include <stdlib.h>
#include <string.h>

#define USER          "65534:65534" /* nobody, unless the manifest says otherwise */
#define FILES_MAX     1024
#define PROCESSES_MAX 4096
#define PIDS_MAX      1024
#define TMP_MIB       64
#define MIB           (1LL << 20)

static json_t *env_make(const struct container_spec *spec);
static json_t *labels_make(const struct container_spec *spec);
static json_t *host_config_make(const struct container_spec *spec, json_t *env);

void container_name(const char *lease_id, int64_t epoch, char ret_name[CONTAINER_NAME_SIZE])
{
    must(str_format(ret_name, CONTAINER_NAME_SIZE, "undercut-%s-%lld", lease_id, (long long)epoch));
}

/* `from` in the manifest becomes `to` in the body, when it is there. */
static void list_copy(const json_t *manifest, const char *from, json_t *body, const char *to)
{
    json_t *list = json_object_get(manifest, from);
    if (json_array_size(list) > 0)
        json_object_set(body, to, list);
}

static void text_put(json_t *object, const char *key, struct str text)
{
    json_object_set_new(object, key, json_stringn(text.at, text.len));
}

void container_body(const struct container_spec *spec, struct buf *to)
{
    const json_t *manifest = desired_lease_manifest(spec->order);
    struct str user = json_str(manifest, "user");
    struct str folder = json_str(manifest, "working_dir");
    json_t *body = json_object();
    json_t *env = env_make(spec);
    text_put(body, "Image", str_of(spec->image_id));
    list_copy(manifest, "command", body, "Entrypoint");
    list_copy(manifest, "args", body, "Cmd");
    text_put(body, "User", user.len ? user : STR(USER));
    if (folder.len)
        text_put(body, "WorkingDir", folder);
    json_object_set_new(body, "AttachStdout", json_true());
    json_object_set_new(body, "AttachStderr", json_true());
    json_object_set_new(body, "Labels", labels_make(spec));
    json_object_set_new(body, "HostConfig", host_config_make(spec, env));
    json_object_set_new(body, "Env", env);
    char *text = json_dumps(body, JSON_COMPACT);
    must(text);
    buf_add_c(to, text);
    free(text);
    json_decref(body);
}

/* Variables by which a tenant could steer the loader or the GPU plug-ins of the engine. */
static bool is_forbidden(const char *name)
{
    static const char *const prefixes[] = {"LD_", "NVIDIA_", "CUDA_", "UNDERCUT_"};
    for (size_t i = 0; i < ARRAY_COUNT(prefixes); i++)
        if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
            return true;
    return !name[0] || strchr(name, '=');
}

static void env_add(json_t *env, const char *name, struct str value)
{
    struct buf text = {0};
    buf_add_format(&text, "%s=%.*s", name, STR_ARG(value));
    json_array_append_new(env, json_stringn(text.at, text.len));
    buf_finish(&text);
}

static void env_copy(json_t *env, const json_t *from)
{
    const char *name;
    json_t *value;
    json_object_foreach ((json_t *)from, name, value)
        if (json_is_string(value) && !is_forbidden(name))
            env_add(env, name,
                    (struct str){.at = json_string_value(value), .len = json_string_length(value)});
}

static void env_number(json_t *env, const char *name, int64_t number)
{
    char text[32];
    must(str_format(text, sizeof(text), "%lld", (long long)number));
    env_add(env, name, str_of(text));
}

static json_t *env_make(const struct container_spec *spec)
{
    const struct desired_lease *order = spec->order;
    json_t *env = json_array();
    env_copy(env, json_object_get(desired_lease_manifest(order), "env"));
    env_copy(env, json_object_get(order->json, "secrets"));
    env_add(env, "UNDERCUT_WORKLOAD", str_of(order->workload_name));
    env_add(env, "UNDERCUT_LEASE_ID", str_of(order->lease_id));
    env_number(env, "UNDERCUT_REPLICA_INDEX", order->replica_index);
    env_number(env, "UNDERCUT_REPLICA_COUNT", order->replica_count);
    env_number(env, "UNDERCUT_GRACE_S", order->stop_grace_ms / 1000);
    return env;
}

static json_t *labels_make(const struct container_spec *spec)
{
    char epoch[32];
    must(str_format(epoch, sizeof(epoch), "%lld", (long long)spec->order->epoch));
    return json_pack("{s:s,s:s,s:s}", "undercut.node", spec->node_id, "undercut.lease",
                     spec->order->lease_id, "undercut.epoch", epoch);
}

/* Temporary space is memory, so it can never be more than the lease's. */
static json_t *tmpfs_make(const struct container_spec *spec)
{
    const struct desired_lease *order = spec->order;
    int64_t mib = order->disk_mib > 0 ? order->disk_mib : TMP_MIB;
    if (order->memory_mib > 0 && mib > order->memory_mib)
        mib = order->memory_mib;
    /* Docker gives an absent /tmp the owner and mode of the image; Podman refuses the owner
     * options. */
    const char *owner = spec->flavour == ENGINE_DOCKER ? ",uid=65534,gid=65534" : "";
    char options[96];
    must(str_format(options, sizeof(options), "rw,size=%lldm,mode=1777%s", (long long)mib, owner));
    return json_pack("{s:s}", "/tmp", options);
}

static json_t *ulimit_make(const char *name, int64_t value)
{
    return json_pack("{s:s,s:I,s:I}", "Name", name, "Soft", (json_int_t)value, "Hard",
                     (json_int_t)value);
}

static void limits_put(const struct container_spec *spec, json_t *host)
{
    const struct desired_lease *order = spec->order;
    if (order->memory_mib > 0) {
        json_object_set_new(host, "Memory", json_integer(order->memory_mib * MIB));
        /* Memory and swap together: none of the latter. */
        json_object_set_new(host, "MemorySwap", json_integer(order->memory_mib * MIB));
    }
    if (order->vcpu_milli > 0)
        json_object_set_new(host, "NanoCpus", json_integer(order->vcpu_milli * 1000000));
    json_object_set_new(host, "PidsLimit", json_integer(PIDS_MAX));
    /* Named here, because Podman without CAP_SYS_RESOURCE cannot set its own defaults. */
    json_object_set_new(
        host, "Ulimits",
        json_pack("[o,o]", ulimit_make("nofile", FILES_MAX), ulimit_make("nproc", PROCESSES_MAX)));
}

static json_t *host_config_make(const struct container_spec *spec, json_t *env)
{
    json_t *host =
        json_pack("{s:b,s:[s],s:[s],s:s,s:{s:s},s:{s:s,s:{}}}", "ReadonlyRootfs", 1, "CapDrop",
                  "ALL", "SecurityOpt", "no-new-privileges", "NetworkMode", "none", "RestartPolicy",
                  "Name", "no", "LogConfig", "Type", "none", "Config");
    must(host);
    limits_put(spec, host);
    json_object_set_new(host, "Tmpfs", tmpfs_make(spec));
    if (spec->flavour == ENGINE_DOCKER)
        json_object_set_new(host, "Init", json_true()); /* else PID 1 would ignore SIGTERM */
    if (spec->has_cgroup_parent) {
        char parent[64];
        must(str_format(parent, sizeof(parent), "/undercut/%s", spec->order->lease_id));
        text_put(host, "CgroupParent", str_of(parent));
    }
    gpu_attach(spec->devices, spec->devices_count, host, env);
    return host;
}
