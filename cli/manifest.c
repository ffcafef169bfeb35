/* manifest.c - options into JSON; of a file only the name, for the rest is the broker's to judge.
 *
 * The happy path is: each option puts its member. Failure modes are: an option whose text is no
 * number, time or price, a variable that is not set, a file that is too large, no YAML or no JSON.
 */
#include "cli/manifest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "broker/base/json.h"

#define FILE_MAX (256 << 10) /* the broker takes no more */

const struct option manifest_options[] = {
    {.name = "--gpu",
     .value = "CLASS",
     .help = "device class or model, e.g. rtx-4090; repeat for any of"},
    {.name = "--gpus", .value = "N", .help = "devices per replica (default 1)"},
    {.name = "--vram", .value = "MIB", .help = "least memory of a device"},
    {.name = "--cpu", .value = "N", .help = "no GPU: so many vCPU"},
    {.name = "--memory", .value = "MIB", .help = "memory per replica"},
    {.name = "--max", .value = "USD/hr", .help = "the most to pay per replica-hour, fees included"},
    {.name = "--region", .value = "REGION", .help = "where; repeat for any of"},
    {.name = "--name", .value = "NAME", .help = "made up when absent"},
    {.name = "--replicas", .value = "N", .help = "instances (default 1)"},
    {.name = "--min-replicas", .value = "N", .help = "fewer than these are not started"},
    {.name = "--duration", .value = "TIME", .help = "stop each replica after 90s, 15m, 2h, 1d"},
    {.name = "--budget", .value = "USD", .help = "stop when this much was spent"},
    {.name = "--env",
     .letter = 'e',
     .value = "K=V",
     .help = "environment variable; K alone takes ours"},
    {.name = "--secret", .value = "K=V", .help = "the same, and never shown again"},
    {.name = "--label", .letter = 'l', .value = "K=V", .help = "for finding it again"},
    {.name = "--restart", .value = "POLICY", .help = "never, on_failure or always"},
    {.name = "--tier",
     .value = "TIER",
     .help = "flexible (default), or spot: cheaper, leaves sooner"},
    {.name = "--now", .help = "award at once instead of in the next round"},
    {.name = "--limit", .help = "offer the whole --max from the first round"},
    {.name = "--trust", .value = "TRUST", .help = "unverified, or simulated for stand-in hardware"},
    {.name = "--detach", .letter = 'd', .help = "return when it is stored"},
    {.name = "--timeout", .value = "TIME", .help = "give up, and stop it, if not running by then"},
    {.name = "--dry-run", .help = "say what it would do and cost; do nothing"},
    {.name = NULL},
};

static bool number_put(struct json_out *out, const struct args *args, const char *option,
                       const char *key, char ret_why[256])
{
    const char *text = args_text(args, option);
    int64_t number;
    if (!text)
        return true;
    if (!str_to_i64(str_of(text), &number))
        return (void)str_format(ret_why, 256, "%s: '%s' is not a whole number", option, text),
               false;
    json_put_i64(out, key, number);
    return true;
}

static void text_put(struct json_out *out, const struct args *args, const char *option,
                     const char *key)
{
    const char *text = args_text(args, option);
    if (text)
        json_put_c(out, key, text);
}

static void list_put(struct json_out *out, const struct args *args, const char *option,
                     const char *key)
{
    if (!args_has(args, option))
        return;
    const char *text;
    json_array_open(out, key);
    for (size_t at = 0; (text = args_next(args, option, &at));)
        json_put_c(out, NULL, text);
    json_array_close(out);
}

/* K=V; K alone takes the value from our own environment, so that a secret need not be typed. */
static bool pairs_put(struct json_out *out, const struct args *args, const char *option,
                      const char *key, char ret_why[256])
{
    if (!args_has(args, option))
        return true;
    const char *text;
    json_object_open(out, key);
    for (size_t at = 0; (text = args_next(args, option, &at));) {
        const char *equals = strchr(text, '=');
        const char *value = equals ? equals + 1 : getenv(text);
        char name[300];
        if (!value)
            return (void)str_format(ret_why, 256, "%s %s: not set in the environment", option,
                                    text),
                   false;
        (void)str_format(name, sizeof name, "%.*s",
                         (int)(equals ? (size_t)(equals - text) : strlen(text)), text);
        json_put_c(out, name, value);
    }
    json_object_close(out);
    return true;
}

static bool resources_put(struct json_out *out, const struct args *args, char ret_why[256])
{
    bool wants_cpu = args_has(args, "--cpu");
    bool wants_gpu =
        args_has(args, "--gpu") || args_has(args, "--gpus") || args_has(args, "--vram");
    if (wants_cpu == wants_gpu)
        return (void)str_format(ret_why, 256, "say --gpu CLASS, or --cpu N --memory MIB"), false;
    bool is_good = true;
    json_object_open(out, "resources");
    json_object_open(out, wants_cpu ? "cpu" : "device");
    if (wants_cpu) {
        is_good = number_put(out, args, "--cpu", "vcpu", ret_why);
        if (args_has(args, "--memory"))
            is_good = is_good && number_put(out, args, "--memory", "memory_mib", ret_why);
        else
            json_put_i64(out, "memory_mib", 512);
    } else {
        if (args_has(args, "--gpus"))
            is_good = number_put(out, args, "--gpus", "count", ret_why);
        else
            json_put_i64(out, "count", 1);
        list_put(out, args, "--gpu", "models");
        is_good = is_good && number_put(out, args, "--vram", "vram_mib_min", ret_why);
    }
    json_object_close(out);
    if (wants_gpu)
        is_good = is_good && number_put(out, args, "--memory", "memory_mib", ret_why);
    json_object_close(out);
    return is_good;
}

