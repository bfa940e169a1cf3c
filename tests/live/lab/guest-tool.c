/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guest-tool.c -- what the live tests run inside a guest, and beside it.
 *
 * One static program, so that it runs in the guest's initramfs and on the
 * host alike: a file is written in the guest, and listed later in the guest,
 * or from an image of its disk that nobody booted; both listings are the same
 * text.  Contents are made from a seed, so that the host knows what a file
 * must hold without having seen it.
 *
 *     fill PATH SEED BYTES          write a file, fsync it
 *     scatter PATH SEED BLOCKS      overwrite that many 64 KiB blocks of it
 *     list DIRECTORY [SHOWN-AS]     "path size hash" of every file below
 *     sum SEED BYTES                "size hash" of what fill would write
 *     latency PATH MILLISECONDS     4 KiB direct writes: count, mean, worst
 *     ledger PATH PAUSE-MS          numbered 4 KiB records, each on the disk
 *                                   before the next is written; for ever
 *     ledger-check PATH             the last number; fails if one is missing
 *
 * The hash tells files apart; it is no protection against a forger.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define CHUNK ((size_t)64 << 10)
#define FILES_MAX 4096

/* Page aligned, for direct writes. */
static uint64_t chunk[CHUNK / 8] __attribute__((aligned(4096)));

struct listing {
    char *paths[FILES_MAX]; /* owned */
    size_t count;
    bool full;
};

static struct listing listing;

static int
fail(const char *what)
{
    (void)fprintf(stderr, "guest-tool: %s: %s\n", what, strerror(errno));
    return 1;
}

static bool
number(const char *text, uint64_t *ret_value)
{
    char *end;

    errno = 0;
    *ret_value = strtoull(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && *text != '-';
}

/* xorshift64*: from the seed to any amount of bytes that do not compress. */
static uint64_t
next_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(2685821657736338717);
}

static uint64_t
state_of(uint64_t seed)
{
    return (seed + 1) * UINT64_C(0x9e3779b97f4a7c15) | 1;
}

static void
make_chunk(uint64_t *state)
{
    for (size_t i = 0; i < CHUNK / 8; i++)
        chunk[i] = next_random(state);
}

/* Only the last piece of a file may have a length not divisible by 8. */
static uint64_t
hash_more(uint64_t hash, const void *bytes, size_t length)
{
    const unsigned char *from = bytes;

    for (size_t at = 0; at < length; at += 8) {
        uint64_t word = 0;

        memcpy(&word, from + at, length - at < 8 ? length - at : 8);
        hash = (hash ^ word) * UINT64_C(0x9fb21c651e98df25);
        hash ^= hash >> 29;
    }
    return hash;
}

static bool
write_all(int fd, const void *bytes, size_t length, uint64_t offset)
{
    const char *from = bytes;

    while (length > 0) {
        ssize_t n = pwrite(fd, from, length, (int64_t)offset);

        if (n < 0)
            return false;
        from += n;
        offset += (uint64_t)n;
        length -= (size_t)n;
    }
    return true;
}

static int
fill(const char *path, uint64_t seed, uint64_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    uint64_t state = state_of(seed);
    int result = 0;

    if (fd < 0)
        return fail(path);
    for (uint64_t at = 0; at < size && result == 0; at += CHUNK) {
        size_t length = size - at < CHUNK ? (size_t)(size - at) : CHUNK;

        make_chunk(&state);
        if (!write_all(fd, chunk, length, at))
            result = fail(path);
    }
    if (result == 0 && fsync(fd) < 0)
        result = fail(path);
    if (close(fd) < 0 && result == 0)
        result = fail(path);
    return result;
}

static int
scatter(const char *path, uint64_t seed, uint64_t blocks)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    uint64_t state = state_of(seed);
    int result = 0;
    int64_t size;

    if (fd < 0)
        return fail(path);
    size = lseek(fd, 0, SEEK_END);
    if (size < (int64_t)CHUNK) {
        errno = EINVAL;
        result = fail(path);
    }
    for (uint64_t i = 0; i < blocks && result == 0; i++) {
        uint64_t at = next_random(&state) % ((uint64_t)size / CHUNK) * CHUNK;

        make_chunk(&state);
        if (!write_all(fd, chunk, CHUNK, at))
            result = fail(path);
    }
    if (result == 0 && fsync(fd) < 0)
        result = fail(path);
    (void)close(fd);
    return result;
}

