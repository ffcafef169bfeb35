/* config.c - options and environment, from one table.
 *
 * The happy path is: defaults, then each row's environment variable, then the command line, each
 * through the same setter.
 * Failure modes are: an unknown option, a missing value, a value that its setter refuses.
 */
#include "nodeagent/config.h"

#include <stdlib.h>
#include <string.h>

#include "broker/base/money.h"
#include "broker/base/str.h"

struct option_row;
typedef bool option_set(struct config *config, const struct option_row *row, struct str value);

struct option_row {
    const char *name;
    const char *env; /* NULL: only an option */
    option_set *set;
    size_t offset;
    size_t size; /* of a text; minimum of a number in `min` */
    int64_t min;
    int64_t max;
    bool is_flag;
};

static option_set text_set;
static option_set number_set;
static option_set flag_set;
static option_set price_set;
static option_set slots_set;
static option_set runner_set;
static option_set direct_bids_set;

#define TEXT(option, variable, field)                                                         \
    {                                                                                         \
        .name = (option), .env = (variable), .set = text_set,                                 \
        .offset = offsetof(struct config, field), .size = sizeof(((struct config *)0)->field) \
    }
#define NUMBER(option, variable, field, low, high)                            \
    {                                                                         \
        .name = (option), .env = (variable), .set = number_set,               \
        .offset = offsetof(struct config, field), .min = (low), .max = (high) \
    }
#define FLAG(option, variable, field)                             \
    {                                                             \
        .name = (option), .env = (variable), .set = flag_set,     \
        .offset = offsetof(struct config, field), .is_flag = true \
    }

static const struct option_row rows[] = {
    TEXT("--url", "UNDERCUT_URL", url),
    TEXT("--state-dir", "UNDERCUT_AGENT_STATE_DIR", state_dir),
    TEXT("--token", "UNDERCUT_AGENT_TOKEN", token),
    TEXT("--name", "UNDERCUT_AGENT_NAME", name),
    TEXT("--region", "UNDERCUT_AGENT_REGION", region),
    {.name = "--price", .env = "UNDERCUT_AGENT_PRICE", .set = price_set},
    TEXT("--pricing", "UNDERCUT_AGENT_PRICING", pricing_file),
    {.name = "--direct-bids", .env = "UNDERCUT_AGENT_DIRECT_BIDS", .set = direct_bids_set},
    {.name = "--cpu-slots", .env = "UNDERCUT_AGENT_CPU_SLOTS", .set = slots_set},
    TEXT("--engine", "UNDERCUT_AGENT_ENGINE", engine_url),
    TEXT("--nvml", "UNDERCUT_AGENT_NVML", nvml_path),
    TEXT("--amd-root", "UNDERCUT_AGENT_AMD_ROOT", amd_root),
    TEXT("--ca-file", "UNDERCUT_AGENT_CA_FILE", ca_file),
    {.name = "--runner", .env = "UNDERCUT_AGENT_RUNNER", .set = runner_set},
    NUMBER("--time-scale", "UNDERCUT_AGENT_TIME_SCALE", time_scale, 1, 100000),
    NUMBER("--simulate-nodes", NULL, simulate_nodes, 1, 1000),
    TEXT("--tokens", NULL, tokens_file),
    NUMBER(NULL, "UNDERCUT_AGENT_IGNORE_AWARDS_PCT", ignore_awards_pct, 0, 100),
    FLAG("--opt-out", "UNDERCUT_AGENT_OPT_OUT", is_opted_out),
    FLAG("--once", NULL, is_once),
    FLAG("--json", NULL, is_json),
};

static void defaults_set(struct config *config);
static bool environment_read(struct config *config, char ret_why[256]);
static bool word_read(struct config *config, char **words, int *io_at, char ret_why[256]);
static bool whole_check(struct config *config, char ret_why[256]);

bool config_read(int argc, char **argv, struct config *ret_config, char ret_why[256])
{
    struct config config;
    defaults_set(&config);
    if (!environment_read(&config, ret_why))
        return false;
    config.command = argc < 2 ? CONFIG_HELP : 0;
    for (int at = 1; at < argc; at++)
        if (!word_read(&config, argv, &at, ret_why))
            return false;
    if (!whole_check(&config, ret_why))
        return false;
    *ret_config = config;
    return true;
}

static void defaults_set(struct config *config)
{
    *config =
        (struct config){.runner = RUNNER_ENGINE, .direct_bids = DIRECT_BIDS_OFF, .time_scale = 1};
    (void)str_format(config->state_dir, sizeof(config->state_dir), "/var/lib/undercut-agent");
    (void)str_format(config->engine_url, sizeof(config->engine_url),
                     "unix:///run/podman/podman.sock");
    (void)str_format(config->nvml_path, sizeof(config->nvml_path), "libnvidia-ml.so.1");
}

