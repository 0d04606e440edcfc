// What the agent asks for. Each request is answered once: done, or refused with the reason.
#define _GNU_SOURCE
#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ARGUMENTS 1024
#define ENVIRONMENT 4096

static char blob[MG_BLOB_LIMIT];
static char *arguments[ARGUMENTS + 1];
static char *environment[ENVIRONMENT + 1];

static const char *mode_name(uint32_t mode) {
    static const char *const names[] = {"none",     "bootstrap", "replica", "promoting", "primary",
                                        "failsafe", "stopping",  "paused",  "resumed",   "adopted"};
    return mode < sizeof names / sizeof *names ? names[mode] : "unknown";
}

static bool armed_for(struct mg_term term, int64_t now) {
    return guard.lease.armed && mg_term_compare(guard.lease.term, term) == 0 && guard.lease.quit > now;
}

// Opens the data directory and remembers what it is. NULL or what is wrong.
static const char *take_directory(const char *path) {
    struct stat status;
    if (path[0] != '/') return "the data directory is not an absolute path";
    int directory = mg_open_directory(path);
    if (directory < 0 || fstat(directory, &status) != 0) {
        if (directory >= 0) close(directory);
        return "the data directory cannot be opened";
    }
    if (guard.postmaster.directory >= 0) close(guard.postmaster.directory);
    control_forget();
    guard.postmaster.directory = directory;
    guard.postmaster.directory_device = status.st_dev;
    guard.postmaster.directory_inode = status.st_ino;
    snprintf(guard.postmaster.directory_path, sizeof guard.postmaster.directory_path, "%s", path);
    return NULL;
}

// MARK: start

// Splits the blob into its NUL-terminated strings. Everything in it came from elsewhere.
static bool split_blob(size_t length, uint32_t argument_count, uint32_t environment_count, char *paths[4]) {
    size_t at = 0;
    uint32_t total = 4 + argument_count + environment_count;
    for (uint32_t i = 0; i < total; i++) {
        if (at >= length) return false;
        char *end = memchr(blob + at, 0, length - at);
        if (!end) return false;
        if (i < 4) paths[i] = blob + at;
        else if (i < 4 + argument_count) arguments[i - 4] = blob + at;
        else environment[i - 4 - argument_count] = blob + at;
        at = (size_t)(end - blob) + 1;
    }
    arguments[argument_count] = NULL;
    environment[environment_count] = NULL;
    return at == length;
}

static const char *read_blob(const struct mg_request *request, const int *descriptors, int count, char *paths[4]) {
    if (count != 1) return "no argument block was sent";
    if (request->blob_length == 0 || request->blob_length > MG_BLOB_LIMIT) return "the argument block is too long";
    if (request->arguments == 0 || request->arguments > ARGUMENTS || request->environment > ENVIRONMENT)
        return "too many or too few arguments or variables";
    // Read, not mapped: a descriptor from outside can shrink.
    size_t length = 0;
    while (length < request->blob_length) {
        ssize_t step = pread(descriptors[0], blob + length, request->blob_length - length, (off_t)length);
        if (step < 0 && errno == EINTR) continue;
        if (step <= 0) return "the argument block cannot be read";
        length += (size_t)step;
    }
    return split_blob(length, request->arguments, request->environment, paths) ? NULL
                                                                               : "the argument block is malformed";
}

