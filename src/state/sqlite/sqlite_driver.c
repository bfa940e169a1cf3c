/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sqlite_driver.c -- the database as one SQLite file.
 *
 * Write-ahead logging lets readers go on while one writer works;
 * synchronous=FULL makes each commit durable before it returns (NORMAL would
 * lose the last ones at a power cut).  Connections are opened without SQLite's
 * own mutex: the pool gives each to one thread at a time.
 *
 * The file is made by us, with mode 0600, before SQLite sees it; SQLite gives
 * its -wal and -shm files the same mode.  It is never opened by us once it
 * exists: closing such a descriptor would drop the POSIX locks that SQLite
 * holds on the file in this process.
 *
 * application_id marks the file as ours, so that a wrong path in the
 * configuration does not put our tables into another program's database.
 */
#include "state/state_driver.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/memory.h"

#define APPLICATION_ID 0x76727665 /* "vrve" */

struct sqlite_connection {
    struct state_connection base;
    sqlite3 *db;    /* owned */
    char *location; /* owned */
};

struct sqlite_statement {
    struct state_statement base;
    struct sqlite_connection *connection; /* borrowed */
    sqlite3_stmt *handle;                 /* owned */
    int bind_result;                      /* the first that failed */
};

static struct sqlite_connection *
own_connection(struct state_connection *connection)
{
    assert(connection->driver == &state_sqlite);
    return (struct sqlite_connection *)(void *)connection;
}

static struct sqlite_statement *
own_statement(struct state_statement *statement)
{
    assert(statement->driver == &state_sqlite);
    return (struct sqlite_statement *)(void *)statement;
}

static enum error_code
constraint_code(int extended)
{
    switch (extended) {
    case SQLITE_CONSTRAINT_UNIQUE:
    case SQLITE_CONSTRAINT_PRIMARYKEY:
    case SQLITE_CONSTRAINT_FOREIGNKEY:
        return ERROR_CONFLICT;
    default:
        return ERROR_INTERNAL;
    }
}

/* What a result code means to the caller. */
static enum error_code
result_code(sqlite3 *db, int result)
{
    int sys = db != NULL ? sqlite3_system_errno(db) : 0;

    switch (result & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return ERROR_BUSY;
    case SQLITE_FULL:
        return ERROR_NO_SPACE;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return ERROR_CORRUPT;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
        return sys == ENOSPC || sys == EDQUOT ? ERROR_NO_SPACE : ERROR_IO;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
    case SQLITE_PROTOCOL:
        return ERROR_IO;
    case SQLITE_TOOBIG:
        return ERROR_INVALID;
    case SQLITE_CONSTRAINT:
        return constraint_code(result);
    default:
        return ERROR_INTERNAL;
    }
}

static int
fail(const struct sqlite_connection *connection, int result, struct error *err)
{
    const char *text =
        connection->db != NULL && sqlite3_errcode(connection->db) != SQLITE_OK
            ? sqlite3_errmsg(connection->db)
            : sqlite3_errstr(result);

    return error_set(err, result_code(connection->db, result),
                     "database '%s': %s", connection->location, text);
}

/* -- connections -------------------------------------------------------- */

static int
sqlite_create(const char *location, struct error *err)
{
    AUTO_CLOSE int fd = -1;
    struct stat about;

    if (stat(location, &about) == 0) {
        if ((about.st_mode & 077) != 0 && chmod(location, 0600) < 0)
            return error_set_errno(err, errno, "make '%s' private", location);
        return 0;
    }
    fd = open(location, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 && errno == EEXIST)
        return 0; /* another process was faster; it made it the same way */
    if (fd < 0)
        return error_set_errno(err, errno, "create database '%s'", location);
    return fd_sync_parent(location, err);
}

static int
sqlite_exec(struct state_connection *base, const char *sql, struct error *err)
{
    struct sqlite_connection *connection = own_connection(base);
    int result = sqlite3_exec(connection->db, sql, NULL, NULL, NULL);

    return result == SQLITE_OK ? 0 : fail(connection, result, err);
}

