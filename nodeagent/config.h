/* config.h - what the operator told the agent: options first, then the environment, then defaults.
 *
 * pure apart from getenv. Prices are micro-USD per device-hour. Strings are copied.
 */
#ifndef UNDERCUT_NODEAGENT_CONFIG_H
#define UNDERCUT_NODEAGENT_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/base/must.h"

#define CONFIG_PRICES_MAX 16
#define CONFIG_SLOTS_MAX  8
#define CONFIG_TEXT_SIZE  256

enum config_command {
    CONFIG_RUN = 1,
    CONFIG_ENROL,
    CONFIG_STATUS,
    CONFIG_HELP,
    CONFIG_VERSION,
};

enum runner_kind { RUNNER_ENGINE = 1, RUNNER_SIMULATED };

enum direct_bids { DIRECT_BIDS_OFF = 1, DIRECT_BIDS_FLOOR };

struct config_price {
    char device_class[64]; /* "*": each class of this node */
    int64_t price_uusd_per_device_hour;
};

struct config_slot {
    char model[64]; /* "cpu-2c4g" */
    int count;
};

struct config {
    enum config_command command;
    char url[CONFIG_TEXT_SIZE]; /* of the broker, no slash at the end; "": not said */
    char state_dir[CONFIG_TEXT_SIZE];
    char token[CONFIG_TEXT_SIZE];
    char name[64];
    char region[64];
    char engine_url[CONFIG_TEXT_SIZE];
    char nvml_path[CONFIG_TEXT_SIZE];
    char amd_root[CONFIG_TEXT_SIZE]; /* where /sys and /dev are; "" is the real root */
    char ca_file[CONFIG_TEXT_SIZE];
    char pricing_file[CONFIG_TEXT_SIZE]; /* rules that make prices move; "": they stand still */
    char tokens_file[CONFIG_TEXT_SIZE];  /* one token per line, with --simulate-nodes */
    struct config_price prices[CONFIG_PRICES_MAX];
    size_t prices_count;
    struct config_slot slots[CONFIG_SLOTS_MAX];
    size_t slots_count;
    enum runner_kind runner;
    enum direct_bids direct_bids;
    int64_t time_scale;     /* the simulated runner's hours pass this many times faster */
    int64_t simulate_nodes; /* so many simulated nodes in this one process; 0: an ordinary agent */
    int64_t ignore_awards_pct;
    bool is_opted_out;
    bool is_once;
    bool is_json;
};

/* False: `ret_why` says what is wrong with which option. */
MUST_USE bool config_read(int argc, char **argv, struct config *ret_config, char ret_why[256]);
const char *config_help(void);

#endif
