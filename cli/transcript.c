/* The happy path is: fetch the head, proofs between heads, the anchors, the leaves of the range,
 * the openings of each round, our own leases; or read and write the same as files.
 * Failure modes are: a broker that refuses (its problem was printed), a file that cannot be read,
 * written or parsed (said on stderr).
 */
#include "cli/transcript.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cli/call.h"

#define LEAVES_WITHOUT_RANGE 100
#define FILE_SIZE_MAX        (64 << 20)
#define PATIENCE_S           90 /* with a broker that says 429 */

void transcript_start(struct verify_docs *docs)
{
    *docs = (struct verify_docs){
        .heads = json_array(),
        .consistency = json_array(),
        .anchors = json_array(),
        .leaves = json_array(),
        .rounds = json_array(),
        .promises = json_array(),
        .leases = json_array(),
        .published = json_array(),
    };
}

void transcript_finish(struct verify_docs *docs)
{
    json_decref(docs->heads);
    json_decref(docs->consistency);
    json_decref(docs->anchors);
    json_decref(docs->leaves);
    json_decref(docs->rounds);
    json_decref(docs->promises);
    json_decref(docs->leases);
    json_decref(docs->published);
}

/* Files ----------------------------------------------------------------------------------------*/

struct transcript_file {
    const char *name;
    json_t *list;
};
#define FILES_COUNT 6

static void files_of(const struct verify_docs *docs, struct transcript_file ret[FILES_COUNT])
{
    const struct transcript_file files[FILES_COUNT] = {
        {"heads.json", docs->heads},     {"consistency.json", docs->consistency},
        {"anchors.json", docs->anchors}, {"leaves.json", docs->leaves},
        {"leases.json", docs->leases},   {"published.json", docs->published},
    };
    memcpy(ret, files, sizeof(files));
}

static bool complain(const char *path, const char *why)
{
    fprintf(stderr, "undercut: %s: %s\n", path, why);
    return false;
}

static char *path_join(const char *dir, const char *name)
{
    char *path = NULL;
    must(asprintf(&path, "%s/%s", dir, name) >= 0);
    return path;
}

/* NULL: it was said why, or, with `is_optional`, it is not there. */
static json_t *json_load(const char *path, bool is_optional, bool *ret_is_bad)
{
    FILE *file = fopen(path, "re");
    struct buf text = {0};
    char chunk[8192], why[200];
    size_t got;
    *ret_is_bad = false;
    if (file == NULL && is_optional && errno == ENOENT)
        return NULL;
    if (file == NULL) {
        *ret_is_bad = !complain(path, strerror(errno));
        return NULL;
    }
    while ((got = fread(chunk, 1, sizeof(chunk), file)) > 0 && text.len <= FILE_SIZE_MAX)
        buf_add(&text, chunk, got);
    (void)fclose(file);
    json_t *json = json_parse(buf_str(&text), why, sizeof(why));
    if (json == NULL)
        *ret_is_bad = !complain(path, why);
    buf_finish(&text);
    return json;
}

static bool json_store(const char *path, const json_t *json)
{
    FILE *file = fopen(path, "we");
    if (file == NULL)
        return complain(path, strerror(errno));
    bool is_good = json_dumpf(json, file, JSON_INDENT(1)) == 0 && fputc('\n', file) != EOF;
    is_good = fclose(file) == 0 && is_good;
    return is_good || complain(path, "cannot be written");
}

static int is_json_file(const struct dirent *entry)
{
    size_t len = strlen(entry->d_name);
    return len > 5 && strcmp(entry->d_name + len - 5, ".json") == 0;
}

/* Every JSON file of a folder, in the order of its name. */
static bool folder_read(const char *dir, json_t *list)
{
    struct dirent **entries = NULL;
    bool is_good = true;
    int count = scandir(dir, &entries, is_json_file, alphasort);
    for (int i = 0; i < count; i++) {
        bool is_bad = true;
        char *path = path_join(dir, entries[i]->d_name);
        json_t *json = is_good ? json_load(path, false, &is_bad) : NULL;
        if (json != NULL)
            json_array_append_new(list, json);
        is_good = is_good && !is_bad;
        free(path);
        free(entries[i]);
    }
    free(entries);
    return is_good;
}

