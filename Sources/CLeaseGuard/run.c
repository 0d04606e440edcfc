// Starts the guard (or anything short) and waits for it with a deadline.
#define _GNU_SOURCE
#include "CLeaseGuard.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

char *const *mg_environment(void) { return environ; }

static int start(const char *path, char *const *arguments, int errors, pid_t *pid) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    int code = posix_spawn_file_actions_init(&actions);
    if (code != 0) return code;
    code = posix_spawnattr_init(&attributes);
    if (code != 0) {
        posix_spawn_file_actions_destroy(&actions);
        return code;
    }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, errors, 2);
    posix_spawn_file_actions_addclosefrom_np(&actions, 3);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    // A guard lives long and needs nothing of what the agent was told by its environment, passwords perhaps.
    char *environment[2] = {NULL, NULL};
    for (char **each = environ; *each; each++)
        if (strncmp(*each, "PATH=", 5) == 0) environment[0] = *each;
    code = posix_spawn(pid, path, &actions, &attributes, arguments, environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return code;
}

int mg_run(const char *path, char *const *arguments, int64_t until, char *message, size_t capacity) {
    int ends[2];
    message[0] = 0;
    if (pipe2(ends, O_CLOEXEC) != 0) return -1;
    pid_t pid = 0;
    int code = start(path, arguments, ends[1], &pid);
    close(ends[1]);
    if (code != 0) {
        close(ends[0]);
        errno = code;
        return -1;
    }
    int pidfd = mg_pidfd_open(pid);
    fcntl(pidfd, F_SETFD, FD_CLOEXEC);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    size_t used = 0;
    int status = 0, result = -1, failure = ETIMEDOUT;
    for (;;) {
        int64_t left = until - mg_boottime();
        if (left <= 0) break;
        struct pollfd watched[2] = {{.fd = pidfd, .events = POLLIN}, {.fd = ends[0], .events = POLLIN}};
        struct timespec wait = {left / 1000000000, left % 1000000000};
        int ready = ppoll(watched, 2, &wait, NULL);
        if (ready < 0 && errno != EINTR) {
            failure = errno;
            break;
        }
        char scrap[512];
        ssize_t got = ends[0] >= 0 ? read(ends[0], scrap, sizeof scrap) : -1;
        if (got > 0) {
            for (ssize_t i = 0; i < got && used + 1 < capacity; i++) message[used++] = scrap[i];
            message[used] = 0;
            continue;
        }
        pid_t ended = waitpid(pid, &status, WNOHANG);
        if (ended == pid) {
            // What it wrote between our look at the pipe and its end.
            while (ends[0] >= 0 && used + 1 < capacity && (got = read(ends[0], message + used, capacity - 1 - used)) > 0)
                used += (size_t)got;
            message[used] = 0;
            result = status;
            break;
        }
        if (ended < 0 && errno != EINTR) {
            failure = errno;
            break;
        }
        if (got == 0) {
            // All its writers are gone; only the process's end is awaited now.
            close(ends[0]);
            ends[0] = -1;
        }
    }
    if (result < 0 && failure == ETIMEDOUT) {
        kill(pid, SIGKILL);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
    }
    if (pidfd >= 0) close(pidfd);
    if (ends[0] >= 0) close(ends[0]);
    if (result < 0) errno = failure;
    return result;
}
