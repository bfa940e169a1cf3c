/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"
#include "engine/backup_chain.h"

/* Take `count` backups in a row with chains of `size`; "F" full, "I"
 * incremental. */
static void
take(int64_t size, size_t count, char *pattern)
{
    struct backup_chain_item items[32] = {{0}}; /* newest first */
    size_t have = 0;

    for (size_t i = 0; i < count; i++) {
        struct backup_chain_decision decision =
            backup_chain_decide(items, have, size, false);

        CHECK((decision.reason == NULL) == (decision.parent != 0));
        memmove(items + 1, items, have * sizeof(*items));
        items[0] = (struct backup_chain_item){.id = (int64_t)i + 1,
                                              .parent = decision.parent,
                                              .is_end_of_chain =
                                                  decision.is_end_of_chain};
        have++;
        pattern[i] = decision.parent != 0 ? 'I' : 'F';
    }
    pattern[count] = '\0';
}

static void
a_chain_has_the_size_that_was_set(void)
{
    char pattern[32];

    take(3, 7, pattern);
    CHECK_TEXT(pattern, "FIIFIIF");
    take(1, 4, pattern);
    CHECK_TEXT(pattern, "FFFF");
    take(2, 5, pattern);
    CHECK_TEXT(pattern, "FIFIF");
    take(0, 20, pattern);
    CHECK_TEXT(pattern, "FIIIIIIIIIIIIIIIIIII");
    take(-1, 3, pattern);
    CHECK_TEXT(pattern, "FII");
}

static void
an_isolated_backup_leaves_the_chain_alone(void)
{
    struct backup_chain_item items[] = {
        {.id = 2, .is_isolated = true, .is_end_of_chain = true}, {.id = 1}};
    struct backup_chain_decision decision =
        backup_chain_decide(items, 2, 8, true);

    CHECK(decision.parent == 0 && decision.is_end_of_chain);
    decision = backup_chain_decide(items, 2, 8, false);
    CHECK(decision.parent == 1 && !decision.is_end_of_chain);
}

static void
a_failed_backup_is_passed_over(void)
{
    struct backup_chain_item items[] = {
        {.id = 2, .parent = 1, .status = BACKUP_CHAIN_BAD}, {.id = 1}};

    CHECK(backup_chain_decide(items, 2, 8, false).parent == 1);
}

static void
after_a_deleted_one_the_next_is_full(void)
{
    struct backup_chain_item items[] = {
        {.id = 2, .parent = 1, .status = BACKUP_CHAIN_REMOVED}, {.id = 1}};

    CHECK(backup_chain_decide(items, 2, 8, false).parent == 0);
}

/* Chain 1 <- 2 <- 3 as in documents 000 and 002. */
static void
files_stay_while_a_living_backup_needs_them(void)
{
    struct backup_chain_item items[] = {
        {.id = 3, .parent = 2}, {.id = 2, .parent = 1}, {.id = 1}};
    int64_t ids[3];
    struct backup_chain_removal removal = backup_chain_remove(items, 3, 1, ids);

    CHECK(removal.is_kept && removal.count == 0);
    items[2].status = BACKUP_CHAIN_REMOVED;
    removal = backup_chain_remove(items, 3, 2, ids);
    CHECK(removal.is_kept);
    items[1].status = BACKUP_CHAIN_REMOVED;
    removal = backup_chain_remove(items, 3, 3, ids);
    CHECK(!removal.is_kept && removal.count == 3);
    CHECK(ids[0] == 3 && ids[1] == 2 && ids[2] == 1);
    CHECK(removal.survivor == 0);
}

static void
the_tail_ends_at_the_first_living_ancestor(void)
{
    struct backup_chain_item items[] = {
        {.id = 3, .parent = 2},
        {.id = 2, .parent = 1, .status = BACKUP_CHAIN_REMOVED},
        {.id = 1}};
    int64_t ids[3];
    struct backup_chain_removal removal = backup_chain_remove(items, 3, 3, ids);

    CHECK(removal.count == 2 && ids[1] == 2 && removal.survivor == 1);
}

/* Any order of deletion removes everything. */
static void
a_batch_in_any_order_leaves_nothing(void)
{
    static const int64_t orders[6][3] = {{1, 2, 3}, {1, 3, 2}, {2, 1, 3},
                                         {2, 3, 1}, {3, 1, 2}, {3, 2, 1}};

    for (size_t o = 0; o < 6; o++) {
        struct backup_chain_item items[] = {
            {.id = 3, .parent = 2}, {.id = 2, .parent = 1}, {.id = 1}};

        for (size_t i = 0; i < 3; i++) {
            int64_t ids[3];
            int64_t id = orders[o][i];
            struct backup_chain_removal removal =
                backup_chain_remove(items, 3, id, ids);

            if (removal.is_kept)
                items[3 - id].status = BACKUP_CHAIN_REMOVED;
            for (size_t k = 0; k < removal.count; k++)
                items[3 - ids[k]].status = BACKUP_CHAIN_GONE;
        }
        for (size_t i = 0; i < 3; i++)
            CHECK(items[i].status == BACKUP_CHAIN_GONE);
    }
}

int
main(void)
{
    RUN(a_chain_has_the_size_that_was_set);
    RUN(an_isolated_backup_leaves_the_chain_alone);
    RUN(a_failed_backup_is_passed_over);
    RUN(after_a_deleted_one_the_next_is_full);
    RUN(files_stay_while_a_living_backup_needs_them);
    RUN(the_tail_ends_at_the_first_living_ancestor);
    RUN(a_batch_in_any_order_leaves_nothing);
    return check_done();
}
