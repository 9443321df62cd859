#pragma once
/* Linux calls that Swift's Glibc module leaves out, or that are variadic. Header only: nothing is compiled from C. */
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>
#include <linux/magic.h>
#include <unistd.h>

static inline int colophon_open(const char *path, int flags, mode_t mode) { return open(path, flags, mode); }

/* Columns of the terminal behind a descriptor; 0 when it is none. */
static inline int colophon_terminal_columns(int descriptor) {
    struct winsize size;
    return ioctl(descriptor, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}
