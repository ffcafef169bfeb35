#include "nodeagent/inventory.h"

#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "broker/base/json.h"
#include "nodeagent/link.h"

#define MIB (1024 * 1024)

static void cpu_slots_add(struct inventory *inventory, const struct inventory_source *source)
{
    const struct config *config = source->config;
    for (size_t s = 0; s < config->slots_count; s++) {
        for (int i = 0; i < config->slots[s].count && inventory->devices_count < DEVICES_MAX; i++) {
            struct device *device = &inventory->devices[inventory->devices_count++];
            *device = (struct device){.vendor = DEVICE_CPU, .index = i};
            (void)str_format(device->hardware_id, sizeof(device->hardware_id), "%s/%d",
                             config->slots[s].model, i);
            (void)str_format(device->model, sizeof(device->model), "%s", config->slots[s].model);
        }
    }
}

static void gpus_add(struct inventory *inventory, const struct gpu_source *source_or_null)
{
    if (source_or_null)
        inventory->devices_count +=
            source_or_null->list(source_or_null, inventory->devices + inventory->devices_count,
                                 DEVICES_MAX - inventory->devices_count);
}

static void devices_read(struct inventory *inventory, const struct inventory_source *source)
{
    inventory->devices_count = 0;
    gpus_add(inventory, source->nvml_or_null);
    gpus_add(inventory, source->amd_or_null);
    cpu_slots_add(inventory, source);
    bool is_simulated = source->config->runner == RUNNER_SIMULATED;
    for (size_t i = 0; i < inventory->devices_count; i++) {
        struct device *device = &inventory->devices[i];
        device->is_simulated |= is_simulated;
        size_t len = strlen(device->hardware_id);
        (void)str_format(device->hardware_id + len, sizeof(device->hardware_id) - len, "%s",
                         source->suffix);
    }
}

static void device_emit(struct json_out *out, const struct device *device)
{
    json_object_open(out, NULL);
    json_put_c(out, "hardware_id", device->hardware_id);
    json_put_i64(out, "index", device->index);
    json_put_c(out, "vendor", device_vendor_name(device->vendor));
    json_put_c(out, "model", device->model);
    json_put_i64(out, "vram_mib", device->vram_mib);
    json_put_c(out, "driver", device->driver);
    json_put_c(out, "compute", device->compute);
    json_put_bool(out, "is_simulated", device->is_simulated);
    json_object_close(out);
}

static void machine_emit(struct json_out *out, const struct inventory_source *source)
{
    char hostname[65] = "";
    struct sysinfo info = {0};
    struct statvfs disk = {0};
    (void)gethostname(hostname, sizeof(hostname) - 1);
    (void)sysinfo(&info);
    (void)statvfs(source->config->state_dir, &disk);
    json_put_c(out, "hostname", hostname);
    json_put_i64(out, "vcpu", sysconf(_SC_NPROCESSORS_ONLN));
    json_put_i64(out, "memory_mib", (int64_t)(info.totalram * info.mem_unit / MIB));
    json_put_i64(out, "disk_mib", (int64_t)(disk.f_blocks * disk.f_frsize / MIB));
}

static void engine_emit(struct json_out *out, const struct engine_facts *engine_or_null)
{
    json_object_open(out, "engine");
    json_put_c(out, "name",
               engine_or_null ? engine_flavour_name(engine_or_null->flavour) : "simulated");
    json_put_c(out, "version", engine_or_null ? engine_or_null->version : UNDERCUT_VERSION);
    json_object_close(out);
    json_put_c(out, "isolation", engine_or_null ? engine_or_null->isolation : "none");
}

bool inventory_read(struct inventory *inventory, const struct inventory_source *source)
{
    struct buf json = {0};
    struct json_out out;
    char sha256[65];
    devices_read(inventory, source);
    json_out_start(&out, &json);
    json_object_open(&out, NULL);
    machine_emit(&out, source);
    engine_emit(&out, source->engine_or_null);
    json_put_bool(&out, "is_simulated", source->config->runner == RUNNER_SIMULATED);
    json_array_open(&out, "devices");
    for (size_t i = 0; i < inventory->devices_count; i++)
        device_emit(&out, &inventory->devices[i]);
    json_array_close(&out);
    json_object_close(&out);

    link_hash_hex(buf_str(&json), sha256);
    bool is_changed = strcmp(sha256, inventory->sha256) != 0;
    buf_finish(&inventory->json);
    inventory->json = json;
    memcpy(inventory->sha256, sha256, sizeof(sha256));
    return is_changed;
}

void inventory_finish(struct inventory *inventory)
{
    buf_finish(&inventory->json);
}

const struct device *inventory_find(const struct inventory *inventory, struct str hardware_id)
{
    for (size_t i = 0; i < inventory->devices_count; i++)
        if (str_equal_c(hardware_id, inventory->devices[i].hardware_id))
            return &inventory->devices[i];
    return NULL;
}