static bool environment_read(struct config *config, char ret_why[256])
{
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++) {
        const char *value = rows[i].env ? getenv(rows[i].env) : NULL;
        if (value && value[0] && !rows[i].set(config, &rows[i], str_of(value))) {
            (void)str_format(ret_why, 256, "%s: bad value \"%s\"", rows[i].env, value);
            return false;
        }
    }
    return true;
}

static bool command_set(struct config *config, const char *word)
{
    static const struct {
        const char *word;
        enum config_command command;
    } commands[] = {
        {"run", CONFIG_RUN},         {"enrol", CONFIG_ENROL},       {"status", CONFIG_STATUS},
        {"help", CONFIG_HELP},       {"--help", CONFIG_HELP},       {"-h", CONFIG_HELP},
        {"version", CONFIG_VERSION}, {"--version", CONFIG_VERSION},
    };
    for (size_t i = 0; i < ARRAY_COUNT(commands); i++)
        if (strcmp(word, commands[i].word) == 0) {
            config->command = commands[i].command;
            return true;
        }
    return false;
}

static const struct option_row *row_find(struct str name)
{
    for (size_t i = 0; i < ARRAY_COUNT(rows); i++)
        if (rows[i].name && str_equal_c(name, rows[i].name))
            return &rows[i];
    return NULL;
}

/* Reads "--option value", "--option=value", "--flag" or a command at `io_at`. */
static bool word_read(struct config *config, char **words, int *io_at, char ret_why[256])
{
    const char *word = words[*io_at];
    if (command_set(config, word))
        return true;
    struct str value = str_of(word);
    struct str name = str_cut(&value, '=');
    const struct option_row *row = row_find(name);
    if (!row) {
        (void)str_format(ret_why, 256, "unknown option or command \"%s\"; see --help", word);
        return false;
    }
    if (!value.at && !row->is_flag) {
        if (!words[*io_at + 1]) {
            (void)str_format(ret_why, 256, "%s needs a value", row->name);
            return false;
        }
        value = str_of(words[++*io_at]);
    }
    if (!row->set(config, row, value)) {
        (void)str_format(ret_why, 256, "%s: bad value \"%.*s\"", row->name, STR_ARG(value));
        return false;
    }
    return true;
}

static bool whole_check(struct config *config, char ret_why[256])
{
    size_t len = strlen(config->url);
    while (len && config->url[len - 1] == '/')
        config->url[--len] = '\0';
    if (!config->command) {
        (void)str_format(ret_why, 256, "say what to do: run, enrol or status; see --help");
        return false;
    }
    if (config->simulate_nodes && config->runner != RUNNER_SIMULATED) {
        (void)str_format(ret_why, 256, "--simulate-nodes needs --runner simulated");
        return false;
    }
    if (config->simulate_nodes && !config->tokens_file[0]) {
        (void)str_format(ret_why, 256, "--simulate-nodes needs --tokens");
        return false;
    }
    if (config->simulate_nodes && config->pricing_file[0]) {
        (void)str_format(ret_why, 256, "--pricing is for one node, not for --simulate-nodes");
        return false;
    }
    return true;
}

static bool text_set(struct config *config, const struct option_row *row, struct str value)
{
    return str_format((char *)config + row->offset, row->size, "%.*s", STR_ARG(value));
}

static bool number_set(struct config *config, const struct option_row *row, struct str value)
{
    int64_t number;
    if (!str_to_i64(value, &number) || number < row->min || number > row->max)
        return false;
    memcpy((char *)config + row->offset, &number, sizeof(number));
    return true;
}

static bool flag_set(struct config *config, const struct option_row *row, struct str value)
{
    bool is_set = !str_equal_c(value, "0") && !str_equal_c(value, "false");
    memcpy((char *)config + row->offset, &is_set, sizeof(is_set));
    return true;
}

/* "0.31" or "rtx-4090=0.31"; several by commas. */
static bool price_set(struct config *config, const struct option_row *row, struct str value)
{
    (void)row;
    while (value.at) {
        struct str price = str_cut(&value, ',');
        struct str device_class = STR("*");
        if (memchr(price.at, '=', price.len))
            device_class = str_cut(&price, '=');
        struct config_price made;
        if (!device_class.len || !money_parse_usd(price, &made.price_uusd_per_device_hour))
            return false;
        if (!str_format(made.device_class, sizeof(made.device_class), "%.*s",
                        STR_ARG(device_class)))
            return false;
        size_t at = 0; /* a class named again, as on the command line, replaces the earlier price */
        while (at < config->prices_count &&
               strcmp(config->prices[at].device_class, made.device_class) != 0)
            at++;
        if (at == CONFIG_PRICES_MAX)
            return false;
        config->prices[at] = made;
        config->prices_count += at == config->prices_count;
    }
    return true;
}