static bool promises_read(const char *dir, json_t *promises)
{
    size_t i;
    json_t *files = json_array(), *item;
    bool is_good = folder_read(dir, files);
    json_array_foreach (files, i, item) {
        json_t *promise = json_object_get(item, "promise");
        json_array_append(promises, promise != NULL ? promise : item);
    }
    json_decref(files);
    return is_good;
}

bool transcript_read(const char *dir, struct verify_docs *docs)
{
    struct transcript_file files[FILES_COUNT];
    bool is_good = true;
    files_of(docs, files);
    for (size_t i = 0; i < FILES_COUNT && is_good; i++) {
        bool is_bad;
        char *path = path_join(dir, files[i].name);
        json_t *json = json_load(path, true, &is_bad);
        if (json != NULL && !json_is_array(json))
            is_bad = !complain(path, "must hold a JSON array");
        if (json != NULL && !is_bad)
            json_array_extend(files[i].list, json);
        is_good = !is_bad;
        json_decref(json);
        free(path);
    }
    char *rounds = path_join(dir, "rounds"), *promises = path_join(dir, "promises");
    is_good =
        is_good && folder_read(rounds, docs->rounds) && promises_read(promises, docs->promises);
    free(rounds);
    free(promises);
    return is_good;
}

bool transcript_read_head(const char *path, struct verify_docs *docs)
{
    bool is_bad;
    json_t *head = json_load(path, false, &is_bad);
    if (head == NULL)
        return false;
    size_t at = 0;
    while (at < json_array_size(docs->heads) &&
           json_i64(json_array_get(docs->heads, at), "size", 0) <= json_i64(head, "size", 0))
        at++;
    return json_array_insert_new(docs->heads, at, head) == 0;
}

static bool folder_make(const char *path)
{
    return mkdir(path, 0777) == 0 || errno == EEXIST || complain(path, strerror(errno));
}

/* Rounds of an earlier range would have no leaf. */
static void folder_empty(const char *dir)
{
    struct dirent **entries = NULL;
    int count = scandir(dir, &entries, is_json_file, NULL);
    for (int i = 0; i < count; i++) {
        char *path = path_join(dir, entries[i]->d_name);
        (void)unlink(path);
        free(path);
        free(entries[i]);
    }
    free(entries);
}

static bool rounds_write(const char *dir, const json_t *rounds)
{
    size_t i;
    const json_t *doc;
    bool is_good = folder_make(dir);
    if (is_good)
        folder_empty(dir);
    json_array_foreach (rounds, i, doc) {
        char name[40];
        (void)str_format(name, sizeof(name), "%lld.json", (long long)json_i64(doc, "round", 0));
        char *path = path_join(dir, name);
        is_good = is_good && json_store(path, doc);
        free(path);
    }
    return is_good;
}

bool transcript_write(const char *dir, const struct verify_docs *docs)
{
    struct transcript_file files[FILES_COUNT];
    bool is_good = folder_make(dir);
    files_of(docs, files);
    for (size_t i = 0; i < FILES_COUNT && is_good; i++) {
        char *path = path_join(dir, files[i].name);
        is_good = json_store(path, files[i].list);
        free(path);
    }
    char *rounds = path_join(dir, "rounds");
    is_good = is_good && rounds_write(rounds, docs->rounds);
    free(rounds);
    return is_good;
}

/* The broker -----------------------------------------------------------------------------------*/

struct fetch {
    const struct cli *cli;
    struct verify_docs *docs;
    int64_t size; /* of the newest head */
};

