#include "nodeagent/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/base/json.h"

#define PATH_SIZE 512
#define SEED_SIZE 32

static bool file_path(const char *state_dir, const char *name, char ret_path[PATH_SIZE])
{
    return str_format(ret_path, PATH_SIZE, "%s/%s", state_dir, name);
}

/* Whole or not at all: a fresh file, flushed, takes the name. */
static bool file_write(const char *path, struct str bytes)
{
    char fresh[PATH_SIZE + 8];
    must(str_format(fresh, sizeof(fresh), "%s.new", path));
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    bool is_written = write(fd, bytes.at, bytes.len) == (ssize_t)bytes.len && fsync(fd) == 0;
    close(fd);
    return is_written && rename(fresh, path) == 0;
}

/* False only on an error other than absence; `ret_bytes` is empty when there is no file. */
static bool file_read(const char *path, struct buf *ret_bytes)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT;
    char chunk[4096];
    ssize_t n;
    while ((n = read(fd, chunk, sizeof(chunk))) > 0)
        buf_add(ret_bytes, chunk, (size_t)n);
    close(fd);
    return n == 0;
}

static bool folder_make(const char *path)
{
    char part[PATH_SIZE];
    if (!str_format(part, sizeof(part), "%s", path))
        return false;
    for (char *at = part + 1; *at; at++) {
        if (*at != '/')
            continue;
        *at = '\0';
        if (mkdir(part, 0755) != 0 && errno != EEXIST)
            return false;
        *at = '/';
    }
    return mkdir(part, 0700) == 0 || errno == EEXIST;
}

static bool key_load(const char *state_dir, struct identity *identity)
{
    char path[PATH_SIZE];
    struct buf bytes = {0};
    uint8_t seed[SEED_SIZE];
    bool is_good = file_path(state_dir, "key.ed25519", path) && file_read(path, &bytes);
    if (is_good && bytes.len == 0) {
        random_bytes(seed, sizeof(seed));
        is_good = file_write(path, (struct str){.at = (char *)seed, .len = sizeof(seed)});
    } else if (is_good && bytes.len == sizeof(seed)) {
        memcpy(seed, bytes.at, sizeof(seed));
    } else {
        is_good = false;
    }
    buf_finish(&bytes);
    if (is_good)
        ed25519_from_seed(seed, &identity->public_key, &identity->secret_key);
    return is_good;
}

static bool text_take(const json_t *json, const char *key, char *ret, size_t size)
{
    struct str text = json_str(json, key);
    return text.len > 0 && str_format(ret, size, "%.*s", STR_ARG(text));
}

static bool answer_take(const json_t *json, struct identity *identity)
{
    struct node_id id;
    struct str key = json_str(json, "market_public_key");
    bool is_good =
        node_id_parse(json_str(json, "node_id"), &id) &&
        base64url_decode(key, identity->market_key.bytes, sizeof(identity->market_key.bytes)) ==
            (ptrdiff_t)sizeof(identity->market_key.bytes) &&
        text_take(json, "node_id", identity->node_id, sizeof(identity->node_id));
    (void)text_take(json, "account_id", identity->account_id, sizeof(identity->account_id));
    (void)text_take(json, "region", identity->region, sizeof(identity->region));
    (void)text_take(json, "market", identity->market, sizeof(identity->market));
    (void)text_take(json, "url", identity->url, sizeof(identity->url));
    return is_good;
}

bool identity_load(const char *state_dir, struct identity *ret_identity, char ret_why[256])
{
    char path[PATH_SIZE];
    char parse_why[128];
    struct buf text = {0};
    *ret_identity = (struct identity){0};
    if (!folder_make(state_dir) || !file_path(state_dir, "agent.json", path) ||
        !file_read(path, &text) || !key_load(state_dir, ret_identity)) {
        (void)str_format(ret_why, 256, "cannot use the state folder %s: %s", state_dir,
                         strerror(errno));
        buf_finish(&text);
        return false;
    }
    bool is_good = true;
    if (text.len) {
        json_t *json = json_parse(buf_str(&text), parse_why, sizeof(parse_why));
        is_good = answer_take(json, ret_identity);
        ret_identity->is_enrolled = is_good;
        json_decref(json);
        if (!is_good)
            (void)str_format(ret_why, 256, "%s is damaged; enrol this machine again", path);
    }
    buf_finish(&text);
    return is_good;
}

bool identity_enrol(struct identity *io_identity, const char *state_dir, const char *url,
                    struct str answer, char ret_why[256])
{
    char path[PATH_SIZE];
    json_t *json = json_parse(answer, ret_why, 256);
    if (!json)
        return false;
    if (json_is_object(json))
        json_object_set_new(json, "url", json_string(url));
    struct identity identity = *io_identity;
    char *text = json_dumps(json, JSON_INDENT(2));
    bool is_good = text && answer_take(json, &identity);
    if (!is_good)
        (void)str_format(ret_why, 256, "the broker's answer lacks node_id or market_public_key");
    if (is_good && !(file_path(state_dir, "agent.json", path) && file_write(path, str_of(text)))) {
        (void)str_format(ret_why, 256, "cannot write the state folder: %s", strerror(errno));
        is_good = false;
    }
    free(text);
    json_decref(json);
    if (is_good) {
        identity.is_enrolled = true;
        *io_identity = identity;
    }
    return is_good;
}
