/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Primary storage that gets full: alerts, and layers that only backups need
 * make room.
 */
#include "check.h"
#include "engine_rig.h"

#include "base/clock.h"
#include "base/fd.h"
#include "base/lock.h"
#include "base/memory.h"
#include "engine/engine_internal.h"
#include "engine/requests.h"
#include "engine/space.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Enough for a thread to begin on a busy host. */
#define PATIENCE_MS 1000

/* Threads that look read these. */
static _Atomic unsigned percent = 50;
static _Atomic uint64_t unit = (uint64_t)1 << 30; /* one percent, in bytes */
static _Atomic bool is_away;

/* Whoever asks for a path with that text in it waits until it is cleared. */
static struct lock lock = LOCK_INIT;
static struct signal released;
static const char *hangs; /* under lock */
static unsigned hanging;  /* under lock */

static void
hang(const char *path)
{
    lock_take(&lock);
    hanging++;
    while (hangs != NULL && strstr(path, hangs) != NULL)
        signal_wait(&released, &lock);
    hanging--;
    signal_wake_all(&released);
    lock_give(&lock);
}

static void
hang_at(const char *text)
{
    lock_take(&lock);
    hangs = text;
    signal_wake_all(&released);
    while (hangs == NULL && hanging > 0)
        signal_wait(&released, &lock);
    lock_give(&lock);
}

static int
probe(const char *path, struct prober_about *ret)
{
    struct stat about;

    hang(path);
    if (is_away) {
        errno = ESTALE;
        return -1;
    }
    if (stat(path, &about) < 0)
        return -1;
    *ret = (struct prober_about){.device = strstr(path, "pool-1") ? 8 : 7,
                                 .size = 100 * unit,
                                 .available = percent * unit,
                                 .allocated = (uint64_t)about.st_blocks * 512};
    return 0;
}

/* -- the log, which goes to standard error --------------------------------- */

static int usual_log = -1;
static char log_name[] = "/tmp/test_engine_space.XXXXXX";

static void
keep_log(void)
{
    int fd;

    memcpy(log_name + strlen(log_name) - 6, "XXXXXX", 6);
    fd = mkostemp(log_name, O_CLOEXEC);
    REQUIRE(fd >= 0);
    usual_log = dup(STDERR_FILENO);
    REQUIRE(dup2(fd, STDERR_FILENO) == STDERR_FILENO);
    (void)close(fd);
}

/* How often the event is there. */
static unsigned
logged(const char *event)
{
    struct error err = ERROR_INIT;
    AUTO_FREE char *text = NULL;
    AUTO_FREE char *word = xasprintf(">%s ", event);
    size_t length = 0;
    unsigned count = 0;

    CHECK_OK(fd_read_file(log_name, 1 << 20, &text, &length, &err), &err);
    for (const char *at = text; at != NULL && (at = strstr(at, word)) != NULL;
         at++)
        count++;
    return count;
}

static void
end_log(void)
{
    (void)dup2(usual_log, STDERR_FILENO);
    (void)close(usual_log);
    (void)unlink(log_name);
}

static struct rig *
new_rig(void)
{
    struct rig *rig = rig_new(2, 8, false);

    percent = 50;
    is_away = false;
    space_watch_free(rig->engine->space);
    rig->engine->space = space_watch_new(probe, PATIENCE_MS, 0);
    return rig;
}

static void
look(struct rig *rig, unsigned free_percent)
{
    struct error err = ERROR_INIT;

    percent = free_percent;
    CHECK_OK(space_look(rig->engine, &err), &err);
    CHECK_OK(engine_drain(rig->engine, &err), &err);
    CHECK_OK(rig_check(rig, true, &err), &err);
}

static uint64_t
count_events(struct rig *rig, const char *type, const char *level)
{
    struct error err = ERROR_INIT;
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(rig->state, &err);
    const struct state_where where[] = {STATE_TEXT("type", type),
                                        STATE_TEXT("level", level)};
    uint64_t count = 0;

    CHECK(tx != NULL &&
          state_event_count(tx, STATE_QUERY(where), &count, &err) == 0);
    return count;
}

/* Layers that are pinned by backups. */
static uint64_t
count_pins(struct rig *rig)
{
    struct error err = ERROR_INIT;
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(rig->state, &err);
    const struct state_where where[] = {STATE_TEXT("owner_kind", "backup")};
    uint64_t count = 0;

    CHECK(tx != NULL &&
          state_pin_count(tx, STATE_QUERY(where), &count, &err) == 0);
    return count;
}

static void
type_of(struct rig *rig, const char *backup, char type[32])
{
    struct error err = ERROR_INIT;
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(rig->state, &err);
    AUTO_STATE(backup) row = {0};
    const struct state_where where[] = {STATE_TEXT("uuid", backup)};

    REQUIRE(tx != NULL && state_backup_find(tx, where, 1, &row, &err) > 0);
    (void)snprintf(type, 32, "%s", row.type);
}

