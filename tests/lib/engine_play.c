/* SPDX-License-Identifier: Apache-2.0 */
#include "engine_play.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/memory.h"
#include "engine/requests.h"
#include "hv/fake/hv_fake.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SNAPSHOTS_MAX 6
#define BACKUPS_MAX 10
#define VOLUME_SNAPSHOTS_MAX 6
/* Operations pass 80 to 350 fault points, settling up to 100. */
#define POINTS_MAX 300
#define SETTLE_POINTS_MAX 80
#define QUIET_MS 240000
/* Of views.c: libvirt believes an old file. */
#define REMEDY "stop the machine and start it again"
#define STALE_VIEW 4 /* a child's exit status */

/* What is to be done, chosen before anybody forks. */
struct plan {
    enum play_act act;
    char uuid[UUID_TEXT_SIZE];  /* of the point, or "" */
    char other[UUID_TEXT_SIZE]; /* of another point, or "" */
    size_t volume;
    bool flag; /* quiesced, isolated, verified; a deletion had failed */
};

static const struct {
    const char *name;
    unsigned weight;
} acts[PLAY_ACT_COUNT] = {
    [PLAY_GUEST] = {"guest", 8},
    [PLAY_SNAPSHOT] = {"snapshot", 4},
    [PLAY_REVERT] = {"revert", 2},
    [PLAY_DELETE_SNAPSHOT] = {"delete snapshot", 4},
    [PLAY_BACKUP] = {"backup", 4},
    [PLAY_DELETE_BACKUP] = {"delete backup", 2},
    [PLAY_FOLD] = {"fold", 2},
    [PLAY_RESTORE] = {"restore", 1},
    [PLAY_VOLUME_SNAPSHOT] = {"volume snapshot", 2},
    [PLAY_DELETE_VOLUME_SNAPSHOT] = {"delete volume snapshot", 2},
    [PLAY_RESIZE] = {"resize", 1},
    [PLAY_RESTART] = {"restart", 1},
};

/* -- choosing -------------------------------------------------------------- */

static size_t
count_of(const struct rig *rig, enum rig_kind kind)
{
    size_t count = 0;

    for (size_t i = 0; i < rig->point_count; i++)
        count += rig->points[i].kind == kind;
    return count;
}

static void
pick(struct rig *rig, enum rig_kind kind, char uuid[UUID_TEXT_SIZE])
{
    size_t count = count_of(rig, kind);
    size_t chosen;

    if (count == 0)
        return;
    chosen = rig_random(rig, count);
    for (size_t i = 0; i < rig->point_count; i++) {
        if (rig->points[i].kind == kind && chosen-- == 0)
            memcpy(uuid, rig->points[i].uuid, UUID_TEXT_SIZE);
    }
}

/* A snapshot whose deletion failed: it is offered for deletion again. */
static void
pick_broken(struct rig *rig, char uuid[UUID_TEXT_SIZE])
{
    struct error ignored = ERROR_INIT;
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(rig->state, &ignored);
    AUTO_STATE(vm_snapshot) row = {0};
    const struct state_where where[] = {STATE_TEXT("state", "Error"),
                                        STATE_LIVING};

    if (tx != NULL && state_vm_snapshot_find(tx, where, ARRAY_SIZE(where), &row,
                                             &ignored) > 0)
        (void)snprintf(uuid, UUID_TEXT_SIZE, "%s", row.uuid);
}

static enum play_act
choose_act(struct rig *rig)
{
    unsigned total = 0;
    uint64_t at;

    for (size_t i = 0; i < PLAY_ACT_COUNT; i++)
        total += acts[i].weight;
    at = rig_random(rig, total);
    for (size_t i = 0; i < PLAY_ACT_COUNT; i++) {
        if (at < acts[i].weight)
            return (enum play_act)i;
        at -= acts[i].weight;
    }
    return PLAY_GUEST;
}

