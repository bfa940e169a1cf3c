/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A copy, not a link or a wrapper: the hook must say no when nothing else
 * works, and must not stop every machine of the host when the package is
 * gone.  It is not written by the daemon as it starts, since what runs in
 * libvirtd is for the administrator (or the package's installation) to put
 * there; the doctor tells when it is missing.
 */
#include "daemon/hook.h"

#include "base/fd.h"
#include "base/memory.h"
#include "base/path.h"
#include "base/strbuf.h"

#include <dirent.h>
#include <string.h>

#define HOOK_MAX ((size_t)1 << 16)

/* What the script has in place of our folder, and what tells that it is ours.
 */
#define PLACE "/var/lib/varve/hold}"
#define MARK "# varve-hook -- "

/* data/hooks/varve-hook; made by quote.sed. */
extern const char hook_script[];

char *
hook_path(const struct config *config)
{
    return xasprintf("%s/qemu.d/varve", config->hook_dir);
}

static int
check_name(const char *path, struct error *err)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyz"
                                "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                "0123456789/._+-,@%:=";

    if (path[strspn(path, plain)] == '\0')
        return 0;
    return error_set(err, ERROR_INVALID,
                     "'%s' has characters that may not stand in the hook; "
                     "choose another state-dir",
                     path);
}

static int
make_script(const struct config *config, struct strbuf *text, struct error *err)
{
    AUTO_FREE char *hold = path_join(config->state_dir, "hold");
    const char *place = strstr(hook_script, PLACE);

    if (check_name(hold, err) < 0)
        return -1;
    if (place == NULL)
        return error_set(err, ERROR_INTERNAL, "the hook has no place for '%s'",
                         hold);
    strbuf_add(text, hook_script, (size_t)(place - hook_script));
    strbuf_adds(text, hold);
    strbuf_adds(text, place + strlen(PLACE) - 1);
    return 0;
}

/* 1 ours, 0 none, -1 somebody else's or unreadable. */
static int
find_hook(const char *path, struct error *err)
{
    AUTO_FREE char *text = NULL;

    if (!fd_exists(path))
        return 0;
    if (fd_read_file(path, HOOK_MAX, &text, NULL, err) < 0)
        return -1;
    if (strstr(text, MARK) != NULL)
        return 1;
    return error_set(err, ERROR_CONFLICT,
                     "'%s' is not varve's: move it away and try again", path);
}

int
hook_install(const struct config *config, bool *ret_is_new, struct error *err)
{
    AUTO_FREE char *path = hook_path(config);
    AUTO_FREE char *directory = path_parent(path);
    AUTO_STRBUF struct strbuf text = STRBUF_INIT;
    int found = find_hook(path, err);

    if (found < 0 || make_script(config, &text, err) < 0 ||
        fd_make_directories(directory, 0755, err) < 0 ||
        fd_replace_file(path, strbuf_text(&text), text.length, 0755, err) < 0)
        return -1;
    *ret_is_new = found == 0;
    return 0;
}

/* A machine that is held needs the hook, also when nothing else of ours is
 * there any more. */
static int
check_no_hold(const struct config *config, struct error *err)
{
    AUTO_FREE char *hold = path_join(config->state_dir, "hold");
    DIR *entries = opendir(hold);
    int result = 0;

    if (entries == NULL)
        return 0;
    for (struct dirent *entry = readdir(entries); entry != NULL && result == 0;
         entry = readdir(entries)) {
        if (entry->d_name[0] != '.')
            result = error_set(err, ERROR_CONFLICT,
                               "the disks of machine '%.64s' are half "
                               "changed: the hook stays, so that it is not "
                               "started; '%s' holds it",
                               entry->d_name, hold);
    }
    (void)closedir(entries);
    return result;
}

int
hook_remove(const struct config *config, struct error *err)
{
    AUTO_FREE char *path = hook_path(config);
    int found = find_hook(path, err);

    if (found <= 0)
        return found;
    if (check_no_hold(config, err) < 0)
        return -1;
    return fd_unlink(path, err);
}