static void
levels_are_left_with_one_percent_more(void)
{
    static const struct {
        uint64_t available;
        enum space_level before, after;
    } cases[] = {
        {16, SPACE_OK, SPACE_OK},       {15, SPACE_OK, SPACE_OK},
        {14, SPACE_OK, SPACE_WARNING},  {15, SPACE_WARNING, SPACE_WARNING},
        {16, SPACE_WARNING, SPACE_OK},  {5, SPACE_OK, SPACE_WARNING},
        {4, SPACE_OK, SPACE_LOW},       {4, SPACE_WARNING, SPACE_LOW},
        {5, SPACE_LOW, SPACE_LOW},      {6, SPACE_LOW, SPACE_WARNING},
        {15, SPACE_LOW, SPACE_WARNING}, {16, SPACE_LOW, SPACE_OK},
        {0, SPACE_OK, SPACE_LOW},
    };
    struct prober_about about = {.size = 100};

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        about.available = cases[i].available;
        CHECK(space_judge(&about, 15, 5, cases[i].before) == cases[i].after);
    }
    about.available = 0;
    CHECK(space_judge(&about, 0, 0, SPACE_OK) == SPACE_OK);
    CHECK(space_judge(&about, 0, 5, SPACE_OK) == SPACE_LOW);
    about.size = 0; /* a file system that does not tell */
    CHECK(space_judge(&about, 15, 5, SPACE_OK) == SPACE_OK);
}

static void
only_a_change_is_told(void)
{
    struct rig *rig = new_rig();
    struct error err = ERROR_INIT;
    char uuid[UUID_TEXT_SIZE];

    look(rig, 1); /* nothing there is ours */
    CHECK(count_events(rig, "ALERT.STORAGE", "ERROR") == 0);
    CHECK_OK(rig_snapshot(rig, false, uuid, &err), &err);
    look(rig, 50);
    CHECK(count_events(rig, "ALERT.STORAGE", "INFO") == 0);
    look(rig, 14);
    look(rig, 14);
    CHECK(count_events(rig, "ALERT.STORAGE", "WARN") == 1);
    look(rig, 50);
    CHECK(count_events(rig, "ALERT.STORAGE", "INFO") == 1);
    is_away = true;
    look(rig, 50);
    rig_free(rig);
}

static void
layers_of_backups_make_room_and_snapshots_stay(void)
{
    struct rig *rig = new_rig();
    struct error err = ERROR_INIT;
    char first[UUID_TEXT_SIZE];
    char snapshot[UUID_TEXT_SIZE];
    char second[UUID_TEXT_SIZE];
    char type[32];

    CHECK_OK(rig_backup(rig, false, first, &err), &err);
    CHECK_OK(rig_snapshot(rig, false, snapshot, &err), &err);
    CHECK(count_pins(rig) > 0);
    look(rig, 6);
    CHECK(count_pins(rig) > 0);
    look(rig, 4);
    CHECK(count_pins(rig) == 0);
    CHECK(count_events(rig, "BACKUP.CHAIN.END", "WARN") == 1);
    look(rig, 4); /* nothing is left to give: no job */
    CHECK(count_events(rig, "BACKUP.CHAIN.END", "WARN") == 1);
    look(rig, 50);
    CHECK_OK(rig_backup(rig, false, second, &err), &err);
    type_of(rig, second, type);
    CHECK_TEXT(type, "FULL");
    CHECK_OK(rig_revert(rig, snapshot, &err), &err);
    CHECK_OK(rig_check(rig, true, &err), &err);
    rig_free(rig);
}

/* A merge writes before it deletes: it must not take the last of it. */
static void
where_a_merge_has_no_room_it_is_not_begun(void)
{
    struct rig *rig = new_rig();
    struct error err = ERROR_INIT;
    char uuid[UUID_TEXT_SIZE];
    uint64_t usual = unit;

    CHECK_OK(rig_backup(rig, false, uuid, &err), &err);
    unit = 1000;
    look(rig, 4);
    CHECK(count_pins(rig) > 0);
    unit = usual;
    look(rig, 4);
    CHECK(count_pins(rig) == 0);
    rig_free(rig);
}

/* Somebody makes room between the look and the job's turn. */
static void
a_chain_goes_on_when_room_was_made_meanwhile(void)
{
    struct rig *rig = new_rig();
    struct error err = ERROR_INIT;
    char uuid[UUID_TEXT_SIZE];

    CHECK_OK(rig_backup(rig, false, uuid, &err), &err);
    percent = 4;
    CHECK_OK(space_look(rig->engine, &err), &err);
    CHECK_OK(space_look(rig->engine, &err), &err); /* the job waits: no more */
    look(rig, 50);
    CHECK(count_pins(rig) > 0);
    CHECK(count_events(rig, "BACKUP.CHAIN.END", "WARN") == 0);
    rig_free(rig);
}

