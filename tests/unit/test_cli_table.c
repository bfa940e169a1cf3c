/* SPDX-License-Identifier: Apache-2.0 */
/* Tables and trees, and that no name of a machine controls the terminal. */
#include "check.h"
#include "cli/table.h"
#include "cli/tree.h"

#include <jansson.h>
#include <locale.h>
#include <time.h>

static const struct table_column columns[] = {
    {"NAME", false, false},
    {"SIZE", true, false},
    {"PROBLEM", false, true},
    {"ID", false, false},
};

static void
add_row(struct table *table, const char *a, const char *b, const char *c,
        const char *d)
{
    table_set(table, a, TERMINAL_PLAIN);
    table_set(table, b, TERMINAL_PLAIN);
    table_set(table, c, TERMINAL_RED);
    table_set(table, d, TERMINAL_PLAIN);
}

static void
check_table(const struct table *table, bool has_colour, const char *expected)
{
    AUTO_STRBUF struct strbuf text = STRBUF_INIT;

    table_print(table, has_colour, &text);
    CHECK_TEXT(strbuf_text(&text), expected);
}

static void
columns_stand_under_each_other(void)
{
    AUTO_TABLE struct table *table = table_new(columns, 4);

    add_row(table, "web1", "1.0 GiB", "gone", "x");
    add_row(table, "database", "5 B", "", "yy");
    check_table(table, false,
                "NAME         SIZE  PROBLEM  ID\n"
                "web1      1.0 GiB  gone     x\n"
                "database      5 B           yy\n");
}

static void
an_optional_column_without_values_is_left_out(void)
{
    AUTO_TABLE struct table *table = table_new(columns, 4);

    add_row(table, "web1", "1.0 GiB", "", "");
    check_table(table, false,
                "NAME     SIZE  ID\n"
                "web1  1.0 GiB\n");
}

static void
an_empty_table_has_its_titles(void)
{
    AUTO_TABLE struct table *table = table_new(columns, 4);

    check_table(table, false, "NAME  SIZE  ID\n");
}

static void
wide_characters_count_as_they_are_shown(void)
{
    AUTO_TABLE struct table *table = table_new(columns, 4);

    add_row(table, "größe", "1 B", "", "x");
    add_row(table, "漢字", "2 B", "", "x");
    check_table(table, false,
                "NAME   SIZE  ID\n"
                "größe   1 B  x\n"
                "漢字    2 B  x\n");
}

static void
colours_do_not_move_columns(void)
{
    AUTO_TABLE struct table *table = table_new(columns, 4);

    add_row(table, "web1", "1 B", "gone", "x");
    check_table(table, true,
                "\033[1mNAME\033[0m  \033[1mSIZE\033[0m  "
                "\033[1mPROBLEM\033[0m  \033[1mID\033[0m\n"
                "web1   1 B  \033[31mgone\033[0m     x\n");
}

static void
nothing_from_outside_controls_the_terminal(void)
{
    AUTO_TABLE struct table *table = table_new(columns, 4);
    AUTO_STRBUF struct strbuf text = STRBUF_INIT;

    add_row(table, "a\033[2Jb", "\xff\xfe", "x\ny\rz\t",
            "\xc2\x9b"
            "1m");
    table_print(table, false, &text);
    CHECK_TEXT(strchr(strbuf_text(&text), '\n') + 1,
               "a?[2Jb    ??  x?y?z?   ?1m\n");
}

/* -- trees --------------------------------------------------------------- */

static json_t *
snapshot(const char *id, const char *name, const char *parent,
         const char *state, int day)
{
    return json_pack("{s:s, s:s, s:s*, s:s, s:o}", "id", id, "displayname",
                     name, "parent", parent, "state", state, "created",
                     json_sprintf("2026-03-%02dT10:15:00+0000", day));
}

static void
check_tree(json_t *snapshots, bool has_boxes, const char *expected)
{
    AUTO_STRBUF struct strbuf text = STRBUF_INIT;

    tree_draw("web1", snapshots, has_boxes, false, &text);
    CHECK_TEXT(strbuf_text(&text), expected);
}

static json_t *
sample(void)
{
    json_t *all = json_array();
    json_t *current = snapshot("5", "other", "1", "Ready", 3);

    (void)json_object_set_new(current, "current", json_true());
    (void)json_array_append_new(all, current);
    (void)json_array_append_new(all, snapshot("4", "lone", NULL, "Error", 4));
    (void)json_array_append_new(all, snapshot("3", "after", "2", "Ready", 3));
    (void)json_array_append_new(all, snapshot("2", "gap", "1", "Hidden", 2));
    (void)json_array_append_new(all, snapshot("1", "first", NULL, "Ready", 1));
    return all;
}

