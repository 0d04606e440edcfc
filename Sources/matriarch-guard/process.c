// PostgreSQL's processes: starting the postmaster, finding everything that belongs to it, signalling, reaping.
#define _GNU_SOURCE
#include "guard.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROCESSES 8192

static pid_t found[PROCESSES];
static size_t found_count;

// MARK: Reading /proc without opendir, which allocates

struct entry64 {
    uint64_t inode;
    int64_t offset;
    unsigned short length;
    unsigned char type;
    char name[];
};

// Calls `each` with every numeric name in a directory of /proc.
static void each_number(const char *path, void (*each)(pid_t, void *), void *context) {
    int directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0) return;
    char buffer[8192] __attribute__((aligned(8)));
    for (;;) {
        long length = syscall(SYS_getdents64, directory, buffer, sizeof buffer);
        if (length <= 0) break;
        for (long at = 0; at < length;) {
            struct entry64 *entry = (struct entry64 *)(buffer + at);
            at += entry->length;
            if (entry->name[0] >= '1' && entry->name[0] <= '9') each((pid_t)atoi(entry->name), context);
        }
    }
    close(directory);
}

static void add_found(pid_t pid) {
    if (found_count < PROCESSES) found[found_count++] = pid;
}

// Adds what a file of children lists: decimal pids separated by blanks.
static void add_children_of_thread(pid_t process, pid_t thread) {
    char path[64], buffer[4096];
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)process, (int)thread);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return;
    pid_t number = 0;
    for (;;) {
        ssize_t length = read(file, buffer, sizeof buffer);
        if (length <= 0) break;
        for (ssize_t i = 0; i < length; i++) {
            if (buffer[i] >= '0' && buffer[i] <= '9') {
                number = number * 10 + (buffer[i] - '0');
            } else if (number > 0) {
                add_found(number);
                number = 0;
            }
        }
    }
    if (number > 0) add_found(number);
    close(file);
}

static void add_children_of_task(pid_t thread, void *context) { add_children_of_thread(*(pid_t *)context, thread); }

static void add_children(pid_t process) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task", (int)process);
    each_number(path, add_children_of_task, &process);
}

static pid_t parent_of(pid_t process) {
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)process);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    if (length <= 0) return 0;
    text[length] = 0;
    const char *at = strrchr(text, ')');
    return at && at[1] && at[2] ? (pid_t)atoi(at + 4) : 0;
}

// Without /proc/.../children: whoever's parent is known already, over and over until nobody is new.
struct by_parent {
    bool grew;
};

static bool is_found(pid_t pid) {
    for (size_t i = 0; i < found_count; i++)
        if (found[i] == pid) return true;
    return false;
}

static void add_if_parent_known(pid_t pid, void *context) {
    if (pid == guard.pid || is_found(pid)) return;
    pid_t parent = parent_of(pid);
    if (parent == guard.pid || (parent > 0 && is_found(parent))) {
        add_found(pid);
        ((struct by_parent *)context)->grew = true;
    }
}

void process_check_children_file(void) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)getpid(), (int)getpid());
    if (access(path, R_OK) != 0) guard.degraded |= MG_DEGRADED_CHILDREN;
}

// MARK: An adopted server: by executable and working directory

bool process_identify(pid_t pid, dev_t *executable_device, ino_t *executable_inode, dev_t *device, ino_t *inode) {
    char path[64];
    struct stat executable, directory;
    snprintf(path, sizeof path, "/proc/%d/exe", (int)pid);
    if (stat(path, &executable) != 0) return false;
    snprintf(path, sizeof path, "/proc/%d/cwd", (int)pid);
    if (stat(path, &directory) != 0) return false;
    *executable_device = executable.st_dev;
    *executable_inode = executable.st_ino;
    *device = directory.st_dev;
    *inode = directory.st_ino;
    return true;
}

struct kin {
    dev_t executable_device;
    ino_t executable_inode;
    dev_t device;
    ino_t inode;
};

