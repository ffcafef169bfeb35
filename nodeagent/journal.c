/* journal.c - append, fsync, and now and then a fresh file by rename.
 *
 * The happy path is: lines collect in `pending`, journal_sync() appends them in one write and
 * fsyncs; the live value of each key is kept in memory, so that a rewrite never reads the file.
 * Failure modes are: a torn tail (dropped at open), a crash in mid-rewrite (the old file still has
 * its name), a full disk (abort: see journal_put).
 */
#include "nodeagent/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/base/hash.h"

#define PATH_SIZE     512
#define CHECK_LEN     8
#define REWRITE_BYTES (256 * 1024)

struct record {
    char *key;
    char *json;
};

struct journal {
    int fd;
    enum journal_mode mode;
    char path[PATH_SIZE];
    struct record *records;
    size_t records_count;
    struct buf pending;
    size_t file_size;
    size_t rewrite_at; /* file size that calls for a rewrite */
};

static bool file_load(struct journal *journal);
static void replay(struct journal *journal, struct str text);
static void record_set(struct journal *journal, struct str key, struct str json);
static bool rewrite(struct journal *journal);

struct journal *journal_open(const char *path, enum journal_mode mode, char ret_why[256])
{
    struct journal *journal = calloc(1, sizeof(*journal));
    must(journal);
    journal->fd = -1;
    journal->mode = mode;
    bool is_open = str_format(journal->path, sizeof(journal->path), "%s", path) &&
                   file_load(journal) && (mode == JOURNAL_READ_ONLY || rewrite(journal));
    if (!is_open) {
        (void)str_format(ret_why, 256, "journal %s: %s", path, strerror(errno));
        journal_close(journal);
        return NULL;
    }
    return journal;
}

void journal_close(struct journal *journal)
{
    if (!journal)
        return;
    if (journal->fd >= 0)
        close(journal->fd);
    for (size_t i = 0; i < journal->records_count; i++) {
        free(journal->records[i].key);
        free(journal->records[i].json);
    }
    free(journal->records);
    buf_finish(&journal->pending);
    free(journal);
}