static int
remember(const char *path, const struct stat *status, int kind,
         struct FTW *place)
{
    (void)status;
    if (kind == FTW_D && strcmp(path + place->base, "lost+found") == 0)
        return FTW_SKIP_SUBTREE;
    if (kind != FTW_F)
        return FTW_CONTINUE;
    if (listing.count == FILES_MAX) {
        listing.full = true;
        return FTW_STOP;
    }
    listing.paths[listing.count] = strdup(path);
    if (listing.paths[listing.count] == NULL)
        abort();
    listing.count++;
    return FTW_CONTINUE;
}

static int
compare_paths(const void *a, const void *b)
{
    const char *const *left = a;
    const char *const *right = b;

    return strcmp(*left, *right);
}

static int
show_file(const char *path, const char *shown_as, const char *below)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint64_t hash = 0;
    uint64_t size = 0;

    if (fd < 0)
        return fail(path);
    for (;;) {
        size_t have = 0;
        ssize_t n = 0;

        /* Whole chunks, so that only the last one can have an odd length. */
        while (have < CHUNK &&
               (n = read(fd, (char *)chunk + have, CHUNK - have)) > 0)
            have += (size_t)n;
        if (n < 0) {
            (void)close(fd);
            return fail(path);
        }
        if (have == 0)
            break;
        hash = hash_more(hash, chunk, have);
        size += have;
    }
    (void)close(fd);
    (void)printf("%s%s %" PRIu64 " %016" PRIx64 "\n", shown_as, below, size,
                 hash);
    return 0;
}

static int
list(const char *directory, const char *shown_as)
{
    int result = 0;

    if (nftw(directory, remember, 16, FTW_PHYS | FTW_ACTIONRETVAL) < 0)
        return fail(directory);
    if (listing.full) {
        errno = E2BIG;
        return fail(directory);
    }
    qsort(listing.paths, listing.count, sizeof(listing.paths[0]),
          compare_paths);
    for (size_t i = 0; i < listing.count && result == 0; i++)
        result = show_file(listing.paths[i], shown_as,
                           listing.paths[i] + strlen(directory));
    for (size_t i = 0; i < listing.count; i++)
        free(listing.paths[i]);
    return result;
}

static int
sum(uint64_t seed, uint64_t size)
{
    uint64_t state = state_of(seed);
    uint64_t hash = 0;

    for (uint64_t at = 0; at < size; at += CHUNK) {
        make_chunk(&state);
        hash = hash_more(hash, chunk,
                         size - at < CHUNK ? (size_t)(size - at) : CHUNK);
    }
    (void)printf("%" PRIu64 " %016" PRIx64 "\n", size, hash);
    return 0;
}

static double
now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static int
latency(const char *path, uint64_t duration_ms)
{
    const struct timespec pause = {.tv_nsec = 500000};
    int fd = open(path, O_WRONLY | O_CREAT | O_DIRECT | O_CLOEXEC, 0644);
    double start = now_ms();
    double total = 0;
    double worst = 0;
    uint64_t count = 0;

    if (fd < 0)
        return fail(path);
    while (now_ms() - start < (double)duration_ms) {
        double before = now_ms();
        double took;

        chunk[0] = count;
        if (!write_all(fd, chunk, 4096, count % 256 * 4096)) {
            (void)close(fd);
            return fail(path);
        }
        took = now_ms() - before;
        total += took;
        if (took > worst)
            worst = took;
        count++;
        (void)nanosleep(&pause, NULL);
    }
    (void)close(fd);
    (void)printf("writes=%" PRIu64 " mean-ms=%.3f worst-ms=%.1f\n", count,
                 count > 0 ? total / (double)count : 0.0, worst);
    return 0;
}

/* -- a ledger: what was on the disk stays there ------------------------- */

#define LEDGER_SLOTS 256
#define RECORD 4096

/* Record `number` in chunk[0..]. */
static void
make_record(uint64_t number)
{
    uint64_t state = state_of(number);

    chunk[0] = number;
    for (size_t i = 1; i < RECORD / 8 - 1; i++)
        chunk[i] = next_random(&state);
    chunk[RECORD / 8 - 1] = hash_more(number, chunk, RECORD - 8);
}

