/* SPDX-License-Identifier: Apache-2.0 */
#include "api/params.h"

#include "base/strbuf.h"
#include "check.h"

#define UUID "6f1c2a34-1111-4222-8333-444455556666"

static int
parse(struct params *params, const char *text, struct error *err)
{
    return params_parse(params, text, strlen(text), err);
}

static void
names_are_found_in_any_case_and_the_first_value_counts(void)
{
    AUTO_PARAMS struct params params = PARAMS_INIT;
    struct error err = ERROR_INIT;

    CHECK_OK(parse(&params, "jobId=a&jobid=b&PageSize=5&x=1&x=2", &err), &err);
    CHECK_TEXT(params_find(&params, "jobid"), "a");
    CHECK_TEXT(params_find(&params, "pagesize"), "5");
    CHECK_TEXT(params_find(&params, "x"), "1");
    CHECK(params_find(&params, "y") == NULL);
    /* Both spellings were signed; the repeated one was not there twice. */
    CHECK(params.count == 4);
}

static void
what_is_parsed_first_wins(void)
{
    AUTO_PARAMS struct params params = PARAMS_INIT;
    struct error err = ERROR_INIT;

    CHECK_OK(parse(&params, "name=query", &err), &err);
    CHECK_OK(parse(&params, "name=body&more=1", &err), &err);
    CHECK_TEXT(params_find(&params, "name"), "query");
    CHECK_TEXT(params_find(&params, "more"), "1");
}

static void
an_empty_value_is_none_but_stays_signed(void)
{
    AUTO_PARAMS struct params params = PARAMS_INIT;
    struct error err = ERROR_INIT;

    CHECK_OK(parse(&params, "&&name=&flag&=x&a=b&", &err), &err);
    CHECK(params_find(&params, "name") == NULL);
    CHECK(params_find(&params, "flag") == NULL);
    CHECK_TEXT(params_find(&params, "a"), "b");
    CHECK(params.count == 3);
}

static void
escapes_are_decoded(void)
{
    AUTO_PARAMS struct params params = PARAMS_INIT;
    struct error err = ERROR_INIT;

    CHECK_OK(
        parse(&params, "a=b+c%20d%2B%c3%A9&tags%5B0%5D.key=k&e=%3D==", &err),
        &err);
    CHECK_TEXT(params_find(&params, "a"), "b c d+\xc3\xa9");
    CHECK_TEXT(params_find(&params, "tags[0].key"), "k");
    CHECK_TEXT(params_find(&params, "e"), "===");
}

static void
broken_text_is_refused_by_name(void)
{
    static const char *const broken[] = {
        "name=%",      "name=%2",        "name=%zz",
        "name=%00",    "name=a%00b",     "name=%ff",
        "name=%c0%80", "name=%ed%a0%80", "name=%f4%90%80%80",
        "name=%c3"};

    for (size_t i = 0; i < ARRAY_SIZE(broken); i++) {
        AUTO_PARAMS struct params params = PARAMS_INIT;
        struct error err = ERROR_INIT;

        CHECK(parse(&params, broken[i], &err) < 0);
        CHECK(err.code == ERROR_MALFORMED);
        CHECK(strstr(err.message, "'name'") != NULL);
    }
}

static void
broken_names_are_refused(void)
{
    AUTO_PARAMS struct params params = PARAMS_INIT;
    AUTO_STRBUF struct strbuf text = STRBUF_INIT;
    struct error err = ERROR_INIT;

    CHECK(parse(&params, "na%zzme=1", &err) < 0);
    CHECK(err.code == ERROR_MALFORMED);
    for (int i = 0; i <= PARAMS_NAME_MAX; i++)
        strbuf_addc(&text, 'n');
    CHECK(parse(&params, strbuf_text(&text), &err) < 0);
}

