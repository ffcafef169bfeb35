#include "nodeagent/status.h"

#include <stdio.h>
#include <unistd.h>

#include "broker/base/json.h"
#include "broker/base/money.h"
#include "nodeagent/identity.h"
#include "nodeagent/journal.h"
#include "nodeagent/lease.h"

#define PATH_SIZE 512

static void print_price(const json_t *ask, const char *key)
{
    char usd[32];
    int64_t uusd = json_i64(ask, key, -1);
    printf("  %10s", uusd < 0 ? "-" : money_format_usd(uusd, usd));
}

/* The account's ask and this machine's floor must be one: else the machine is left out. */
static void print_asks(struct str text)
{
    char why[128];
    size_t i;
    json_t *ask;
    json_t *asks = json_parse(text, why, sizeof(why));
    if (json_array_size(asks))
        printf("\n%-24s  %10s  %10s  %s\n", "CLASS", "ASK", "FLOOR", "STATUS");
    json_array_foreach (asks, i, ask) {
        printf("%-24.*s", STR_ARG(json_str(ask, "class")));
        print_price(ask, "price_uusd_per_device_hour");
        print_price(ask, "node_price_uusd_per_device_hour");
        printf("  %.*s\n", STR_ARG(json_str(ask, "status")));
    }
    json_decref(asks);
}

static void print_people(const struct identity *identity, const struct journal *journal)
{
    struct str key;
    struct str json;
    printf("node      %s\nregion    %s\nbroker    %s\nreceipts  %.*s\n\n", identity->node_id,
           identity->region, identity->url, STR_ARG(journal_get(journal, "receipt_seq")));
    printf("%-31s %5s  %-9s %12s  %s\n", "LEASE", "EPOCH", "STATE", "HEALTHY", "REASON");
    for (size_t i = 0; journal_each(journal, i, &key, &json); i++) {
        struct lease *lease = str_starts_with(key, STR("lease:")) ? lease_read(json) : NULL;
        if (lease)
            printf("%-31s %5lld  %-9s %10lld s  %s\n", lease->lease_id, (long long)lease->epoch,
                   lease_state_name(lease->state), (long long)lease->meter.healthy_ms / 1000,
                   lease->reason);
        lease_destroy(lease);
    }
    print_asks(journal_get(journal, "asks"));
}

static void print_json(const struct identity *identity, const struct journal *journal)
{
    struct buf text = {0};
    struct json_out out;
    struct str key;
    struct str json;
    json_out_start(&out, &text);
    json_object_open(&out, NULL);
    json_put_c(&out, "node_id", identity->node_id);
    json_put_c(&out, "account_id", identity->account_id);
    json_put_c(&out, "region", identity->region);
    json_put_c(&out, "url", identity->url);
    struct str seq = journal_get(journal, "receipt_seq");
    json_put_raw(&out, "receipt_seq", seq.at ? seq : STR("0"));
    struct str asks = journal_get(journal, "asks");
    json_put_raw(&out, "asks", asks.at ? asks : STR("[]"));
    json_array_open(&out, "leases");
    for (size_t i = 0; journal_each(journal, i, &key, &json); i++)
        if (str_starts_with(key, STR("lease:")))
            json_put_raw(&out, NULL, json);
    json_array_close(&out);
    json_object_close(&out);
    printf("%.*s\n", STR_ARG(buf_str(&text)));
    buf_finish(&text);
}

bool status_print(const struct config *config, char ret_why[256])
{
    char path[PATH_SIZE];
    struct identity identity;
    must(str_format(path, sizeof(path), "%s/agent.json", config->state_dir));
    if (access(path, R_OK) != 0) {
        (void)str_format(ret_why, 256, "no enrolled node in %.200s", config->state_dir);
        return false;
    }
    if (!identity_load(config->state_dir, &identity, ret_why))
        return false;
    must(str_format(path, sizeof(path), "%s/journal", config->state_dir));
    struct journal *journal = journal_open(path, JOURNAL_READ_ONLY, ret_why);
    if (!journal)
        return false;
    if (config->is_json)
        print_json(&identity, journal);
    else
        print_people(&identity, journal);
    journal_close(journal);
    return true;
}
