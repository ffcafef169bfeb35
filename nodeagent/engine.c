/* engine.c - the calls of the Docker Engine API that the agent needs.
 *
 * The happy path is one JSON exchange per function over the unix socket.
 * Failure modes are: the engine is down (ENGINE_UNREACHABLE: callers try again), it says no (its
 * sentence is kept), and a pull that fails under status 200 (the last line of the answer tells).
 */
#include "nodeagent/engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "nodeagent/http.h"

#define CALL_TIMEOUT_MS 60000
#define PULL_TIMEOUT_MS 1800000
#define PATH_SIZE       1024

struct engine {
    struct engine_facts facts;
    struct http_client *http;
};

struct api_call {
    const char *method;
    const char *path; /* behind /v1.41 */
    struct str body;
    const char *header_or_null;
    int64_t timeout_ms; /* 0: the usual */
    bool can_cut;
};

static bool facts_read(struct engine *engine, char ret_why[ENGINE_WHY_SIZE]);
static enum engine_outcome api(struct engine *engine, const struct api_call *call,
                               struct http_reply *ret_reply, char ret_why[ENGINE_WHY_SIZE]);
static enum engine_outcome api_json(struct engine *engine, const char *path, json_t **ret_json);
static enum image_outcome image_pull(struct engine *engine, struct str reference,
                                     const json_t *registry_auth, char ret_why[ENGINE_WHY_SIZE]);
static void url_escape(struct str text, struct buf *to);

struct engine *engine_open(const char *url, char ret_why[ENGINE_WHY_SIZE])
{
    const char *prefix = "unix://";
    struct engine *engine = calloc(1, sizeof(*engine));
    must(engine);
    bool is_unix = strncmp(url, prefix, strlen(prefix)) == 0;
    if (!is_unix || !str_format(engine->facts.socket_path, sizeof(engine->facts.socket_path), "%s",
                                url + strlen(prefix))) {
        (void)str_format(ret_why, ENGINE_WHY_SIZE, "the engine address must be unix:///path");
        free(engine);
        return NULL;
    }
    engine->http = http_client_create();
    if (!facts_read(engine, ret_why)) {
        engine_close(engine);
        return NULL;
    }
    return engine;
}

struct engine *engine_clone(const struct engine *engine)
{
    struct engine *clone = calloc(1, sizeof(*clone));
    must(clone);
    clone->facts = engine->facts;
    clone->http = http_client_create();
    return clone;
}

void engine_close(struct engine *engine)
{
    if (!engine)
        return;
    http_client_destroy(engine->http);
    free(engine);
}

const struct engine_facts *engine_facts(const struct engine *engine)
{
    return &engine->facts;
}

const char *engine_flavour_name(enum engine_flavour flavour)
{
    return flavour == ENGINE_PODMAN ? "podman" : "docker";
}

void engine_cut(struct engine *engine)
{
    http_client_cut(engine->http);
}

static void text_copy(struct str text, char *ret, size_t size)
{
    (void)str_format(ret, size, "%.*s", STR_ARG(text));
}

static bool facts_read(struct engine *engine, char ret_why[ENGINE_WHY_SIZE])
{
    json_t *version = NULL;
    json_t *info = NULL;
    bool is_read = api_json(engine, "/version", &version) == ENGINE_OK &&
                   api_json(engine, "/info", &info) == ENGINE_OK;
    if (is_read) {
        const json_t *first = json_array_get(json_object_get(version, "Components"), 0);
        bool is_podman = str_equal_c(json_str(first, "Name"), "Podman Engine");
        engine->facts.flavour = is_podman ? ENGINE_PODMAN : ENGINE_DOCKER;
        text_copy(json_str(version, "Version"), engine->facts.version,
                  sizeof(engine->facts.version));
        text_copy(json_str(info, "DefaultRuntime"), engine->facts.isolation,
                  sizeof(engine->facts.isolation));
    } else {
        (void)str_format(
            ret_why, ENGINE_WHY_SIZE,
            "no container engine answers at %s: start its socket, or name another with --engine",
            engine->facts.socket_path);
    }
    json_decref(version);
    json_decref(info);
    return is_read;
}