/* The number in the slot of `fd`, 0 when it is empty; false when damaged. */
static bool
read_record(int fd, uint64_t slot, uint64_t *ret_number)
{
    ssize_t n = pread(fd, chunk, RECORD, (int64_t)(slot * RECORD));
    uint64_t number = chunk[0];

    *ret_number = 0;
    if (n == 0)
        return true;
    if (n != RECORD)
        return false;
    *ret_number = number;
    if (number == 0) {
        for (size_t i = 0; i < RECORD / 8; i++) {
            if (chunk[i] != 0)
                return false;
        }
        return true;
    }
    return number % LEDGER_SLOTS == slot &&
           chunk[RECORD / 8 - 1] == hash_more(number, chunk, RECORD - 8);
}

/* The last number; every one of the 256 up to it must be in its slot. */
static int
ledger_last(int fd, const char *path, uint64_t *ret_last)
{
    uint64_t numbers[LEDGER_SLOTS];

    *ret_last = 0;
    for (uint64_t i = 0; i < LEDGER_SLOTS; i++) {
        if (!read_record(fd, i, &numbers[i])) {
            (void)fprintf(stderr, "%s: slot %" PRIu64 " is damaged\n", path, i);
            return 1;
        }
        if (numbers[i] > *ret_last)
            *ret_last = numbers[i];
    }
    for (uint64_t i = 0; i < LEDGER_SLOTS && i < *ret_last; i++) {
        uint64_t number = *ret_last - i;

        if (numbers[number % LEDGER_SLOTS] != number) {
            (void)fprintf(stderr, "%s: %" PRIu64 " of %" PRIu64 " is lost\n",
                          path, number, *ret_last);
            return 1;
        }
    }
    return 0;
}

static int
ledger_check(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint64_t last;
    int result;

    if (fd < 0)
        return fail(path);
    result = ledger_last(fd, path, &last);
    if (result == 0)
        (void)printf("%" PRIu64 "\n", last);
    (void)close(fd);
    return result;
}

static int
ledger(const char *path, uint64_t pause_ms)
{
    int fd =
        open(path, O_RDWR | O_CREAT | O_DIRECT | O_DSYNC | O_CLOEXEC, 0644);
    struct timespec pause = {.tv_sec = (time_t)(pause_ms / 1000),
                             .tv_nsec = (long)(pause_ms % 1000) * 1000000};
    uint64_t last;

    if (fd < 0)
        return fail(path);
    if (ledger_last(fd, path, &last) != 0)
        return 1;
    for (;;) {
        last++;
        make_record(last);
        if (!write_all(fd, chunk, RECORD, last % LEDGER_SLOTS * RECORD))
            return fail(path);
        (void)nanosleep(&pause, NULL);
    }
}

int
main(int argc, char **argv)
{
    const char *verb = argc > 1 ? argv[1] : "";
    uint64_t a;
    uint64_t b;

    if (argc == 5 && number(argv[3], &a) && number(argv[4], &b)) {
        if (strcmp(verb, "fill") == 0)
            return fill(argv[2], a, b);
        if (strcmp(verb, "scatter") == 0)
            return scatter(argv[2], a, b);
    }
    if ((argc == 3 || argc == 4) && strcmp(verb, "list") == 0)
        return list(argv[2], argc == 4 ? argv[3] : argv[2]);
    if (argc == 4 && strcmp(verb, "sum") == 0 && number(argv[2], &a) &&
        number(argv[3], &b))
        return sum(a, b);
    if (argc == 4 && strcmp(verb, "latency") == 0 && number(argv[3], &a))
        return latency(argv[2], a);
    if (argc == 4 && strcmp(verb, "ledger") == 0 && number(argv[3], &a))
        return ledger(argv[2], a);
    if (argc == 3 && strcmp(verb, "ledger-check") == 0)
        return ledger_check(argv[2]);
    (void)fputs("usage: guest-tool fill PATH SEED BYTES\n"
                "       guest-tool scatter PATH SEED BLOCKS\n"
                "       guest-tool list DIRECTORY [SHOWN-AS]\n"
                "       guest-tool sum SEED BYTES\n"
                "       guest-tool latency PATH MILLISECONDS\n"
                "       guest-tool ledger PATH PAUSE-MS | ledger-check PATH\n",
                stderr);
    return 2;
}