static void
there_are_at_most_200_parameters(void)
{
    AUTO_PARAMS struct params params = PARAMS_INIT;
    AUTO_STRBUF struct strbuf text = STRBUF_INIT;
    struct error err = ERROR_INIT;

    for (int i = 0; i < PARAMS_MAX; i++)
        strbuf_addf(&text, "p%d=%d&", i, i);
    CHECK_OK(parse(&params, strbuf_text(&text), &err), &err);
    CHECK(parse(&params, "one=more", &err) < 0);
    CHECK(err.code == ERROR_MALFORMED);
    /* One that is there already is not one more. */
    CHECK_OK(parse(&params, "p7=8", &err), &err);
}

/* -- types --------------------------------------------------------------- */

static const struct {
    const char *text;
    enum params_type type;
    enum error_code code;
} values[] = {
    {"a=" UUID, PARAMS_UUID, ERROR_NONE},
    {"a=6F1C2A34-1111-4222-8333-444455556666", PARAMS_UUID, ERROR_NONE},
    {"a=17", PARAMS_UUID, ERROR_INVALID},
    {"a=" UUID "x", PARAMS_UUID, ERROR_INVALID},
    {"a=' or 1=1", PARAMS_UUID, ERROR_INVALID},
    {"a=", PARAMS_UUID, ERROR_NONE},
    {"b=1", PARAMS_UUID, ERROR_NONE},
    {"a=true", PARAMS_BOOL, ERROR_NONE},
    {"a=True", PARAMS_BOOL, ERROR_NONE},
    {"a=FALSE", PARAMS_BOOL, ERROR_NONE},
    {"a=yes", PARAMS_BOOL, ERROR_MALFORMED},
    {"a=1", PARAMS_BOOL, ERROR_MALFORMED},
    {"a=-1", PARAMS_INT, ERROR_NONE},
    {"a=2147483647", PARAMS_INT, ERROR_NONE},
    {"a=2147483648", PARAMS_INT, ERROR_MALFORMED},
    {"a=1.5", PARAMS_INT, ERROR_MALFORMED},
    {"a=0x10", PARAMS_INT, ERROR_MALFORMED},
    {"a=+1", PARAMS_INT, ERROR_MALFORMED},
    {"a=9223372036854775807", PARAMS_LONG, ERROR_NONE},
    {"a=9223372036854775808", PARAMS_LONG, ERROR_MALFORMED},
    {"a=many", PARAMS_LONG, ERROR_MALFORMED},
    {"a=2026-03-01T10:15:00%2B0000", PARAMS_DATE, ERROR_NONE},
    {"a=2026-03-01", PARAMS_DATE, ERROR_NONE},
    {"a=yesterday", PARAMS_DATE, ERROR_MALFORMED},
    {"a=" UUID "," UUID, PARAMS_UUIDS, ERROR_NONE},
    {"a=" UUID ",17", PARAMS_UUIDS, ERROR_INVALID},
    {"a=,,", PARAMS_UUIDS, ERROR_NONE},
    {"a=x,y", PARAMS_LIST, ERROR_NONE},
    {"a[0].key=k&a[0].value=v", PARAMS_MAP, ERROR_NONE},
    {"a[0].cpu=4", PARAMS_MAP, ERROR_NONE},
    {"a[0]=4", PARAMS_MAP, ERROR_MALFORMED},
    {"a[].key=4", PARAMS_MAP, ERROR_MALFORMED},
    {"a[x].key=4", PARAMS_MAP, ERROR_MALFORMED},
    {"a[0].=4", PARAMS_MAP, ERROR_MALFORMED},
    {"a[0=4", PARAMS_MAP, ERROR_MALFORMED},
    {"a[123456].key=4", PARAMS_MAP, ERROR_MALFORMED},
    {"a=4", PARAMS_MAP, ERROR_MALFORMED},
};

static void
every_type_takes_its_values_and_refuses_others_by_name(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
        AUTO_PARAMS struct params params = PARAMS_INIT;
        struct error err = ERROR_INIT;
        int result;

        CHECK_OK(parse(&params, values[i].text, &err), &err);
        result = params_check(&params, "a", values[i].type, &err);
        CHECK((result == 0) == (values[i].code == ERROR_NONE));
        CHECK(err.code == values[i].code);
        if (result < 0)
            CHECK(strstr(err.message, "'a") != NULL);
        if (err.code != values[i].code)
            printf("# '%s' as %s: %s\n", values[i].text,
                   params_type_name(values[i].type), err.message);
    }
}

