/* The happy path is: look at the clock, apply the rules, ask the program, store what came out, ring
 * when it differs, sleep.
 * Failure modes are: a program that cannot be started, that is late, that fails or prints something
 * else than prices. Each is logged when it begins and when it is over; the ruled price stands.
 */
#include "nodeagent/pricer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "broker/base/clock.h"
#include "broker/base/json.h"
#include "broker/base/log.h"

#define ANSWER_SIZE_MAX (64 * 1024)

struct pricer {
    struct pricer_setup setup;
    pthread_t thread;
    pthread_mutex_t mutex; /* all below */
    pthread_cond_t stopped;
    bool is_stopping;
    int leased_count, devices_count;
    struct config_price prices[CONFIG_PRICES_MAX];
    size_t prices_count;
    bool has_failed; /* the program, the last time; its thread's own */
};

struct talk { /* with a program */
    pid_t pid;
    int in_fd, out_fd;
    struct str question;
    int64_t until_mono_ms;
};

static bool pipes_open(int ret_in[2], int ret_out[2])
{
    if (pipe2(ret_in, O_CLOEXEC) != 0)
        return false;
    if (pipe2(ret_out, O_CLOEXEC) == 0)
        return true;
    close(ret_in[0]);
    close(ret_in[1]);
    return false;
}

