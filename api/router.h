/* router.h - where a request of h2o becomes a flow, and where a flow's answer becomes a response.
 *
 * loop thread. The one file of api/ that touches h2o. Every answer passes here, so that each has
 * its Request-Id, each error is a problem, each request leaves one line in the log and one count.
 */
#ifndef UNDERCUT_API_ROUTER_H
#define UNDERCUT_API_ROUTER_H

#include "api/call.h"

#define ROUTER_BODY_MAX (256 * 1024)

struct st_h2o_req_t;

/* Takes a request whose syntax was found good; answers it, now or later. */
void router_handle(struct api_thread *thread, struct st_h2o_req_t *req);
/* The client's address as text, behind the proxies that are trusted; "gone" once it is. */
struct str router_address(struct flow *flow);
/* Answers with a problem and closes the connection: for requests that are not to be trusted. */
void router_refuse(struct api_thread *thread, struct st_h2o_req_t *req, enum err_code err,
                   const char *detail);

#endif
