// What pg_control says of the server's state. The first fields have had the same places since long before PostgreSQL 13:
// system identifier (8 bytes), pg_control version (4), catalogue version (4), state (4).
#define _GNU_SOURCE
#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STATE_OFFSET 16
#define IN_PRODUCTION 6

// PostgreSQL writes the file in place as long as it runs, so it is opened once for a run; a file that has lost its name
// (hands that put another in its place) is looked for again.
static ssize_t read_control(unsigned char *bytes, size_t capacity) {
    int *file = &guard.postmaster.control_file;
    struct stat status;
    if (*file >= 0 && (fstat(*file, &status) != 0 || status.st_nlink == 0)) control_forget();
    if (*file < 0) *file = openat(guard.postmaster.directory, "global/pg_control", O_RDONLY | O_CLOEXEC);
    if (*file < 0) return -1;
    ssize_t length;
    do {
        length = pread(*file, bytes, capacity, 0);
    } while (length < 0 && errno == EINTR);
    return length;
}

void control_forget(void) {
    if (guard.postmaster.control_file >= 0) close(guard.postmaster.control_file);
    guard.postmaster.control_file = -1;
}

// A crashed primary's file says "in production" until the startup process writes to it: until the bytes differ from those
// before the start, they tell of the previous run. (A crashed server always passes through a recovery state, and the
// checkpoint at the end of recovery moves its locations, so the same bytes never mean a new "in production".)
void control_remember(void) {
    guard.postmaster.control_length = read_control(guard.postmaster.control, sizeof guard.postmaster.control);
}

enum control_state control_read(void) {
    unsigned char bytes[sizeof guard.postmaster.control];
    ssize_t length = read_control(bytes, sizeof bytes);
    if (length < STATE_OFFSET + 4) return CONTROL_UNREADABLE;
    uint32_t state;
    memcpy(&state, bytes + STATE_OFFSET, sizeof state);
    if (state != IN_PRODUCTION) return CONTROL_OTHER;
    if (length == guard.postmaster.control_length && memcmp(bytes, guard.postmaster.control, (size_t)length) == 0)
        return CONTROL_STALE;
    return CONTROL_PRODUCTION;
}