/* False when there is nothing that this act could be done to. */
static bool
choose(struct play *play, struct plan *ret)
{
    struct rig *rig = play->rig;

    *ret = (struct plan){.act = choose_act(rig)};
    if (ret->act == PLAY_BACKUP && count_of(rig, RIG_BACKUP) >= BACKUPS_MAX)
        ret->act = PLAY_DELETE_BACKUP;
    switch (ret->act) {
    case PLAY_SNAPSHOT:
        ret->flag = rig_random(rig, 2) == 0;
        return count_of(rig, RIG_SNAPSHOT) < SNAPSHOTS_MAX;
    case PLAY_BACKUP:
        ret->flag = rig_random(rig, 8) == 0;
        /* Over the layer of a backup, snapshots are layers. */
        return !rig->is_raw || rig_random(rig, 10) == 0;
    case PLAY_DELETE_SNAPSHOT:
        pick_broken(rig, ret->uuid);
        ret->flag = ret->uuid[0] != '\0';
        if (!ret->flag)
            pick(rig, RIG_SNAPSHOT, ret->uuid);
        return ret->uuid[0] != '\0';
    case PLAY_REVERT:
        pick(rig, RIG_SNAPSHOT, ret->uuid);
        return ret->uuid[0] != '\0';
    case PLAY_RESTORE: /* refused while there are VM snapshots */
        if (count_of(rig, RIG_SNAPSHOT) > 0)
            return false;
        pick_broken(rig, ret->uuid);
        if (ret->uuid[0] != '\0')
            return false;
        pick(rig, RIG_BACKUP, ret->uuid);
        return ret->uuid[0] != '\0';
    case PLAY_FOLD:
        ret->flag = rig_random(rig, 2) == 0;
        if (rig_random(rig, 2) == 0)
            pick(rig, RIG_BACKUP, ret->other);
        pick(rig, RIG_BACKUP, ret->uuid);
        return ret->uuid[0] != '\0';
    case PLAY_DELETE_BACKUP:
        pick(rig, RIG_BACKUP, ret->uuid);
        return ret->uuid[0] != '\0';
    case PLAY_VOLUME_SNAPSHOT:
        ret->volume = rig_random(rig, rig->volumes);
        return count_of(rig, RIG_VOLUME_SNAPSHOT) < VOLUME_SNAPSHOTS_MAX;
    case PLAY_DELETE_VOLUME_SNAPSHOT:
        pick(rig, RIG_VOLUME_SNAPSHOT, ret->uuid);
        return ret->uuid[0] != '\0';
    case PLAY_RESTART:
        return !play->has_company;
    case PLAY_GUEST:
    case PLAY_RESIZE:
    case PLAY_ACT_COUNT:
        break;
    }
    return true;
}

/* -- what is not an operation of ours -------------------------------------- */

static int
power(struct play *play, bool on, struct error *err)
{
    if (rig_is_running(play->rig) == on)
        return 0;
    if (rig_try_power(play->rig, on, err) < 0) {
        /* It may be held for a moment, or have ended by itself. */
        if (!play->has_company)
            return -1;
        error_clear(err);
        return 0;
    }
    return play->has_company
               ? 0
               : engine_refresh(play->rig->engine, play->rig->vm, err);
}

/* The guest writes, and perhaps ends. */
static int
guest(struct play *play, struct error *err)
{
    struct rig *rig = play->rig;
    size_t writes = 1 + rig_random(rig, 4);

    if (power(play, true, err) < 0)
        return -1;
    for (size_t i = 0; i < writes; i++) {
        if (rig_try_guest_write(rig, err) == 0)
            continue;
        if (!play->has_company)
            return -1;
        error_clear(err);
    }
    return rig_random(rig, 2) == 0 ? power(play, false, err) : 0;
}

static int
resize(struct play *play, struct error *err)
{
    struct rig *rig = play->rig;
    size_t volume = rig_random(rig, rig->volumes);

    if (power(play, false, err) < 0)
        return -1;
    if (!rig_is_running(rig) && rig->now.sizes[volume] < 4 * RIG_DISK_SIZE)
        rig_resize(rig, volume,
                   rig->now.sizes[volume] + 512 * (1 + rig_random(rig, 900)));
    return 0;
}

/* -- operations ------------------------------------------------------------ */

/* That it is full already, or does not rest on the other, is no failure. */
static int
fold(struct rig *rig, const struct plan *plan, struct error *err)
{
    const char *oldest = plan->other[0] != '\0' ? plan->other : NULL;

    if (rig_fold(rig, plan->uuid, oldest, plan->flag, err) == 0)
        return 0;
    if (err->code != ERROR_CONFLICT && err->code != ERROR_INVALID)
        return -1;
    error_clear(err);
    return 0;
}