/* Both engines answer errors as {"message": "..."}. */
static void why_from(struct str answer, char ret_why[ENGINE_WHY_SIZE])
{
    char parse_why[128];
    json_t *json = json_parse(answer, parse_why, sizeof(parse_why));
    struct str message = json_str(json, "message");
    text_copy(message.at ? message : answer, ret_why, ENGINE_WHY_SIZE);
    json_decref(json);
}

static enum engine_outcome outcome_of(int status)
{
    if (status >= 200 && status < 400)
        return ENGINE_OK;
    if (status == 404)
        return ENGINE_NO_SUCH;
    return status == 409 ? ENGINE_CONFLICT : ENGINE_REFUSED;
}

bool engine_blames_author(enum engine_outcome outcome, const char *why)
{
    static const char *const marks[] = {
        "container process: exec: ",        /* runc: no such command, or none that may run */
        "container process caused: exec: ", /* runc before 1.0 */
        "container init: exec: ",           /* runc since 1.2 */
        "container process: chdir",         /* runc: working_dir */
        "container init: chdir",
        "executable file `",           /* crun: no such command, */
        "open executable",             /* or none that may run */
        "exec container process",      /* crun: another machine's, or no interpreter */
        "chdir to `",                  /* crun: working_dir */
        "does not exist on container", /* Podman: working_dir is not there, */
        "but is not a directory",      /* or is a file */
        "unable to find user",         /* both */
        "no command or entrypoint",    /* Podman */
        "o command specified",         /* Docker */
    };
    for (size_t i = 0; outcome == ENGINE_REFUSED && i < ARRAY_COUNT(marks); i++)
        if (strstr(why, marks[i]))
            return true;
    return false;
}

/* The reply is filled, and the caller's to finish, only on ENGINE_OK. */
static enum engine_outcome api(struct engine *engine, const struct api_call *call,
                               struct http_reply *ret_reply, char ret_why[ENGINE_WHY_SIZE])
{
    char url[PATH_SIZE + 32];
    ret_why[0] = '\0';
    if (!str_format(url, sizeof(url), "http://engine/v1.41%s", call->path)) {
        (void)str_format(ret_why, ENGINE_WHY_SIZE, "the name is too long");
        return ENGINE_REFUSED;
    }
    struct http_call http = {.method = call->method,
                             .url = url,
                             .socket_path_or_null = engine->facts.socket_path,
                             .body = call->body,
                             .headers = {call->header_or_null},
                             .can_cut = call->can_cut,
                             .timeout_ms = call->timeout_ms ? call->timeout_ms : CALL_TIMEOUT_MS};
    enum http_outcome done = http_client_call(engine->http, &http, ret_reply);
    if (done == HTTP_CUT)
        return ENGINE_CUT;
    if (done == HTTP_FAILED) {
        (void)str_format(ret_why, ENGINE_WHY_SIZE, "the engine does not answer: %s",
                         ret_reply->why);
        return ENGINE_UNREACHABLE;
    }
    enum engine_outcome outcome = outcome_of(ret_reply->status);
    if (outcome != ENGINE_OK) {
        why_from(buf_str(&ret_reply->body), ret_why);
        http_reply_finish(ret_reply);
    }
    return outcome;
}

static enum engine_outcome api_json(struct engine *engine, const char *path, json_t **ret_json)
{
    char why[ENGINE_WHY_SIZE];
    struct http_reply reply;
    struct api_call call = {.method = "GET", .path = path};
    enum engine_outcome outcome = api(engine, &call, &reply, why);
    if (outcome != ENGINE_OK)
        return outcome;
    *ret_json = json_parse(buf_str(&reply.body), why, sizeof(why));
    http_reply_finish(&reply);
    return *ret_json ? ENGINE_OK : ENGINE_REFUSED;
}

