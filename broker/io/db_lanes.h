/* db_lanes.h - the write lanes of one process: every batch statement has its home in one of them.
 *
 * Batches of one statement lock the same rows (a wallet, for one), so two at once wait for each
 * other on the server, and each pays for a whole execution and carries half: 25 k postings a second
 * in two lanes that took turns, 31 k in one. So the calls of a batch statement go to one loop's
 * lane, whichever thread they come from, as errands (db_errand.h); the statements are spread over
 * the lanes by their names.
 *
 * Lanes join before the first write, one thread at a time.
 */
#ifndef UNDERCUT_IO_DB_LANES_H
#define UNDERCUT_IO_DB_LANES_H

struct db;
struct db_lanes;

struct db_lanes *db_lanes_create(void);
void db_lanes_join(struct db_lanes *lanes, struct db *db);
/* Fails what any lane still has to write and gives every call back to its loop, which must not be
 * running any more; from here on each lane writes for itself. Before the first db_destroy(). */
void db_lanes_part(struct db_lanes *lanes);
void db_lanes_destroy(struct db_lanes *lanes); /* parted */

#endif