static bool file_load(struct journal *journal)
{
    int fd = open(journal->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT;
    struct buf text = {0};
    char chunk[16384];
    ssize_t n;
    while ((n = read(fd, chunk, sizeof(chunk))) > 0)
        buf_add(&text, chunk, (size_t)n);
    close(fd);
    if (n == 0)
        replay(journal, buf_str(&text));
    buf_finish(&text);
    return n == 0;
}

static void check_of(struct str text, char ret_check[CHECK_LEN + 1])
{
    struct sha256 digest = sha256_of(text.at, text.len);
    hex_encode(digest.bytes, CHECK_LEN / 2, ret_check);
}

static void replay(struct journal *journal, struct str text)
{
    while (text.len) {
        const char *end = memchr(text.at, '\n', text.len);
        if (!end)
            return; /* torn */
        struct str line = str_cut(&text, '\n');
        struct str check = str_cut(&line, ' ');
        char expected[CHECK_LEN + 1];
        check_of(line, expected);
        if (!line.at || !str_equal_c(check, expected))
            return;
        struct str key = str_cut(&line, ' ');
        record_set(journal, key, line);
    }
}

static struct record *record_find(const struct journal *journal, struct str key)
{
    for (size_t i = 0; i < journal->records_count; i++)
        if (str_equal_c(key, journal->records[i].key))
            return &journal->records[i];
    return NULL;
}

static char *text_dup(struct str text)
{
    char *copy = malloc(text.len + 1); /* strndup() would look for a NUL behind the slice */
    must(copy);
    memcpy(copy, text.at ? text.at : "", text.len);
    copy[text.len] = '\0';
    return copy;
}

/* Keeps the order of first appearance; "null" takes the key out. */
static void record_set(struct journal *journal, struct str key, struct str json)
{
    struct record *record = record_find(journal, key);
    bool is_drop = str_equal_c(json, "null");
    if (record && is_drop) {
        free(record->key);
        free(record->json);
        size_t behind = journal->records_count - (size_t)(record - journal->records) - 1;
        memmove(record, record + 1, behind * sizeof(*record));
        journal->records_count--;
    } else if (record) {
        free(record->json);
        record->json = text_dup(json);
    } else if (!is_drop) {
        size_t size = (journal->records_count + 1) * sizeof(*journal->records);
        journal->records = realloc(journal->records, size);
        must(journal->records);
        journal->records[journal->records_count++] =
            (struct record){.key = text_dup(key), .json = text_dup(json)};
    }
}

static void line_add(struct buf *to, struct str key, struct str json)
{
    struct buf line = {0};
    char check[CHECK_LEN + 1];
    buf_add_str(&line, key);
    buf_add_c(&line, " ");
    buf_add_str(&line, json);
    check_of(buf_str(&line), check);
    buf_add_format(to, "%s ", check);
    buf_add_str(to, buf_str(&line));
    buf_add_c(to, "\n");
    buf_finish(&line);
}

static bool write_all(int fd, struct str bytes)
{
    while (bytes.len) {
        ssize_t n = write(fd, bytes.at, bytes.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        bytes = (struct str){.at = bytes.at + n, .len = bytes.len - (size_t)n};
    }
    return true;
}

static bool flush(const struct journal *journal, int fd)
{
    return journal->mode != JOURNAL_DURABLE || fdatasync(fd) == 0;
}

/* A rename is durable once its folder is. */
static bool folder_flush(const struct journal *journal)
{
    char path[PATH_SIZE];
    must(str_format(path, sizeof(path), "%s", journal->path));
    int fd = open(dirname(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool is_flushed = journal->mode != JOURNAL_DURABLE || fsync(fd) == 0;
    close(fd);
    return is_flushed;
}

static bool rewrite(struct journal *journal)
{
    char fresh[PATH_SIZE + 8];
    must(str_format(fresh, sizeof(fresh), "%s.new", journal->path));
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    struct buf text = {0};
    for (size_t i = 0; i < journal->records_count; i++)
        line_add(&text, str_of(journal->records[i].key), str_of(journal->records[i].json));
    bool is_written = write_all(fd, buf_str(&text)) && flush(journal, fd) &&
                      rename(fresh, journal->path) == 0 && folder_flush(journal);
    if (is_written) {
        if (journal->fd >= 0)
            close(journal->fd);
        journal->fd = fd;
        journal->file_size = text.len;
        journal->rewrite_at = text.len * 2 + REWRITE_BYTES;
    } else {
        close(fd);
    }
    buf_finish(&text);
    return is_written;
}

void journal_put(struct journal *journal, const char *key, struct str json)
{
    must(!strchr(key, ' ') && !memchr(json.at, '\n', json.len));
    line_add(&journal->pending, str_of(key), json);
    record_set(journal, str_of(key), json);
}

void journal_drop(struct journal *journal, const char *key)
{
    journal_put(journal, key, STR("null"));
}

void journal_sync(struct journal *journal)
{
    if (!journal->pending.len)
        return;
    must(write_all(journal->fd, buf_str(&journal->pending)));
    must(flush(journal, journal->fd));
    journal->file_size += journal->pending.len;
    journal->pending.len = 0;
    if (journal->file_size > journal->rewrite_at)
        must(rewrite(journal));
}

struct str journal_get(const struct journal *journal, const char *key)
{
    const struct record *record = record_find(journal, str_of(key));
    return record ? str_of(record->json) : STR_NONE;
}

bool journal_each(const struct journal *journal, size_t at, struct str *ret_key,
                  struct str *ret_json)
{
    if (at >= journal->records_count)
        return false;
    *ret_key = str_of(journal->records[at].key);
    *ret_json = str_of(journal->records[at].json);
    return true;
}