static void handle_start(const struct mg_request *request, const int *descriptors, int count, int64_t now) {
    char *paths[4];
    char text[256];
    const char *wrong = NULL;
    if (guard.terminate) wrong = "the guard is ending";
    else if (guard.postmaster.life == RUNNING) wrong = "a postmaster is running";
    else if (guard.postmaster.life == LEFTOVERS) wrong = "processes of the previous postmaster are left";
    if (!wrong) switch (request->mode) {
        case MG_MODE_BOOTSTRAP:
        case MG_MODE_REPLICA:
        case MG_MODE_PAUSED:
            break;
        case MG_MODE_PRIMARY:
        case MG_MODE_FAILSAFE:
            if (!armed_for(request->term, now)) wrong = "no deadline is armed for this term";
            else if (guard.lease.frozen) wrong = "the term's deadlines are frozen";
            break;
        default:
            wrong = "PostgreSQL is not started in this mode";
        }
    if (!wrong) wrong = read_blob(request, descriptors, count, paths);
    if (!wrong && paths[0][0] != '/') wrong = "the executable is not an absolute path";
    if (!wrong) wrong = take_directory(paths[3]);
    if (!wrong) {
        // Somebody else's server, or what a killed guard has left: never a second one beside it.
        struct stat executable;
        if (stat(paths[0], &executable) == 0) {
            pid_t other = process_find(
                executable.st_dev, executable.st_ino, guard.postmaster.directory_device,
                guard.postmaster.directory_inode);
            if (other > 0) {
                snprintf(text, sizeof text, "process %d of another postmaster uses the data directory", (int)other);
                wrong = text;
            }
        }
    }
    if (wrong) {
        agent_reply(&request->header, true, 0, wrong);
        return;
    }
    control_remember();
    int64_t until = now + 500 * MILLISECOND;
    if (guard.lease.armed && guard.lease.quit < until) until = guard.lease.quit;
    const char *log = paths[2][0] ? paths[2] : guard.postgres_log;
    guard.stopping = (struct stopping){0};
    if (process_start(paths[0], paths[1], log, arguments, environment, until, text, sizeof text) != STARTED) {
        agent_reply(&request->header, true, 0, text);
        return;
    }
    guard.mode = request->mode;
    guard.grace_until = 0;
    guard.control_suspect = false;
    guard.control_next = now + SECOND;
    deadline_set_own_end(mg_boottime());
    note("postmaster %d started as %s in %s", (int)guard.postmaster.pid, mode_name(guard.mode), paths[3]);
    agent_reply(&request->header, false, guard.postmaster.pid, "");
    agent_report(MG_REPORT_STARTED, guard.postmaster.pid, 0, "");
}

// MARK: promote

static void handle_promote(const struct mg_request *request, const char *path, int64_t now) {
    struct stat status;
    const char *wrong = NULL;
    if (guard.postmaster.life != RUNNING) wrong = "no postmaster is running";
    else if (guard.stopping.active) wrong = "PostgreSQL is being stopped";
    else if (guard.mode != MG_MODE_REPLICA && guard.mode != MG_MODE_PROMOTING && guard.mode != MG_MODE_ADOPTED
             && guard.mode != MG_MODE_BOOTSTRAP)
        wrong = "PostgreSQL is not a replica";
    else if (!armed_for(request->term, now)) wrong = "no deadline is armed for this term";
    else if (guard.lease.frozen) wrong = "the term's deadlines are frozen";
    else if (guard.lease.quit - now < guard.lease.granted / 8) wrong = "too little of the lease is left";
    else if (stat(path, &status) != 0 || status.st_dev != guard.postmaster.directory_device
             || status.st_ino != guard.postmaster.directory_inode)
        wrong = "this is not the postmaster's data directory";
    if (wrong) {
        agent_reply(&request->header, true, 0, wrong);
        return;
    }
    // Enforced from before the file exists: from then on PostgreSQL may become writable at any moment.
    enum mg_mode before = guard.mode;
    guard.mode = MG_MODE_PROMOTING;
    deadline_set_own_end(now);
    int file = openat(
        guard.postmaster.directory, "promote", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file < 0 || process_signal_postmaster(SIGUSR1) != 0) {
        char text[128];
        snprintf(text, sizeof text, "the promote signal could not be given: %s", strerror(errno));
        if (file >= 0) close(file);
        unlinkat(guard.postmaster.directory, "promote", 0);
        guard.mode = before;
        deadline_set_own_end(now);
        agent_reply(&request->header, true, 0, text);
        return;
    }
    close(file);
    note("promote signal given in term %u.%llu", request->term.era, (unsigned long long)request->term.number);
    agent_reply(&request->header, false, guard.postmaster.pid, "");
}

// MARK: mode