/* A call whose answer does not matter beyond its status. */
static enum engine_outcome api_do(struct engine *engine, const char *method, const char *path,
                                  char ret_why[ENGINE_WHY_SIZE])
{
    struct http_reply reply;
    struct api_call call = {.method = method, .path = path};
    enum engine_outcome outcome = api(engine, &call, &reply, ret_why);
    if (outcome == ENGINE_OK)
        http_reply_finish(&reply);
    return outcome;
}

/* Podman gives bare hex where Docker gives "sha256:hex". */
static void image_id_copy(struct str id, char ret_id[IMAGE_ID_SIZE])
{
    bool has_prefix = str_starts_with(id, STR("sha256:"));
    (void)str_format(ret_id, IMAGE_ID_SIZE, "%s%.*s", has_prefix ? "" : "sha256:", STR_ARG(id));
}

static enum engine_outcome image_find(struct engine *engine, struct str reference,
                                      char ret_id[IMAGE_ID_SIZE])
{
    struct buf path = {0};
    buf_add_c(&path, "/images/");
    url_escape(reference, &path);
    buf_add_c(&path, "/json");
    buf_add(&path, "", 1);
    json_t *image = NULL;
    enum engine_outcome outcome = api_json(engine, path.at, &image);
    if (outcome == ENGINE_OK)
        image_id_copy(json_str(image, "Id"), ret_id);
    json_decref(image);
    buf_finish(&path);
    return outcome;
}

static enum image_outcome image_outcome_of(enum engine_outcome outcome)
{
    switch (outcome) {
    case ENGINE_OK:
        return IMAGE_PRESENT;
    case ENGINE_NO_SUCH:
        return IMAGE_NOT_FOUND;
    case ENGINE_CONFLICT:
    case ENGINE_REFUSED:
        return IMAGE_PULL_FAILED;
    case ENGINE_UNREACHABLE:
        return IMAGE_UNREACHABLE;
    case ENGINE_CUT:
        return IMAGE_CUT;
    }
    must_not_reach();
}

enum image_outcome engine_image_get(struct engine *engine, struct str reference,
                                    const json_t *registry_auth_or_null, char ret_id[IMAGE_ID_SIZE],
                                    char ret_why[ENGINE_WHY_SIZE])
{
    ret_why[0] = '\0';
    /* "localhost/" is how Podman names what was built here: there is no registry to ask. For all
     * else it is the registry that says who may have an image, whoever had it pulled before. */
    bool is_local = str_starts_with(reference, STR("localhost/"));
    enum image_outcome pulled =
        is_local ? IMAGE_PRESENT : image_pull(engine, reference, registry_auth_or_null, ret_why);
    if (pulled != IMAGE_PRESENT)
        return pulled;
    enum image_outcome found = image_outcome_of(image_find(engine, reference, ret_id));
    if (is_local && found == IMAGE_NOT_FOUND)
        (void)str_format(ret_why, ENGINE_WHY_SIZE, "no image %.*s on this machine",
                         STR_ARG(reference));
    return found;
}

/* Splits repository and tag or digest, because Docker without a tag would pull every tag. */
static void pull_path(struct str reference, struct buf *ret_path)
{
    size_t split = reference.len;
    const char *at = memchr(reference.at, '@', reference.len);
    if (at)
        split = (size_t)(at - reference.at);
    for (size_t i = reference.len; !at && i-- > 0 && reference.at[i] != '/';)
        if (reference.at[i] == ':')
            split = i;
    struct str tag = STR("latest");
    if (split < reference.len)
        tag = (struct str){.at = reference.at + split + 1, .len = reference.len - split - 1};
    buf_add_c(ret_path, "/images/create?fromImage=");
    url_escape((struct str){.at = reference.at, .len = split}, ret_path);
    buf_add_c(ret_path, "&tag=");
    url_escape(tag, ret_path);
    buf_add(ret_path, "", 1);
}

