/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers, times and the progress bar, as people see them. */
#include "base/clock.h"
#include "check.h"
#include "cli/format.h"
#include "cli/progress.h"
#include "cli/terminal.h"
#include "cli/when.h"

#include <locale.h>
#include <time.h>

#define KIB UINT64_C(1024)
#define MIB (KIB * KIB)
#define GIB (MIB * KIB)

static void
check_size(uint64_t bytes, const char *expected)
{
    char text[FORMAT_SIZE];

    CHECK_TEXT(format_size(bytes, text), expected);
}

static void
sizes_have_two_or_three_digits_and_a_unit(void)
{
    check_size(0, "0 B");
    check_size(1023, "1023 B");
    check_size(KIB, "1.0 KiB");
    check_size(1536, "1.5 KiB");
    check_size(99 * KIB + 900, "99.9 KiB");
    check_size(100 * KIB, "100 KiB");
    check_size(MIB - 1, "1.0 MiB");
    check_size(70 * MIB, "70.0 MiB");
    check_size(512 * GIB, "512 GiB");
    check_size(UINT64_MAX, "16.0 EiB");
}

static void
check_duration(int64_t ms, const char *expected)
{
    char text[FORMAT_SIZE];

    CHECK_TEXT(format_duration(ms, text), expected);
}

static void
durations_have_two_units_at_most(void)
{
    check_duration(0, "0 ms");
    check_duration(850, "850 ms");
    check_duration(1000, "1 s");
    check_duration(59499, "59 s");
    check_duration(59500, "1 min 00 s");
    check_duration(185000, "3 min 05 s");
    check_duration(7620000, "2 h 07 min");
    check_duration(INT64_C(356400000), "4 d 03 h");
}

static void
times_are_local_in_summer_and_winter(void)
{
    char text[FORMAT_SIZE];

    CHECK_TEXT(format_api_time("2026-03-01T10:15:00+0000", text),
               "2026-03-01 11:15:00");
    CHECK_TEXT(format_api_time("2026-07-01T10:15:00+0000", text),
               "2026-07-01 12:15:00");
    CHECK_TEXT(format_api_time("no time", text), "no time");
    CHECK_TEXT(format_time(0, text), "");
}

static void
check_when(const char *text, const char *expected)
{
    char date[CLOCK_TEXT_SIZE] = "";
    struct error err = ERROR_INIT;

    CHECK_OK(when_parse(text, date, &err), &err);
    CHECK_TEXT(date, expected);
}

static void
times_of_people_become_times_of_the_api(void)
{
    check_when("2026-03-01", "2026-02-28T23:00:00+0000");
    check_when("2026-03-01 10:15", "2026-03-01T09:15:00+0000");
    check_when("2026-07-01T10:15:30", "2026-07-01T08:15:30+0000");
    check_when("2026-07-01T10:15:30Z", "2026-07-01T10:15:30+0000");
    check_when("2026-07-01T10:15:30+0100", "2026-07-01T09:15:30+0000");
}

static void
check_ago(const char *text, int64_t ms)
{
    char date[CLOCK_TEXT_SIZE];
    struct error err = ERROR_INIT;
    int64_t wall_ms = 0;

    CHECK_OK(when_parse(text, date, &err), &err);
    CHECK_OK(clock_parse(date, &wall_ms, &err), &err);
    CHECK(llabs(clock_wall_ms() - ms - wall_ms) < 60000);
}

static void
times_may_be_said_as_how_long_ago(void)
{
    check_ago("90s", 90000);
    check_ago("30m", 1800000);
    check_ago("12h", 43200000);
    check_ago("7d", 604800000);
}

static void
what_is_no_time_is_refused(void)
{
    static const char *const wrong[] = {
        "",  "tomorrow", "2026-02-31",       "2026-13-01",         "12",
        "h", "-3h",      "2026-03-01 25:00", "2026-03-01 10:15 x", "0d"};
    char date[CLOCK_TEXT_SIZE];

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct error err = ERROR_INIT;

        CHECK(when_parse(wrong[i], date, &err) == -1);
        CHECK(err.code == ERROR_MALFORMED);
    }
}

/* -- progress ------------------------------------------------------------ */

