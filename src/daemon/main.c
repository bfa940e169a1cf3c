/* SPDX-License-Identifier: Apache-2.0 */
/*
 * varved: the order of start and stop, and the only place that knows concrete
 * kinds.
 *
 *     configuration -> directories -> lock -> database -> administrator ->
 *     hypervisor -> engine (inventory, settle) -> API -> wait -> the same back
 *
 * Signals are taken by sigwait(2) in the main thread, so that ending is
 * ordinary code.  The hypervisor's events only set a flag there; a thread of
 * its own looks at the machines.
 */
#include "api/api.h"
#include "api/server.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/parse.h"
#include "base/path.h"
#include "daemon/config.h"
#include "daemon/hook.h"
#include "daemon/thaw_watchdog.h"
#include "daemon/watch.h"
#include "engine/bootstrap.h"
#include "engine/engine.h"
#include "hv/libvirt/hv_libvirt.h"
#include "storage/file/storage_file.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* All that is running; what is NULL was not started. */
struct daemon {
    struct config config;
    int lock_fd;
    struct state *state;
    struct hv *hv;
    struct storage *storages[1];
    struct engine *engine;
    struct watch *watch;
    struct api *api;
    struct server *server;
};

static void
usage(FILE *out)
{
    (void)fprintf(out,
                  "Usage: varved [--config FILE] [--check-config | "
                  "--install-hook | --remove-hook]\n"
                  "Snapshots, incremental backup and restore for the machines "
                  "of libvirt.\n\n"
                  "  -c, --config FILE   read FILE instead of %s\n"
                  "      --check-config  read the configuration and end\n"
                  "      --install-hook  write the hook for libvirt and end\n"
                  "      --remove-hook   remove it and end\n"
                  "  -h, --help          show this\n"
                  "  -V, --version       show the version\n\n"
                  "It stays in the foreground; see varved(8).\n",
                  CONFIG_DEFAULT_PATH);
}

static int
make_directories(const struct config *config, struct error *err)
{
    AUTO_FREE char *socket_dir = path_parent(config->socket);

    /* The hook and the hypervisor's user pass through, and see no names. */
    if (fd_make_directories(config->state_dir, 0711, err) < 0 ||
        fd_make_directories(config->run_dir, 0755, err) < 0 ||
        fd_make_directories(config->repository, 0700, err) < 0)
        return -1;
    if (config->socket[0] != '\0' &&
        fd_make_directories(socket_dir, 0755, err) < 0)
        return -1;
    return 0;
}

/* One daemon for one state directory. */
static int
take_lock(struct daemon *daemon, struct error *err)
{
    AUTO_FREE char *path = path_join(daemon->config.state_dir, "varved.lock");

    daemon->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (daemon->lock_fd < 0)
        return error_set_errno(err, errno, "open '%s'", path);
    if (flock(daemon->lock_fd, LOCK_EX | LOCK_NB) < 0)
        return error_set(err, ERROR_BUSY,
                         "another varved works in '%s' already",
                         daemon->config.state_dir);
    return 0;
}

static int
open_state(struct daemon *daemon, struct error *err)
{
    const struct config *config = &daemon->config;
    const char *const repositories[] = {config->repository};
    AUTO_FREE char *endpoint =
        xasprintf("http://%s/client/api", config->listen);
    struct bootstrap_config bootstrap = {
        .state_dir = config->state_dir,
        .endpoint = endpoint,
        .libvirt_uri = config->libvirt_uri,
        .repositories = repositories,
        .repository_count = 1,
    };
    struct bootstrap_result result;

    daemon->state = state_open(config->database, err);
    if (daemon->state == NULL)
        return -1;
    if (bootstrap_run(daemon->state, &bootstrap, &result, err) < 0)
        return -1;
    if (result.has_made_admin)
        log_info("administrator-made", "file='%s/%s'", config->state_dir,
                 BOOTSTRAP_CREDENTIALS);
    return 0;
}

static int
start_engine(struct daemon *daemon, struct error *err)
{
    const struct config *config = &daemon->config;
    uint64_t workers = 4;
    struct engine_config engine = {.state = daemon->state,
                                   .state_dir = config->state_dir,
                                   .repository = config->repository,
                                   .libvirt_uri = config->libvirt_uri};

    if (parse_u64(config->workers, &workers, err) < 0)
        return -1;
    engine.workers = (unsigned)workers;
    daemon->hv = hv_libvirt_open(config->libvirt_uri, err);
    if (daemon->hv == NULL)
        return -1;
    engine.hv = daemon->hv;
    daemon->storages[0] = storage_file_new();
    engine.storages = daemon->storages;
    engine.storage_count = ARRAY_SIZE(daemon->storages);
    daemon->engine = engine_new(&engine, err);
    if (daemon->engine == NULL)
        return -1;
    daemon->watch = watch_start(daemon->engine, daemon->hv, err);
    if (daemon->watch == NULL)
        return -1;
    return engine_start(daemon->engine, err);
}

