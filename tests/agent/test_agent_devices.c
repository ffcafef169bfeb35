/* Devices: NVIDIA through the stand-in NVML, AMD through a folder that looks like sysfs, CPU slots;
 * what a container is given; and the options by which an operator offers them. */
#include "tests/lib/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/base/hash.h"
#include "nodeagent/config.h"
#include "nodeagent/gpu.h"
#include "nodeagent/inventory.h"
#include "tests/agent/lib_process.h"

struct place {
    char folder[64];
    char gpus_path[96];
    char library[512];
};

static int place_up(void **state)
{
    struct place *place = calloc(1, sizeof(*place));
    folder_make_temporary(place->folder);
    assert_true(str_format(place->gpus_path, sizeof(place->gpus_path), "%s/gpus", place->folder));
    program_path("fake-nvml/libnvidia-ml.so.1", place->library, sizeof(place->library));
    setenv("UNDERCUT_FAKE_NVML", place->gpus_path, 1);
    *state = place;
    return 0;
}

static int place_down(void **state)
{
    struct place *place = *state;
    folder_remove(place->folder);
    free(place);
    return 0;
}

static void nvidia_devices_come_from_nvml(void **state)
{
    struct place *place = *state;
    struct device devices[4];
    file_put(place->gpus_path,
             "driver=550.54\ngpu NVIDIA GeForce RTX 4090\n uuid=GPU-a mem_mb=24564 "
             "cc=8.9\ngpu NVIDIA A100\n uuid=GPU-b mem_mb=81920 cc=8.0\n");
    struct gpu_source *nvml = gpu_nvml_open(place->library);
    assert_non_null(nvml);
    assert_int_equal(nvml->list(nvml, devices, 4), 2);
    assert_string_equal(devices[0].model, "NVIDIA GeForce RTX 4090");
    assert_string_equal(devices[0].hardware_id, "GPU-a");
    assert_string_equal(devices[0].driver, "550.54");
    assert_string_equal(devices[0].compute, "8.9");
    assert_int_equal(devices[0].vram_mib, 24564);
    assert_int_equal(devices[1].minor, 1);
    assert_int_equal(devices[1].vendor, DEVICE_NVIDIA);
    assert_int_equal(nvml->list(nvml, devices, 1), 1);
    gpu_close(nvml);
}

static void a_stand_in_cannot_hide(void **state)
{
    struct place *place = *state;
    struct device device = {.is_simulated = false};
    file_put(place->gpus_path, "gpu NVIDIA H100\n");
    struct gpu_source *nvml = gpu_nvml_open(place->library);
    assert_int_equal(nvml->list(nvml, &device, 1), 1);
    assert_true(device.is_simulated);
    gpu_close(nvml);
}

static void a_device_that_fell_off_the_bus_is_left_out(void **state)
{
    struct place *place = *state;
    struct device devices[4];
    file_put(place->gpus_path, "gpu A\n uuid=GPU-a\ngpu B\n uuid=GPU-b\n");
    struct gpu_source *nvml = gpu_nvml_open(place->library);
    assert_int_equal(nvml->list(nvml, devices, 4), 2);
    file_put(place->gpus_path, "gpu A\n uuid=GPU-a lost=1\ngpu B\n uuid=GPU-b\n");
    assert_int_equal(nvml->list(nvml, devices, 4), 1);
    assert_string_equal(devices[0].hardware_id, "GPU-b");
    gpu_close(nvml);
}

static void a_machine_without_the_library_has_no_nvidia_devices(void **state)
{
    struct place *place = *state;
    assert_null(gpu_nvml_open("/nonexistent/libnvidia-ml.so.1"));
    unlink(place->gpus_path); /* as when the driver does not answer */
    assert_null(gpu_nvml_open(place->library));
}

static void sysfs_put(const char *root, const char *name, const char *text)
{
    char path[256];
    assert_true(str_format(path, sizeof(path), "%s/sys/class/drm/%s", root, name));
    file_put(path, text);
}

static void amd_devices_come_from_sysfs(void **state)
{
    struct place *place = *state;
    struct device devices[4];
    char script[512];
    assert_true(str_format(script, sizeof(script),
                           "cd %s && mkdir -p sys/class/drm/card0/device sys/class/drm/card1/device"
                           "/drm/renderD129 sys/class/drm/card2/device",
                           place->folder));
    const char *const argv[] = {"sh", "-c", script, NULL};
    assert_int_equal(process_run(argv), 0);
    sysfs_put(place->folder, "card0/device/vendor", "0x8086\n");
    sysfs_put(place->folder, "card1/device/vendor", "0x1002\n");
    sysfs_put(place->folder, "card1/device/mem_info_vram_total", "25753026560\n");
    sysfs_put(place->folder, "card1/device/unique_id", "8c1f0d2a77e0b9f3\n");
    sysfs_put(place->folder, "card1/device/product_name", "AMD Radeon RX 7900 XTX\n");
    sysfs_put(place->folder, "card2/device/vendor", "0x1002\n"); /* a display without memory */
    struct gpu_source *amd = gpu_amd_open(place->folder);
    assert_int_equal(amd->list(amd, devices, 4), 1);
    assert_string_equal(devices[0].hardware_id, "GPU-8c1f0d2a77e0b9f3");
    assert_string_equal(devices[0].model, "AMD Radeon RX 7900 XTX");
    assert_int_equal(devices[0].vram_mib, 24560);
    assert_int_equal(devices[0].minor, 129);
    assert_true(devices[0].is_simulated); /* not from the machine's own root */
    gpu_close(amd);
}

