/* SPDX-License-Identifier: Apache-2.0 */
#include "api/render.h"

#include "api/listing.h"
#include "api/object.h"
#include "check.h"

static json_t *
sample(void)
{
    json_t *body = object_new();
    json_t *list = object_new_array();

    for (int i = 0; i < 2; i++) {
        json_t *item = object_new();

        object_set_text(item, "id", i == 0 ? "a" : "b");
        object_set_text(item, "name", NULL);
        object_set_number(item, "size", INT64_C(9007199254740993) + i);
        object_set_bool(item, "current", i == 1);
        object_set_date(item, "created", i == 0 ? INT64_C(1772360100000) : 0);
        object_set(item, "tags", object_new_array());
        object_append(list, item);
    }
    object_set_number(body, "count", 2);
    object_set(body, "vmSnapshot", list);
    return body;
}

static void
json_is_one_line_with_one_top_element(void)
{
    AUTO_JSON json_t *body = sample();
    AUTO_STRBUF struct strbuf text = STRBUF_INIT;

    render_body(RENDER_JSON, "listvmsnapshotresponse", body, &text);
    CHECK_TEXT(strbuf_text(&text),
               "{\"listvmsnapshotresponse\":{\"count\":2,\"vmSnapshot\":["
               "{\"id\":\"a\",\"size\":9007199254740993,\"current\":false,"
               "\"created\":\"2026-03-01T10:15:00+0000\",\"tags\":[]},"
               "{\"id\":\"b\",\"size\":9007199254740994,\"current\":true,"
               "\"tags\":[]}]}}");
}

static void
xml_repeats_the_element_of_a_list(void)
{
    AUTO_JSON json_t *body = sample();
    AUTO_STRBUF struct strbuf text = STRBUF_INIT;

    render_body(RENDER_XML, "listvmsnapshotresponse", body, &text);
    CHECK_TEXT(
        strbuf_text(&text),
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><listvmsnapshotresponse "
        "cloud-stack-version=\"4.22.0.0\"><count>2</count>"
        "<vmSnapshot><id>a</id><size>9007199254740993</size>"
        "<current>false</current><created>2026-03-01T10:15:00+0000</created>"
        "</vmSnapshot><vmSnapshot><id>b</id><size>9007199254740994</size>"
        "<current>true</current></vmSnapshot></listvmsnapshotresponse>");
}

static void
texts_are_escaped(void)
{
    AUTO_JSON json_t *body = object_new();
    AUTO_STRBUF struct strbuf text = STRBUF_INIT;

    object_set_text(body, "n", "<a&b>\"\r\n\x01\xc3\xa9");
    render_body(RENDER_XML, "r", body, &text);
    CHECK(strstr(strbuf_text(&text),
                 "<n>&lt;a&amp;b&gt;\"&#13;\n?\xc3\xa9</n>") != NULL);
    render_body(RENDER_JSON, "r", body, &text);
    CHECK_TEXT(strbuf_text(&text),
               "{\"r\":{\"n\":\"<a&b>\\\"\\r\\n\\u0001\xc3\xa9\"}}");
}

static void
bytes_that_are_no_text_are_shown_as_question_marks(void)
{
    AUTO_JSON json_t *value = object_text("/pool/\xff\xfe");

    CHECK_TEXT(json_string_value(value), "/pool/??");
}

static void
the_format_is_xml_unless_json_is_asked_for(void)
{
    CHECK(render_format_of(NULL) == RENDER_XML);
    CHECK(render_format_of("yaml") == RENDER_XML);
    CHECK(render_format_of("json") == RENDER_JSON);
    CHECK(render_format_of("JSON") == RENDER_JSON);
}

static void
check_type(enum render_format format, const char *json, const char *expected)
{
    char type[RENDER_TYPE_MAX];

    render_content_type(format, json, type);
    CHECK_TEXT(type, expected);
}

static void
the_content_type_is_one_that_clients_take(void)
{
    static const char usual[] = "application/json; charset=UTF-8";

    check_type(RENDER_JSON, NULL, usual);
    check_type(RENDER_JSON, "text/javascript", "text/javascript");
    check_type(RENDER_JSON, "text/plain", usual);
    check_type(RENDER_JSON, "application/json\r\nX: y", usual);
    check_type(RENDER_XML, "text/javascript", "text/xml; charset=UTF-8");
}

static void
an_error_has_the_fields_that_clients_read(void)
{
    AUTO_JSON json_t *body = render_error(431, ERROR_NOT_FOUND, "no such");
    AUTO_STRBUF struct strbuf text = STRBUF_INIT;

    render_body(RENDER_JSON, "createbackupresponse", body, &text);
    CHECK_TEXT(
        strbuf_text(&text),
        "{\"createbackupresponse\":{\"uuidList\":[],\"errorcode\":431,"
        "\"cserrorcode\":4350,\"errorname\":\"NOT_FOUND\",\"errortext\":\"no such\"}}");
}

static void
only_root_admins_see_internal_details(void)
{
    struct error io = ERROR_INIT;
    struct error conflict = ERROR_INIT;

    (void)error_set(&io, ERROR_IO, "read '/secret/path'");
    (void)error_set(&conflict, ERROR_CONFLICT, "machine 'web' is running");
    CHECK_TEXT(render_error_text(&io, true), "read '/secret/path'");
    CHECK(strstr(render_error_text(&io, false), "secret") == NULL);
    CHECK_TEXT(render_error_text(&conflict, false), "machine 'web' is running");
}