/* A deletion that had failed may have been finished at a start. */
static int
delete_snapshot(struct rig *rig, const struct plan *plan, struct error *err)
{
    if (rig_delete_snapshot(rig, plan->uuid, err) == 0)
        return 0;
    if (!plan->flag || err->code != ERROR_NOT_FOUND)
        return -1;
    error_clear(err);
    return 0;
}

static int
operate(struct rig *rig, const struct plan *plan, struct error *err)
{
    char uuid[UUID_TEXT_SIZE];

    switch (plan->act) {
    case PLAY_SNAPSHOT:
        return rig_snapshot(rig, plan->flag, uuid, err);
    case PLAY_REVERT:
        return rig_revert(rig, plan->uuid, err);
    case PLAY_DELETE_SNAPSHOT:
        return delete_snapshot(rig, plan, err);
    case PLAY_BACKUP:
        return rig_backup(rig, plan->flag, uuid, err);
    case PLAY_DELETE_BACKUP:
        return rig_delete_backup(rig, plan->uuid, err);
    case PLAY_FOLD:
        return fold(rig, plan, err);
    case PLAY_RESTORE:
        return rig_restore(rig, plan->uuid, err);
    case PLAY_VOLUME_SNAPSHOT:
        return rig_volume_snapshot(rig, plan->volume, uuid, err);
    case PLAY_DELETE_VOLUME_SNAPSHOT:
        return rig_delete_volume_snapshot(rig, plan->uuid, err);
    case PLAY_GUEST:
    case PLAY_RESIZE:
    case PLAY_RESTART:
    case PLAY_ACT_COUNT:
        break;
    }
    abort();
}

static struct rig_outcome
outcome_of(const struct plan *plan, bool is_done)
{
    struct rig_outcome outcome = {.is_done = is_done};

    outcome.makes_snapshot = plan->act == PLAY_SNAPSHOT;
    outcome.makes_backup = plan->act == PLAY_BACKUP;
    outcome.makes_volume_snapshot = plan->act == PLAY_VOLUME_SNAPSHOT;
    if (plan->act == PLAY_DELETE_SNAPSHOT || plan->act == PLAY_DELETE_BACKUP ||
        plan->act == PLAY_DELETE_VOLUME_SNAPSHOT)
        outcome.removes = plan->uuid;
    if (plan->act == PLAY_REVERT || plan->act == PLAY_RESTORE)
        outcome.goes_back = plan->uuid;
    return outcome;
}

/* The hypervisor misbehaves, once to three times. */
static void
script(struct play *play)
{
    static const char *const calls[] = {
        "snapshot",     "commit_start", "job_wait", "job_wait", "pivot",
        "define_disks", "get",          "view",     "job_query"};
    static const enum hv_fake_behaviour behaviours[] = {
        HV_FAKE_FAIL_BEFORE,   HV_FAKE_LOST_BEFORE,  HV_FAKE_FAIL_AFTER,
        HV_FAKE_FAIL_AFTER,    HV_FAKE_TIMEOUT,      HV_FAKE_JOB_FAILS,
        HV_FAKE_JOB_CANCELLED, HV_FAKE_MACHINE_STOPS};
    struct rig *rig = play->rig;

    for (uint64_t i = 1 + rig_random(rig, 3); i > 0; i--) {
        const char *call = calls[rig_random(rig, ARRAY_SIZE(calls))];
        enum hv_fake_behaviour behaviour =
            behaviours[rig_random(rig, ARRAY_SIZE(behaviours))];

        hv_fake_script(rig->hv, call, 1 + (unsigned)rig_random(rig, 4),
                       behaviour);
    }
    play->scripts++;
}

/* The operation (or, without a plan, a start) in a process that is killed at
 * that fault point.  1 killed, 0 it came to its end, -1 failed. */
static int
in_child(struct rig *rig, const struct plan *plan, uint64_t point,
         struct error *err)
{
    int status = 0;
    pid_t child;