static int
start_api(struct daemon *daemon, struct error *err)
{
    const struct config *config = &daemon->config;
    AUTO_FREE char *hold_dir = path_join(config->state_dir, "hold");
    AUTO_FREE char *hook = hook_path(config);
    const struct api_config api = {.engine = daemon->engine,
                                   .version = VARVE_VERSION,
                                   .hold_dir = hold_dir,
                                   .hook = hook};
    const struct server_config server = {
        .address = config->listen[0] != '\0' ? config->listen : NULL,
        .socket = config->socket[0] != '\0' ? config->socket : NULL,
        .socket_group =
            config->socket_group[0] != '\0' ? config->socket_group : NULL,
    };

    daemon->api = api_new(&api);
    daemon->server = server_start(daemon->api, &server, err);
    return daemon->server != NULL ? 0 : -1;
}

static int
start(struct daemon *daemon, struct error *err)
{
    if (make_directories(&daemon->config, err) < 0 ||
        take_lock(daemon, err) < 0 || open_state(daemon, err) < 0 ||
        start_engine(daemon, err) < 0 || start_api(daemon, err) < 0)
        return -1;
    log_info("daemon-started", "version=%s uri='%s' repository='%s' listen=%s",
             VARVE_VERSION, daemon->config.libvirt_uri,
             daemon->config.repository, daemon->config.listen);
    return 0;
}

static void
stop(struct daemon *daemon)
{
    if (daemon->server != NULL)
        server_stop(daemon->server);
    api_free(daemon->api);
    watch_stop(daemon->watch);
    if (daemon->engine != NULL)
        engine_stop(daemon->engine);
    engine_free(daemon->engine);
    for (size_t i = 0; i < ARRAY_SIZE(daemon->storages); i++)
        storage_free(daemon->storages[i]);
    hv_free(daemon->hv);
    state_close(daemon->state);
    if (daemon->lock_fd >= 0)
        (void)close(daemon->lock_fd);
    config_release(&daemon->config);
}

/* Block the signals that end us, for all threads; they are waited for. */
static void
block_signals(sigset_t *ret_set)
{
    (void)sigemptyset(ret_set);
    (void)sigaddset(ret_set, SIGTERM);
    (void)sigaddset(ret_set, SIGINT);
    (void)sigaddset(ret_set, SIGHUP);
    (void)pthread_sigmask(SIG_BLOCK, ret_set, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
}

static void
wait_for_end(const sigset_t *set)
{
    int number = 0;

    do {
        if (sigwait(set, &number) != 0)
            return;
    } while (number == SIGHUP); /* nothing to read again yet */
    log_info("daemon-stopping", "signal=%d", number);
}

enum task { SERVE, CHECK_CONFIG, INSTALL_HOOK, REMOVE_HOOK };

static int
install_hook(const struct config *config, struct error *err)
{
    AUTO_FREE char *path = hook_path(config);
    bool is_new = false;

    if (hook_install(config, &is_new, err) < 0)
        return -1;
    (void)printf("'%s' is installed\n", path);
    if (is_new)
        (void)printf("libvirt looks for new hooks when it is told to: "
                     "systemctl reload libvirtd (or virtqemud)\n");
    return 0;
}

static int
serve(struct daemon *daemon, struct error *err)
{
    sigset_t signals;

    (void)umask(0077);
    block_signals(&signals);
    if (start(daemon, err) < 0)
        return -1;
    wait_for_end(&signals);
    return 0;
}

static int
do_task(struct daemon *daemon, enum task task, struct error *err)
{
    switch (task) {
    case CHECK_CONFIG:
        return 0;
    case INSTALL_HOOK:
        return install_hook(&daemon->config, err);
    case REMOVE_HOOK:
        return hook_remove(&daemon->config, err);
    case SERVE:
        break;
    }
    return serve(daemon, err);
}

static int
run(const char *path, bool must_exist, enum task task)
{
    struct daemon daemon = {.lock_fd = -1};
    struct error err = ERROR_INIT;
    int result;

    result = fault_init(&err);
    if (result == 0)
        result = config_load(path, must_exist, &daemon.config, &err);
    if (result == 0)
        result = do_task(&daemon, task, &err);
    if (result < 0)
        log_error("daemon-failed", "code=%s error='%s'",
                  error_code_name(err.code), err.message);
    stop(&daemon);
    return result == 0 ? EXIT_SUCCESS : error_code_exit(err.code);
}

int
main(int argc, char **argv)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"check-config", no_argument, NULL, 'C'},
        {"install-hook", no_argument, NULL, 'I'},
        {"remove-hook", no_argument, NULL, 'R'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {NULL, 0, NULL, 0}};
    const char *path = CONFIG_DEFAULT_PATH;
    bool given = false;
    enum task task = SERVE;

    if (argc > 1 && strcmp(argv[1], THAW_WATCHDOG_OPTION) == 0)
        return thaw_watchdog_run(argc - 2, argv + 2);
    for (;;) {
        int option = getopt_long(argc, argv, "c:hV", options, NULL);

        switch (option) {
        case -1:
            return run(path, given, task);
        case 'c':
            path = optarg;
            given = true;
            break;
        case 'C':
            task = CHECK_CONFIG;
            break;
        case 'I':
            task = INSTALL_HOOK;
            break;
        case 'R':
            task = REMOVE_HOOK;
            break;
        case 'h':
            usage(stdout);
            return EXIT_SUCCESS;
        case 'V':
            (void)printf("varved %s\n", VARVE_VERSION);
            return EXIT_SUCCESS;
        default:
            usage(stderr);
            return 2;
        }
    }
}
