/* gpu.h - the devices that this machine can rent out, and how a container gets one.
 *
 * One source per vendor library; each has a stand-in for tests (a text file behind NVML, a folder
 * behind AMD's sysfs). A device that comes from a stand-in says so, and nothing here can unsay it.
 */
#ifndef UNDERCUT_NODEAGENT_GPU_H
#define UNDERCUT_NODEAGENT_GPU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/base/json.h"
#include "broker/base/must.h"

#define DEVICES_MAX 64

enum device_vendor { DEVICE_NVIDIA = 1, DEVICE_AMD, DEVICE_CPU };

struct device {
    char hardware_id[96]; /* what the vendor calls it for ever: "GPU-...", "cpu-2c4g/0" */
    int index;            /* among the devices of its source */
    int minor;            /* of its device node: /dev/nvidia<minor>, /dev/dri/renderD<minor> */
    enum device_vendor vendor;
    char model[96];
    int64_t vram_mib;
    char driver[48];
    char compute[16]; /* "8.9", "gfx1100"; empty when unknown */
    bool is_simulated;
};

struct gpu_source {
    const char *name;
    /* Fills at most `max` devices and returns how many; 0 also when the library is absent. */
    size_t (*list)(const struct gpu_source *source, struct device *ret_devices, size_t max);
    void (*close)(struct gpu_source *source);
};

/* NULL when the library cannot be loaded: a machine without NVIDIA's driver is not an error. */
struct gpu_source *gpu_nvml_open(const char *library_path);
/* `root` stands before /sys and /dev; "" is the machine itself. Never NULL. */
struct gpu_source *gpu_amd_open(const char *root);
void gpu_close(struct gpu_source *source); /* NULL is fine */

const char *device_vendor_name(enum device_vendor vendor);

/* Adds to a container's HostConfig and environment what these devices need: device nodes, the
 * driver's libraries read-only, variables. Works alike on every engine, without its GPU plug-ins.
 * Simulated devices attach nothing but UNDERCUT_GPU=simulated. */
void gpu_attach(const struct device *devices, size_t count, json_t *host_config, json_t *env);

#endif