    (void)fflush(stdout);
    child = fork();
    if (child == 0) {
        if (plan != NULL && rig_open(rig, err) < 0)
            _exit(3);
        fault_arm("*", point, FAULT_KILL);
        if (plan == NULL)
            _exit(rig_open(rig, err) == 0 ? 0 : 3);
        if (operate(rig, plan, err) == 0)
            _exit(0);
        if (strstr(err->message, REMEDY) != NULL)
            _exit(STALE_VIEW);
        (void)fprintf(stderr, "# in the child: %s\n", err->message);
        _exit(3);
    }
    if (child < 0 || waitpid(child, &status, 0) != child)
        return error_set(err, ERROR_INTERNAL, "no child");
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        return 1;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == STALE_VIEW)
        return error_set(err, ERROR_CONFLICT, REMEDY);
    return error_set(err, ERROR_INTERNAL, "the child ended with status %d",
                     status);
}

/* -- and afterwards -------------------------------------------------------- */

/* Is anything of the machine under way or unfinished?  1, 0, -1. */
static int
is_busy(struct rig *rig, struct error *err)
{
    const struct state_where jobs[] = {STATE_TEXT("queue", rig->vm),
                                       STATE_INT("status", 0)};
    const struct state_where operations[] = {STATE_TEXT("vm_uuid", rig->vm)};
    AUTO_STATE_TX struct state_tx *tx = state_begin_read(rig->state, err);
    uint64_t running = 0;
    uint64_t open = 0;

    if (tx == NULL ||
        state_job_count(tx, STATE_QUERY(jobs), &running, err) < 0 ||
        state_operation_count(tx, STATE_QUERY(operations), &open, err) < 0)
        return -1;
    return running > 0 || open > 0;
}

/* In company the hypervisor comes and goes: settling is asked for until it
 * has succeeded. */
static int
settle_in_company(struct rig *rig, struct error *err)
{
    int64_t deadline_ms = clock_monotonic_ms() + QUIET_MS;

    for (;;) {
        int busy;

        error_clear(err);
        if (rig_settle(rig, err) == 0) {
            busy = is_busy(rig, err);
            if (busy <= 0)
                return busy;
        }
        if (clock_monotonic_ms() > deadline_ms)
            return error_prefix(err, "not settled in %d s", QUIET_MS / 1000);
        (void)poll(NULL, 0, 2);
    }
}

/* As the daemon does when the hypervisor is back. */
static int
settle_alone(struct rig *rig, struct error *err)
{
    hv_fake_script_clear(rig->hv);
    fault_disarm();
    if (engine_refresh(rig->engine, NULL, err) < 0 ||
        engine_request_settle(rig->engine, NULL, err) < 0)
        return -1;
    return engine_drain(rig->engine, err);
}

/* libvirt was cut off in the middle of a switch and believes the old file;
 * refused until the machine was stopped, which is what the error says. */
static int
follow_remedy(struct play *play, struct error *err)
{
    if (strstr(err->message, REMEDY) == NULL && !rig_needs_stop(play->rig))
        return -1;
    error_clear(err);
    play->remedies++;
    return power(play, false, err) < 0 ? -1 : settle_alone(play->rig, err);
}

static int
learn_and_check(struct play *play, const struct rig_outcome *outcome, bool deep,
                struct error *err)
{
    if (outcome != NULL && rig_learn_outcome(play->rig, outcome, err) < 0)
        return -1;
    return rig_check(play->rig, deep, err);
}

static int
afterwards(struct play *play, const struct rig_outcome *outcome, bool deep,
           struct error *err)
{
    struct rig *rig = play->rig;
    bool is_unsure = outcome != NULL && !outcome->is_done;

    if (play->has_company) {
        if (settle_in_company(rig, err) < 0)
            return -1;
    } else if (play->disturbed && settle_alone(rig, err) < 0) {
        return -1;
    }
    if (learn_and_check(play, outcome, deep, err) == 0)
        return 0;
    if (!play->disturbed || follow_remedy(play, err) < 0)
        return -1;
    return learn_and_check(play, is_unsure ? outcome : NULL, deep, err);
}