/* The first column of a query's only row, as text of at most `size` bytes. */
static int
ask(struct sqlite_connection *connection, const char *sql, char *ret_text,
    size_t size, struct error *err)
{
    sqlite3_stmt *handle = NULL;
    int result = sqlite3_prepare_v2(connection->db, sql, -1, &handle, NULL);

    if (result == SQLITE_OK)
        result = sqlite3_step(handle);
    if (result == SQLITE_ROW) {
        const unsigned char *text = sqlite3_column_text(handle, 0);

        (void)snprintf(ret_text, size, "%s",
                       text != NULL ? (const char *)text : "");
    }
    (void)sqlite3_finalize(handle);
    return result == SQLITE_ROW ? 0 : fail(connection, result, err);
}

/* Ours, or empty and then made ours; anything else is not touched. */
static int
claim_file(struct sqlite_connection *connection, struct error *err)
{
    char id[24] = "";
    char tables[24] = "";
    char sql[64];

    if (ask(connection, "pragma application_id", id, sizeof(id), err) < 0)
        return -1;
    (void)snprintf(sql, sizeof(sql), "%d", APPLICATION_ID);
    if (strcmp(id, sql) == 0)
        return 0;
    if (ask(connection, "select count(*) from sqlite_master", tables,
            sizeof(tables), err) < 0)
        return -1;
    if (strcmp(id, "0") != 0 || strcmp(tables, "0") != 0)
        return error_set(err, ERROR_UNSUPPORTED,
                         "database '%s' belongs to another program",
                         connection->location);
    (void)snprintf(sql, sizeof(sql), "pragma application_id=%d",
                   APPLICATION_ID);
    return sqlite_exec(&connection->base, sql, err);
}

static int
configure(struct sqlite_connection *connection, bool is_reader,
          struct error *err)
{
    char mode[16] = "";

