/* SPDX-License-Identifier: Apache-2.0 */
#include "api/sessions.h"
#include "api/signature.h"

#include "base/memory.h"
#include "check.h"

#define SECRET "SK-test_2"

/* The vector of semantics 6.2. */
static const char vector[] =
    "apiKey=AK-test_1&command=createVMSnapshot"
    "&virtualmachineid=6f1c2a34-1111-4222-8333-444455556666"
    "&name=before+upgrade&quiescevm=true&response=json&signatureVersion=3"
    "&expires=2030-01-01T00%3A00%3A00%2B0000";

static void
parse(struct params *params, const char *text)
{
    struct error err = ERROR_INIT;

    CHECK_OK(params_parse(params, text, strlen(text), &err), &err);
}

static void
the_signature_is_that_of_the_vector(void)
{
    AUTO_PARAMS struct params params = PARAMS_INIT;
    AUTO_STRBUF struct strbuf text = STRBUF_INIT;
    char signature[SIGNATURE_TEXT_SIZE];

    parse(&params, vector);
    signature_text(&params, &signature_forms[0], &text);
    CHECK_TEXT(strbuf_text(&text),
               "apikey=ak-test_1&command=createvmsnapshot&"
               "expires=2030-01-01t00%3a00%3a00%2b0000&name=before%20upgrade&"
               "quiescevm=true&response=json&signatureversion=3&"
               "virtualmachineid=6f1c2a34-1111-4222-8333-444455556666");
    signature_make(SECRET, strbuf_text(&text), signature);
    CHECK_TEXT(signature, "RE9qFJp/w+xs3VkfRMK9kY/4WKs=");
    parse(&params, "signature=RE9qFJp%2Fw%2Bxs3VkfRMK9kY%2F4WKs%3D");
    CHECK(signature_is_valid(&params, SECRET));
    CHECK(!signature_is_valid(&params, "SK-test_3"));
}

static void
a_changed_parameter_is_not_what_was_signed(void)
{
    static const char signature[] =
        "signature=RE9qFJp%2Fw%2Bxs3VkfRMK9kY%2F4WKs%3D&";
    static const char *const more[] = {"x=1", "listall=true", "name2="};

    for (size_t i = 0; i < ARRAY_SIZE(more); i++) {
        AUTO_PARAMS struct params params = PARAMS_INIT;

        parse(&params, signature);
        parse(&params, more[i]);
        parse(&params, vector);
        CHECK(!signature_is_valid(&params, SECRET));
    }
}

static void
signatures_of_wrong_form_are_refused(void)
{
    static const char *const wrong[] = {
        "signature=", "signature=x", "signature=RE9qFJp/w%2Bxs3VkfRMK9kY/4WKs",
        "signature=RE9qFJp/w%2Bxs3VkfRMK9kY/4WKs%3D%3D",
        "signature=re9qFJp/w%2Bxs3VkfRMK9kY/4WKs%3D"};

    for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
        AUTO_PARAMS struct params params = PARAMS_INIT;

        parse(&params, vector);
        parse(&params, wrong[i]);
        CHECK(!signature_is_valid(&params, SECRET));
    }
}

/* What clients sign for the value "a b*c~d(e)+f/[x]&=%". */
static const struct {
    const char *who;
    const char *text;
} clients[] = {
    {"Java", "apikey=k&jobid=a%20b*c%7ed%28e%29%2bf%2f%5bx%5d%26%3d%25"},
    {"cs", "apikey=k&jobid=a%20b*c~d%28e%29%2bf%2f%5bx%5d%26%3d%25"},
    {"csclient", "apikey=k&jobid=a%20b%2ac~d%28e%29%2bf%2f%5bx%5d%26%3d%25"},
    {"libcloud", "apikey=k&jobid=a%20b*c~d%28e%29%2bf%2f[x]%26%3d%25"},
};

static void
every_client_is_understood(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(clients); i++) {
        AUTO_PARAMS struct params params = PARAMS_INIT;
        char signature[SIGNATURE_TEXT_SIZE];
        char *escaped;

        parse(&params, "apiKey=k&jobId=a+b%2Ac%7Ed%28e%29%2Bf%2F%5Bx%5D"
                       "%26%3D%25");
        signature_make(SECRET, clients[i].text, signature);
        escaped = xasprintf("signature=%s", signature);
        for (char *c = escaped; *c != '\0'; c++)
            CHECK(*c != '&' && *c != '%');
        /* A '+' would be read as a space. */
        {
            AUTO_STRBUF struct strbuf text = STRBUF_INIT;

            for (char *c = escaped; *c != '\0'; c++)
                if (*c == '+')
                    strbuf_adds(&text, "%2B");
                else
                    strbuf_addc(&text, *c);
            parse(&params, strbuf_text(&text));
        }
        free(escaped);
        CHECK(signature_is_valid(&params, SECRET));
        if (!signature_is_valid(&params, SECRET))
            printf("# %s\n", clients[i].who);
    }
}

