/* gpu_amd.c - AMD devices from the kernel's own files; no library.
 *
 * The happy path is: each /sys/class/drm/card<N>/device with vendor 0x1002 and video memory is one
 * device; unique_id names it for ever, its drm/renderD<M> is the node that a container needs.
 * Failure modes are: no such folder (no AMD devices), a card without unique_id (consumer cards
 * before RDNA: its PCI address stands in), a missing product name (the PCI device id stands in).
 */
#include "nodeagent/gpu.h"

#include <dirent.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/base/str.h"

#define PATH_SIZE  512
#define AMD_VENDOR "0x1002"
#define MIB        (1024 * 1024)

struct amd {
    struct gpu_source source;
    char root[256];
};

static size_t amd_list(const struct gpu_source *source, struct device *ret_devices, size_t max);
static void amd_close(struct gpu_source *source);
static bool device_read(const char *root, int card, struct device *ret_device);

struct gpu_source *gpu_amd_open(const char *root)
{
    struct amd *amd = calloc(1, sizeof(*amd));
    must(amd);
    amd->source = (struct gpu_source){.name = "amd", .list = amd_list, .close = amd_close};
    must(str_format(amd->root, sizeof(amd->root), "%s", root));
    return &amd->source;
}

static void amd_close(struct gpu_source *source)
{
    free(source);
}

static size_t amd_list(const struct gpu_source *source, struct device *ret_devices, size_t max)
{
    const struct amd *amd = (const struct amd *)source;
    size_t listed = 0;
    for (int card = 0; card < DEVICES_MAX && listed < max; card++) {
        if (!device_read(amd->root, card, &ret_devices[listed]))
            continue;
        ret_devices[listed].index = (int)listed;
        listed++;
    }
    return listed;
}

/* One line of a file, without its newline; false when there is no such file. */
static bool line_read(const char *folder, const char *name, char *ret_line, size_t size)
{
    char path[PATH_SIZE];
    if (!str_format(path, sizeof(path), "%s/%s", folder, name))
        return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, ret_line, size - 1);
    close(fd);
    ret_line[n > 0 ? n : 0] = '\0';
    ret_line[strcspn(ret_line, "\n")] = '\0';
    return n > 0 && ret_line[0];
}

static int render_minor(const char *folder)
{
    char path[PATH_SIZE];
    int minor = -1;
    DIR *dir = str_format(path, sizeof(path), "%s/drm", folder) ? opendir(path) : NULL;
    if (!dir)
        return -1;
    for (struct dirent *entry; (entry = readdir(dir));)
        if (strncmp(entry->d_name, "renderD", 7) == 0)
            minor = (int)strtol(entry->d_name + 7, NULL, 10);
    closedir(dir);
    return minor;
}

static void name_read(const char *folder, struct device *device)
{
    char line[80];
    if (line_read(folder, "unique_id", line, sizeof(line))) {
        (void)str_format(device->hardware_id, sizeof(device->hardware_id), "GPU-%s", line);
    } else {
        char real[PATH_MAX];
        const char *pci = realpath(folder, real) ? basename(real) : "unknown";
        (void)str_format(device->hardware_id, sizeof(device->hardware_id), "PCI-%s", pci);
    }
    if (line_read(folder, "product_name", line, sizeof(line)))
        (void)str_format(device->model, sizeof(device->model), "%s", line);
    else if (line_read(folder, "device", line, sizeof(line)))
        (void)str_format(device->model, sizeof(device->model), "AMD %s", line);
}

static bool device_read(const char *root, int card, struct device *ret_device)
{
    char folder[PATH_SIZE];
    char line[80];
    struct device device = {.vendor = DEVICE_AMD, .is_simulated = root[0] != '\0'};
    if (!str_format(folder, sizeof(folder), "%s/sys/class/drm/card%d/device", root, card))
        return false;
    if (!line_read(folder, "vendor", line, sizeof(line)) || strcmp(line, AMD_VENDOR) != 0)
        return false;
    if (!line_read(folder, "mem_info_vram_total", line, sizeof(line)))
        return false;
    device.vram_mib = strtoll(line, NULL, 10) / MIB;
    device.minor = render_minor(folder);
    name_read(folder, &device);
    char module[PATH_SIZE];
    if (str_format(module, sizeof(module), "%s/sys/module/amdgpu", root) &&
        line_read(module, "version", line, sizeof(line)))
        (void)str_format(device.driver, sizeof(device.driver), "%s", line);
    *ret_device = device;
    return device.vram_mib > 0;
}
