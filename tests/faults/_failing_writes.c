// Preloaded into every process of a command: counts what they do to files below a folder, and lets some of it fail.
//
// WRITES_BELOW   the folder
// WRITES_COUNT   a file of eight bytes that the processes count in together
// WRITES_LOG     takes a line for each: its number, the call, and the path
// WRITES_FIRST, WRITES_LAST, WRITES_ERRNO   the numbers of those that fail, from 1 on, and how
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static long *counter(void) {
    static long *shared;
    if (!shared) {
        int file = syscall(SYS_openat, AT_FDCWD, getenv("WRITES_COUNT"), O_RDWR | O_CLOEXEC, 0);
        void *place = mmap(NULL, sizeof(long), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        syscall(SYS_close, file);
        if (place == MAP_FAILED) abort();
        shared = place;
    }
    return shared;
}

static long number(const char *name) {
    const char *text = getenv(name);
    return text ? atol(text) : 0;
}

// Whether a call for this absolute path is to fail.
static int fails(const char *call, const char *path) {
    const char *below = getenv("WRITES_BELOW");
    if (!below || strncmp(path, below, strlen(below))) return 0;
    long turn = __atomic_add_fetch(counter(), 1, __ATOMIC_SEQ_CST);
    char line[PATH_MAX + 64];
    int length = snprintf(line, sizeof line, "%ld %s %s\n", turn, call, path);
    int log = syscall(SYS_openat, AT_FDCWD, getenv("WRITES_LOG"), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    syscall(SYS_write, log, line, length);
    syscall(SYS_close, log);
    if (turn < number("WRITES_FIRST") || turn > number("WRITES_LAST")) return 0;
    errno = number("WRITES_ERRNO");
    return 1;
}

static int fails_in(const char *call, int file) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return fails(call, path);
}

static int fails_at(const char *call, int folder, const char *path) {
    char whole[2 * PATH_MAX] = "";
    if (path[0] != '/') {
        char link[64] = "/proc/self/cwd";
        if (folder != AT_FDCWD) snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        ssize_t length = readlink(link, whole, PATH_MAX - 1);
        if (length < 0) return 0;
        whole[length] = '/';
    }
    strncat(whole, path, PATH_MAX - 1);
    return fails(call, whole);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define OF_FILE(type, name, parameters, ...)                                                                           \
    type name parameters { return fails_in(#name, file) ? -1 : REAL(name)(__VA_ARGS__); }
// What is there already can't be made and what is absent can't be removed, whatever the disk is like.
#define OF_PATH(name, folder, parameters, wanted, ...)                                                                 \
    int name parameters {                                                                                              \
        int absent = faccessat(folder, path, F_OK, AT_SYMLINK_NOFOLLOW);                                               \
        return !absent == wanted && fails_at(#name, folder, path) ? -1 : REAL(name)(__VA_ARGS__);                      \
    }
#define OPENED(name, folder, parameters, ...)                                                                          \
    int name parameters {                                                                                              \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;                                        \
        va_end(rest);                                                                                                  \
        if (flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC) && fails_at(#name, folder, path)) return -1;               \
        return REAL(name)(__VA_ARGS__, flags, mode);                                                                   \
    }

OPENED(open, AT_FDCWD, (const char *path, int flags, ...), path)
OPENED(open64, AT_FDCWD, (const char *path, int flags, ...), path)
OPENED(openat, folder, (int folder, const char *path, int flags, ...), folder, path)
OPENED(openat64, folder, (int folder, const char *path, int flags, ...), folder, path)
OF_PATH(mkdir, AT_FDCWD, (const char *path, mode_t mode), 0, path, mode)
OF_PATH(mkdirat, folder, (int folder, const char *path, mode_t mode), 0, folder, path, mode)
OF_PATH(unlink, AT_FDCWD, (const char *path), 1, path)
OF_PATH(unlinkat, folder, (int folder, const char *path, int flags), 1, folder, path, flags)
OF_PATH(rmdir, AT_FDCWD, (const char *path), 1, path)
OF_PATH(rename, AT_FDCWD, (const char *path, const char *to), 1, path, to)
OF_PATH(renameat, folder, (int folder, const char *path, int there, const char *to), 1, folder, path, there, to)
OF_FILE(ssize_t, write, (int file, const void *bytes, size_t count), file, bytes, count)
OF_FILE(ssize_t, pwrite64, (int file, const void *bytes, size_t count, off_t at), file, bytes, count, at)
OF_FILE(ssize_t, sendfile64, (int file, int from, off_t *at, size_t count), file, from, at, count)
OF_FILE(int, ftruncate64, (int file, off_t length), file, length)
OF_FILE(int, fsync, (int file), file)