/* "cpu-2c4g:2"; several by commas. */
static bool slots_set(struct config *config, const struct option_row *row, struct str value)
{
    (void)row;
    while (value.at) {
        struct str count = str_cut(&value, ',');
        struct str model = str_cut(&count, ':');
        int64_t slots_count = 1;
        if (config->slots_count == CONFIG_SLOTS_MAX || !str_starts_with(model, STR("cpu-")))
            return false;
        if (count.at && (!str_to_i64(count, &slots_count) || slots_count < 0 || slots_count > 256))
            return false;
        struct config_slot *slot = &config->slots[config->slots_count];
        if (!str_format(slot->model, sizeof(slot->model), "%.*s", STR_ARG(model)))
            return false;
        slot->count = (int)slots_count;
        config->slots_count++;
    }
    return true;
}

static bool runner_set(struct config *config, const struct option_row *row, struct str value)
{
    (void)row;
    if (str_equal_c(value, "engine"))
        config->runner = RUNNER_ENGINE;
    else if (str_equal_c(value, "simulated"))
        config->runner = RUNNER_SIMULATED;
    else
        return false;
    return true;
}

static bool direct_bids_set(struct config *config, const struct option_row *row, struct str value)
{
    (void)row;
    if (str_equal_c(value, "floor"))
        config->direct_bids = DIRECT_BIDS_FLOOR;
    else if (str_equal_c(value, "off"))
        config->direct_bids = DIRECT_BIDS_OFF;
    else
        return false;
    return true;
}

const char *config_help(void)
{
    return "undercut-agent: rents out this machine's devices by the second.\n"
           "\n"
           "  undercut-agent enrol   register this machine once, with a one-time token\n"
           "  undercut-agent run     serve leases (enrols first when --token is given)\n"
           "  undercut-agent status  what this machine is and what it runs, from its state\n"
           "\n"
           "Options (and the variable that sets the same):\n"
           "  --url URL             broker [UNDERCUT_URL, the one enrolled with]\n"
           "  --state-dir DIR       identity and journal [UNDERCUT_AGENT_STATE_DIR]\n"
           "  --token uct_...       one-time enrolment token [UNDERCUT_AGENT_TOKEN]\n"
           "  --name NAME           shown to you [UNDERCUT_AGENT_NAME, the host name]\n"
           "  --region NAME         e.g. eu-west [UNDERCUT_AGENT_REGION]\n"
           "  --price USD           floor per device-hour; CLASS=USD for one class; repeat or\n"
           "                        separate by commas [UNDERCUT_AGENT_PRICE, the account's ask]\n"
           "  --pricing FILE        rules that move the price: schedule, energy, utilisation, a\n"
           "                        program of yours; see docs/operators.md\n"
           "                        [UNDERCUT_AGENT_PRICING]\n"
           "  --direct-bids HOW     floor: bid it on workloads that are cleared by themselves;\n"
           "                        off: only the standing ask [UNDERCUT_AGENT_DIRECT_BIDS, off]\n"
           "  --cpu-slots MODEL:N   offer CPU slots, e.g. cpu-2c4g:2 [UNDERCUT_AGENT_CPU_SLOTS]\n"
           "  --engine unix:///SOCK Podman or Docker [UNDERCUT_AGENT_ENGINE]\n"
           "  --nvml PATH           NVML library [UNDERCUT_AGENT_NVML, libnvidia-ml.so.1]\n"
           "  --amd-root DIR        where sys/ and dev/ are [UNDERCUT_AGENT_AMD_ROOT, /]\n"
           "  --ca-file FILE        certificates to trust for https [UNDERCUT_AGENT_CA_FILE]\n"
           "  --opt-out             run what is leased, take nothing new [UNDERCUT_AGENT_OPT_OUT]\n"
           "  --once                sync once, then end\n"
           "  --json                machine-readable status\n"
           "  --runner engine|simulated, --time-scale N   simulated: no containers, for benches;\n"
           "                        everything is then labelled simulated\n"
           "  --simulate-nodes N --tokens FILE   N simulated nodes in this process\n"
           "\n"
           "Examples:\n"
           "  undercut-agent enrol --url https://broker.example --token uct_abc --region eu-west\n"
           "  undercut-agent run --price 0.31\n"
           "  undercut-agent run --price rtx-4090=0.35,cpu-2c4g=0.02 --cpu-slots cpu-2c4g:2\n"
           "  undercut-agent status --json\n"
           "\n"
           "The first signal (TERM or INT) ends the agent and leaves containers running; the next\n"
           "start takes them up again.\n";
}