/* One answer; the caller decrefs. NULL: `ret_code` says why, printed unless quiet. */
static json_t *fetch_one(const struct fetch *fetch, bool is_quiet, const char *path, int *ret_code)
{
    struct reply reply;
    const struct call call = {
        .path = path, .is_quiet = is_quiet, .is_public = fetch->cli->settings.api_key[0] == '\0'};
    *ret_code = call_api(fetch->cli, &call, &reply);
    json_t *json = *ret_code == EXIT_OK ? json_incref(reply.json) : NULL;
    if (*ret_code == EXIT_OK && json == NULL && !fetch->cli->is_curl)
        *ret_code = EXIT_GENERIC;
    reply_finish(&reply);
    return json;
}

/* Appends all pages of a list; `is_enough` may end it early. */
static int fetch_pages(const struct fetch *fetch, const char *base, json_t *list,
                       bool (*is_enough)(const json_t *item, int64_t bound), int64_t bound)
{
    struct str cursor = STR_NONE;
    json_t *page = NULL;
    int code = EXIT_OK;
    do {
        size_t i;
        json_t *item;
        struct buf path = {0};
        buf_add_format(&path, "%s%s%.*s", base, cursor.len ? "&cursor=" : "", STR_ARG(cursor));
        buf_add(&path, "", 1);
        json_decref(page);
        page = fetch_one(fetch, false, path.at, &code);
        buf_finish(&path);
        cursor = json_str(page, "next_cursor");
        json_array_foreach (json_object_get(page, "data"), i, item) {
            if (is_enough != NULL && is_enough(item, bound)) {
                cursor = STR_NONE;
                break;
            }
            json_array_append(list, item);
        }
    } while (code == EXIT_OK && cursor.len > 0);
    json_decref(page);
    return code;
}

/* A head of the same size takes the place of the last one, unless they differ: then both stay. */
static void head_add(json_t *heads, json_t *head)
{
    const json_t *last = json_array_get(heads, json_array_size(heads) - 1);
    if (last != NULL && json_i64(last, "size", -1) == json_i64(head, "size", -2) &&
        str_equal(json_str(last, "root_sha256"), json_str(head, "root_sha256")))
        json_array_set_new(heads, json_array_size(heads) - 1, head);
    else
        json_array_append_new(heads, head);
}

static int fetch_heads(struct fetch *fetch)
{
    int code;
    char path[80];
    json_t *newest = fetch_one(fetch, false, "/v1/log/head", &code);
    if (newest == NULL)
        return code;
    fetch->size = json_i64(newest, "size", 0);
    if (json_array_size(fetch->docs->heads) == 0 && fetch->size > 1) {
        (void)str_format(path, sizeof(path), "/v1/log/head?size=%lld",
                         (long long)(fetch->size > LEAVES_WITHOUT_RANGE
                                         ? fetch->size - LEAVES_WITHOUT_RANGE
                                         : fetch->size / 2));
        json_t *older = fetch_one(fetch, true, path, &code); /* none that old is fine */
        if (older != NULL)
            head_add(fetch->docs->heads, older);
    }
    head_add(fetch->docs->heads, newest);
    return EXIT_OK;
}

static int fetch_consistency(const struct fetch *fetch)
{
    int code = EXIT_OK;
    json_array_clear(fetch->docs->consistency);
    for (size_t i = 1; i < json_array_size(fetch->docs->heads) && code == EXIT_OK; i++) {
        char path[120];
        int64_t before = json_i64(json_array_get(fetch->docs->heads, i - 1), "size", 0);
        int64_t size = json_i64(json_array_get(fetch->docs->heads, i), "size", 0);
        if (before >= size)
            continue;
        (void)str_format(path, sizeof(path), "/v1/log/consistency?before=%lld&size=%lld",
                         (long long)before, (long long)size);
        json_t *proof = fetch_one(fetch, false, path, &code);
        if (proof != NULL)
            json_array_append_new(fetch->docs->consistency, proof);
    }
    return code;
}