static void a_container_gets_what_its_devices_need(void **state)
{
    (void)state;
    const struct device real = {.vendor = DEVICE_NVIDIA, .hardware_id = "GPU-real", .minor = 0};
    const struct device fake = {.vendor = DEVICE_NVIDIA, .is_simulated = true};
    json_t *host = json_object();
    json_t *env = json_array();
    gpu_attach(&fake, 1, host, env);
    assert_int_equal(json_object_size(host), 0);
    assert_int_equal(json_array_size(env), 2);
    assert_string_equal(json_string_value(json_array_get(env, 0)), "NVIDIA_VISIBLE_DEVICES=void");
    assert_string_equal(json_string_value(json_array_get(env, 1)), "UNDERCUT_GPU=simulated");
    gpu_attach(&real, 1, host, env);
    assert_string_equal(json_string_value(json_array_get(env, 2)),
                        "NVIDIA_VISIBLE_DEVICES=GPU-real");
    json_decref(host);
    json_decref(env);
}

static void an_inventory_changes_only_with_the_machine(void **state)
{
    struct place *place = *state;
    struct config config = {.runner = RUNNER_ENGINE,
                            .slots = {{.model = "cpu-2c4g", .count = 2}},
                            .slots_count = 1,
                            .state_dir = "/tmp"};
    file_put(place->gpus_path, "gpu A\n uuid=GPU-a\n");
    struct gpu_source *nvml = gpu_nvml_open(place->library);
    struct inventory_source source = {.config = &config, .nvml_or_null = nvml, .suffix = ""};
    struct inventory inventory = {0};
    assert_true(inventory_read(&inventory, &source));
    assert_false(inventory_read(&inventory, &source));
    assert_int_equal(inventory.devices_count, 3);
    assert_non_null(inventory_find(&inventory, STR("GPU-a")));
    assert_non_null(inventory_find(&inventory, STR("cpu-2c4g/1")));
    assert_null(inventory_find(&inventory, STR("cpu-2c4g/2")));
    file_put(place->gpus_path, "gpu A\n uuid=GPU-a lost=1\n");
    assert_true(inventory_read(&inventory, &source));
    assert_int_equal(inventory.devices_count, 2);
    inventory_finish(&inventory);
    gpu_close(nvml);
}

static bool read_config(const char *const *words, struct config *ret, char why[256])
{
    int count = 0;
    while (words[count])
        count++;
    return config_read(count, (char **)words, ret, why);
}

static void options_are_read(void **state)
{
    (void)state;
    struct config config;
    char why[256];
    const char *const words[] = {"agent",
                                 "run",
                                 "--url=http://b:1/",
                                 "--price",
                                 "0.31",
                                 "--price",
                                 "rtx-4090=0.35,cpu-2c4g=0.02",
                                 "--cpu-slots",
                                 "cpu-2c4g:2,cpu-8c16g",
                                 "--opt-out",
                                 NULL};
    assert_true(read_config(words, &config, why));
    assert_int_equal(config.command, CONFIG_RUN);
    assert_string_equal(config.url, "http://b:1");
    assert_int_equal(config.prices_count, 3);
    assert_string_equal(config.prices[0].device_class, "*");
    assert_int_equal(config.prices[0].price_uusd_per_device_hour, 310000);
    assert_string_equal(config.prices[1].device_class, "rtx-4090");
    assert_int_equal(config.prices[2].price_uusd_per_device_hour, 20000);
    assert_int_equal(config.slots[0].count, 2);
    assert_int_equal(config.slots[1].count, 1);
    assert_true(config.is_opted_out);
}

static void wrong_options_are_named(void **state)
{
    (void)state;
    static const char *const wrong[][5] = {
        {"agent", "--url", "x", NULL},
        {"agent", "run", "--price", "cheap", NULL},
        {"agent", "run", "--price", "-1", NULL},
        {"agent", "run", "--cpu-slots", "gpu:1", NULL},
        {"agent", "run", "--runner", "magic", NULL},
        {"agent", "run", "--time-scale", "0", NULL},
        {"agent", "run", "--simulate-nodes", "3", NULL},
        {"agent", "run", "--token", NULL},
        {"agent", "dance", NULL},
    };
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++) {
        struct config config;
        char why[256] = "";
        assert_false(read_config(wrong[i], &config, why));
        assert_true(why[0] != '\0');
    }
}

static void the_command_line_goes_before_the_environment(void **state)
{
    (void)state;
    struct config config;
    char why[256];
    const char *const words[] = {"agent", "run", "--price", "0.50", NULL};
    setenv("UNDERCUT_AGENT_PRICE", "0.31", 1);
    setenv("UNDERCUT_URL", "http://broker:9", 1);
    assert_true(read_config(words, &config, why));
    assert_string_equal(config.url, "http://broker:9");
    assert_int_equal(config.prices_count, 1);
    assert_int_equal(config.prices[0].price_uusd_per_device_hour, 500000);
    setenv("UNDERCUT_AGENT_PRICE", "much", 1);
    assert_false(read_config(words, &config, why));
    assert_non_null(strstr(why, "UNDERCUT_AGENT_PRICE"));
    unsetenv("UNDERCUT_AGENT_PRICE");
    unsetenv("UNDERCUT_URL");
}

#define PLACED(test) cmocka_unit_test_setup_teardown(test, place_up, place_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLACED(nvidia_devices_come_from_nvml),
        PLACED(a_stand_in_cannot_hide),
        PLACED(a_device_that_fell_off_the_bus_is_left_out),
        PLACED(a_machine_without_the_library_has_no_nvidia_devices),
        PLACED(amd_devices_come_from_sysfs),
        cmocka_unit_test(a_container_gets_what_its_devices_need),
        PLACED(an_inventory_changes_only_with_the_machine),
        cmocka_unit_test(options_are_read),
        cmocka_unit_test(wrong_options_are_named),
        cmocka_unit_test(the_command_line_goes_before_the_environment),
    };
    hash_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