static void add_if_kin(pid_t pid, void *context) {
    const struct kin *kin = context;
    struct kin of;
    if (pid == guard.pid) return;
    if (!process_identify(pid, &of.executable_device, &of.executable_inode, &of.device, &of.inode)) return;
    if (of.executable_inode == kin->executable_inode && of.executable_device == kin->executable_device
        && of.inode == kin->inode && of.device == kin->device)
        add_found(pid);
}

pid_t process_find(dev_t executable_device, ino_t executable_inode, dev_t device, ino_t inode) {
    struct kin kin = {executable_device, executable_inode, device, inode};
    found_count = 0;
    each_number("/proc", add_if_kin, &kin);
    return found_count > 0 ? found[0] : 0;
}

static pid_t find_adopted(void) {
    const struct postmaster *server = &guard.postmaster;
    return process_find(
        server->executable_device, server->executable_inode, server->directory_device, server->directory_inode);
}

// MARK: Signals

int process_signal_postmaster(int signal) {
    if (guard.postmaster.life != RUNNING || guard.postmaster.pid <= 0) return -1;
    // A child that nobody else reaps keeps its pid until we do; an adopted one needs its pidfd.
    if (guard.postmaster.adopted) return mg_pidfd_signal(guard.postmaster.pidfd, signal);
    return kill(guard.postmaster.pid, signal);
}

static void send_to(pid_t pid, int signal) {
    if (pid > 1 && pid != guard.pid && pid != guard.postmaster.pid) kill(pid, signal);
}

void process_signal_all(int signal) {
    process_signal_postmaster(signal);
    found_count = 0;
    if (guard.postmaster.adopted) {
        find_adopted();
        for (size_t i = 0; i < found_count; i++) send_to(found[i], signal);
        // Their children too: commands that run for the server. Found before the parents are gone for good.
        for (size_t i = 0; i < found_count; i++) {
            size_t before = found_count;
            add_children(found[i]);
            for (size_t j = before; j < found_count; j++) send_to(found[j], signal);
        }
    } else if (guard.degraded & MG_DEGRADED_CHILDREN) {
        struct by_parent scan = {.grew = true};
        while (scan.grew) {
            size_t before = found_count;
            scan.grew = false;
            each_number("/proc", add_if_parent_known, &scan);
            for (size_t i = before; i < found_count; i++) send_to(found[i], signal);
        }
    } else {
        // Signalled while they are found, level by level: the first backend does not wait for the last to be listed.
        add_children_of_thread(guard.pid, guard.pid);
        for (size_t i = 0; i < found_count; i++) send_to(found[i], signal);
        for (size_t i = 0; i < found_count; i++) {
            size_t before = found_count;
            add_children(found[i]);
            for (size_t j = before; j < found_count; j++) send_to(found[j], signal);
        }
    }
}

bool process_reap(bool *exited, int *status) {
    *exited = false;
    bool none = false;
    // A quiet round costs no system call here; once something ends, each does.
    if (guard.postmaster.life == RUNNING && !guard.postmaster.adopted && !guard.stopping.active && !guard.child_ended)
        return false;
    guard.child_ended = false;
    for (;;) {
        int ended;
        pid_t pid = waitpid(-1, &ended, WNOHANG);
        if (pid < 0 && errno == EINTR) continue;
        if (pid < 0) none = true;
        if (pid <= 0) break;
        if (!guard.postmaster.adopted && guard.postmaster.life == RUNNING && pid == guard.postmaster.pid) {
            *exited = true;
            *status = ended;
        }
    }
    if (guard.postmaster.adopted) {
        if (guard.postmaster.life == RUNNING) {
            struct pollfd watched = {.fd = guard.postmaster.pidfd, .events = POLLIN};
            if (poll(&watched, 1, 0) > 0) {
                *exited = true;
                *status = -1;  // not our child: nobody tells us
            }
            return false;
        }
        if (guard.postmaster.life == LEFTOVERS) none = none && find_adopted() == 0;
    }
    return none;
}

// MARK: Starting

struct failure {
    int code;
    char step[24];
};

