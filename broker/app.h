/* app.h - everything a running undercutd is made of, put together and taken apart in order.
 *
 * main thread. app_open() makes what threads share and what each owns; app_run() starts the threads
 * and the roles; app_close() drains, stops the roles, and frees in reverse.
 */
#ifndef UNDERCUT_APP_H
#define UNDERCUT_APP_H

#include <stdbool.h>
#include <stddef.h>

#include "broker/base/must.h"
#include "broker/config.h"

struct app;

/* NULL: `ret_why` says what is missing. The configuration must outlive the app. */
struct app *app_open(const struct config *config, char *ret_why, size_t why_size);
int app_port(const struct app *app);
void app_run(struct app *app);
void app_close(struct app *app);
/* Prints a new key with every scope, once. False: said why on stderr. */
MUST_USE bool app_make_admin_key(const struct config *config);

#endif
