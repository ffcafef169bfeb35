/* redis.h - a throw-away Redis per test program, on a unix socket in a temporary directory.
 *
 * one thread. Stopped by pid at exit; nothing is persisted.
 */
#ifndef UNDERCUT_TESTS_LIB_REDIS_H
#define UNDERCUT_TESTS_LIB_REDIS_H

const char *redis_start(void); /* "unix:/..." for cache_create(); starts it when it does not run */
void redis_kill9(void);
void redis_pause(void); /* it accepts, but answers nothing */
void redis_go_on(void);

#endif
