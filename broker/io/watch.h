/* watch.h - a foreign descriptor (libpq, hiredis) on the loop, without reading from it.
 *
 * loop thread. Works on a dup() of the descriptor, so the library may close its own at any time.
 */
#ifndef UNDERCUT_IO_WATCH_H
#define UNDERCUT_IO_WATCH_H

struct loop;
struct watch;

/* `readable` is called while there is something to read; `writable` once per watch_want_write().
 * NULL when descriptors have run out. */
struct watch *watch_create(struct loop *loop, int fd, void (*readable)(void *data),
                           void (*writable)(void *data), void *data);
void watch_want_write(struct watch *watch);
void watch_destroy(struct watch *watch); /* NULL is fine; safe inside its own callbacks */

#endif