/* In a process group of its own and with signals as they are by default. */
static int program_spawn(const char *program, int in_fd, int out_fd, pid_t *ret_pid)
{
    char *const argv[] = {(char *)program, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in_fd, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, out_fd, STDOUT_FILENO);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                              POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    int failed = posix_spawn(ret_pid, program, &actions, &attributes, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return failed;
}

static bool talk_open(struct talk *talk, const char *program, char ret_why[256])
{
    int in[2], out[2];
    if (!pipes_open(in, out)) {
        (void)str_format(ret_why, 256, "no pipe: %s", strerror(errno));
        return false;
    }
    int failed = program_spawn(program, in[0], out[1], &talk->pid);
    close(in[0]);
    close(out[1]);
    talk->in_fd = in[1];
    talk->out_fd = out[0];
    (void)fcntl(talk->in_fd, F_SETFL, O_NONBLOCK);
    (void)fcntl(talk->out_fd, F_SETFL, O_NONBLOCK);
    if (!failed)
        return true;
    close(talk->in_fd);
    close(talk->out_fd);
    (void)str_format(ret_why, 256, "%.150s cannot be started: %s", program, strerror(failed));
    return false;
}

/* Writes what fits; a program that does not read is its own affair. */
static void talk_write(struct talk *talk)
{
    ssize_t n = write(talk->in_fd, talk->question.at, talk->question.len);
    if (n > 0)
        talk->question = (struct str){talk->question.at + n, talk->question.len - (size_t)n};
    if (talk->question.len == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        close(talk->in_fd);
        talk->in_fd = -1;
    }
}

/* False at the end of its output. */
static bool talk_read(struct talk *talk, struct buf *answer)
{
    char chunk[4096];
    ssize_t n = read(talk->out_fd, chunk, sizeof(chunk));
    if (n > 0 && answer->len + (size_t)n <= ANSWER_SIZE_MAX)
        buf_add(answer, chunk, (size_t)n);
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

static bool talk_run(struct talk *talk, struct buf *answer)
{
    for (;;) {
        int64_t left_ms = talk->until_mono_ms - clock_mono_ms();
        struct pollfd fds[] = {{.fd = talk->out_fd, .events = POLLIN},
                               {.fd = talk->in_fd, .events = POLLOUT}};
        if (left_ms <= 0)
            return false;
        (void)poll(fds, 2, (int)left_ms);
        if (fds[1].revents)
            talk_write(talk);
        if (fds[0].revents && !talk_read(talk, answer))
            return true;
    }
}

/* It closed its output; it has what is left of its time to end. */
static bool talk_reap(const struct talk *talk, int *ret_status)
{
    pid_t pid;
    while ((pid = waitpid(talk->pid, ret_status, WNOHANG)) == 0 &&
           clock_mono_ms() < talk->until_mono_ms)
        (void)poll(NULL, 0, 2);
    if (pid == talk->pid)
        return true;
    (void)kill(-talk->pid, SIGKILL);
    while (waitpid(talk->pid, ret_status, 0) < 0 && errno == EINTR)
        ;
    return false;
}

bool program_ask(const char *program, struct str question, int64_t deadline_ms,
                 struct buf *ret_answer, char ret_why[256])
{
    struct talk talk = {.question = question, .until_mono_ms = clock_mono_ms() + deadline_ms};
    int status = 0;
    if (!talk_open(&talk, program, ret_why))
        return false;
    bool is_over = talk_run(&talk, ret_answer);
    if (!is_over)
        talk.until_mono_ms = 0;
    bool is_ended = talk_reap(&talk, &status);
    (void)kill(-talk.pid, SIGKILL); /* what it left running in its group */
    if (talk.in_fd >= 0)
        close(talk.in_fd);
    close(talk.out_fd);
    if (is_over && is_ended && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    if (!is_over || !is_ended)
        (void)str_format(ret_why, 256, "%.150s gave no answer in %lld ms and was killed", program,
                         (long long)deadline_ms);
    else
        (void)str_format(ret_why, 256, "%.150s ended with %s %d", program,
                         WIFEXITED(status) ? "exit code" : "signal",
                         WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
    return false;
}

static struct price_moment moment_now(int leased_count, int devices_count)
{
    time_t now = (time_t)(clock_now_us() / 1000000);
    struct tm local;
    localtime_r(&now, &local);
    return (struct price_moment){
        .weekday = (local.tm_wday + 6) % 7,
        .minute = local.tm_hour * 60 + local.tm_min,
        .utilisation_percent = devices_count > 0 ? leased_count * 100 / devices_count : 0,
    };
}

struct price_list {
    struct config_price at[CONFIG_PRICES_MAX];
    size_t count;
};

static struct price_list rules_apply(const struct pricer *pricer, const struct price_moment *moment)
{
    const struct config *config = pricer->setup.config;
    static const struct config_price nothing_said = {.device_class = "*"};
    struct price_list list = {.count = 0};
    size_t count = config->prices_count ? config->prices_count : 1;
    for (size_t i = 0; i < count; i++) {
        struct config_price price = config->prices_count ? config->prices[i] : nothing_said;
        price.price_uusd_per_device_hour =
            pricing_price(pricer->setup.pricing, price.price_uusd_per_device_hour, moment);
        if (price.price_uusd_per_device_hour > 0)
            list.at[list.count++] = price;
    }
    return list;
}

static void prices_put(struct json_out *out, const char *key, const struct price_list *list)
{
    json_array_open(out, key);
    for (size_t i = 0; i < list->count; i++) {
        json_object_open(out, NULL);
        json_put_c(out, "class", list->at[i].device_class);
        json_put_i64(out, "price_uusd_per_device_hour", list->at[i].price_uusd_per_device_hour);
        json_object_close(out);
    }
    json_array_close(out);
}

struct facts {
    int leased_count, devices_count;
    struct price_moment moment;
    struct price_list before;
};

static void question_put(const struct pricer *pricer, const struct facts *facts,
                         const struct price_list *ruled, struct buf *to)
{
    struct json_out out;
    json_out_start(&out, to);
    json_object_open(&out, NULL);
    json_put_i64(&out, "v", 1);
    json_put_i64(&out, "at_us", clock_now_us());
    json_put_c(&out, "node_id", pricer->setup.node_id);
    json_put_c(&out, "region", pricer->setup.region);
    json_put_i64(&out, "devices_count", facts->devices_count);
    json_put_i64(&out, "leased_count", facts->leased_count);
    prices_put(&out, "prices", ruled);
    prices_put(&out, "prices_before", &facts->before);
    json_object_close(&out);
}

static bool price_take(struct price_list *list, const json_t *item)
{
    struct str name = json_str(item, "class");
    int64_t uusd = json_i64(item, "price_uusd_per_device_hour", 0);
    struct config_price price = {.price_uusd_per_device_hour = uusd};
    if (uusd < 1 || uusd > PRICING_UUSD_MAX || !name.len ||
        !str_format(price.device_class, sizeof(price.device_class), "%.*s", STR_ARG(name)))
        return false;
    size_t at = 0;
    while (at < list->count && strcmp(list->at[at].device_class, price.device_class) != 0)
        at++;
    if (at == CONFIG_PRICES_MAX)
        return false;
    list->at[at] = price;
    list->count += at == list->count;
    return true;
}

static bool answer_take(struct str answer, struct price_list *list, char ret_why[256])
{
    json_t *json = json_parse(answer, ret_why, 256);
    const json_t *prices = json_object_get(json, "prices");
    bool is_good = json_is_array(prices);
    size_t i;
    json_t *item;
    json_array_foreach (prices, i, item)
        is_good = is_good && price_take(list, item);
    if (json && !is_good)
        (void)str_format(ret_why, 256,
                         "the program must print {\"prices\":[{\"class\":\"*\","
                         "\"price_uusd_per_device_hour\":1..%lld}]}",
                         (long long)PRICING_UUSD_MAX);
    json_decref(json);
    return is_good;
}

static void failure_tell(struct pricer *pricer, const char *why)
{
    char quoted[300];
    if (why && !pricer->has_failed)
        log_event(LOG_WARN, "pricing_program_failed", "why=%s",
                  log_quote(str_of(why), quoted, sizeof(quoted)));
    if (!why && pricer->has_failed)
        log_event(LOG_INFO, "pricing_program_answers", "path=%s", pricer->setup.pricing->program);
    pricer->has_failed = why != NULL;
}

static void program_apply(struct pricer *pricer, const struct facts *facts, struct price_list *list)
{
    struct price_list told = *list;
    struct buf question = {0}, answer = {0};
    char why[256];
    question_put(pricer, facts, list, &question);
    bool is_good = program_ask(pricer->setup.pricing->program, buf_str(&question),
                               pricer->setup.pricing->timeout_ms, &answer, why) &&
                   answer_take(buf_str(&answer), &told, why);
    if (is_good)
        *list = told;
    failure_tell(pricer, is_good ? NULL : why);
    buf_finish(&question);
    buf_finish(&answer);
}

static bool list_equal(const struct price_list *a, const struct price_list *b)
{
    bool is_equal = a->count == b->count;
    for (size_t i = 0; is_equal && i < a->count; i++)
        is_equal = strcmp(a->at[i].device_class, b->at[i].device_class) == 0 &&
                   a->at[i].price_uusd_per_device_hour == b->at[i].price_uusd_per_device_hour;
    return is_equal;
}

static void prices_renew(struct pricer *pricer)
{
    struct facts facts = {.leased_count = 0};
    pthread_mutex_lock(&pricer->mutex);
    facts.leased_count = pricer->leased_count;
    facts.devices_count = pricer->devices_count;
    facts.before.count = pricer->prices_count;
    memcpy(facts.before.at, pricer->prices, sizeof(pricer->prices));
    pthread_mutex_unlock(&pricer->mutex);

    facts.moment = moment_now(facts.leased_count, facts.devices_count);
    struct price_list list = rules_apply(pricer, &facts.moment);
    if (pricer->setup.pricing->program[0])
        program_apply(pricer, &facts, &list);
    if (list_equal(&list, &facts.before))
        return;
    pthread_mutex_lock(&pricer->mutex);
    memcpy(pricer->prices, list.at, sizeof(pricer->prices));
    pricer->prices_count = list.count;
    pthread_mutex_unlock(&pricer->mutex);
    for (size_t i = 0; i < list.count; i++)
        log_event(LOG_INFO, "price_changed", "class=%s uusd=%lld utilisation_percent=%d",
                  list.at[i].device_class, (long long)list.at[i].price_uusd_per_device_hour,
                  facts.moment.utilisation_percent);
    pricer->setup.wake(pricer->setup.wake_arg);
}

static void *pricer_main(void *arg)
{
    struct pricer *pricer = arg;
    bool is_stopping = false;
    while (!is_stopping) {
        struct timespec until;
        prices_renew(pricer);
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += (time_t)pricer->setup.pricing->every_s;
        pthread_mutex_lock(&pricer->mutex);
        while (!pricer->is_stopping &&
               pthread_cond_timedwait(&pricer->stopped, &pricer->mutex, &until) != ETIMEDOUT)
            ;
        is_stopping = pricer->is_stopping;
        pthread_mutex_unlock(&pricer->mutex);
    }
    return NULL;
}

struct pricer *pricer_start(const struct pricer_setup *setup)
{
    struct pricer *pricer = calloc(1, sizeof(*pricer));
    pthread_condattr_t attributes;
    must(pricer != NULL);
    pricer->setup = *setup;
    pthread_mutex_init(&pricer->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&pricer->stopped, &attributes);
    pthread_condattr_destroy(&attributes);
    must(pthread_create(&pricer->thread, NULL, pricer_main, pricer) == 0);
    return pricer;
}

void pricer_stop(struct pricer *pricer)
{
    if (pricer == NULL)
        return;
    pthread_mutex_lock(&pricer->mutex);
    pricer->is_stopping = true;
    pthread_cond_signal(&pricer->stopped);
    pthread_mutex_unlock(&pricer->mutex);
    pthread_join(pricer->thread, NULL);
    pthread_cond_destroy(&pricer->stopped);
    pthread_mutex_destroy(&pricer->mutex);
    free(pricer);
}

void pricer_observe(struct pricer *pricer, int leased_count, int devices_count)
{
    pthread_mutex_lock(&pricer->mutex);
    pricer->leased_count = leased_count;
    pricer->devices_count = devices_count;
    pthread_mutex_unlock(&pricer->mutex);
}

size_t pricer_read(struct pricer *pricer, struct config_price ret_prices[CONFIG_PRICES_MAX])
{
    pthread_mutex_lock(&pricer->mutex);
    size_t count = pricer->prices_count;
    memcpy(ret_prices, pricer->prices, sizeof(pricer->prices));
    pthread_mutex_unlock(&pricer->mutex);
    return count;
}