static void
names_may_be_sorted_as_sent_or_in_lower_case(void)
{
    /* As sent, capitals come first. */
    static const char *const texts[] = {
        "zone=1&apikey=k&response=json", /* "Zone" "apiKey" "response" */
        "apikey=k&response=json&zone=1"};

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        AUTO_PARAMS struct params params = PARAMS_INIT;
        AUTO_STRBUF struct strbuf text = STRBUF_INIT;
        bool found = false;

        parse(&params, "response=json&apiKey=k&Zone=1");
        for (size_t f = 0; f < SIGNATURE_FORMS; f++) {
            signature_text(&params, &signature_forms[f], &text);
            found |= strcmp(strbuf_text(&text), texts[i]) == 0;
        }
        CHECK(found);
    }
}

/* -- sessions ------------------------------------------------------------ */

static void
a_session_needs_both_secrets(void)
{
    struct sessions *sessions = sessions_new(4, 1000);
    struct session session;
    struct session other;

    sessions_begin(sessions, 7, 100, &session);
    sessions_begin(sessions, 8, 100, &other);
    CHECK(strlen(session.id) == SESSIONS_ID_SIZE - 1);
    CHECK(strlen(session.key) == SESSIONS_KEY_SIZE - 1);
    CHECK(strcmp(session.id, other.id) != 0);
    CHECK(sessions_use(sessions, session.id, session.key, 200) == 7);
    CHECK(sessions_use(sessions, session.id, other.key, 200) == 0);
    CHECK(sessions_use(sessions, session.id, "", 200) == 0);
    CHECK(sessions_use(sessions, "", session.key, 200) == 0);
    CHECK(sessions_use(sessions, other.id, other.key, 200) == 8);
    sessions_free(sessions);
}

static void
a_session_that_is_not_used_ends(void)
{
    struct sessions *sessions = sessions_new(4, 1000);
    struct session session;

    sessions_begin(sessions, 7, 100, &session);
    CHECK(sessions_use(sessions, session.id, session.key, 1100) == 7);
    CHECK(sessions_use(sessions, session.id, session.key, 2100) == 7);
    CHECK(sessions_use(sessions, session.id, session.key, 3101) == 0);
    CHECK(sessions_use(sessions, session.id, session.key, 3101) == 0);
    sessions_free(sessions);
}

static void
a_session_can_be_ended(void)
{
    struct sessions *sessions = sessions_new(4, 1000);
    struct session first;
    struct session second;
    struct session other;

    sessions_begin(sessions, 7, 100, &first);
    sessions_begin(sessions, 7, 100, &second);
    sessions_begin(sessions, 8, 100, &other);
    sessions_end(sessions, first.id);
    CHECK(sessions_use(sessions, first.id, first.key, 100) == 0);
    CHECK(sessions_use(sessions, second.id, second.key, 100) == 7);
    sessions_end_user(sessions, 7);
    CHECK(sessions_use(sessions, second.id, second.key, 100) == 0);
    CHECK(sessions_use(sessions, other.id, other.key, 100) == 8);
    sessions_free(sessions);
}

static void
too_many_sessions_end_the_one_unused_for_longest(void)
{
    struct sessions *sessions = sessions_new(2, 100000);
    struct session first;
    struct session second;
    struct session third;

    sessions_begin(sessions, 1, 100, &first);
    sessions_begin(sessions, 2, 200, &second);
    CHECK(sessions_use(sessions, first.id, first.key, 300) == 1);
    sessions_begin(sessions, 3, 400, &third);
    CHECK(sessions_use(sessions, first.id, first.key, 500) == 1);
    CHECK(sessions_use(sessions, second.id, second.key, 500) == 0);
    CHECK(sessions_use(sessions, third.id, third.key, 500) == 3);
    sessions_free(sessions);
}

int
main(void)
{
    RUN(the_signature_is_that_of_the_vector);
    RUN(a_changed_parameter_is_not_what_was_signed);
    RUN(signatures_of_wrong_form_are_refused);
    RUN(every_client_is_understood);
    RUN(names_may_be_sorted_as_sent_or_in_lower_case);
    RUN(a_session_needs_both_secrets);
    RUN(a_session_that_is_not_used_ends);
    RUN(a_session_can_be_ended);
    RUN(too_many_sessions_end_the_one_unused_for_longest);
    return check_done();
}
