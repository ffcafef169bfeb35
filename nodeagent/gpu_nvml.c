/* gpu_nvml.c - NVIDIA devices through NVML, loaded at run time.
 *
 * The happy path is: open the library, start it, and ask per device for name, UUID, memory, compute
 * capability and minor number. Only the few declarations used are repeated here, so no SDK is
 * needed. Failure modes are: no library (no NVIDIA devices), a driver that does not answer, a
 * device that fell off the bus (left out until it is back). Source: NVML API reference,
 * docs.nvidia.com/deploy/nvml-api.
 */
#include "nodeagent/gpu.h"

#include <dlfcn.h>
#include <stdlib.h>

#include "broker/base/str.h"

#define NVML_OK 0
#define MIB     (1024 * 1024)

typedef void *nvml_device;

struct nvml_memory { /* nvmlMemory_t */
    unsigned long long total;
    unsigned long long free;
    unsigned long long used;
};

struct nvml {
    struct gpu_source source;
    void *library;
    bool is_stand_in;
    int (*init)(void);
    int (*shutdown)(void);
    int (*count)(unsigned int *count);
    int (*by_index)(unsigned int index, nvml_device *device);
    int (*name)(nvml_device device, char *name, unsigned int size);
    int (*uuid)(nvml_device device, char *uuid, unsigned int size);
    int (*memory)(nvml_device device, struct nvml_memory *memory);
    int (*minor)(nvml_device device, unsigned int *minor);
    int (*compute)(nvml_device device, int *major, int *minor);
    int (*driver)(char *version, unsigned int size);
};

static size_t nvml_list(const struct gpu_source *source, struct device *ret_devices, size_t max);
static void nvml_close(struct gpu_source *source);

/* Data and function pointers have the same representation on every system with dlsym(). */
static bool symbols_load(struct nvml *nvml)
{
    const struct {
        const char *name;
        void **at;
    } symbols[] = {
        {"nvmlInit_v2", (void **)&nvml->init},
        {"nvmlShutdown", (void **)&nvml->shutdown},
        {"nvmlDeviceGetCount_v2", (void **)&nvml->count},
        {"nvmlDeviceGetHandleByIndex_v2", (void **)&nvml->by_index},
        {"nvmlDeviceGetName", (void **)&nvml->name},
        {"nvmlDeviceGetUUID", (void **)&nvml->uuid},
        {"nvmlDeviceGetMemoryInfo", (void **)&nvml->memory},
        {"nvmlDeviceGetMinorNumber", (void **)&nvml->minor},
        {"nvmlDeviceGetCudaComputeCapability", (void **)&nvml->compute},
        {"nvmlSystemGetDriverVersion", (void **)&nvml->driver},
    };
    for (size_t i = 0; i < ARRAY_COUNT(symbols); i++) {
        *symbols[i].at = dlsym(nvml->library, symbols[i].name);
        if (!*symbols[i].at)
            return false;
    }
    return true;
}

struct gpu_source *gpu_nvml_open(const char *library_path)
{
    void *library = dlopen(library_path, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return NULL;
    struct nvml *nvml = calloc(1, sizeof(*nvml));
    must(nvml);
    nvml->source = (struct gpu_source){.name = "nvml", .list = nvml_list, .close = nvml_close};
    nvml->library = library;
    /* The stand-in carries this mark; a real library does not. */
    nvml->is_stand_in = dlsym(library, "undercut_fake_nvml") != NULL;
    if (!symbols_load(nvml) || nvml->init() != NVML_OK) {
        dlclose(library);
        free(nvml);
        return NULL;
    }
    return &nvml->source;
}

static bool device_read(const struct nvml *nvml, unsigned int index, struct device *ret_device)
{
    nvml_device handle;
    struct nvml_memory memory;
    struct device device = {
        .index = (int)index, .vendor = DEVICE_NVIDIA, .is_simulated = nvml->is_stand_in};
    if (nvml->by_index(index, &handle) != NVML_OK ||
        nvml->name(handle, device.model, sizeof(device.model)) != NVML_OK ||
        nvml->uuid(handle, device.hardware_id, sizeof(device.hardware_id)) != NVML_OK ||
        nvml->memory(handle, &memory) != NVML_OK)
        return false;
    device.vram_mib = (int64_t)(memory.total / MIB);
    unsigned int minor = index;
    if (nvml->minor(handle, &minor) != NVML_OK)
        minor = index;
    device.minor = (int)minor;
    int compute_major;
    int compute_minor;
    if (nvml->compute(handle, &compute_major, &compute_minor) == NVML_OK)
        (void)str_format(device.compute, sizeof(device.compute), "%d.%d", compute_major,
                         compute_minor);
    if (nvml->driver(device.driver, sizeof(device.driver)) != NVML_OK)
        device.driver[0] = '\0';
    *ret_device = device;
    return true;
}

static size_t nvml_list(const struct gpu_source *source, struct device *ret_devices, size_t max)
{
    const struct nvml *nvml = (const struct nvml *)source;
    unsigned int count = 0;
    size_t listed = 0;
    if (nvml->count(&count) != NVML_OK)
        return 0;
    for (unsigned int i = 0; i < count && listed < max; i++)
        listed += device_read(nvml, i, &ret_devices[listed]);
    return listed;
}

static void nvml_close(struct gpu_source *source)
{
    struct nvml *nvml = (struct nvml *)source;
    nvml->shutdown();
    dlclose(nvml->library);
    free(nvml);
}