    (void)sqlite3_extended_result_codes(connection->db, 1);
    (void)sqlite3_db_config(connection->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    /* Otherwise "name" is the text 'name' where there is no such column. */
    (void)sqlite3_db_config(connection->db, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
    (void)sqlite3_db_config(connection->db, SQLITE_DBCONFIG_DQS_DDL, 0, NULL);
    (void)sqlite3_busy_timeout(connection->db, 30000);
    if (claim_file(connection, err) < 0)
        return -1;
    if (ask(connection, "pragma journal_mode=wal", mode, sizeof(mode), err) < 0)
        return -1;
    if (strcmp(mode, "wal") != 0)
        return error_set(err, ERROR_UNSUPPORTED,
                         "database '%s': this file system has no shared "
                         "memory for a write-ahead log",
                         connection->location);
    return sqlite_exec(&connection->base,
                       is_reader ? "pragma foreign_keys=on;"
                                   "pragma trusted_schema=off;"
                                   "pragma query_only=on"
                                 : "pragma foreign_keys=on;"
                                   "pragma trusted_schema=off;"
                                   "pragma synchronous=full",
                       err);
}

static void
sqlite_close(struct state_connection *base)
{
    struct sqlite_connection *connection;

    if (base == NULL)
        return;
    connection = own_connection(base);
    (void)sqlite3_close_v2(connection->db);
    free(connection->location);
    free(connection);
}

static struct state_connection *
sqlite_open(const char *location, bool is_reader, struct error *err)
{
    struct sqlite_connection *connection = xcalloc(1, sizeof(*connection));
    int result;

    connection->base.driver = &state_sqlite;
    connection->location = xstrdup(location);
    assert(sqlite3_threadsafe() != 0);
    result = sqlite3_open_v2(location, &connection->db,
                             SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (result != SQLITE_OK)
        (void)fail(connection, result, err);
    else if (configure(connection, is_reader, err) == 0)
        return &connection->base;
    sqlite_close(&connection->base);
    return NULL;
}

/* -- transactions ------------------------------------------------------- */

static int
sqlite_begin(struct state_connection *base, bool is_write, int64_t timeout_ms,
             struct error *err)
{
    struct sqlite_connection *connection = own_connection(base);

    (void)sqlite3_busy_timeout(connection->db, (int)timeout_ms);
    /* A transaction that begins as a reader and becomes a writer can fail
     * half way (BUSY_SNAPSHOT); "immediate" waits once, here. */
    return sqlite_exec(base, is_write ? "begin immediate" : "begin", err);
}

static int
sqlite_commit(struct state_connection *base, struct error *err)
{
    return sqlite_exec(base, "commit", err);
}

static void
sqlite_rollback(struct state_connection *base)
{
    struct sqlite_connection *connection = own_connection(base);

    /* After some failures SQLite has rolled back by itself. */
    if (sqlite3_get_autocommit(connection->db) == 0)
        (void)sqlite3_exec(connection->db, "rollback", NULL, NULL, NULL);
}

/* -- statements --------------------------------------------------------- */

/*
 * SQLite keeps a list of the names "$1", "$2" and walks it for each of them,
 * which is slow for thousands.  They stand in order, each once, so a nameless
 * "?" is the same.  No text of ours holds a "$".
 */
static char *
with_nameless_values(const char *sql)
{
    char *copy = xmalloc(strlen(sql) + 1);
    char *to = copy;

    while (*sql != '\0') {
        if (*sql != '$') {
            *to++ = *sql++;
            continue;
        }
        *to++ = '?';
        sql += 1 + strspn(sql + 1, "0123456789");
    }
    *to = '\0';
    return copy;
}

static struct state_statement *
sqlite_prepare(struct state_connection *base, const char *sql,
               struct error *err)
{
    struct sqlite_connection *connection = own_connection(base);
    AUTO_FREE char *own = with_nameless_values(sql);
    struct sqlite_statement *statement;
    sqlite3_stmt *handle = NULL;
    int result = sqlite3_prepare_v2(connection->db, own, -1, &handle, NULL);

    if (result != SQLITE_OK) {
        (void)fail(connection, result, err);
        return NULL;
    }
    statement = xcalloc(1, sizeof(*statement));
    statement->base.driver = &state_sqlite;
    statement->connection = connection;
    statement->handle = handle;
    return &statement->base;
}

static void
sqlite_finish(struct state_statement *base)
{
    struct sqlite_statement *statement;

    if (base == NULL)
        return;
    statement = own_statement(base);
    (void)sqlite3_finalize(statement->handle);
    free(statement);
}

static void
keep_failure(struct sqlite_statement *statement, int result)
{
    if (statement->bind_result == SQLITE_OK)
        statement->bind_result = result;
}

static void
bind_text(struct state_statement *base, size_t index, const char *text)
{
    struct sqlite_statement *statement = own_statement(base);

    keep_failure(statement,
                 text == NULL
                     ? sqlite3_bind_null(statement->handle, (int)index)
                     : sqlite3_bind_text64(statement->handle, (int)index, text,
                                           strlen(text), SQLITE_TRANSIENT,
                                           SQLITE_UTF8));
}

static void
bind_int(struct state_statement *base, size_t index, int64_t number)
{
    struct sqlite_statement *statement = own_statement(base);

    keep_failure(statement,
                 sqlite3_bind_int64(statement->handle, (int)index, number));
}

static int
sqlite_step(struct state_statement *base, struct error *err)
{
    struct sqlite_statement *statement = own_statement(base);
    int result = statement->bind_result;

    if (result != SQLITE_OK)
        return fail(statement->connection, result, err);
    result = sqlite3_step(statement->handle);
    if (result == SQLITE_ROW)
        return 1;
    return result == SQLITE_DONE ? 0 : fail(statement->connection, result, err);
}

static size_t
column_count(struct state_statement *base)
{
    return (size_t)sqlite3_column_count(own_statement(base)->handle);
}

static const char *
column_name(struct state_statement *base, size_t index)
{
    return sqlite3_column_name(own_statement(base)->handle, (int)index);
}

static const char *
column_text(struct state_statement *base, size_t index)
{
    return (const char *)sqlite3_column_text(own_statement(base)->handle,
                                             (int)index);
}

static int64_t
column_int(struct state_statement *base, size_t index)
{
    return sqlite3_column_int64(own_statement(base)->handle, (int)index);
}

const struct state_driver state_sqlite = {
    .name = "sqlite",
    .id_type = "integer primary key autoincrement",
    .create = sqlite_create,
    .open = sqlite_open,
    .close = sqlite_close,
    .begin = sqlite_begin,
    .commit = sqlite_commit,
    .rollback = sqlite_rollback,
    .exec = sqlite_exec,
    .prepare = sqlite_prepare,
    .finish = sqlite_finish,
    .bind_text = bind_text,
    .bind_int = bind_int,
    .step = sqlite_step,
    .column_count = column_count,
    .column_name = column_name,
    .column_text = column_text,
    .column_int = column_int,
};