static void
a_tree_shows_parents_hidden_ones_and_the_current(void)
{
    json_auto_t *all = sample();

    check_tree(all, true,
               "web1\n"
               "├─ first  2026-03-01 10:15:00\n"
               "│  ├─ [gap]\n"
               "│  │  └─ after  2026-03-03 10:15:00\n"
               "│  └─ other  2026-03-03 10:15:00  (current)\n"
               "└─ lone  Error  2026-03-04 10:15:00\n");
}

static void
a_tree_without_boxes_is_ascii(void)
{
    json_auto_t *all = sample();

    check_tree(all, false,
               "web1\n"
               "|- first  2026-03-01 10:15:00\n"
               "|  |- [gap]\n"
               "|  |  `- after  2026-03-03 10:15:00\n"
               "|  `- other  2026-03-03 10:15:00  (current)\n"
               "`- lone  Error  2026-03-04 10:15:00\n");
}

static void
a_hidden_parent_counts_where_the_api_tells_it(void)
{
    json_auto_t *all = json_array();
    json_t *after = snapshot("3", "after", "1", "Ready", 3);

    (void)json_object_set_new(after, "treeparent", json_string("2"));
    (void)json_array_append_new(all, after);
    (void)json_array_append_new(all, snapshot("2", "gap", "1", "Hidden", 2));
    (void)json_array_append_new(all, snapshot("1", "first", NULL, "Ready", 1));
    check_tree(all, true,
               "web1\n"
               "└─ first  2026-03-01 10:15:00\n"
               "   └─ [gap]\n"
               "      └─ after  2026-03-03 10:15:00\n");
}

static void
a_tree_of_nothing_is_its_root(void)
{
    json_auto_t *none = json_array();

    check_tree(none, true, "web1\n");
}

static void
a_parent_that_is_not_listed_is_the_root(void)
{
    json_auto_t *all = json_array();

    (void)json_array_append_new(all, snapshot("3", "a", "99", "Ready", 3));
    check_tree(all, true, "web1\n└─ a  2026-03-03 10:15:00\n");
}

static size_t
count_lines(const char *text)
{
    size_t count = 0;

    for (; *text != '\0'; text++)
        count += *text == '\n';
    return count;
}

static void
parents_in_a_circle_are_drawn_once(void)
{
    json_auto_t *all = json_array();
    AUTO_STRBUF struct strbuf text = STRBUF_INIT;

    (void)json_array_append_new(all, snapshot("1", "a", "3", "Ready", 1));
    (void)json_array_append_new(all, snapshot("2", "b", "1", "Ready", 2));
    (void)json_array_append_new(all, snapshot("3", "c", "2", "Ready", 3));
    (void)json_array_append_new(all, snapshot("4", "d", "4", "Ready", 4));
    tree_draw("web1", all, true, false, &text);
    CHECK(count_lines(strbuf_text(&text)) == 5);
}

static void
a_deep_tree_is_drawn_whole(void)
{
    json_auto_t *all = json_array();
    AUTO_STRBUF struct strbuf text = STRBUF_INIT;

    for (int i = 0; i < 700; i++) {
        char id[16];
        char parent[16];

        (void)snprintf(id, sizeof(id), "%d", i);
        (void)snprintf(parent, sizeof(parent), "%d", i - 1);
        (void)json_array_append_new(all, snapshot(id, id, parent, "Ready", 1));
    }
    tree_draw("web1", all, false, false, &text);
    CHECK(count_lines(strbuf_text(&text)) == 701);
}

int
main(void)
{
    (void)setlocale(LC_CTYPE, "C.UTF-8");
    (void)setenv("TZ", "UTC0", 1);
    tzset();
    RUN(columns_stand_under_each_other);
    RUN(an_optional_column_without_values_is_left_out);
    RUN(an_empty_table_has_its_titles);
    RUN(wide_characters_count_as_they_are_shown);
    RUN(colours_do_not_move_columns);
    RUN(nothing_from_outside_controls_the_terminal);
    RUN(a_tree_shows_parents_hidden_ones_and_the_current);
    RUN(a_tree_without_boxes_is_ascii);
    RUN(a_hidden_parent_counts_where_the_api_tells_it);
    RUN(a_tree_of_nothing_is_its_root);
    RUN(a_parent_that_is_not_listed_is_the_root);
    RUN(parents_in_a_circle_are_drawn_once);
    RUN(a_deep_tree_is_drawn_whole);
    return check_done();
}
