/* The least that appending to lines can cost: the same constant behind every line, whatever it says. suffix SUFFIX < in > out */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char in[64 << 10], out[128 << 10], begun[1 << 20];
static size_t waiting;

static void flush(void) {
    for (size_t done = 0; done < waiting;) {
        ssize_t count = write(1, out + done, waiting - done);
        if (count < 0) exit(1);
        done += count;
    }
    waiting = 0;
}

static void put(const char *bytes, size_t count) {
    if (waiting + count > sizeof out) flush();
    memcpy(out + waiting, bytes, count);
    waiting += count;
}

int main(int argc, char **argv) {
    if (argc != 2) return 2;
    size_t length = strlen(argv[1]), carried = 0;
    fcntl(0, F_SETPIPE_SZ, 1 << 20);
    fcntl(1, F_SETPIPE_SZ, 1 << 20);
    for (ssize_t count; (count = read(0, in, sizeof in)) > 0;) {
        char *line = in, *end = in + count, *stop;
        while ((stop = memchr(line, '\n', end - line))) {
            if (carried) put(begun, carried);
            carried = 0;
            put(line, stop - line);
            put(argv[1], length);
            put("\n", 1);
            line = stop + 1;
        }
        if (carried + (end - line) > sizeof begun) return 1;
        memcpy(begun + carried, line, end - line);
        carried += end - line;
    }
    if (carried) put(begun, carried);
    flush();
    return 0;
}
