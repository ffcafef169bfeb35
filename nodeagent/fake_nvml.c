/* fake_nvml.c - a stand-in libnvidia-ml.so.1 for machines without a GPU, driven by a text file.
 *
 * The file named by UNDERCUT_FAKE_NVML is read again on each call, so that a test can change the
 * machine while the agent runs:
 *
 *     driver=535.183.01
 *     gpu NVIDIA GeForce RTX 4090
 *      uuid=GPU-0001 mem_mb=24564 cc=8.9
 *      lost=1
 *
 * The happy path is: read the file, answer from it. Failure modes are: no file (as without a
 * driver), no such device, a device marked lost. It exports the symbol undercut_fake_nvml, by which
 * the agent knows it and labels every device of it as simulated.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NVML_OK        0
#define NVML_INVALID   2
#define NVML_NOT_FOUND 6
#define NVML_TOO_SMALL 7
#define NVML_NO_DRIVER 9
#define NVML_GPU_LOST  15
#define GPUS_MAX       32

struct fake_gpu {
    char name[96];
    char uuid[96];
    unsigned long long mem_mb;
    int compute_major;
    int compute_minor;
    int is_lost;
};

struct fake_machine {
    char driver[80];
    struct fake_gpu gpus[GPUS_MAX];
    unsigned int gpus_count;
};

struct fake_memory {
    unsigned long long total;
    unsigned long long free;
    unsigned long long used;
};

int undercut_fake_nvml = 1;

int nvmlInit_v2(void);
int nvmlShutdown(void);
int nvmlDeviceGetCount_v2(unsigned int *count);
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device);
int nvmlDeviceGetName(void *device, char *name, unsigned int size);
int nvmlDeviceGetUUID(void *device, char *uuid, unsigned int size);
int nvmlDeviceGetMemoryInfo(void *device, struct fake_memory *memory);
int nvmlDeviceGetMinorNumber(void *device, unsigned int *minor);
int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor);
int nvmlSystemGetDriverVersion(char *version, unsigned int size);

static void word_read(struct fake_machine *machine, const char *word)
{
    struct fake_gpu *gpu = machine->gpus_count ? &machine->gpus[machine->gpus_count - 1] : NULL;
    if (sscanf(word, "driver=%79s", machine->driver) == 1 || !gpu)
        return;
    if (sscanf(word, "uuid=%95s", gpu->uuid) == 1)
        return;
    if (sscanf(word, "mem_mb=%llu", &gpu->mem_mb) == 1)
        return;
    if (sscanf(word, "cc=%d.%d", &gpu->compute_major, &gpu->compute_minor) == 2)
        return;
    (void)sscanf(word, "lost=%d", &gpu->is_lost);
}

static void line_read(struct fake_machine *machine, char *line)
{
    line[strcspn(line, "\r\n")] = '\0';
    if (strncmp(line, "gpu ", 4) == 0 && machine->gpus_count < GPUS_MAX) {
        unsigned int at = machine->gpus_count++;
        struct fake_gpu *gpu = &machine->gpus[at];
        *gpu = (struct fake_gpu){.mem_mb = 8192, .compute_major = 8};
        snprintf(gpu->name, sizeof(gpu->name), "%.95s", line + 4);
        snprintf(gpu->uuid, sizeof(gpu->uuid), "GPU-simulated-%u", at);
        return;
    }
    char *rest = line;
    for (char *word; (word = strsep(&rest, " "));)
        word_read(machine, word);
}

static int machine_read(struct fake_machine *machine)
{
    *machine = (struct fake_machine){.driver = "535.183.01"};
    const char *path = getenv("UNDERCUT_FAKE_NVML");
    FILE *file = path ? fopen(path, "re") : NULL;
    if (!file)
        return NVML_NO_DRIVER;
    char line[256];
    while (fgets(line, sizeof(line), file))
        line_read(machine, line);
    fclose(file);
    return NVML_OK;
}

/* A handle is the index plus one, so that no device is NULL. */
static int gpu_read(void *device, struct fake_gpu *gpu)
{
    struct fake_machine machine;
    int result = machine_read(&machine);
    size_t at = (size_t)device - 1;
    if (result != NVML_OK)
        return result;
    if (at >= machine.gpus_count)
        return NVML_NOT_FOUND;
    if (machine.gpus[at].is_lost)
        return NVML_GPU_LOST;
    *gpu = machine.gpus[at];
    return NVML_OK;
}

static int text_give(const char *text, char *to, unsigned int size)
{
    if (strlen(text) + 1 > size)
        return NVML_TOO_SMALL;
    memcpy(to, text, strlen(text) + 1);
    return NVML_OK;
}

int nvmlInit_v2(void)
{
    struct fake_machine machine;
    return machine_read(&machine);
}

int nvmlShutdown(void)
{
    return NVML_OK;
}

int nvmlDeviceGetCount_v2(unsigned int *count)
{
    struct fake_machine machine;
    int result = machine_read(&machine);
    *count = result == NVML_OK ? machine.gpus_count : 0;
    return result;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device)
{
    struct fake_gpu gpu;
    *device = (void *)((size_t)index + 1);
    return gpu_read(*device, &gpu);
}

int nvmlDeviceGetName(void *device, char *name, unsigned int size)
{
    struct fake_gpu gpu;
    int result = gpu_read(device, &gpu);
    return result == NVML_OK ? text_give(gpu.name, name, size) : result;
}

int nvmlDeviceGetUUID(void *device, char *uuid, unsigned int size)
{
    struct fake_gpu gpu;
    int result = gpu_read(device, &gpu);
    return result == NVML_OK ? text_give(gpu.uuid, uuid, size) : result;
}

int nvmlDeviceGetMemoryInfo(void *device, struct fake_memory *memory)
{
    struct fake_gpu gpu;
    int result = gpu_read(device, &gpu);
    if (result == NVML_OK)
        *memory = (struct fake_memory){.total = gpu.mem_mb << 20, .free = gpu.mem_mb << 20};
    return result;
}

int nvmlDeviceGetMinorNumber(void *device, unsigned int *minor)
{
    struct fake_gpu gpu;
    int result = gpu_read(device, &gpu);
    if (result == NVML_OK)
        *minor = (unsigned int)((size_t)device - 1);
    return result;
}

int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor)
{
    struct fake_gpu gpu;
    int result = gpu_read(device, &gpu);
    if (result == NVML_OK) {
        *major = gpu.compute_major;
        *minor = gpu.compute_minor;
    }
    return result;
}

int nvmlSystemGetDriverVersion(char *version, unsigned int size)
{
    struct fake_machine machine;
    int result = machine_read(&machine);
    return result == NVML_OK ? text_give(machine.driver, version, size) : result;
}
