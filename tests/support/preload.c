/* Loaded into the program under test by LD_PRELOAD, to give it a bad day that it knows nothing of.
 *
 * CONNECT_INSTEAD="FROM TO": connections to port FROM of any IPv4 address are made to port TO of it.
 * WALL_OFF_BY=FILE: the wall clock is off by as many seconds as the file has, a decimal number; it may be changed at any
 * time, in place and of the same length. No other clock is touched. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>

/* Longer than any number that is written to it. */
#define LENGTH 16

static const volatile char *off_by;

__attribute__((constructor)) static void map(void)
{
    const char *path = getenv("WALL_OFF_BY");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *mapped = fd < 0 ? MAP_FAILED : mmap(NULL, LENGTH, PROT_READ, MAP_SHARED, fd, 0);

    if (mapped != MAP_FAILED)
        off_by = mapped;
}

int connect(int fd, const struct sockaddr *addr, socklen_t length)
{
    int (*genuine)(int, const struct sockaddr *, socklen_t) =
        (int (*)(int, const struct sockaddr *, socklen_t))dlsym(RTLD_NEXT, "connect");
    const char *instead = getenv("CONNECT_INSTEAD");
    struct sockaddr_in to;
    unsigned from_port, to_port;

    if (!instead || addr->sa_family != AF_INET || sscanf(instead, "%u %u", &from_port, &to_port) != 2)
        return genuine(fd, addr, length);
    memcpy(&to, addr, sizeof to);
    if (ntohs(to.sin_port) == from_port)
        to.sin_port = htons((in_port_t)to_port);
    return genuine(fd, (const struct sockaddr *)&to, sizeof to);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    static int (*genuine)(clockid_t, struct timespec *);
    int done;

    if (!genuine)
        genuine = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    done = genuine(clock, now);
    if (done == 0 && off_by && clock == CLOCK_REALTIME)
        now->tv_sec += atol((const char *)off_by);
    return done;
}
