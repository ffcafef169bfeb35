#include "nodeagent/cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/base/str.h"

#define PATH_SIZE 512
#define DEPTH_MAX 6
/* The kernel charges in batches per processor, so the peak may stop a little short of the limit. */
#define PEAK_SLACK_BYTES (1 << 20)

static bool file_read(const char *path, char *ret_text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, ret_text, size - 1);
    close(fd);
    if (n < 0)
        return false;
    ret_text[n] = '\0';
    return true;
}

bool cgroup_hit_memory_limit(const char *root, const char *lease_id, int64_t limit_bytes)
{
    char path[PATH_SIZE];
    char text[1024];
    if (str_format(path, sizeof(path), "%s/undercut/%s/memory.events", root, lease_id) &&
        file_read(path, text, sizeof(text))) {
        const char *kills = strstr(text, "oom_kill ");
        return kills && strtoll(kills + strlen("oom_kill "), NULL, 10) > 0;
    }
    if (str_format(path, sizeof(path), "%s/memory/undercut/%s/memory.max_usage_in_bytes", root,
                   lease_id) &&
        file_read(path, text, sizeof(text)))
        return strtoll(text, NULL, 10) >= limit_bytes - PEAK_SLACK_BYTES;
    return false;
}

static void remove_tree(const char *path, int depth)
{
    DIR *dir = depth < DEPTH_MAX ? opendir(path) : NULL;
    if (!dir)
        return;
    for (struct dirent *entry; (entry = readdir(dir));) {
        char child[PATH_SIZE];
        bool is_child = entry->d_type == DT_DIR && entry->d_name[0] != '.';
        if (is_child && str_format(child, sizeof(child), "%s/%s", path, entry->d_name))
            remove_tree(child, depth + 1);
    }
    closedir(dir);
    (void)rmdir(path);
}

void cgroup_remove(const char *root, const char *lease_id)
{
    char path[PATH_SIZE];
    if (!lease_id[0] || strchr(lease_id, '/'))
        return;
    if (str_format(path, sizeof(path), "%s/undercut/%s", root, lease_id))
        remove_tree(path, 0);
    DIR *dir = opendir(root);
    if (!dir)
        return;
    for (struct dirent *entry; (entry = readdir(dir));)
        if (entry->d_name[0] != '.' &&
            str_format(path, sizeof(path), "%s/%s/undercut/%s", root, entry->d_name, lease_id))
            remove_tree(path, 0);
    closedir(dir);
}
