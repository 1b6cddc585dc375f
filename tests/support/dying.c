/* Loaded into the program under test by LD_PRELOAD. Once there is the file that DYING_AT names, the process gets SIGKILL
 * right after it has synced a file for the N-th time from then on: what it wrote is durable, and nobody has been told.
 * If N is negative, that sync fails instead, as one of a disk that is going. The file has N, and a number that tells it
 * from the file before. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int die_or_fail_if_it_is_time(void)
{
    static atomic_int synced, known;
    const char *path = getenv("DYING_AT");
    FILE *file = path ? fopen(path, "r") : NULL;
    int when = 0, number = 0, count, fails = 0;

    if (!file)
        return 0;
    if (fscanf(file, "%d %d", &when, &number) == 2) {
        if (atomic_exchange(&known, number) != number)
            atomic_store(&synced, 0);
        count = atomic_fetch_add(&synced, 1) + 1;
        if (count == when)
            kill(getpid(), SIGKILL);
        fails = count == -when;
    }
    fclose(file);
    return fails;
}

static int synced(const char *name, int fd)
{
    int (*genuine)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    int done = genuine(fd);

    if (die_or_fail_if_it_is_time()) {
        errno = EIO;
        return -1;
    }
    return done;
}

int fsync(int fd) { return synced("fsync", fd); }
int fdatasync(int fd) { return synced("fdatasync", fd); }
