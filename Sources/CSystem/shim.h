#pragma once
/* Linux calls that Swift's Glibc module leaves out, or that are variadic. Header only: nothing is compiled from C. */
#include <fcntl.h>
#include <glob.h>
#include <linux/magic.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/auxv.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

int pthread_setname_np(pthread_t, const char *);
int dup3(int, int, int);
int memfd_create(const char *, unsigned int);
int accept4(int, struct sockaddr *, socklen_t *, int);

static inline int colophon_open(const char *path, int flags, mode_t mode) { return open(path, flags, mode); }

/* Room for more bytes in a pipe; fails on anything else. */
static inline int colophon_pipe_size(int descriptor, int bytes) { return fcntl(descriptor, 1031 /* F_SETPIPE_SZ */, bytes); }

/* How the kernel is to schedule this thread: as any other, with this niceness, in turns of so many nanoseconds where it knows of those (Linux 6.12). */
static inline int colophon_schedule(int niceness, unsigned long long turn) {
    struct {
        unsigned int size, policy;
        unsigned long long flags;
        int nice;
        unsigned int priority;
        unsigned long long runtime, deadline, period;
    } attributes = {.size = 48, .nice = niceness, .runtime = turn};
    return (int)syscall(SYS_sched_setattr, 0, &attributes, 0);
}

/* Columns of the terminal behind a descriptor; 0 when it is none. */
static inline int colophon_terminal_columns(int descriptor) {
    struct winsize size;
    return ioctl(descriptor, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}
