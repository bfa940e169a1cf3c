/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config.h -- varve.conf(5): where the daemon finds things.
 *
 * INI without sections: "key = value" lines, "#" begins a comment.  Unknown
 * keys are refused, so that a slip of the pen is not silently a default.
 */
#ifndef DAEMON_CONFIG_H
#define DAEMON_CONFIG_H

#include "base/compiler.h"
#include "base/error.h"

#include <stdbool.h>

#define CONFIG_DEFAULT_PATH "/etc/varve/varve.conf"

/* All owned; paths are absolute. */
struct config {
    char *state_dir;
    char *run_dir;
    char *socket;       /* "" for none */
    char *socket_group; /* "" for none */
    char *listen;       /* "" for none */
    char *libvirt_uri;
    char *repository;
    char *hook_dir;
    char *database; /* a path, or a URL of state.h */
    char *workers;  /* a number */
};

/**
 * config_load(path, must_exist, ret_config, err):
 * Read the file; without one (and must_exist false) all is default.
 *
 * Returns:    0, or -1 with *err set to ERROR_NOT_FOUND, ERROR_INVALID naming
 *             file, line and key.
 */
int config_load(const char *path, bool must_exist, struct config *ret_config,
                struct error *err) MUST_CHECK NONNULL(1, 3, 4);

/* Parse text as config_load() does; `name` stands in messages. */
int config_parse(const char *text, const char *name, struct config *config,
                 struct error *err) MUST_CHECK NONNULL(1, 2, 3, 4);

void config_init(struct config *config) NONNULL(1);
void config_release(struct config *config) NONNULL(1);
#define AUTO_CONFIG CLEANUP(config_release)

#endif
