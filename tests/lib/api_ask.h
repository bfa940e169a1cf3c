/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api_ask.h -- ask the API without HTTP, and look at its answers.
 */
#ifndef TESTS_LIB_API_ASK_H
#define TESTS_LIB_API_ASK_H

#include "api/api.h"

#include <jansson.h>

/* Who asks; everybody else signs with "key-<who>" and "secret-<who>". */
#define API_ASK_PEER "peer"     /* trusted by the kernel */
#define API_ASK_STRANGER "none" /* shows nothing */

struct answer {
    int status;
    json_t *body;  /* owned: what is under the one top element */
    char root[80]; /* that element's name */
    char *text;    /* owned: the body as it came */
    char description[API_DESCRIPTION_MAX];
    char cookies[2][API_COOKIE_MAX];
};
void answer_release(struct answer *answer);
#define AUTO_ANSWER CLEANUP(answer_release)

/* Ask, with response=json; `query` is urlencoded "command=...&...". */
void api_ask(struct api *api, const char *who, const char *query,
             struct answer *ret_answer);

/* The same text, signed with that user's keys; the caller frees it. */
char *api_ask_sign(const char *who, const char *query);

/* A text field at a path such as "vmSnapshot.0.parent"; NULL when there is
 * none.  Numbers and booleans are not texts. */
const char *answer_text(const struct answer *answer, const char *path);
/* Whatever is at that path, borrowed; NULL when there is nothing. */
json_t *answer_at(const struct answer *answer, const char *path);
/* An integer, or -1. */
json_int_t answer_number(const struct answer *answer, const char *path);

#endif