/* 1 it said that it was done, 0 it did not, -1 failed. */
static int
operate_and_die(struct play *play, const struct plan *plan, struct error *err)
{
    struct rig *rig = play->rig;
    int killed;
    int settled = 1;

    rig_close(rig);
    killed = in_child(rig, plan, 1 + rig_random(rig, POINTS_MAX), err);
    play->kills += killed > 0;
    while (killed > 0 && settled > 0 && rig_random(rig, 2) == 0) {
        settled =
            in_child(rig, NULL, 1 + rig_random(rig, SETTLE_POINTS_MAX), err);
        play->kills += settled > 0;
    }
    if (killed < 0) {
        struct error why = *err;

        if (rig_open(rig, err) < 0 || follow_remedy(play, &why) < 0) {
            *err = why;
            return -1;
        }
        return 0;
    }
    if (settled < 0 || rig_open(rig, err) < 0)
        return -1;
    /* A job that was written down but had not begun is done now. */
    if (engine_drain(rig->engine, err) < 0)
        return -1;
    return killed == 0;
}

/* 1 it said that it was done, 0 it did not, -1 failed. */
static int
operate_disturbed(struct play *play, const struct plan *plan, struct error *err)
{
    struct rig *rig = play->rig;
    struct error why = ERROR_INIT;
    int result;

    switch (rig_random(rig, 6)) {
    case 0:
        script(play);
        break;
    case 1:
        fault_arm("*", 1 + rig_random(rig, POINTS_MAX), FAULT_FAIL);
        play->faults++;
        break;
    case 2:
        return operate_and_die(play, plan, err);
    default: /* one half in peace */
        if (operate(rig, plan, err) < 0 &&
            (follow_remedy(play, err) < 0 || operate(rig, plan, err) < 0))
            return -1;
        return 1;
    }
    result = operate(rig, plan, &why);
    hv_fake_script_clear(rig->hv);
    fault_disarm();
    return result == 0;
}

static int
operation(struct play *play, const struct plan *plan, bool deep,
          struct error *err)
{
    struct rig_outcome outcome;
    int done = 1;

    if ((plan->act == PLAY_REVERT || plan->act == PLAY_RESTORE) &&
        power(play, false, err) < 0)
        return -1;
    if (play->has_company) {
        done = operate(play->rig, plan, err) == 0;
        if (!done && err->code == ERROR_INTERNAL)
            return -1; /* the job is stuck */
        error_clear(err);
    } else if (play->disturbed) {
        done = operate_disturbed(play, plan, err);
    } else if (operate(play->rig, plan, err) < 0) {
        return -1;
    }
    if (done < 0)
        return -1;
    play->failed[plan->act] += done == 0;
    outcome = outcome_of(plan, done > 0);
    return afterwards(play, &outcome, deep, err);
}

void
play_prepare(struct rig *rig)
{
    rig_setting(rig, "snapshot.beside.vmsnapshots", "true");
}

int
play_step(struct play *play, bool deep, struct error *err)
{
    struct plan plan;
    int result;

    if (!choose(play, &plan))
        plan.act = PLAY_GUEST;
    play->last = acts[plan.act].name;
    play->done[plan.act]++;
    play->steps++;
    switch (plan.act) {
    case PLAY_GUEST:
        result = guest(play, err);
        break;
    case PLAY_RESIZE:
        result = resize(play, err);
        break;
    case PLAY_RESTART:
        rig_close(play->rig);
        result = rig_open(play->rig, err);
        break;
    case PLAY_SNAPSHOT:
    case PLAY_REVERT:
    case PLAY_DELETE_SNAPSHOT:
    case PLAY_BACKUP:
    case PLAY_DELETE_BACKUP:
    case PLAY_FOLD:
    case PLAY_RESTORE:
    case PLAY_VOLUME_SNAPSHOT:
    case PLAY_DELETE_VOLUME_SNAPSHOT:
    case PLAY_ACT_COUNT:
    default:
        return operation(play, &plan, deep, err);
    }
    return result < 0 ? -1 : afterwards(play, NULL, deep, err);
}

void
play_report(const struct play *play)
{
    printf("#");
    for (size_t i = 0; i < PLAY_ACT_COUNT; i++) {
        if (play->done[i] == 0)
            continue;
        printf(" %s %u", acts[i].name, play->done[i]);
        if (play->failed[i] > 0)
            printf(" (%u failed)", play->failed[i]);
        printf(",");
    }
    printf(" %u kills, %u faults, %u scripts, %u remedies\n", play->kills,
           play->faults, play->scripts, play->remedies);
}
