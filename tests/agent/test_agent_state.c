/* What survives: the journal cut at every byte, receipts over restarts, lease records, the state
 * table, and the meter that never counts more than was run. */
#include "tests/lib/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nodeagent/journal.h"
#include "nodeagent/lease.h"
#include "nodeagent/meter.h"
#include "nodeagent/receipts.h"
#include "nodeagent/worker.h"
#include "tests/agent/lib_process.h"

struct place {
    char folder[64];
    char path[96];
};

static int place_up(void **state)
{
    struct place *place = calloc(1, sizeof(*place));
    folder_make_temporary(place->folder);
    assert_true(str_format(place->path, sizeof(place->path), "%s/journal", place->folder));
    *state = place;
    return 0;
}

static int place_down(void **state)
{
    struct place *place = *state;
    folder_remove(place->folder);
    free(place);
    return 0;
}

static struct journal *journal_at(const char *path)
{
    char why[256];
    struct journal *journal = journal_open(path, JOURNAL_DURABLE, why);
    assert_non_null(journal);
    return journal;
}

static void assert_value(const struct journal *journal, const char *key, const char *json)
{
    struct str value = journal_get(journal, key);
    assert_true(json ? str_equal_c(value, json) : value.at == NULL);
}

static void the_last_value_of_a_key_is_read_again(void **state)
{
    struct place *place = *state;
    struct journal *journal = journal_at(place->path);
    journal_put(journal, "a", STR("1"));
    journal_put(journal, "b", STR("2"));
    journal_put(journal, "a", STR("{\"x\":3}"));
    journal_drop(journal, "b");
    journal_sync(journal);
    journal_close(journal);
    journal = journal_at(place->path);
    assert_value(journal, "a", "{\"x\":3}");
    assert_value(journal, "b", NULL);
    journal_close(journal);
}

static void what_was_not_synced_may_be_gone(void **state)
{
    struct place *place = *state;
    struct journal *journal = journal_at(place->path);
    journal_put(journal, "a", STR("1"));
    journal_sync(journal);
    journal_put(journal, "a", STR("2"));
    journal_close(journal);
    journal = journal_at(place->path);
    assert_value(journal, "a", "1");
    journal_close(journal);
}

static size_t file_get(const char *path, char *ret, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    ssize_t n = read(fd, ret, size);
    close(fd);
    assert_true(n >= 0);
    return (size_t)n;
}

static void file_set(const char *path, const char *bytes, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), (ssize_t)len);
    close(fd);
}

/* The values are 0, 1, 2, ... in order, so what is read must be a number not above the last. */
static void a_cut_at_any_byte_leaves_a_prefix(void **state)
{
    struct place *place = *state;
    char bytes[4096];
    struct journal *journal = journal_at(place->path);
    for (int i = 0; i < 12; i++) {
        char number[16];
        assert_true(str_format(number, sizeof(number), "%d", i));
        journal_put(journal, "n", str_of(number));
        journal_sync(journal);
    }
    journal_close(journal);
    size_t len = file_get(place->path, bytes, sizeof(bytes));
    int64_t before = -1;
    for (size_t cut = 0; cut <= len; cut++) {
        int64_t value = -1;
        file_set(place->path, bytes, cut);
        journal = journal_at(place->path);
        struct str text = journal_get(journal, "n");
        assert_true(!text.at || str_to_i64(text, &value));
        assert_true(value >= before && value <= before + 1);
        before = value;
        journal_close(journal);
    }
    assert_int_equal(before, 11);
}

static void a_flipped_byte_ends_the_reading_there(void **state)
{
    struct place *place = *state;
    char bytes[4096];
    struct journal *journal = journal_at(place->path);
    journal_put(journal, "a", STR("\"first\""));
    journal_sync(journal);
    size_t first_len = file_get(place->path, bytes, sizeof(bytes));
    journal_put(journal, "b", STR("\"second\""));
    journal_sync(journal);
    journal_close(journal);
    size_t len = file_get(place->path, bytes, sizeof(bytes));
    bytes[first_len + 12] ^= 1;
    file_set(place->path, bytes, len);
    journal = journal_at(place->path);
    assert_value(journal, "a", "\"first\"");
    assert_value(journal, "b", NULL);
    journal_close(journal);
}

static void a_long_life_does_not_grow_the_file(void **state)
{
    struct place *place = *state;
    char bytes[1 << 20];
    struct str value = {.at = bytes, .len = 4000};
    memset(bytes, '7', value.len);
    struct journal *journal = journal_at(place->path);
    for (int i = 0; i < 300; i++) {
        journal_put(journal, "a", value);
        journal_sync(journal);
    }
    journal_close(journal);
    assert_true(file_get(place->path, bytes, sizeof(bytes)) < 300000);
}

static void receipts_at(struct receipts *receipts, struct journal *journal)
{
    static struct ed25519_secret secret;
    struct ed25519_public key;
    if (!secret.bytes[32])
        ed25519_generate(&key, &secret);
    receipts_start(receipts, journal, "node_x", &secret);
}