static const char *mode_objection(const struct mg_request *request, int64_t now) {
    uint32_t from = guard.mode, to = request->mode;
    bool running = guard.postmaster.life == RUNNING;
    if (guard.stopping.active) return "PostgreSQL is being stopped";
    if (to == MG_MODE_NONE) return guard.postmaster.life == SILENT ? NULL : "PostgreSQL is not silent";
    if (!running) return "no postmaster is running";
    if (to == from) return NULL;
    if (from == MG_MODE_STOPPING) return "a stop is under way";
    switch (to) {
    case MG_MODE_REPLICA:
        if (from == MG_MODE_PROMOTING) return "the promote signal has been given";
        if (from == MG_MODE_BOOTSTRAP) return "a bootstrap ends as a primary or not at all";
        if (control_read() != CONTROL_OTHER) return "it is in production";
        return NULL;
    case MG_MODE_PRIMARY:
    case MG_MODE_FAILSAFE:
        if (!armed_for(request->term, now)) return "no deadline is armed for this term";
        return NULL;
    case MG_MODE_STOPPING:
        return NULL;
    case MG_MODE_PAUSED:
        if (from == MG_MODE_PROMOTING || from == MG_MODE_BOOTSTRAP) return "a promotion or bootstrap is under way";
        return NULL;
    case MG_MODE_RESUMED:
        if (from != MG_MODE_PAUSED) return "it was not paused";
        if (request->duration <= 0 || request->duration > guard.lease.longest) return "the grace is out of bounds";
        return NULL;
    default:
        return "this mode is not set by request";
    }
}

static void handle_mode(const struct mg_request *request, int64_t now) {
    const char *wrong = mode_objection(request, now);
    if (wrong) {
        agent_reply(&request->header, true, 0, wrong);
        return;
    }
    enum mg_mode from = guard.mode;
    if (from == request->mode) {
        // Said again: nothing changes, a grace least of all.
        agent_reply(&request->header, false, guard.postmaster.pid, "");
        return;
    }
    note("mode %s, was %s", mode_name(request->mode), mode_name(from));
    guard.mode = request->mode;
    if (request->mode == MG_MODE_STOPPING) {
        // A stop loosens nothing and tightens nothing: what was suspended stays so, a grace goes on.
        if (from == MG_MODE_PAUSED) guard.lease.armed = false;
        guard.lease.frozen = guard.lease.armed;
        if (from == MG_MODE_PAUSED) guard.grace_until = NEVER;
    } else {
        guard.grace_until = request->mode == MG_MODE_RESUMED ? now + request->duration : 0;
    }
    if (request->mode == MG_MODE_REPLICA) guard.control_next = now;
    deadline_set_own_end(now);
    agent_reply(&request->header, false, guard.postmaster.pid, "");
}

// MARK: adopt

static void handle_adopt(const struct mg_request *request, const char *path, int64_t now) {
    const char *wrong = NULL;
    char text[128];
    int pidfd = -1;
    if (guard.terminate) wrong = "the guard is ending";
    else if (guard.postmaster.life != SILENT) wrong = "PostgreSQL is not silent";
    else if (request->pid <= 1 || request->pid == guard.pid) wrong = "this is no postmaster's process number";
    else if (request->mode != MG_MODE_ADOPTED && request->mode != MG_MODE_REPLICA && request->mode != MG_MODE_PAUSED
             && request->mode != MG_MODE_PRIMARY)
        wrong = "a server is not adopted in this mode";
    else if (request->mode == MG_MODE_PRIMARY && !armed_for(request->term, now))
        wrong = "no deadline is armed for this term";
    else if (request->mode == MG_MODE_ADOPTED && (request->duration <= 0 || request->duration > guard.lease.longest))
        wrong = "the grace is out of bounds";
    else wrong = take_directory(path);
    if (!wrong) {
        // First the pidfd, then what the process is: from here on both are about the same one.
        pidfd = mg_pidfd_open(request->pid);
        uint64_t start = mg_start_time(request->pid);
        dev_t executable_device, device;
        ino_t executable_inode, inode;
        if (pidfd < 0 || start == 0) {
            snprintf(text, sizeof text, "process %d: %s", request->pid, strerror(pidfd < 0 ? errno : ESRCH));
            wrong = text;
        } else if (request->start_time != 0 && request->start_time != start) {
            wrong = "the process was started at another time";
        } else if (!process_identify(request->pid, &executable_device, &executable_inode, &device, &inode)) {
            wrong = "the process belongs to another account";
        } else if (device != guard.postmaster.directory_device || inode != guard.postmaster.directory_inode) {
            wrong = "the process does not work in this data directory";
        } else if (mg_pidfd_signal(pidfd, 0) != 0) {
            wrong = "the process cannot be signalled";
        } else {
            fcntl(pidfd, F_SETFD, FD_CLOEXEC);
            guard.postmaster.executable_device = executable_device;
            guard.postmaster.executable_inode = executable_inode;
            guard.postmaster.start_time = start;
        }
    }
    if (wrong) {
        if (pidfd >= 0) close(pidfd);
        agent_reply(&request->header, true, 0, wrong);
        return;
    }
    guard.postmaster.pid = request->pid;
    guard.postmaster.pidfd = pidfd;
    guard.postmaster.adopted = true;
    guard.postmaster.life = RUNNING;
    // It runs already: what its control file says is about this run.
    guard.postmaster.control_length = -1;
    guard.stopping = (struct stopping){0};
    guard.mode = request->mode;
    guard.grace_until = request->mode == MG_MODE_ADOPTED ? now + request->duration : 0;
    guard.control_suspect = false;
    guard.control_next = now;
    deadline_set_own_end(now);
    note("adopted postmaster %d as %s in %s", request->pid, mode_name(guard.mode), path);
    agent_reply(&request->header, false, request->pid, "");
}