static bool money_put(struct json_out *out, const struct args *args, char ret_why[256])
{
    const char *most = args_text(args, "--max"), *budget = args_text(args, "--budget");
    const char *duration = args_text(args, "--duration");
    int64_t number;
    if (!most || !price_parse(most, &number))
        return (void)str_format(ret_why, 256, "say --max USD/hr, e.g. --max 0.40/hr"), false;
    json_put_i64(out, "reserve_uusd_per_hour", number);
    if (budget && !price_parse(budget, &number))
        return (void)str_format(ret_why, 256, "--budget: '%s' is not an amount", budget), false;
    if (budget)
        json_put_i64(out, "budget_uusd", number);
    if (duration && !duration_parse(duration, &number))
        return (void)str_format(ret_why, 256, "--duration: '%s' is not a time", duration), false;
    if (duration)
        json_put_i64(out, "max_duration_s", number);
    return true;
}

static void command_put(struct json_out *out, const struct args *args)
{
    if (args->words_count + args->rest_count < 2)
        return;
    json_array_open(out, "command");
    for (int i = 1; i < args->words_count; i++)
        json_put_c(out, NULL, args->words[i]);
    for (int i = 0; i < args->rest_count; i++)
        json_put_c(out, NULL, args->rest[i]);
    json_array_close(out);
}

static void placement_put(struct json_out *out, const struct args *args)
{
    if (!args_has(args, "--region") && !args_has(args, "--trust"))
        return;
    json_object_open(out, "placement");
    list_put(out, args, "--region", "regions");
    text_put(out, args, "--trust", "trust_min");
    json_object_close(out);
}

bool manifest_of_args(const struct args *args, struct buf *to, char ret_why[256])
{
    struct json_out out;
    json_out_start(&out, to);
    json_object_open(&out, NULL);
    text_put(&out, args, "--name", "name");
    json_put_c(&out, "image", args->words[0]);
    command_put(&out, args);
    bool is_good = pairs_put(&out, args, "--env", "env", ret_why) &&
                   pairs_put(&out, args, "--secret", "secrets", ret_why) &&
                   pairs_put(&out, args, "--label", "labels", ret_why) &&
                   resources_put(&out, args, ret_why) && money_put(&out, args, ret_why) &&
                   number_put(&out, args, "--replicas", "replicas", ret_why) &&
                   number_put(&out, args, "--min-replicas", "min_replicas", ret_why);
    if (!is_good)
        return false;
    text_put(&out, args, "--restart", "restart");
    text_put(&out, args, "--tier", "tier");
    if (args_has(args, "--now"))
        json_put_c(&out, "award", "now");
    if (args_has(args, "--limit"))
        json_put_c(&out, "price_policy", "limit");
    placement_put(&out, args);
    json_object_close(&out);
    return true;
}

/* The scalar under the top-level key `name`. */
static bool yaml_name_find(struct manifest_file *file, char ret_why[256])
{
    yaml_parser_t parser;
    yaml_document_t doc;
    must(yaml_parser_initialize(&parser));
    yaml_parser_set_input_string(&parser, (const unsigned char *)file->text.at, file->text.len);
    bool is_good = yaml_parser_load(&parser, &doc);
    if (!is_good)
        (void)str_format(ret_why, 256, "line %zu: %s", parser.problem_mark.line + 1,
                         parser.problem ? parser.problem : "not YAML");
    yaml_node_t *root = is_good ? yaml_document_get_root_node(&doc) : NULL;
    if (root && root->type == YAML_MAPPING_NODE) {
        yaml_node_pair_t *pairs = root->data.mapping.pairs.start;
        for (yaml_node_pair_t *p = pairs; p < root->data.mapping.pairs.top; p++) {
            yaml_node_t *key = yaml_document_get_node(&doc, p->key);
            yaml_node_t *value = yaml_document_get_node(&doc, p->value);
            bool is_name = key->type == YAML_SCALAR_NODE && value->type == YAML_SCALAR_NODE &&
                           !strcmp((const char *)key->data.scalar.value, "name");
            if (is_name)
                (void)str_format(file->name, sizeof file->name, "%s",
                                 (const char *)value->data.scalar.value);
        }
    }
    if (is_good)
        yaml_document_delete(&doc);
    yaml_parser_delete(&parser);
    return is_good;
}

static bool json_name_find(struct manifest_file *file, char ret_why[256])
{
    json_t *json = json_parse(buf_str(&file->text), ret_why, 256);
    if (!json)
        return false;
    struct str name = json_str(json, "name");
    (void)str_format(file->name, sizeof file->name, "%.*s", STR_ARG(name));
    json_decref(json);
    return true;
}

bool manifest_read(const char *path, struct manifest_file *ret_file, char ret_why[256])
{
    *ret_file = (struct manifest_file){.name = ""};
    FILE *from = !strcmp(path, "-") ? stdin : fopen(path, "rb");
    if (!from)
        return (void)str_format(ret_why, 256, "%s", strerror(errno)), false;
    char chunk[16384];
    size_t got;
    while ((got = fread(chunk, 1, sizeof chunk, from)) > 0 && ret_file->text.len <= FILE_MAX)
        buf_add(&ret_file->text, chunk, got);
    if (from != stdin)
        fclose(from);
    if (ret_file->text.len > FILE_MAX)
        return (void)str_format(ret_why, 256, "over 256 KiB"), false;
    struct str text = buf_str(&ret_file->text);
    while (text.len && strchr(" \t\r\n", text.at[0]))
        text = (struct str){.at = text.at + 1, .len = text.len - 1};
    ret_file->is_yaml = !str_starts_with(text, STR("{"));
    return ret_file->is_yaml ? yaml_name_find(ret_file, ret_why)
                             : json_name_find(ret_file, ret_why);
}
