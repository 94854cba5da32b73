/* A disk that fails at one operation. Loaded before the C library (LD_PRELOAD), it stands in for the calls that touch files below the
 * directory FAULTY_DISK. The test speaks to it by looking at files that do not exist:
 *
 *   /faulty-disk/<way>/<n>   from now on, the operation number n (from zero) fails in this way:
 *                            b  it is not carried out          } and answered
 *                            a  it is carried out              } with EIO
 *                            t  it is carried out twice, as by a network file system whose first answer was lost, and the second
 *                               answer counts; only for operations on names
 *   /faulty-disk/heal        no more; answered with EIO if an operation failed, else with ENOENT
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES 65536

static atomic_char way;
static atomic_long left = -1;
static atomic_char is_ours[FILES];

static int is_below(const char *path) {
    static const char *directory;
    if (!directory && !(directory = getenv("FAULTY_DISK"))) return 0;
    return path && strncmp(path, directory, strlen(directory)) == 0;
}

static int has_file(int file) { return file >= 0 && file < FILES && is_ours[file]; }

/* Counts an operation; how it fails, or 0. */
static char fails(int is_of_name) {
    char now = way;
    if (!now || (now == 't' && !is_of_name)) return 0;
    return atomic_fetch_sub(&left, 1) == 0 ? now : 0;
}

/* The answer to an operation; `failure` is what its kind of answer has for failing. */
#define ANSWER(failure, concerned, is_of_name, call)                                                                  \
    switch ((concerned) ? fails(is_of_name) : 0) {                                                                    \
    case 't': (void)(call); return (call);                                                                            \
    case 'a': (void)(call); errno = EIO; return (failure);                                                            \
    case 'b': errno = EIO; return (failure);                                                                          \
    default: return (call);                                                                                           \
    }

#define OF_FILE(type, name, parameters, arguments, file)                                                              \
    type name parameters {                                                                                            \
        static type(*real) parameters;                                                                                \
        if (!real) real = (type(*) parameters)dlsym(RTLD_NEXT, #name);                                                \
        ANSWER(-1, has_file(file), 0, real arguments)                                                                 \
    }

#define OF_NAME(type, failure, name, parameters, arguments, path)                                                     \
    type name parameters {                                                                                            \
        static type(*real) parameters;                                                                                \
        if (!real) real = (type(*) parameters)dlsym(RTLD_NEXT, #name);                                                \
        ANSWER(failure, is_below(path), 1, real arguments)                                                            \
    }

OF_FILE(ssize_t, read, (int file, void *to, size_t size), (file, to, size), file)
OF_FILE(ssize_t, write, (int file, const void *from, size_t size), (file, from, size), file)
OF_FILE(ssize_t, pread64, (int file, void *to, size_t size, off64_t at), (file, to, size, at), file)
OF_FILE(ssize_t, pwrite64, (int file, const void *from, size_t size, off64_t at), (file, from, size, at), file)
OF_FILE(int, fsync, (int file), (file), file)
OF_FILE(int, fdatasync, (int file), (file), file)
OF_FILE(int, ftruncate64, (int file, off64_t size), (file, size), file)
OF_NAME(int, -1, mkdir, (const char *path, mode_t mode), (path, mode), path)
OF_NAME(int, -1, unlink, (const char *path), (path), path)
OF_NAME(int, -1, rename, (const char *from, const char *to), (from, to), to)
OF_NAME(int, -1, linkat, (int a, const char *from, int b, const char *to, int flags), (a, from, b, to, flags), to)
OF_NAME(DIR *, NULL, opendir, (const char *path), (path), path)

static int opened(int (*real)(const char *, int, ...), const char *path, int flags, mode_t mode) {
    ANSWER(-1, is_below(path), 1, real(path, flags, mode))
}

#define OPEN(name)                                                                                                    \
    int name(const char *path, int flags, ...) {                                                                      \
        static int (*real)(const char *, int, ...);                                                                   \
        if (!real) real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, #name);                                   \
        va_list more;                                                                                                 \
        va_start(more, flags);                                                                                        \
        mode_t mode = va_arg(more, mode_t);                                                                           \
        va_end(more);                                                                                                 \
        int file = opened(real, path, flags, mode);                                                                   \
        if (file >= 0 && file < FILES) is_ours[file] = is_below(path);                                                \
        return file;                                                                                                  \
    }

OPEN(open)
OPEN(open64)

int close(int file) {
    static int (*real)(int);
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "close");
    if (file >= 0 && file < FILES) is_ours[file] = 0;
    return real(file);
}

int statx(int at, const char *restrict asked_path, int flags, unsigned mask, struct statx *restrict to) {
    /* Rust asks about no path to find out whether there is such a call; the header says that nobody does. */
    const char *volatile path = asked_path;
    static int (*real)(int, const char *restrict, int, unsigned, struct statx *restrict);
    if (!real) real = (int (*)(int, const char *restrict, int, unsigned, struct statx *restrict))dlsym(RTLD_NEXT, "statx");
    if (path && strcmp(path, "/faulty-disk/heal") == 0) {
        errno = way && left < 0 ? EIO : ENOENT;
        way = 0;
        return -1;
    }
    char asked;
    long n;
    if (path && sscanf(path, "/faulty-disk/%c/%ld", &asked, &n) == 2) {
        left = n;
        way = asked;
        errno = ENOENT;
        return -1;
    }
    ANSWER(-1, is_below(path), 1, real(at, path, flags, mask, to))
}
