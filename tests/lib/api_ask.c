/* SPDX-License-Identifier: Apache-2.0 */
#include "api_ask.h"

#include "api/params.h"
#include "api/signature.h"
#include "base/memory.h"
#include "base/strbuf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *
api_ask_sign(const char *who, const char *query)
{
    AUTO_PARAMS struct params params = PARAMS_INIT;
    AUTO_STRBUF struct strbuf text = STRBUF_INIT;
    AUTO_STRBUF struct strbuf signed_query = STRBUF_INIT;
    AUTO_FREE char *secret = xasprintf("secret-%s", who);
    char signature[SIGNATURE_TEXT_SIZE];
    struct error err = ERROR_INIT;

    strbuf_addf(&signed_query, "%s&apiKey=key-%s", query, who);
    /* Broken ones are asked on purpose. */
    (void)!params_parse(&params, strbuf_text(&signed_query),
                        signed_query.length, &err);
    signature_text(&params, &signature_forms[0], &text);
    signature_make(secret, strbuf_text(&text), signature);
    strbuf_adds(&signed_query, "&signature=");
    for (const char *c = signature; *c != '\0'; c++) {
        if (strchr("+/=", *c) != NULL)
            strbuf_addf(&signed_query, "%%%02X", (unsigned)*c);
        else
            strbuf_addc(&signed_query, *c);
    }
    return strbuf_take(&signed_query);
}

static void
take_reply(struct api_reply *reply, struct answer *ret_answer)
{
    json_t *top = json_loads(reply->body, 0, NULL);
    void *first = json_object_iter(top);

    *ret_answer = (struct answer){.status = reply->status};
    ret_answer->text = steal(&reply->body);
    (void)snprintf(ret_answer->description, sizeof(ret_answer->description),
                   "%s", reply->description);
    memcpy(ret_answer->cookies, reply->cookies, sizeof(reply->cookies));
    if (first != NULL) {
        (void)snprintf(ret_answer->root, sizeof(ret_answer->root), "%s",
                       json_object_iter_key(first));
        ret_answer->body = json_incref(json_object_iter_value(first));
    }
    json_decref(top);
}

void
api_ask(struct api *api, const char *who, const char *query,
        struct answer *ret_answer)
{
    bool is_peer = strcmp(who, API_ASK_PEER) == 0;
    bool is_stranger = strcmp(who, API_ASK_STRANGER) == 0;
    AUTO_FREE char *full = xasprintf("%s&response=json", query);
    AUTO_FREE char *text =
        is_peer || is_stranger ? xstrdup(full) : api_ask_sign(who, full);
    struct api_request request = {
        .query = text,
        .query_length = strlen(text),
        .body = "",
        .is_trusted_peer = is_peer,
        .remote = "test",
    };
    struct api_reply reply;

    api_handle(api, &request, &reply);
    take_reply(&reply, ret_answer);
    api_reply_release(&reply);
}

/* -- looking ------------------------------------------------------------- */

void
answer_release(struct answer *answer)
{
    json_decref(answer->body);
    answer->body = NULL;
    free(answer->text);
    answer->text = NULL;
}

json_t *
answer_at(const struct answer *answer, const char *path)
{
    AUTO_FREE char *copy = xstrdup(path);
    json_t *value = answer->body;
    char *rest = NULL;

    for (char *part = strtok_r(copy, ".", &rest); part != NULL;
         part = strtok_r(NULL, ".", &rest))
        value = json_is_array(value)
                    ? json_array_get(value, (size_t)(part[0] - '0'))
                    : json_object_get(value, part);
    return value;
}

const char *
answer_text(const struct answer *answer, const char *path)
{
    return json_string_value(answer_at(answer, path));
}

json_int_t
answer_number(const struct answer *answer, const char *path)
{
    json_t *value = answer_at(answer, path);

    return json_is_integer(value) ? json_integer_value(value) : -1;
}
