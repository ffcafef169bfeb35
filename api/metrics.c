#include "api/metrics.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "broker/base/clock.h"

static const int STATUSES[] = {200, 201, 202, 204, 304, 400, 401, 402, 403, 404, 405, 408, 409,
                               412, 413, 414, 415, 422, 429, 431, 499, 500, 502, 503, 504, 0};
static const int64_t BOUNDS_US[] = {1000,   2500,   5000,    10000,   25000,   50000,
                                    100000, 250000, 1000000, 5000000, 30000000};

#define STATUSES_COUNT ARRAY_COUNT(STATUSES)
#define BOUNDS_COUNT   ARRAY_COUNT(BOUNDS_US)

struct op_metrics {
    _Atomic uint64_t by_status[STATUSES_COUNT];     /* the last one: any other */
    _Atomic uint64_t by_duration[BOUNDS_COUNT + 1]; /* the last one: longer */
    _Atomic uint64_t duration_us;
};

struct metrics {
    int64_t started_at_us;
    struct op_metrics ops[OP_COUNT];
};

struct metrics *metrics_create(void)
{
    struct metrics *metrics = calloc(1, sizeof(*metrics));
    must(metrics != NULL);
    metrics->started_at_us = clock_now_us();
    return metrics;
}

void metrics_destroy(struct metrics *metrics)
{
    free(metrics);
}

static void add(_Atomic uint64_t *counter, uint64_t count)
{
    atomic_fetch_add_explicit(counter, count, memory_order_relaxed);
}

static uint64_t read_of(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void metrics_served(struct metrics *metrics, enum op op, int status, int64_t duration_us)
{
    struct op_metrics *of_op = &metrics->ops[op];
    size_t s = 0, d = 0;
    while (s + 1 < STATUSES_COUNT && STATUSES[s] != status)
        s++;
    while (d < BOUNDS_COUNT && duration_us > BOUNDS_US[d])
        d++;
    add(&of_op->by_status[s], 1);
    add(&of_op->by_duration[d], 1);
    add(&of_op->duration_us, (uint64_t)duration_us);
}

static const char *op_name(size_t op)
{
    return op == OP_NONE ? "none" : operations[op].operation_id;
}

static void write_requests(const struct metrics *metrics, struct buf *to)
{
    buf_add_c(to, "# HELP undercut_requests_total Requests answered.\n"
                  "# TYPE undercut_requests_total counter\n");
    for (size_t op = 0; op < OP_COUNT; op++) {
        for (size_t s = 0; s < STATUSES_COUNT; s++) {
            uint64_t count = read_of(&metrics->ops[op].by_status[s]);
            if (count > 0)
                buf_add_format(to, "undercut_requests_total{op=\"%s\",status=\"%d\"} %llu\n",
                               op_name(op), STATUSES[s], (unsigned long long)count);
        }
    }
}

static void write_histogram(const char *op, const struct op_metrics *of_op, struct buf *to)
{
    uint64_t total = 0, sum_us = read_of(&of_op->duration_us);
    for (size_t d = 0; d < BOUNDS_COUNT; d++) {
        total += read_of(&of_op->by_duration[d]);
        buf_add_format(to, "undercut_request_seconds_bucket{op=\"%s\",le=\"%lld.%04lld\"} %llu\n",
                       op, (long long)BOUNDS_US[d] / 1000000,
                       (long long)BOUNDS_US[d] % 1000000 / 100, (unsigned long long)total);
    }
    total += read_of(&of_op->by_duration[BOUNDS_COUNT]);
    buf_add_format(to, "undercut_request_seconds_bucket{op=\"%s\",le=\"+Inf\"} %llu\n", op,
                   (unsigned long long)total);
    buf_add_format(to, "undercut_request_seconds_sum{op=\"%s\"} %llu.%06llu\n", op,
                   (unsigned long long)(sum_us / 1000000), (unsigned long long)(sum_us % 1000000));
    buf_add_format(to, "undercut_request_seconds_count{op=\"%s\"} %llu\n", op,
                   (unsigned long long)total);
}

void metrics_write_gauge(struct buf *to, const char *name, const char *help, int64_t value)
{
    buf_add_format(to, "# HELP %s %s\n# TYPE %s gauge\n%s %lld\n", name, help, name, name,
                   (long long)value);
}

static int64_t resident_bytes(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL)
        return 0;
    bool is_read = fscanf(file, "%*s %ld", &pages) == 1;
    fclose(file);
    return is_read ? pages * sysconf(_SC_PAGESIZE) : 0;
}

static void write_process(const struct metrics *metrics, struct buf *to)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    int64_t cpu_us = (int64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
                     usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
    buf_add_format(to,
                   "# HELP process_cpu_seconds_total CPU time used.\n"
                   "# TYPE process_cpu_seconds_total counter\n"
                   "process_cpu_seconds_total %lld.%06lld\n",
                   (long long)cpu_us / 1000000, (long long)cpu_us % 1000000);
    metrics_write_gauge(to, "process_resident_memory_bytes", "Memory in RAM.", resident_bytes());
    metrics_write_gauge(to, "process_start_time_seconds", "When the process began.",
                        metrics->started_at_us / 1000000);
}

void metrics_write(const struct metrics *metrics, struct buf *to)
{
    write_requests(metrics, to);
    buf_add_c(to, "# HELP undercut_request_seconds Time to the answer.\n"
                  "# TYPE undercut_request_seconds histogram\n");
    for (size_t op = 0; op < OP_COUNT; op++) {
        bool was_called = false;
        for (size_t d = 0; d <= BOUNDS_COUNT; d++)
            was_called = was_called || read_of(&metrics->ops[op].by_duration[d]) > 0;
        if (was_called)
            write_histogram(op_name(op), &metrics->ops[op], to);
    }
    write_process(metrics, to);
}