static void
check_text_of(const char *character, int count, enum error_code code)
{
    AUTO_PARAMS struct params params = PARAMS_INIT;
    AUTO_STRBUF struct strbuf text = STRBUF_INIT;
    struct error err = ERROR_INIT;

    strbuf_adds(&text, "a=");
    for (int i = 0; i < count; i++)
        strbuf_adds(&text, character);
    CHECK_OK(parse(&params, strbuf_text(&text), &err), &err);
    (void)!params_check(&params, "a", PARAMS_STRING, &err);
    CHECK(err.code == code);
}

static void
texts_are_bounded_by_characters_not_by_bytes(void)
{
    check_text_of("x", PARAMS_TEXT_MAX, ERROR_NONE);
    check_text_of("x", PARAMS_TEXT_MAX + 1, ERROR_INVALID);
    check_text_of("\xc3\xa9", PARAMS_TEXT_MAX, ERROR_NONE);
    check_text_of("\xc3\xa9", PARAMS_TEXT_MAX + 1, ERROR_INVALID);
}

static void
lists_are_bounded(void)
{
    AUTO_PARAMS struct params params = PARAMS_INIT;
    AUTO_STRBUF struct strbuf text = STRBUF_INIT;
    struct error err = ERROR_INIT;

    strbuf_adds(&text, "a=x");
    for (int i = 0; i < PARAMS_LIST_MAX; i++)
        strbuf_adds(&text, ",x");
    CHECK_OK(parse(&params, strbuf_text(&text), &err), &err);
    CHECK(params_check(&params, "a", PARAMS_LIST, &err) < 0);
    CHECK(err.code == ERROR_INVALID);
}

static void
values_are_read(void)
{
    AUTO_PARAMS struct params params = PARAMS_INIT;
    AUTO_PARAMS_LIST struct params_list list = {0};
    struct error err = ERROR_INIT;

    CHECK_OK(parse(&params, "b=TRUE&n=-7&d=2026-03-01&l=x,,y,", &err), &err);
    CHECK(params_bool(&params, "b", false));
    CHECK(params_bool(&params, "none", true));
    CHECK(params_number(&params, "n", 0) == -7);
    CHECK(params_number(&params, "none", 5) == 5);
    CHECK(params_date(&params, "d", 0) == INT64_C(1772323200000));
    params_list(&params, "l", &list);
    REQUIRE(list.count == 2);
    CHECK_TEXT(list.items[0], "x");
    CHECK_TEXT(list.items[1], "y");
}

static void
control_characters_are_refused_except_line_ends(void)
{
    AUTO_PARAMS struct params good = PARAMS_INIT;
    AUTO_PARAMS struct params bad = PARAMS_INIT;
    struct error err = ERROR_INIT;

    CHECK_OK(parse(&good, "a=x%09y%0D%0A", &err), &err);
    CHECK_OK(params_check_characters(&good, &err), &err);
    CHECK_OK(parse(&bad, "a=x%1By", &err), &err);
    CHECK(params_check_characters(&bad, &err) < 0);
    CHECK(err.code == ERROR_INVALID && strstr(err.message, "'a'") != NULL);
}

int
main(void)
{
    RUN(names_are_found_in_any_case_and_the_first_value_counts);
    RUN(what_is_parsed_first_wins);
    RUN(an_empty_value_is_none_but_stays_signed);
    RUN(escapes_are_decoded);
    RUN(broken_text_is_refused_by_name);
    RUN(broken_names_are_refused);
    RUN(there_are_at_most_200_parameters);
    RUN(every_type_takes_its_values_and_refuses_others_by_name);
    RUN(texts_are_bounded_by_characters_not_by_bytes);
    RUN(lists_are_bounded);
    RUN(values_are_read);
    RUN(control_characters_are_refused_except_line_ends);
    return check_done();
}