static void auth_header(const json_t *registry_auth, struct buf *ret_header)
{
    char *text = json_is_object(registry_auth) ? json_dumps(registry_auth, JSON_COMPACT) : NULL;
    if (!text)
        return;
    size_t len = strlen(text);
    buf_add_c(ret_header, "X-Registry-Auth: ");
    buf_reserve(ret_header, 4 * ((len + 2) / 3) + 1);
    ret_header->len +=
        base64url_encode((const uint8_t *)text, len, ret_header->at + ret_header->len);
    /* The engines' decoder wants the padding. */
    for (size_t i = len; i % 3 != 0; i++)
        buf_add_c(ret_header, "=");
    buf_add(ret_header, "", 1);
    free(text);
}

static enum image_outcome image_pull(struct engine *engine, struct str reference,
                                     const json_t *registry_auth, char ret_why[ENGINE_WHY_SIZE])
{
    struct buf path = {0};
    struct buf header = {0};
    pull_path(reference, &path);
    auth_header(registry_auth, &header);
    struct api_call call = {.method = "POST",
                            .path = path.at,
                            .header_or_null = header.at,
                            .timeout_ms = PULL_TIMEOUT_MS,
                            .can_cut = true};
    struct http_reply reply;
    enum engine_outcome outcome = api(engine, &call, &reply, ret_why);
    enum image_outcome verdict = image_outcome_of(outcome);
    if (outcome == ENGINE_OK) {
        verdict = engine_pull_verdict(buf_str(&reply.body), ret_why);
        http_reply_finish(&reply);
    }
    buf_finish(&path);
    buf_finish(&header);
    return verdict;
}

/* What registries and engines say when the name or the credentials, and not the network, are wrong.
 */
static bool says_not_found(struct str why)
{
    static const char *const phrases[] = {
        "manifest unknown", "name unknown", "not found",     "repository does not exist",
        "did not resolve",  "unauthorized", "access denied", "invalid username/password"};
    for (size_t i = 0; i < ARRAY_COUNT(phrases); i++)
        if (memmem(why.at, why.len, phrases[i], strlen(phrases[i])))
            return true;
    return false;
}

enum image_outcome engine_pull_verdict(struct str answer, char ret_why[ENGINE_WHY_SIZE])
{
    struct str rest = answer;
    struct str last = STR_NONE;
    while (rest.at) {
        struct str line = str_trim(str_cut(&rest, '\n'));
        if (line.len > 1)
            last = line;
    }
    char parse_why[128];
    json_t *json = json_parse(last, parse_why, sizeof(parse_why));
    struct str error = json_str(json, "error");
    enum image_outcome verdict = IMAGE_PRESENT;
    if (error.at) {
        text_copy(error, ret_why, ENGINE_WHY_SIZE);
        verdict = says_not_found(error) ? IMAGE_NOT_FOUND : IMAGE_PULL_FAILED;
    }
    json_decref(json);
    return verdict;
}

enum engine_outcome engine_container_create(struct engine *engine, const char *name,
                                            struct str body, char ret_id[CONTAINER_ID_SIZE],
                                            char ret_why[ENGINE_WHY_SIZE])
{
    char path[PATH_SIZE];
    must(str_format(path, sizeof(path), "/containers/create?name=%s", name));
    struct http_reply reply;
    struct api_call call = {.method = "POST", .path = path, .body = body};
    enum engine_outcome outcome = api(engine, &call, &reply, ret_why);
    if (outcome != ENGINE_OK)
        return outcome;
    char parse_why[128];
    json_t *made = json_parse(buf_str(&reply.body), parse_why, sizeof(parse_why));
    struct str id = json_str(made, "Id");
    if (id.len)
        text_copy(id, ret_id, CONTAINER_ID_SIZE);
    else
        outcome = ENGINE_REFUSED;
    json_decref(made);
    http_reply_finish(&reply);
    return outcome;
}