static int64_t make(struct receipts *receipts, int64_t healthy_ms, bool is_final)
{
    struct receipt_line line = {.lease_id = "lse_x",
                                .epoch = 1,
                                .healthy_ms = healthy_ms,
                                .image_digest = "sha256:0",
                                .is_final = is_final};
    int64_t seq = receipts_make(receipts, &line, 1);
    journal_sync(receipts->journal);
    return seq;
}

static size_t unacknowledged_count(const struct receipts *receipts)
{
    struct buf text = {0};
    struct json_out out;
    char why[128];
    json_out_start(&out, &text);
    json_array_open(&out, NULL);
    receipts_emit(receipts, &out, 1 << 20);
    json_array_close(&out);
    json_t *list = json_parse(buf_str(&text), why, sizeof(why));
    size_t count = json_array_size(list);
    json_decref(list);
    buf_finish(&text);
    return count;
}

static void receipt_numbers_rise_over_restarts(void **state)
{
    struct place *place = *state;
    struct receipts receipts;
    int64_t last = 0;
    for (int i = 0; i < 4; i++) {
        struct journal *journal = journal_at(place->path);
        receipts_at(&receipts, journal);
        int64_t seq = make(&receipts, i, false);
        assert_true(seq > last);
        last = seq;
        if (i == 1)
            receipts_acknowledge(&receipts, seq);
        journal_sync(journal);
        journal_close(journal);
    }
}

static void a_later_receipt_replaces_an_unfinished_one_but_never_a_final(void **state)
{
    struct place *place = *state;
    struct receipts receipts;
    struct journal *journal = journal_at(place->path);
    receipts_at(&receipts, journal);
    make(&receipts, 1, false);
    make(&receipts, 2, false);
    assert_int_equal(unacknowledged_count(&receipts), 1);
    int64_t final_seq = make(&receipts, 3, true);
    make(&receipts, 4, false);
    assert_int_equal(unacknowledged_count(&receipts), 2);
    assert_false(receipts_is_acknowledged(&receipts, final_seq));
    receipts_acknowledge(&receipts, final_seq);
    assert_true(receipts_is_acknowledged(&receipts, final_seq));
    assert_int_equal(unacknowledged_count(&receipts), 1);
    journal_close(journal);
}

static void a_broker_that_knows_a_higher_number_is_believed(void **state)
{
    struct place *place = *state;
    struct receipts receipts;
    struct journal *journal = journal_at(place->path);
    receipts_at(&receipts, journal);
    receipts_acknowledge(&receipts, 41);
    assert_int_equal(make(&receipts, 1, false), 42);
    journal_close(journal);
}

static void a_lease_record_reads_as_it_was_written(void **state)
{
    (void)state;
    char id[ID_TEXT_SIZE];
    struct buf first = {0};
    struct buf second = {0};
    struct lease *lease = lease_create(lease_id_text(lease_id_new(), id), 7);
    lease->state = LEASE_STOPPING;
    lease->meter = (struct meter){.healthy_ms = 12345, .mark_mono_ms = 5, .is_counting = true};
    lease->was_ready = lease->was_noticed = true;
    lease->has_exit_code = true;
    lease->exit_code = 137;
    lease->readiness = strdup("{\"tcp\":{\"port\":1}}");
    lease->final_receipt_seq = 9;
    lease_set_end(lease, "stopped", STR("a \"quoted\" detail"));
    lease_emit(lease, &first);
    struct lease *read = lease_read(buf_str(&first));
    assert_non_null(read);
    lease_emit(read, &second);
    assert_true(str_equal(buf_str(&first), buf_str(&second)));
    lease_destroy(lease);
    lease_destroy(read);
    buf_finish(&first);
    buf_finish(&second);
    assert_null(lease_read(STR("{\"lease_id\":\"../../etc\",\"state\":\"running\"}")));
    assert_null(lease_read(STR("{\"state\":\"elsewhere\"}")));
}

static bool leads_to_exit(int state, int depth)
{
    if (state == LEASE_EXITED)
        return true;
    for (size_t i = 0; depth < 10 && i < lease_fsm.rows_count; i++)
        if (lease_fsm.rows[i].from == state && lease_fsm.rows[i].to != state &&
            leads_to_exit(lease_fsm.rows[i].to, depth + 1))
            return true;
    return false;
}

static void every_state_leads_to_exit_and_has_a_name(void **state)
{
    (void)state;
    for (int from = LEASE_ACCEPTED; from < LEASE_EXITED; from++)
        assert_true(leads_to_exit(from, 0));
    for (size_t i = 0; i < lease_fsm.rows_count; i++) {
        const struct fsm_row *row = &lease_fsm.rows[i];
        assert_non_null(lease_fsm.state_name(row->from));
        assert_non_null(lease_fsm.event_name(row->event));
        assert_true(strlen(row->why) > 10);
        for (size_t j = 0; j < i; j++)
            assert_false(lease_fsm.rows[j].from == row->from &&
                         lease_fsm.rows[j].event == row->event);
    }
}

