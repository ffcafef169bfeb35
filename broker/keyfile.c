#include "broker/keyfile.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "broker/base/hash.h"

static bool fail(const char *path, const char *what, char *ret_why, size_t why_size)
{
    str_format(ret_why, why_size, "%s: %s: %s", path, what, strerrordesc_np(errno));
    return false;
}

static bool write_all(int fd, struct str text)
{
    bool is_written = write(fd, text.at, text.len) == (ssize_t)text.len && fsync(fd) == 0;
    return close(fd) == 0 && is_written;
}

/* Written aside and linked into place: link() fails when another process was first, which is fine.
 */
static bool make_file(const char *path, void (*make)(struct buf *to), char *ret_why,
                      size_t why_size)
{
    char aside[300];
    struct buf text = {0};
    if (!str_format(aside, sizeof(aside), "%s.%d.new", path, (int)getpid()))
        return fail(path, "the path is too long", ret_why, why_size);
    int fd = open(aside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return fail(path, "cannot be made", ret_why, why_size);
    make(&text);
    bool is_made = write_all(fd, buf_str(&text)) && (link(aside, path) == 0 || errno == EEXIST);
    if (!is_made)
        fail(path, "cannot be made", ret_why, why_size);
    unlink(aside);
    explicit_bzero(text.at, text.len);
    buf_finish(&text);
    return is_made;
}

bool keyfile_load(const char *path, void (*make)(struct buf *to), struct buf *ret, char *ret_why,
                  size_t why_size)
{
    char text[KEYFILE_MAX];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) {
        if (!make_file(path, make, ret_why, why_size))
            return false;
        fd = open(path, O_RDONLY | O_CLOEXEC);
    }
    if (fd < 0)
        return fail(path, "cannot be read", ret_why, why_size);
    ssize_t len = read(fd, text, sizeof(text));
    close(fd);
    if (len < 0)
        return fail(path, "cannot be read", ret_why, why_size);
    buf_add(ret, text, (size_t)len);
    explicit_bzero(text, sizeof(text));
    return true;
}

void keyfile_make_seed(struct buf *to)
{
    uint8_t seed[32];
    char hex[65];
    random_bytes(seed, sizeof(seed));
    hex_encode(seed, sizeof(seed), hex);
    buf_add_format(to, "%s\n", hex);
    explicit_bzero(seed, sizeof(seed));
    explicit_bzero(hex, sizeof(hex));
}

bool keyfile_load_seed(const char *path, uint8_t ret[32], char *ret_why, size_t why_size)
{
    struct buf text = {0};
    if (!keyfile_load(path, keyfile_make_seed, &text, ret_why, why_size))
        return false;
    struct str rest = buf_str(&text), hex = str_cut(&rest, '\n');
    bool is_read = hex.len == 64 && hex_decode(hex, ret, 32);
    if (!is_read)
        str_format(ret_why, why_size, "%s: must hold 64 hex digits", path);
    explicit_bzero(text.at, text.len);
    buf_finish(&text);
    return is_read;
}
