/* SPDX-License-Identifier: Apache-2.0 */
/*
 * client.h -- the daemon's API, asked over its Unix socket or over HTTP.
 *
 * Over the socket the kernel says who we are; over HTTP requests are signed.
 *
 * Threads:    one at a time.
 */
#ifndef CLI_CLIENT_H
#define CLI_CLIENT_H

#include "base/compiler.h"
#include "base/error.h"

#include <jansson.h>

struct client;

struct client_config {
    const char *socket;   /* a path; used if there is no url */
    const char *url;      /* NULL: the socket */
    const char *key_file; /* needed with a url; without one, its endpoint is
                             the url */
    const char *ca_file;  /* NULL: the system's */
};

/**
 * client_new(config, err):
 * Nothing is sent yet.
 *
 * Returns:    the client, or NULL with *err set to ERROR_INVALID (a url that
 *             is none), ERROR_AUTH (keys that are missing or cannot be read).
 */
struct client *client_new(const struct client_config *config, struct error *err)
    MUST_CHECK NONNULL(1, 2);
void client_free(struct client *client);

/**
 * client_call(client, command, params, ret_answer, err):
 * Ask, and wait for the answer: what stands below its one top element.
 *
 * Ownership:  `params`, an object of texts, is handed over (NULL: json_pack()
 *             found that a text is not UTF-8); *ret_answer is the caller's.
 * Blocks:     60 seconds at most; ended early by an interrupt (interrupt.h).
 * Returns:    0, or -1 with *err set to what the daemon answered, or
 *               ERROR_UNAVAILABLE  it does not answer;
 *               ERROR_DENIED       the socket is not for us;
 *               ERROR_CANCELLED    interrupted; whether it was done is not
 *                                  known;
 *               ERROR_MALFORMED    a parameter is not UTF-8.
 */
int client_call(struct client *client, const char *command, json_t *params,
                json_t **ret_answer, struct error *err)
    MUST_CHECK NONNULL(1, 2, 4, 5);

/**
 * client_list(client, command, key, params, ret_items, err):
 * As client_call(), for a list command: all pages, as one array.
 */
int client_list(struct client *client, const char *command, const char *key,
                json_t *params, json_t **ret_items, struct error *err)
    MUST_CHECK NONNULL(1, 2, 3, 5, 6);

/* The error that an error object of the API stands for: of an answer, or the
 * result of a job. */
void client_error(json_t *object, struct error *err) NONNULL(2);

#endif
