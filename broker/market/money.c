#include "broker/market/money.h"

#include "broker/base/money.h"

int64_t runway_s(const struct balance_get_out *balance)
{
    if (balance->burn_uusd_per_hour == 0)
        return -1;
    return mul_div_floor(balance->wallet_uusd + balance->escrow_uusd, 3600,
                         balance->burn_uusd_per_hour);
}

const char *credit_source_key(struct account_id caller, struct str idempotency_key,
                              char ret_key[CREDIT_SOURCE_KEY_SIZE])
{
    char account[ID_TEXT_SIZE];
    must(str_format(ret_key, CREDIT_SOURCE_KEY_SIZE, "credit:%s:%.*s",
                    account_id_text(caller, account), STR_ARG(idempotency_key)));
    return ret_key;
}