/* An answer that was given up is there a moment after it could be. */
static void
look_until_known(struct rig *rig)
{
    struct error err = ERROR_INIT;

    for (unsigned i = 0; i < 500 && logged("primary-known") == 0; i++) {
        (void)poll(NULL, 0, 20);
        CHECK_OK(space_look(rig->engine, &err), &err);
    }
}

static void
look_until_given(struct rig *rig)
{
    for (unsigned i = 0; i < 500 && count_pins(rig) > 0; i++) {
        (void)poll(NULL, 0, 20);
        look(rig, 4);
    }
}

/* A network file system whose server is gone. */
static void
one_that_hangs_keeps_nobody_from_the_others(void)
{
    struct rig *rig = new_rig();
    struct rig *other = rig_new_beside(rig, 0, 1);
    struct error err = ERROR_INIT;
    char uuid[UUID_TEXT_SIZE];
    int64_t start;

    CHECK_OK(rig_snapshot(other, false, uuid, &err), &err);
    CHECK_OK(rig_snapshot(rig, false, uuid, &err), &err);
    keep_log();
    look(rig, 50);
    hang_at("/pool-1");
    percent = 14;
    start = clock_monotonic_ms();
    CHECK_OK(space_look(rig->engine, &err), &err);
    CHECK(clock_monotonic_ms() - start < 5000);
    CHECK(count_events(rig, "ALERT.STORAGE", "WARN") == 1);
    CHECK(logged("primary-unknown") == 1);
    /* It is not waited for again, nor told again. */
    percent = 50;
    for (unsigned i = 0; i < 50; i++)
        CHECK_OK(space_look(rig->engine, &err), &err);
    CHECK(clock_monotonic_ms() - start < 5000);
    CHECK(logged("primary-unknown") == 1);
    CHECK(count_events(rig, "ALERT.STORAGE", "INFO") == 1);
    hang_at(NULL);
    percent = 14;
    look_until_known(rig);
    CHECK(logged("primary-known") == 1);
    CHECK(count_events(rig, "ALERT.STORAGE", "WARN") == 3);
    end_log();
    rig_free_beside(other);
    rig_free(rig);
}

/* The tick is the thread that all of this, and more, is done in. */
static void
a_machine_on_one_that_hangs_gives_no_room(void)
{
    struct rig *rig = new_rig();
    struct error err = ERROR_INIT;
    char uuid[UUID_TEXT_SIZE];

    CHECK_OK(rig_backup(rig, false, uuid, &err), &err);
    keep_log();
    hang_at(".qcow2"); /* its folder answered just before */
    percent = 4;
    CHECK_OK(space_look(rig->engine, &err), &err);
    CHECK(count_pins(rig) > 0);
    CHECK(logged("primary-too-full") == 1);
    hang_at(NULL);
    look_until_given(rig);
    CHECK(count_pins(rig) == 0);
    end_log();
    rig_free(rig);
}

static void
too_full_is_told_when_it_begins_and_seldom_after(void)
{
    struct rig *rig = new_rig();
    struct error err = ERROR_INIT;
    char uuid[UUID_TEXT_SIZE];
    uint64_t usual = unit;

    CHECK_OK(rig_backup(rig, false, uuid, &err), &err);
    unit = 1000;
    keep_log();
    for (unsigned i = 0; i < 3; i++)
        look(rig, 4);
    CHECK(logged("primary-too-full") == 1);
    look(rig, 50);
    look(rig, 4); /* it begins again */
    CHECK(logged("primary-too-full") == 2);
    end_log();
    space_watch_free(rig->engine->space);
    rig->engine->space = space_watch_new(probe, PATIENCE_MS, 1);
    keep_log();
    look(rig, 4);
    look(rig, 4);
    CHECK(logged("primary-too-full") == 2);
    end_log();
    unit = usual;
    rig_free(rig);
}

int
main(void)
{
    signal_init(&released);
    RUN(levels_are_left_with_one_percent_more);
    RUN(only_a_change_is_told);
    RUN(layers_of_backups_make_room_and_snapshots_stay);
    RUN(where_a_merge_has_no_room_it_is_not_begun);
    RUN(a_chain_goes_on_when_room_was_made_meanwhile);
    RUN(one_that_hangs_keeps_nobody_from_the_others);
    RUN(a_machine_on_one_that_hangs_gives_no_room);
    RUN(too_full_is_told_when_it_begins_and_seldom_after);
    return check_done();
}
