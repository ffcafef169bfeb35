#include "nodeagent/gpu.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "broker/base/str.h"

#define LIBRARY_TARGET "/usr/local/nvidia/lib64"
#define PATH_SIZE      256

void gpu_close(struct gpu_source *source)
{
    if (source)
        source->close(source);
}

const char *device_vendor_name(enum device_vendor vendor)
{
    switch (vendor) {
    case DEVICE_NVIDIA:
        return "nvidia";
    case DEVICE_AMD:
        return "amd";
    case DEVICE_CPU:
        return "cpu";
    }
    must_not_reach();
}

static json_t *array_of(json_t *object, const char *key)
{
    json_t *array = json_object_get(object, key);
    if (!array) {
        array = json_array();
        json_object_set_new(object, key, array);
    }
    return array;
}

static void node_add(json_t *host_config, const char *path)
{
    if (access(path, F_OK) == 0)
        json_array_append_new(array_of(host_config, "Devices"),
                              json_pack("{s:s,s:s,s:s}", "PathOnHost", path, "PathInContainer",
                                        path, "CgroupPermissions", "rw"));
}

static void env_add(json_t *env, const char *name, const char *value)
{
    char text[1024];
    if (str_format(text, sizeof(text), "%s=%s", name, value))
        json_array_append_new(env, json_string(text));
}

/* The driver's user-space half must match the kernel's, so it comes from the machine and not from
 * the image. */
static void nvidia_libraries_add(json_t *host_config)
{
    static const char *const folders[] = {"/usr/lib/x86_64-linux-gnu", "/usr/lib64",
                                          "/usr/lib/aarch64-linux-gnu", "/usr/lib/wsl/lib",
                                          "/usr/lib"};
    static const char *const names[] = {"libcuda.so.1", "libnvidia-ml.so.1",
                                        "libnvidia-ptxjitcompiler.so.1", "libnvidia-nvvm.so.4"};
    for (size_t n = 0; n < ARRAY_COUNT(names); n++) {
        char source[PATH_SIZE];
        char target[PATH_SIZE];
        size_t f = 0;
        do {
            (void)str_format(source, sizeof(source), "%s/%s", folders[f], names[n]);
        } while (access(source, R_OK) != 0 && ++f < ARRAY_COUNT(folders));
        if (f == ARRAY_COUNT(folders))
            continue;
        (void)str_format(target, sizeof(target), LIBRARY_TARGET "/%s", names[n]);
        json_array_append_new(array_of(host_config, "Mounts"),
                              json_pack("{s:s,s:s,s:s,s:b}", "Type", "bind", "Source", source,
                                        "Target", target, "ReadOnly", 1));
    }
}

static void nvidia_add(const struct device *device, json_t *host_config)
{
    char path[PATH_SIZE];
    (void)str_format(path, sizeof(path), "/dev/nvidia%d", device->minor);
    node_add(host_config, path);
}

static void nvidia_common_add(json_t *host_config, json_t *env, const char *hardware_ids)
{
    node_add(host_config, "/dev/nvidiactl");
    node_add(host_config, "/dev/nvidia-uvm");
    node_add(host_config, "/dev/nvidia-uvm-tools");
    nvidia_libraries_add(host_config);
    env_add(env, "NVIDIA_VISIBLE_DEVICES", hardware_ids);
    env_add(env, "NVIDIA_DRIVER_CAPABILITIES", "compute,utility");
    env_add(env, "LD_LIBRARY_PATH", LIBRARY_TARGET);
}

static void amd_add(const struct device *device, json_t *host_config)
{
    char path[PATH_SIZE];
    (void)str_format(path, sizeof(path), "/dev/dri/renderD%d", device->minor);
    node_add(host_config, path);
}

static void amd_common_add(json_t *host_config)
{
    node_add(host_config, "/dev/kfd");
    json_array_append_new(array_of(host_config, "GroupAdd"), json_string("video"));
    json_array_append_new(array_of(host_config, "GroupAdd"), json_string("render"));
}

void gpu_attach(const struct device *devices, size_t count, json_t *host_config, json_t *env)
{
    char nvidia_ids[1024] = "";
    size_t amd_count = 0;
    size_t simulated_count = 0;
    for (size_t i = 0; i < count; i++) {
        const struct device *device = &devices[i];
        if (device->vendor == DEVICE_CPU)
            continue;
        simulated_count += device->is_simulated;
        if (device->is_simulated)
            continue;
        if (device->vendor == DEVICE_AMD) {
            amd_add(device, host_config);
            amd_count++;
            continue;
        }
        size_t len = strlen(nvidia_ids);
        (void)str_format(nvidia_ids + len, sizeof(nvidia_ids) - len, "%s%s", len ? "," : "",
                         device->hardware_id);
        nvidia_add(device, host_config);
    }
    if (nvidia_ids[0])
        nvidia_common_add(host_config, env, nvidia_ids);
    else /* NVIDIA's runtime, where it is the default, would else obey the image's own variable */
        env_add(env, "NVIDIA_VISIBLE_DEVICES", "void");
    if (amd_count)
        amd_common_add(host_config);
    if (simulated_count)
        env_add(env, "UNDERCUT_GPU", "simulated");
}
