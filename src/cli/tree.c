/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every node is drawn once, whatever the objects say: a node is marked when it
 * is drawn, and what no root leads to (parents in a circle, which only a
 * broken answer has) is drawn at the end.  Depth is bounded by MAX_DEPTH, for
 * the stack's and the reader's sake.
 */
#include "cli/tree.h"

#include "base/memory.h"
#include "cli/format.h"
#include "cli/output.h"
#include "cli/terminal.h"

#include <stdlib.h>
#include <string.h>

#define MAX_DEPTH 500

struct lines {
    const char *branch; /* before a node that others follow */
    const char *last;   /* before the last one */
    const char *trunk;  /* before what is below the former */
    const char *empty;  /* below the latter */
};

static const struct lines boxes = {"├─ ", "└─ ", "│  ", "   "};
static const struct lines ascii = {"|- ", "`- ", "|  ", "   "};

struct drawing {
    const struct lines *lines;
    bool has_colour;
    json_t **nodes; /* owned array of borrowed objects, oldest first */
    const char *
        *parents;   /* owned array: the id of each's parent; "" the root */
    bool *is_drawn; /* owned array */
    size_t count;
    struct strbuf *text; /* borrowed */
};

static int
compare_age(const void *a, const void *b)
{
    json_t *const *left = a;
    json_t *const *right = b;
    int order =
        strcmp(output_field(*left, "created"), output_field(*right, "created"));

    return order != 0
               ? order
               : strcmp(output_field(*left, "id"), output_field(*right, "id"));
}

static bool
is_known(const struct drawing *drawing, const char *id)
{
    for (size_t i = 0; *id != '\0' && i < drawing->count; i++) {
        if (strcmp(output_field(drawing->nodes[i], "id"), id) == 0)
            return true;
    }
    return false;
}

/* The parent as it really is, hidden or not; else the one that is shown. */
static const char *
find_parent(const struct drawing *drawing, json_t *node)
{
    const char *parent = output_field(node, "treeparent");

    if (*parent == '\0')
        parent = output_field(node, "parent");
    return is_known(drawing, parent) ? parent : "";
}

/* The next one below `parent` from `index` on; count when there is none. */
static size_t
next_child(const struct drawing *drawing, const char *parent, size_t index)
{
    while (index < drawing->count &&
           (drawing->is_drawn[index] ||
            strcmp(drawing->parents[index], parent) != 0))
        index++;
    return index;
}

static void
add_styled(struct drawing *drawing, const char *text, enum terminal_style style)
{
    strbuf_adds(drawing->text, terminal_begin(style, drawing->has_colour));
    terminal_add(drawing->text, text);
    strbuf_adds(drawing->text, terminal_end(style, drawing->has_colour));
}

static void
add_node(struct drawing *drawing, json_t *node)
{
    const char *given = output_field(node, "displayname");
    const char *name = *given != '\0' ? given : output_field(node, "name");
    const char *state = output_field(node, "state");
    bool is_current = json_is_true(json_object_get(node, "current"));
    char time[FORMAT_SIZE];

    if (strcmp(state, "Hidden") == 0) {
        strbuf_addc(drawing->text, '[');
        terminal_add(drawing->text, name);
        strbuf_adds(drawing->text, "]\n");
        return;
    }
    add_styled(drawing, name, is_current ? TERMINAL_BOLD : TERMINAL_PLAIN);
    if (strcmp(state, "Ready") != 0) {
        strbuf_adds(drawing->text, "  ");
        add_styled(drawing, state, output_state_style(state));
    }
    strbuf_adds(drawing->text, "  ");
    terminal_add(drawing->text,
                 format_api_time(output_field(node, "created"), time));
    strbuf_adds(drawing->text, is_current ? "  (current)\n" : "\n");
}

static void
add_below(struct drawing *drawing, const char *parent, const char *prefix,
          unsigned depth)
{
    size_t index = next_child(drawing, parent, 0);

    while (index < drawing->count) {
        json_t *node = drawing->nodes[index];
        const char *id = output_field(node, "id");
        size_t next;
        bool is_last;
        AUTO_FREE char *deeper = NULL;

        drawing->is_drawn[index] = true;
        next = next_child(drawing, parent, index + 1);
        is_last = next == drawing->count;
        strbuf_addf(drawing->text, "%s%s", prefix,
                    is_last ? drawing->lines->last : drawing->lines->branch);
        add_node(drawing, node);
        deeper =
            xasprintf("%s%s", prefix,
                      is_last ? drawing->lines->empty : drawing->lines->trunk);
        if (*id != '\0' && depth < MAX_DEPTH)
            add_below(drawing, id, deeper, depth + 1);
        index = next;
    }
}

void
tree_draw(const char *root, json_t *snapshots, bool has_boxes, bool has_colour,
          struct strbuf *ret_text)
{
    struct drawing drawing = {
        .lines = has_boxes ? &boxes : &ascii,
        .has_colour = has_colour,
        .count = json_array_size(snapshots),
        .text = ret_text,
    };

    drawing.nodes = xcalloc(drawing.count + 1, sizeof(json_t *));
    drawing.parents = xcalloc(drawing.count + 1, sizeof(char *));
    drawing.is_drawn = xcalloc(drawing.count + 1, sizeof(bool));
    for (size_t i = 0; i < drawing.count; i++)
        drawing.nodes[i] = json_array_get(snapshots, i);
    qsort(drawing.nodes, drawing.count, sizeof(json_t *), compare_age);
    for (size_t i = 0; i < drawing.count; i++)
        drawing.parents[i] = find_parent(&drawing, drawing.nodes[i]);
    terminal_add(ret_text, root);
    strbuf_addc(ret_text, '\n');
    add_below(&drawing, "", "", 0);
    for (size_t i = 0; i < drawing.count; i++) {
        if (!drawing.is_drawn[i])
            add_below(&drawing, drawing.parents[i], "", 0);
    }
    free(drawing.nodes);
    free((void *)drawing.parents);
    free(drawing.is_drawn);
}