static bool is_behind(const json_t *item, int64_t round)
{
    return json_is_null(json_object_get(item, "path")) ||
           (round > 0 && json_i64(item, "round", 0) > round);
}

static int fetch_leaves(const struct fetch *fetch, const struct transcript_range *range)
{
    char path[160];
    int64_t from = fetch->size > LEAVES_WITHOUT_RANGE ? fetch->size - LEAVES_WITHOUT_RANGE : 0;
    json_array_clear(fetch->docs->anchors);
    json_array_clear(fetch->docs->leaves);
    (void)str_format(path, sizeof(path), "/v1/log/leaves?kind=anchor&limit=100&size=%lld",
                     (long long)fetch->size);
    int code = fetch_pages(fetch, path, fetch->docs->anchors, is_behind, 0);
    if (code != EXIT_OK)
        return code;
    if (range->from > 0)
        (void)str_format(path, sizeof(path), "/v1/log/leaves?limit=100&size=%lld&round=%lld",
                         (long long)fetch->size, (long long)range->from);
    else
        (void)str_format(path, sizeof(path), "/v1/log/leaves?limit=100&size=%lld&from=%lld",
                         (long long)fetch->size, (long long)from);
    return fetch_pages(fetch, path, fetch->docs->leaves, is_behind, range->to);
}

static int fetch_rounds(const struct fetch *fetch)
{
    size_t i;
    const json_t *leaf;
    int code = EXIT_OK;
    json_array_clear(fetch->docs->rounds);
    json_array_foreach (fetch->docs->leaves, i, leaf) {
        char path[80];
        int64_t round = json_i64(leaf, "round", 0);
        if (round == 0 || code != EXIT_OK)
            continue;
        (void)str_format(path, sizeof(path), "/v1/rounds/%lld/openings", (long long)round);
        json_t *doc = fetch_one(fetch, false, path, &code);
        if (doc != NULL)
            json_array_append_new(fetch->docs->rounds, doc);
    }
    return code;
}

static bool is_after(const json_t *item, int64_t round)
{
    return json_i64(item, "round", 0) > round;
}

/* What was said in public of the same rounds: their indexes. */
static int fetch_published(const struct fetch *fetch)
{
    char path[80];
    size_t i;
    const json_t *leaf;
    int64_t first = 0, last = 0;
    json_array_clear(fetch->docs->published);
    json_array_foreach (fetch->docs->leaves, i, leaf) {
        last = json_i64(leaf, "round", last);
        first = first == 0 ? last : first;
    }
    (void)str_format(path, sizeof(path), "/v1/rounds?limit=200&after=%lld", (long long)first - 1);
    return first == 0 ? EXIT_OK : fetch_pages(fetch, path, fetch->docs->published, is_after, last);
}

/* Of the caller: none without a key. An operator's leases have no tenant. */
static int fetch_leases(const struct fetch *fetch)
{
    json_array_clear(fetch->docs->leases);
    if (fetch->cli->settings.api_key[0] == '\0')
        return EXIT_OK;
    int code = fetch_pages(fetch, "/v1/leases?limit=200&role=tenant", fetch->docs->leases, NULL, 0);
    if (code == EXIT_OK)
        code =
            fetch_pages(fetch, "/v1/leases?limit=200&role=operator", fetch->docs->leases, NULL, 0);
    return code;
}

int transcript_fetch(const struct cli *cli, const struct transcript_range *range,
                     struct verify_docs *docs)
{
    struct fetch fetch = {.cli = cli, .docs = docs};
    int code = fetch_heads(&fetch);
    if (cli->is_curl) /* what follows needs the answer */
        return code;
    if (code == EXIT_OK)
        code = fetch_consistency(&fetch);
    if (code == EXIT_OK)
        code = fetch_leaves(&fetch, range);
    if (code == EXIT_OK)
        code = fetch_rounds(&fetch);
    if (code == EXIT_OK)
        code = fetch_published(&fetch);
    return code == EXIT_OK ? fetch_leases(&fetch) : code;
}