enum engine_outcome engine_container_start(struct engine *engine, const char *id,
                                           char ret_why[ENGINE_WHY_SIZE])
{
    char path[PATH_SIZE];
    must(str_format(path, sizeof(path), "/containers/%s/start", id));
    return api_do(engine, "POST", path, ret_why);
}

enum engine_outcome engine_container_inspect(struct engine *engine, const char *id,
                                             struct container_state *ret_state)
{
    char path[PATH_SIZE];
    must(str_format(path, sizeof(path), "/containers/%s/json", id));
    json_t *container = NULL;
    enum engine_outcome outcome = api_json(engine, path, &container);
    if (outcome != ENGINE_OK)
        return outcome;
    const json_t *state = json_object_get(container, "State");
    *ret_state = (struct container_state){
        .is_running = json_bool(state, "Running", false),
        .is_created = str_equal_c(json_str(state, "Status"), "created"),
        .is_oom = json_bool(state, "OOMKilled", false),
        .exit_code = (int)json_i64(state, "ExitCode", -1),
        .pid = (pid_t)json_i64(state, "Pid", 0),
        .started_at_us = engine_time_parse(json_str(state, "StartedAt")),
        .finished_at_us = engine_time_parse(json_str(state, "FinishedAt")),
    };
    image_id_copy(json_str(container, "Image"), ret_state->image_id);
    json_decref(container);
    return ENGINE_OK;
}

enum engine_outcome engine_container_kill(struct engine *engine, const char *id, const char *signal)
{
    char path[PATH_SIZE];
    char why[ENGINE_WHY_SIZE];
    must(str_format(path, sizeof(path), "/containers/%s/kill?signal=%s", id, signal));
    enum engine_outcome outcome = api_do(engine, "POST", path, why);
    if (outcome == ENGINE_OK || outcome == ENGINE_UNREACHABLE || outcome == ENGINE_CUT)
        return outcome;
    struct container_state state;
    outcome = engine_container_inspect(engine, id, &state);
    if (outcome == ENGINE_NO_SUCH || (outcome == ENGINE_OK && !state.is_running))
        return ENGINE_OK;
    return outcome == ENGINE_OK ? ENGINE_REFUSED : outcome;
}

enum engine_outcome engine_container_remove(struct engine *engine, const char *id)
{
    char path[PATH_SIZE];
    char why[ENGINE_WHY_SIZE];
    must(str_format(path, sizeof(path), "/containers/%s?force=1", id));
    enum engine_outcome outcome = api_do(engine, "DELETE", path, why);
    return outcome == ENGINE_NO_SUCH ? ENGINE_OK : outcome;
}

enum engine_outcome engine_container_list(struct engine *engine, const char *node_id,
                                          struct container_found **ret_found, size_t *ret_count)
{
    char filter[256];
    must(str_format(filter, sizeof(filter), "{\"label\":[\"undercut.node=%s\"]}", node_id));
    struct buf path = {0};
    buf_add_c(&path, "/containers/json?all=1&filters=");
    url_escape(str_of(filter), &path);
    buf_add(&path, "", 1);
    json_t *list = NULL;
    enum engine_outcome outcome = api_json(engine, path.at, &list);
    buf_finish(&path);
    if (outcome != ENGINE_OK)
        return outcome;

    size_t count = json_array_size(list);
    struct container_found *found = calloc(count + 1, sizeof(*found));
    must(found);
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(list, i);
        const json_t *labels = json_object_get(item, "Labels");
        text_copy(json_str(item, "Id"), found[i].id, sizeof(found[i].id));
        text_copy(json_str(labels, "undercut.lease"), found[i].lease_id, sizeof(found[i].lease_id));
        if (!str_to_i64(json_str(labels, "undercut.epoch"), &found[i].epoch))
            found[i].epoch = 0;
    }
    json_decref(list);
    *ret_found = found;
    *ret_count = count;
    return ENGINE_OK;
}

