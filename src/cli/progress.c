/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rate is that of the last seconds, smoothed: what was copied at first
 * (often zeros, at the speed of light) says little about what is left.
 */
#include "cli/progress.h"

#include "base/compiler.h"
#include "cli/format.h"
#include "cli/terminal.h"

#include <string.h>

#define RATE_MS 500     /* between two looks at the rate */
#define RATE_WEIGHT 0.3 /* of the newest look */
#define BAR_COLUMNS 20
#define BAR_LEAST 8  /* a shorter bar says nothing */
#define BAR_AROUND 4 /* its brackets, and the space behind */
#define STEP_LEAST 8 /* of a step that is cut */

void
progress_begin(struct progress *progress, int64_t now_ms)
{
    *progress = (struct progress){.began_ms = now_ms, .rated_ms = now_ms};
}

static void
begin_rate(struct progress *progress, int64_t now_ms)
{
    progress->rated_ms = now_ms;
    progress->rated_done = progress->done;
}

void
progress_set(struct progress *progress, uint64_t done, uint64_t total,
             int64_t now_ms)
{
    int64_t passed_ms = now_ms - progress->rated_ms;
    double rate;

    progress->done = total > 0 ? MIN(done, total) : done;
    if (progress->total != total || progress->done < progress->rated_done) {
        progress->total = total;
        progress->rate = 0;
        begin_rate(progress, now_ms);
        return;
    }
    if (passed_ms < RATE_MS)
        return;
    rate = (double)(progress->done - progress->rated_done) * 1000 /
           (double)passed_ms;
    progress->rate = progress->rate > 0 ? RATE_WEIGHT * rate +
                                              (1 - RATE_WEIGHT) * progress->rate
                                        : rate;
    begin_rate(progress, now_ms);
}

static void
add_bar(const struct progress *progress, size_t columns, bool has_boxes,
        struct strbuf *line)
{
    uint64_t filled = columns * (progress->done >> 10) /
                      MAX(progress->total >> 10, (uint64_t)1);

    strbuf_addc(line, '[');
    for (uint64_t i = 0; i < columns; i++)
        strbuf_adds(line, i < filled ? (has_boxes ? "█" : "#")
                                     : (has_boxes ? "░" : "-"));
    strbuf_adds(line, "]  ");
}

/* A part of the line goes there whole or not at all: half a number is a wrong
 * one. */
static bool
add_part(struct strbuf *line, const char *part, size_t width)
{
    if (terminal_columns(strbuf_text(line)) + terminal_columns(part) > width)
        return false;
    strbuf_adds(line, part);
    return true;
}

static void
add_numbers(const struct progress *progress, size_t width, int64_t now_ms,
            struct strbuf *line)
{
    AUTO_STRBUF struct strbuf part = STRBUF_INIT;
    char done[FORMAT_SIZE];
    char text[FORMAT_SIZE];

    if (progress->total == 0) {
        (void)add_part(
            line,
            format_duration((now_ms - progress->began_ms) / 1000 * 1000, text),
            width);
        return;
    }
    strbuf_addf(&part, "%3.0f%%",
                100.0 * (double)progress->done / (double)progress->total);
    (void)add_part(line, strbuf_text(&part), width);
    strbuf_clear(&part);
    strbuf_addf(&part, "  %s of %s", format_size(progress->done, done),
                format_size(progress->total, text));
    if (!add_part(line, strbuf_text(&part), width) || progress->rate < 1)
        return;
    strbuf_clear(&part);
    strbuf_addf(&part, "  %s/s", format_size((uint64_t)progress->rate, text));
    if (!add_part(line, strbuf_text(&part), width) ||
        progress->done >= progress->total)
        return;
    strbuf_clear(&part);
    strbuf_addf(
        &part, "  %s left",
        format_duration((int64_t)((double)(progress->total - progress->done) /
                                  progress->rate) *
                                1000 +
                            1000,
                        text));
    (void)add_part(line, strbuf_text(&part), width);
}

/* As many characters of `text` as fit into `room` columns. */
static void
add_cut(struct strbuf *line, const char *text, size_t room)
{
    AUTO_STRBUF struct strbuf safe = STRBUF_INIT;
    const char *all;
    size_t length;

    terminal_add(&safe, text);
    all = strbuf_text(&safe);
    length = strlen(all);
    while (length > 0 && terminal_columns(all) > room) {
        /* Drop a whole character of UTF-8. */
        do
            length--;
        while (length > 0 && ((unsigned char)all[length] & 0xc0) == 0x80);
        safe.text[length] = '\0';
    }
    strbuf_adds(line, all);
}

void
progress_line(const struct progress *progress, const char *step, size_t width,
              bool has_boxes, int64_t now_ms, struct strbuf *ret_line)
{
    AUTO_STRBUF struct strbuf numbers = STRBUF_INIT;
    size_t rest = strlen(step) > 0 ? strlen(step) + 2 : 0;
    size_t bar = 0;
    size_t used;

    add_numbers(progress, width, now_ms, &numbers);
    used = terminal_columns(strbuf_text(&numbers));
    /* The bar takes what the others leave. */
    if (progress->total > 0 && used + rest + BAR_AROUND + BAR_LEAST <= width)
        bar = MIN((size_t)BAR_COLUMNS, width - used - rest - BAR_AROUND);
    if (bar > 0)
        add_bar(progress, bar, has_boxes, ret_line);
    strbuf_adds(ret_line, strbuf_text(&numbers));
    used = terminal_columns(strbuf_text(ret_line));
    if (*step == '\0' || used + 2 + MIN((size_t)STEP_LEAST, rest - 2) > width)
        return;
    strbuf_adds(ret_line, "  ");
    add_cut(ret_line, step, width - used - 2);
}
