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
add_bar(const struct progress *progress, bool has_boxes, struct strbuf *line)
{
    uint64_t filled = BAR_COLUMNS * (progress->done >> 10) /
                      MAX(progress->total >> 10, (uint64_t)1);

    strbuf_addc(line, '[');
    for (uint64_t i = 0; i < BAR_COLUMNS; i++)
        strbuf_adds(line, i < filled ? (has_boxes ? "█" : "#")
                                     : (has_boxes ? "░" : "-"));
    strbuf_adds(line, "]  ");
}

static void
add_numbers(const struct progress *progress, int64_t now_ms,
            struct strbuf *line)
{
    char done[FORMAT_SIZE];
    char text[FORMAT_SIZE];

    if (progress->total == 0) {
        strbuf_adds(
            line,
            format_duration((now_ms - progress->began_ms) / 1000 * 1000, text));
        return;
    }
    strbuf_addf(line, "%3.0f%%  %s of %s",
                100.0 * (double)progress->done / (double)progress->total,
                format_size(progress->done, done),
                format_size(progress->total, text));
    if (progress->rate < 1)
        return;
    strbuf_addf(line, "  %s/s", format_size((uint64_t)progress->rate, text));
    if (progress->done < progress->total)
        strbuf_addf(line, "  %s left",
                    format_duration(
                        (int64_t)((double)(progress->total - progress->done) /
                                  progress->rate) *
                                1000 +
                            1000,
                        text));
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
    size_t used;

    add_numbers(progress, now_ms, &numbers);
    used = terminal_columns(strbuf_text(&numbers));
    if (progress->total > 0 && used + BAR_COLUMNS + 4 + strlen(step) <= width)
        add_bar(progress, has_boxes, ret_line);
    add_cut(ret_line, strbuf_text(&numbers), width);
    used = terminal_columns(strbuf_text(ret_line));
    if (*step == '\0' || used + 4 > width)
        return;
    strbuf_adds(ret_line, "  ");
    add_cut(ret_line, step, width - used - 2);
}