static void
check_line(const struct progress *progress, const char *step, size_t width,
           int64_t now_ms, const char *expected)
{
    AUTO_STRBUF struct strbuf line = STRBUF_INIT;

    progress_line(progress, step, width, false, now_ms, &line);
    CHECK_TEXT(strbuf_text(&line), expected);
    CHECK(terminal_columns(strbuf_text(&line)) <= width);
}

static void
a_bar_has_rate_and_time_left(void)
{
    struct progress progress;

    progress_begin(&progress, 1000);
    progress_set(&progress, 0, 4 * GIB, 1000);
    check_line(&progress, "copy vda", 100, 1000,
               "[--------------------]    0%  0 B of 4.0 GiB  copy vda");
    progress_set(&progress, GIB, 4 * GIB, 2000);
    check_line(&progress, "copy vda", 100, 2000,
               "[#####---------------]   25%  1.0 GiB of 4.0 GiB  1.0 GiB/s  "
               "4 s left  copy vda");
    progress_set(&progress, 4 * GIB, 4 * GIB, 3000);
    check_line(&progress, "", 100, 3000,
               "[####################]  100%  4.0 GiB of 4.0 GiB  1.6 GiB/s");
}

static void
a_bar_gives_way_to_the_numbers(void)
{
    struct progress progress;

    progress_begin(&progress, 0);
    progress_set(&progress, 0, 4 * GIB, 0);
    progress_set(&progress, GIB, 4 * GIB, 1000);
    check_line(&progress, "merging vda", 79, 1000,
               "[####-------------]   25%  1.0 GiB of 4.0 GiB  1.0 GiB/s  "
               "4 s left  merging vda");
}

static void
a_narrow_terminal_gets_no_bar_and_no_half_numbers(void)
{
    struct progress progress;

    progress_begin(&progress, 0);
    progress_set(&progress, 0, 4 * GIB, 0);
    progress_set(&progress, GIB, 4 * GIB, 1000);
    check_line(&progress, "copying disk 'vda'", 60, 1000,
               " 25%  1.0 GiB of 4.0 GiB  1.0 GiB/s  4 s left  copying disk ");
    check_line(&progress, "copying", 12, 1000, " 25%");
    check_line(&progress, "copying", 40, 1000,
               " 25%  1.0 GiB of 4.0 GiB  1.0 GiB/s");
}

static void
work_of_unknown_size_shows_the_time_and_what_is_done(void)
{
    struct progress progress;

    progress_begin(&progress, 0);
    progress_set(&progress, 0, 0, 61500);
    check_line(&progress, "freeze", 80, 61500, "1 min 01 s  freeze");
}

static void
work_that_begins_anew_forgets_its_rate(void)
{
    struct progress progress;

    progress_begin(&progress, 0);
    progress_set(&progress, 0, GIB, 0);
    progress_set(&progress, GIB, GIB, 1000);
    progress_set(&progress, 0, 2 * GIB, 2000);
    CHECK(progress.rate < 1);
    progress_set(&progress, MIB, 2 * GIB, 3000);
    CHECK(progress.rate > 0.9 * (double)MIB &&
          progress.rate < 1.1 * (double)MIB);
    progress_set(&progress, 0, 2 * GIB, 4000); /* it was counted again */
    CHECK(progress.rate < 1);
}

static void
more_than_all_is_shown_as_all(void)
{
    struct progress progress;

    progress_begin(&progress, 0);
    progress_set(&progress, 3 * GIB, 2 * GIB, 0);
    CHECK(progress.done == 2 * GIB);
}

int
main(void)
{
    (void)setlocale(LC_CTYPE, "C.UTF-8");
    (void)setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3", 1);
    tzset();
    RUN(sizes_have_two_or_three_digits_and_a_unit);
    RUN(durations_have_two_units_at_most);
    RUN(times_are_local_in_summer_and_winter);
    RUN(times_of_people_become_times_of_the_api);
    RUN(times_may_be_said_as_how_long_ago);
    RUN(what_is_no_time_is_refused);
    RUN(a_bar_has_rate_and_time_left);
    RUN(a_bar_gives_way_to_the_numbers);
    RUN(a_narrow_terminal_gets_no_bar_and_no_half_numbers);
    RUN(work_of_unknown_size_shows_the_time_and_what_is_done);
    RUN(work_that_begins_anew_forgets_its_rate);
    RUN(more_than_all_is_shown_as_all);
    return check_done();
}