// MARK: The others

static void handle_signal(const struct mg_request *request) {
    const char *wrong = NULL;
    switch (request->signal) {
    case SIGINT:
    case SIGTERM:
    case SIGQUIT:
    case SIGHUP:
    case SIGUSR1:
    case SIGKILL:
        break;
    default:
        wrong = "this signal is not passed on";
    }
    if (!wrong && guard.postmaster.life != RUNNING) wrong = "no postmaster is running";
    // With the file in place SIGUSR1 promotes, past the armed deadline that a promotion needs.
    if (!wrong && request->signal == SIGUSR1 && faccessat(guard.postmaster.directory, "promote", F_OK, 0) == 0)
        wrong = "the signal would promote";
    if (!wrong && process_signal_postmaster(request->signal) != 0) wrong = strerror(errno);
    if (!wrong) note("signal %d to postmaster %d", request->signal, (int)guard.postmaster.pid);
    agent_reply(&request->header, wrong != NULL, guard.postmaster.pid, wrong ? wrong : "");
}

static void handle_stop(const struct mg_request *request, int64_t now) {
    if (guard.postmaster.life == RUNNING && !guard.stopping.active) {
        int64_t kill_at = now + (request->duration > 0 && request->duration < LONGEST_TERM ? request->duration : 0);
        if (guard.lease.armed && guard.lease.kill < kill_at) kill_at = guard.lease.kill;
        deadline_begin_stop(now, kill_at, "the agent asked for it");
    }
    agent_reply(&request->header, false, 0, "");
}

static void handle_leave(const struct mg_request *request) {
    if (guard.postmaster.life != SILENT) {
        agent_reply(&request->header, true, 0, "PostgreSQL is not silent");
        return;
    }
    guard.leave = true;
    agent_reply(&request->header, false, 0, "");
}

void request_handle(
    const struct mg_request *request, const char *text, const int *descriptors, int count, int64_t now) {
    // Whatever was written into the page before the request was sent counts for it.
    deadline_take_page(now);
    switch (request->header.type) {
    case MG_START: handle_start(request, descriptors, count, now); break;
    case MG_SIGNAL: handle_signal(request); break;
    case MG_PROMOTE: handle_promote(request, text, now); break;
    case MG_SET_MODE: handle_mode(request, now); break;
    case MG_ADOPT: handle_adopt(request, text, now); break;
    case MG_QUERY: agent_reply(&request->header, false, guard.postmaster.pid, ""); break;
    case MG_LEAVE: handle_leave(request); break;
    case MG_STOP: handle_stop(request, now); break;
    default: agent_reply(&request->header, true, 0, "unknown request");
    }
}
