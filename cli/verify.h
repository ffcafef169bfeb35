/* verify.h - is what the market said true? Checks a transcript, which may come from anywhere.
 *
 * pure apart from malloc: the caller reads files or asks a broker. Nothing in a transcript is
 * trusted; what cannot be checked is not counted. What is checked, by whom, and what that proves:
 * docs/verify.md.
 */
#ifndef UNDERCUT_CLI_VERIFY_H
#define UNDERCUT_CLI_VERIFY_H

#include <stdbool.h>

#include "auction/sealed.h"
#include "broker/base/json.h"

/* The API's answers, as they came. A member that is NULL was not given. Borrowed. */
struct verify_docs {
    json_t *heads;       /* array of LogHead, oldest first; the last is the one to be proven */
    json_t *consistency; /* array of LogConsistency */
    json_t *anchors;     /* array of LogLeaf: all of kind anchor */
    json_t *leaves;      /* array of LogLeaf: of the rounds asked for, in a row */
    json_t *rounds;      /* array of RoundOpenings */
    json_t *promises;    /* array of Promise */
    json_t *leases;      /* array of Lease */
    json_t *published;   /* array of Round: what the market told the public of them */
};

enum verify_check {
    VERIFY_HEADS = 1, /* signatures, and one root per size */
    VERIFY_CONSISTENCY,
    VERIFY_LEAVES, /* bodies under the newest head; none missing; rounds in a row */
    VERIFY_SEEDS,
    VERIFY_CHAIN,     /* links that hash to the ones before them, down to an anchor */
    VERIFY_RECORDS,   /* whole records under their leaves */
    VERIFY_CLEARINGS, /* of lots and direct workloads, recomputed */
    VERIFY_ROWS,      /* single rows under their leaves, and fitting together */
    VERIFY_ARRIVALS,  /* messages under R_t */
    VERIFY_PROMISES,
    VERIFY_LEASES,
    VERIFY_INDEXES, /* as published, and in the record */
    VERIFY_CHECK_COUNT
};
const char *verify_check_name(enum verify_check check);

#define VERIFY_FAULTS_MAX 20

struct verify_report {
    int64_t counts[VERIFY_CHECK_COUNT]; /* that were checked */
    int64_t faults_count;
    struct {
        enum verify_check check;
        char text[400];              /* where, and what is wrong */
    } faults[VERIFY_FAULTS_MAX];     /* the first of them */
    int64_t first_round, last_round; /* of the records that were held against leaves; else 0 */
    int64_t leases_left,
        promises_left; /* of other rounds: no award and no arrival was looked for */
    int64_t void_count, lost_links_count; /* to be told; no faults */
    int64_t size, signed_at_us;           /* of the newest head that holds */
};

/* `key_or_null`: the market's key as the caller knows it; else the newest head's own is believed
 * and a market that changed its key for this caller goes unnoticed. */
void verify_run(const struct verify_docs *docs, const struct ed25519_public *key_or_null,
                struct verify_report *ret_report);

/* ---- between the halves of the verifier */

struct verify_leaf {
    int64_t index;
    struct str body; /* in `text` */
    struct buf text;
    bool is_round;
    struct record_head head; /* of a round */
    struct str head_bytes;
    struct sha256 rows_root;
    struct sealed_anchor anchor; /* of the others */
};

struct verify {
    const struct verify_docs *docs;
    struct verify_report *report;
    struct ed25519_public key;
    struct log_head head; /* the newest; size 0 when there is none that holds */
    struct verify_leaf *leaves;
    size_t leaves_count;
    struct verify_leaf *anchors;
    size_t anchors_count;
};

/* Counts one thing as checked, and keeps the fault if it is not `is_good`. Returns is_good. */
bool verify_note(struct verify *verify, enum verify_check check, bool is_good, const char *format,
                 ...) PRINTF_LIKE(4, 5);
const struct verify_leaf *verify_leaf_of_round(const struct verify *verify, int64_t round);
/* What the transcript holds of a round; NULL: nothing. */
const json_t *verify_round_doc(const struct verify *verify, int64_t round);

void verify_log(struct verify *verify);    /* heads, consistency, leaves, seeds, chain */
void verify_rounds(struct verify *verify); /* records, clearings, rows, arrivals */
void verify_promises(struct verify *verify);
void verify_leases(struct verify *verify);
void verify_indexes(struct verify *verify);

/* Members of the API's JSON. False: absent or not of that form. */
MUST_USE bool verify_hash(const json_t *object, const char *key, struct sha256 *ret_hash);
/* Standard base64; appends. */
MUST_USE bool verify_base64(const json_t *object, const char *key, struct buf *to);
MUST_USE bool verify_base64url(const json_t *object, const char *key, void *ret, size_t size);
MUST_USE bool verify_proof(const json_t *object, const char *key, struct merkle_proof *ret_proof);

#endif