static void fail(int channel, const char *step) {
    struct failure failure = {.code = errno};
    snprintf(failure.step, sizeof failure.step, "%s", step);
    ssize_t ignored = write(channel, &failure, sizeof failure);
    (void)ignored;
    _exit(127);
}

static void write_file(const char *path, const char *text) {
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0) return;
    ssize_t ignored = write(file, text, strlen(text));
    (void)ignored;
    close(file);
}

__attribute__((noreturn)) static void become_postgres(
    const char *executable, const char *directory, const char *log, char *const *arguments, char *const *environment,
    pid_t parent, int channel) {
    // The signal belongs to the thread that forked, the guard's only one. SIGQUIT, not SIGKILL: the postmaster passes
    // it on, whereas backends of a killed one finish their statement and may acknowledge it.
    if (prctl(PR_SET_PDEATHSIG, SIGQUIT) != 0) fail(channel, "prctl");
    if (getppid() != parent) _exit(127);
    // As pg_ctl does: signals of a terminal do not reach the server.
    if (setsid() < 0) fail(channel, "setsid");
    for (int signal = 1; signal < NSIG; signal++)
        if (signal != SIGKILL && signal != SIGSTOP) sigaction(signal, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (!(guard.degraded & MG_DEGRADED_OOM)) write_file("/proc/self/oom_score_adj", "0");
    if (!(guard.degraded & MG_DEGRADED_PRIORITY)) setpriority(PRIO_PROCESS, 0, guard.nice_before);
    prctl(PR_SET_TIMERSLACK, 50000);
    umask(077);
    int input = open("/dev/null", O_RDONLY);
    if (input < 0 || dup2(input, STDIN_FILENO) < 0) fail(channel, "open /dev/null");
    if (log && log[0]) {
        int output = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
        if (output < 0) fail(channel, "open the log");
        if (dup2(output, STDOUT_FILENO) < 0 || dup2(output, STDERR_FILENO) < 0) fail(channel, "dup2");
    }
    if (directory && directory[0] && chdir(directory) != 0) fail(channel, "chdir");
    // All but the three and the channel, which closes itself when the program has been loaded.
    if (channel > 3) syscall(SYS_close_range, 3u, (unsigned)channel - 1, 0u);
    syscall(SYS_close_range, (unsigned)channel + 1, ~0u, 0u);
    execve(executable, arguments, environment);
    fail(channel, "execve");
    _exit(127);
}

enum start_result process_start(
    const char *executable, const char *directory, const char *log, char *const *arguments, char *const *environment,
    int64_t until, char *reason, size_t capacity) {
    int channel[2];
    if (pipe2(channel, O_CLOEXEC) != 0) {
        snprintf(reason, capacity, "pipe: %s", strerror(errno));
        return START_FAILED;
    }
    pid_t child = fork();
    if (child == 0) become_postgres(executable, directory, log, arguments, environment, guard.pid, channel[1]);
    int code = errno;
    close(channel[1]);
    if (child < 0) {
        close(channel[0]);
        snprintf(reason, capacity, "fork: %s", strerror(code));
        return START_FAILED;
    }
    // Nothing else runs under our care yet, so this may wait a little; a slow disk is not waited for.
    struct failure failure;
    ssize_t length = 0;
    if (mg_wait_readable(channel[0], until) > 0) {
        do {
            length = read(channel[0], &failure, sizeof failure);
        } while (length < 0 && errno == EINTR);
    }
    close(channel[0]);
    if (length == (ssize_t)sizeof failure) {
        failure.step[sizeof failure.step - 1] = 0;
        snprintf(reason, capacity, "%s %s: %s", failure.step, executable, strerror(failure.code));
        int status;
        while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
        return START_FAILED;
    }
    guard.postmaster.pid = child;
    guard.postmaster.pidfd = -1;
    guard.postmaster.adopted = false;
    guard.postmaster.life = RUNNING;
    guard.postmaster.start_time = mg_start_time(child);
    return STARTED;
}