static void there_is_no_way_back_from_exit(void **state)
{
    (void)state;
    char id[ID_TEXT_SIZE];
    struct lease *lease = lease_create(lease_id_text(lease_id_new(), id), 1);
    lease->state = LEASE_EXITED;
    for (int event = LEASE_BEGIN; event < LEASE_RELEASE; event++)
        assert_null(lease_step(lease, (enum lease_event)event));
    assert_non_null(lease_step(lease, LEASE_RELEASE));
    lease_destroy(lease);
}

static void a_stop_before_ready_never_reports_running(void **state)
{
    (void)state;
    struct lease lease = {.state = LEASE_PROBING};
    assert_non_null(lease_step(&lease, LEASE_STOP));
    assert_string_equal(lease_report_state(&lease), "starting");
    lease.was_ready = true;
    assert_string_equal(lease_report_state(&lease), "running");
}

static void the_meter_counts_from_mark_to_mark(void **state)
{
    (void)state;
    struct meter meter = {0};
    meter_observe(&meter, true, 1000, 0);
    assert_int_equal(meter.healthy_ms, 0);
    meter_observe(&meter, true, 1600, 0);
    assert_int_equal(meter.healthy_ms, 600);
    meter_observe(&meter, false, 2000, 0);
    meter_observe(&meter, true, 5000, 0);
    assert_int_equal(meter.healthy_ms, 1000);
    meter_end(&meter, 5250);
    meter_end(&meter, 9999);
    assert_int_equal(meter.healthy_ms, 1250);
}

static void an_end_that_nobody_saw_is_taken_from_the_wall_clock(void **state)
{
    (void)state;
    struct meter meter = {.mark_mono_ms = 1000, .mark_wall_us = 501000000, .is_counting = true};
    /* Wall and monotonic clock went on together by 60 s; the end was 2.5 s behind the mark. */
    meter_end_by_wall(&meter, 503500000, 61000, 561000000);
    assert_int_equal(meter.healthy_ms, 2500);
}

static void an_end_in_the_future_counts_until_now(void **state)
{
    (void)state;
    struct meter meter = {.mark_mono_ms = 1000, .mark_wall_us = 501000000, .is_counting = true};
    meter_end_by_wall(&meter, 599000000, 2000, 502000000);
    assert_int_equal(meter.healthy_ms, 1000);
}

static void a_wall_clock_that_jumped_proves_nothing(void **state)
{
    (void)state;
    struct meter meter = {
        .healthy_ms = 77, .mark_mono_ms = 1000, .mark_wall_us = 501000000, .is_counting = true};
    meter_end_by_wall(&meter, 4000000000, 61000, 4100000000);
    assert_int_equal(meter.healthy_ms, 77);
}

static void reasons_follow_from_how_it_ended(void **state)
{
    (void)state;
    struct run_ended ended = {.is_code_known = true};
    assert_string_equal(worker_reason(&ended, ""), "completed");
    ended.exit_code = 1;
    assert_string_equal(worker_reason(&ended, ""), "command_failed");
    assert_string_equal(worker_reason(&ended, "stopped"), "stopped");
    ended = (struct run_ended){.is_code_known = true, .exit_code = 137, .is_oom = true};
    assert_string_equal(worker_reason(&ended, ""), "out_of_memory");
    ended = (struct run_ended){0};
    assert_string_equal(worker_reason(&ended, ""), "command_failed");
}

#define PLACED(test) cmocka_unit_test_setup_teardown(test, place_up, place_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLACED(the_last_value_of_a_key_is_read_again),
        PLACED(what_was_not_synced_may_be_gone),
        PLACED(a_cut_at_any_byte_leaves_a_prefix),
        PLACED(a_flipped_byte_ends_the_reading_there),
        PLACED(a_long_life_does_not_grow_the_file),
        PLACED(receipt_numbers_rise_over_restarts),
        PLACED(a_later_receipt_replaces_an_unfinished_one_but_never_a_final),
        PLACED(a_broker_that_knows_a_higher_number_is_believed),
        cmocka_unit_test(a_lease_record_reads_as_it_was_written),
        cmocka_unit_test(every_state_leads_to_exit_and_has_a_name),
        cmocka_unit_test(there_is_no_way_back_from_exit),
        cmocka_unit_test(a_stop_before_ready_never_reports_running),
        cmocka_unit_test(the_meter_counts_from_mark_to_mark),
        cmocka_unit_test(an_end_that_nobody_saw_is_taken_from_the_wall_clock),
        cmocka_unit_test(an_end_in_the_future_counts_until_now),
        cmocka_unit_test(a_wall_clock_that_jumped_proves_nothing),
        cmocka_unit_test(reasons_follow_from_how_it_ended),
    };
    hash_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