static enum engine_outcome exec_create(struct engine *engine, const char *id, const json_t *command,
                                       char ret_exec_id[CONTAINER_ID_SIZE])
{
    char path[PATH_SIZE];
    must(str_format(path, sizeof(path), "/containers/%s/exec", id));
    json_t *body = json_pack("{s:O,s:b,s:b}", "Cmd", command, "AttachStdout", 1, "AttachStderr", 1);
    char *text = json_dumps(body, JSON_COMPACT);
    must(text);
    char why[ENGINE_WHY_SIZE];
    struct http_reply reply;
    struct api_call call = {.method = "POST", .path = path, .body = str_of(text)};
    enum engine_outcome outcome = api(engine, &call, &reply, why);
    if (outcome == ENGINE_OK) {
        json_t *made = json_parse(buf_str(&reply.body), why, sizeof(why));
        text_copy(json_str(made, "Id"), ret_exec_id, CONTAINER_ID_SIZE);
        json_decref(made);
        http_reply_finish(&reply);
    }
    free(text);
    json_decref(body);
    return outcome;
}

/* Not detached: the call then lasts as long as the command, and the exit code is known after it. A
 * detached one still reads as running a second after its end on Podman 4.3.1. */
enum engine_outcome engine_exec(struct engine *engine, const char *id, const json_t *command,
                                int64_t timeout_ms, int *ret_exit_code)
{
    char exec_id[CONTAINER_ID_SIZE] = "";
    enum engine_outcome outcome = exec_create(engine, id, command, exec_id);
    if (outcome != ENGINE_OK)
        return outcome;
    char path[PATH_SIZE];
    char why[ENGINE_WHY_SIZE];
    must(str_format(path, sizeof(path), "/exec/%s/start", exec_id));
    struct http_reply reply;
    struct api_call call = {.method = "POST",
                            .path = path,
                            .body = STR("{\"Detach\":false,\"Tty\":false}"),
                            .timeout_ms = timeout_ms};
    outcome = api(engine, &call, &reply, why);
    if (outcome != ENGINE_OK)
        return outcome;
    http_reply_finish(&reply);

    must(str_format(path, sizeof(path), "/exec/%s/json", exec_id));
    json_t *exec = NULL;
    outcome = api_json(engine, path, &exec);
    if (outcome == ENGINE_OK && json_bool(exec, "Running", true))
        outcome = ENGINE_REFUSED;
    if (outcome == ENGINE_OK)
        *ret_exit_code = (int)json_i64(exec, "ExitCode", -1);
    json_decref(exec);
    return outcome;
}

int64_t engine_time_parse(struct str rfc3339)
{
    char text[64];
    struct tm tm = {0};
    if (!rfc3339.at || !str_format(text, sizeof(text), "%.*s", STR_ARG(rfc3339)))
        return 0;
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
    if (!rest || tm.tm_year < 70)
        return 0;
    int64_t us = 0;
    if (*rest == '.') {
        int64_t unit = 100000;
        for (rest++; *rest >= '0' && *rest <= '9'; rest++, unit /= 10)
            us += (*rest - '0') * unit;
    }
    int hours = 0;
    int minutes = 0;
    if (*rest == '+' || *rest == '-') {
        if (sscanf(rest + 1, "%2d:%2d", &hours, &minutes) != 2)
            return 0;
        int sign = *rest == '-' ? -1 : 1;
        hours *= sign;
        minutes *= sign;
    }
    return ((int64_t)timegm(&tm) - hours * 3600 - minutes * 60) * 1000000 + us;
}

static void url_escape(struct str text, struct buf *to)
{
    static const char plain[] = "-._~/";
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.at[i];
        bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                        (c >= '0' && c <= '9') || (c && strchr(plain, c));
        if (is_plain)
            buf_add(to, &c, 1);
        else
            buf_add_format(to, "%%%02X", c);
    }
}