static void
a_description_fits_into_a_header(void)
{
    char line[RENDER_DESCRIPTION_MAX];
    char longer[2 * RENDER_DESCRIPTION_MAX];

    render_description("a\r\nSet-Cookie: x=\xc3\xa9", line);
    CHECK_TEXT(line, "a??Set-Cookie: x=??");
    memset(longer, 'x', sizeof(longer));
    longer[sizeof(longer) - 1] = '\0';
    render_description(longer, line);
    CHECK(strlen(line) == RENDER_DESCRIPTION_MAX - 1);
}

/* -- pages --------------------------------------------------------------- */

static int
start_listing(struct listing *listing, const char *text, uint64_t size,
              uint64_t max, struct error *err)
{
    struct params params = PARAMS_INIT;
    int result = params_parse(&params, text, strlen(text), err);

    if (result == 0)
        result = listing_init(listing, &params, size, max, err);
    params_release(&params); /* no keyword is borrowed in these tests */
    return result;
}

/* The answer to a list of five objects. */
static void
check_page(const char *query, const char *expected)
{
    AUTO_LISTING struct listing listing = {0};
    AUTO_JSON json_t *body = object_new();
    AUTO_STRBUF struct strbuf text = STRBUF_INIT;
    struct error err = ERROR_INIT;

    CHECK_OK(start_listing(&listing, query, 3, 0, &err), &err);
    for (int i = 0; i < 5; i++) {
        if (listing_wants(&listing, "x", NULL))
            listing_add(&listing, json_integer(i));
    }
    listing_answer(&listing, "n", body);
    render_body(RENDER_JSON, "r", body, &text);
    CHECK_TEXT(strbuf_text(&text), expected);
}

static void
a_page_counts_everything_and_shows_its_part(void)
{
    check_page("", "{\"r\":{\"count\":5,\"n\":[0,1,2]}}");
    check_page("page=2&pagesize=2", "{\"r\":{\"count\":5,\"n\":[2,3]}}");
    check_page("page=3&pagesize=2", "{\"r\":{\"count\":5,\"n\":[4]}}");
    check_page("page=4&pagesize=2", "{\"r\":{\"count\":5}}");
    check_page("page=2147483647&pagesize=2147483647", "{\"r\":{\"count\":5}}");
    check_page("pagesize=-1", "{\"r\":{\"count\":5,\"n\":[0,1,2,3,4]}}");
    check_page("page=1&pagesize=-1", "{\"r\":{\"count\":5,\"n\":[0,1,2,3,4]}}");
}

static void
an_empty_list_has_neither_count_nor_array(void)
{
    AUTO_LISTING struct listing listing = {0};
    AUTO_JSON json_t *body = object_new();
    struct error err = ERROR_INIT;

    CHECK_OK(start_listing(&listing, "", 3, 0, &err), &err);
    listing_answer(&listing, "n", body);
    CHECK(json_object_size(body) == 0);
}

static void
a_keyword_is_found_in_any_text_and_case(void)
{
    AUTO_PARAMS struct params params = PARAMS_INIT;
    AUTO_LISTING struct listing listing = {0};
    struct error err = ERROR_INIT;

    CHECK_OK(params_parse(&params, "keyword=AbC", 11, &err), &err);
    CHECK_OK(listing_init(&listing, &params, 3, 0, &err), &err);
    CHECK(listing_wants(&listing, "xabcx", NULL));
    CHECK(listing_wants(&listing, "no", "", "ABC", NULL));
    CHECK(!listing_wants(&listing, "no", "ab", NULL));
    CHECK(listing.count == 2);
}

static void
pages_that_make_no_sense_are_refused(void)
{
    static const char *const bad[] = {"page=1",
                                      "pagesize=5",
                                      "page=0&pagesize=5",
                                      "page=-1&pagesize=5",
                                      "page=1&pagesize=0",
                                      "page=1&pagesize=-2",
                                      "page=1&pagesize=501",
                                      "pagesize=-1"};

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        AUTO_LISTING struct listing listing = {0};
        struct error err = ERROR_INIT;

        CHECK(start_listing(&listing, bad[i], 500, 500, &err) < 0);
        CHECK(err.code == ERROR_INVALID);
        CHECK(strstr(err.message, "page") != NULL);
    }
}

int
main(void)
{
    RUN(json_is_one_line_with_one_top_element);
    RUN(xml_repeats_the_element_of_a_list);
    RUN(texts_are_escaped);
    RUN(bytes_that_are_no_text_are_shown_as_question_marks);
    RUN(the_format_is_xml_unless_json_is_asked_for);
    RUN(the_content_type_is_one_that_clients_take);
    RUN(an_error_has_the_fields_that_clients_read);
    RUN(only_root_admins_see_internal_details);
    RUN(a_description_fits_into_a_header);
    RUN(a_page_counts_everything_and_shows_its_part);
    RUN(an_empty_list_has_neither_count_nor_array);
    RUN(a_keyword_is_found_in_any_text_and_case);
    RUN(pages_that_make_no_sense_are_refused);
    return check_done();
}
