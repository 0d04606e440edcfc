// matriarch-guard: the postmaster's parent, which stops PostgreSQL when its lease's deadline passes, whatever becomes of
// the agent. No store, no HTTP, no allocation after start, one thread.
#define _GNU_SOURCE
#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { EXIT_USAGE = 2, EXIT_RUNNING = 3 };

struct guard guard = {
    .state = -1,
    .agent = {.descriptor = -1, .page_descriptor = -1, .event = -1},
    .strangers = {{.descriptor = -1}, {.descriptor = -1}, {.descriptor = -1}, {.descriptor = -1}},
    .postmaster = {.pidfd = -1, .directory = -1, .control_file = -1},
};

static const char usage[] =
    "usage: matriarch-guard --state-dir DIR [options]\n"
    "\n"
    "Runs PostgreSQL on behalf of a Matriarch agent and stops it when the lease's deadline passes.\n"
    "The agent starts it; it is not meant to be started by hand.\n"
    "\n"
    "  --state-dir DIR        holds guard.sock, guard.lock and guard.log; made if missing, mode 0700\n"
    "  --postgres-log FILE    where PostgreSQL's own output goes, unless the agent names a file\n"
    "  --tick-ms N            look at the page at least every N milliseconds\n"
    "  --watchdog FILE        feed this watchdog device while the lease lasts\n"
    "  --watchdog-timeout N   the device's timeout in seconds (default 5)\n"
    "  --scan-by-parent       find PostgreSQL's processes as on kernels that do not list children\n"
    "  --foreground           do not become a daemon; log to stderr\n"
    "  --version              print the version\n"
    "  --help                 print this\n";

// MARK: Setting up

static int ready = -1;  // the waiting parent's end; -1 in the foreground

// Says why on stderr and, when there is one, to the waiting parent.
__attribute__((noreturn, format(printf, 2, 3))) static void give_up(int code, const char *format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (ready >= 0) {
        char first = (char)code;
        ssize_t ignored = write(ready, &first, 1);
        ignored = write(ready, text, strlen(text));
        (void)ignored;
    } else {
        fprintf(stderr, "matriarch-guard: %s\n", text);
    }
    exit(code);
}

static void open_state_directory(void) {
    struct stat status;
    if (mkdir(guard.state_path, 0700) != 0 && errno != EEXIST)
        give_up(EXIT_FAILURE, "cannot make %s: %s", guard.state_path, strerror(errno));
    guard.state = mg_open_directory(guard.state_path);
    if (guard.state < 0 || fstat(guard.state, &status) != 0)
        give_up(EXIT_FAILURE, "cannot open %s: %s", guard.state_path, strerror(errno));
    if (status.st_uid != getuid()) give_up(EXIT_FAILURE, "%s belongs to another account", guard.state_path);
    if ((status.st_mode & 077) != 0 && chmod(guard.state_path, 0700) != 0)
        give_up(EXIT_FAILURE, "cannot make %s private: %s", guard.state_path, strerror(errno));
}

static void take_lock(void) {
    guard.lock = openat(guard.state, "guard.lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (guard.lock < 0) give_up(EXIT_FAILURE, "cannot open %s/guard.lock: %s", guard.state_path, strerror(errno));
    // A guard that is being killed keeps its lock for a moment.
    int64_t until = mg_boottime() + SECOND;
    while (flock(guard.lock, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            give_up(EXIT_FAILURE, "cannot lock %s/guard.lock: %s", guard.state_path, strerror(errno));
        if (mg_boottime() > until) {
            char text[16] = "?";
            ssize_t length = pread(guard.lock, text, sizeof text - 1, 0);
            if (length > 0) text[strcspn(text, "\n")] = 0;
            give_up(EXIT_RUNNING, "a guard is running in %s already (process %s)", guard.state_path, text);
        }
        nanosleep(&(struct timespec){.tv_nsec = 20 * MILLISECOND}, NULL);
    }
    char text[16];
    int length = snprintf(text, sizeof text, "%d\n", (int)getpid());
    if (ftruncate(guard.lock, 0) != 0 || pwrite(guard.lock, text, (size_t)length, 0) != length)
        give_up(EXIT_FAILURE, "cannot write %s/guard.lock: %s", guard.state_path, strerror(errno));
}

static void harden(void) {
    if (prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) give_up(EXIT_FAILURE, "cannot become a subreaper: %s", strerror(errno));
    prctl(PR_SET_TIMERSLACK, 1);
    // What follows is worth having and may be forbidden; the status says which is missing.
    int file = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (file < 0 || write(file, "-1000", 5) != 5) guard.degraded |= MG_DEGRADED_OOM;
    if (file >= 0) close(file);
    guard.nice_before = getpriority(PRIO_PROCESS, 0);
    if (setpriority(PRIO_PROCESS, 0, -20) != 0) guard.degraded |= MG_DEGRADED_PRIORITY;
    if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) guard.degraded |= MG_DEGRADED_MEMORY;
    if (!deadline_create_own_end()) guard.degraded |= MG_DEGRADED_TIMER;
    process_check_children_file();
}

static void open_events(void) {
    sigset_t taken;
    sigemptyset(&taken);
    sigaddset(&taken, SIGCHLD);
    sigaddset(&taken, SIGTERM);
    sigaddset(&taken, SIGINT);
    sigprocmask(SIG_SETMASK, &taken, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGQUIT, SIG_IGN);
    guard.signals = signalfd(-1, &taken, SFD_CLOEXEC | SFD_NONBLOCK);
    guard.wake = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    guard.listener = mg_socket_listen(guard.state, "guard.sock");
    if (guard.signals < 0 || guard.wake < 0 || guard.listener < 0)
        give_up(EXIT_FAILURE, "cannot listen on %s/guard.sock: %s", guard.state_path, strerror(errno));
}

static void redirect(bool foreground) {
    int null = open("/dev/null", O_RDWR);
    int log = foreground ? -1 : openat(guard.state, "guard.log", O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600);
    if (null < 0 || (!foreground && log < 0))
        give_up(EXIT_FAILURE, "cannot open %s/guard.log: %s", guard.state_path, strerror(errno));
    dup2(null, STDIN_FILENO);
    if (!foreground) {
        dup2(log, STDOUT_FILENO);
        dup2(log, STDERR_FILENO);
        close(log);
    }
    if (null > STDERR_FILENO) close(null);
}

// The parent: waits for the daemon's word, passes it on as its exit code and message.
__attribute__((noreturn)) static void wait_for_word(int channel) {
    char text[512];
    size_t used = 0;
    for (;;) {
        ssize_t length = read(channel, text + used, sizeof text - 1 - used);
        if (length < 0 && errno == EINTR) continue;
        if (length <= 0) break;
        used += (size_t)length;
        if (used == sizeof text - 1) break;
    }
    text[used] = 0;
    if (used == 1 && text[0] == 0) _exit(0);
    fprintf(stderr, "matriarch-guard: %s\n", used > 1 ? text + 1 : "ended during its start");
    exit(used > 0 ? text[0] : EXIT_FAILURE);
}

static void become_daemon(void) {
    int channel[2];
    if (pipe2(channel, O_CLOEXEC) != 0) give_up(EXIT_FAILURE, "pipe: %s", strerror(errno));
    pid_t child = fork();
    if (child < 0) give_up(EXIT_FAILURE, "fork: %s", strerror(errno));
    if (child > 0) {
        close(channel[1]);
        wait_for_word(channel[0]);
    }
    close(channel[0]);
    ready = channel[1];
    if (setsid() < 0) give_up(EXIT_FAILURE, "setsid: %s", strerror(errno));
}

static long long number(const char *text, const char *option, long long least, long long most) {
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno || end == text || *end || value < least || value > most)
        give_up(EXIT_USAGE, "%s: '%s' is not a whole number from %lld to %lld", option, text, least, most);
    return value;
}

// MARK: Running

static void read_signals(void) {
    struct signalfd_siginfo info;
    while (read(guard.signals, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGCHLD) {
            guard.child_ended = true;
            continue;
        }
        if (guard.agent.descriptor >= 0 && guard.postmaster.life != SILENT) {
            note("signal %u ignored: the agent decides", info.ssi_signo);
            continue;
        }
        guard.terminate = true;
        note("signal %u: ending", info.ssi_signo);
    }
}

static bool finished(int64_t now) {
    if (guard.postmaster.life != SILENT) {
        guard.idle_since = 0;
        return false;
    }
    if (guard.leave || guard.terminate) return true;
    if (guard.agent.descriptor >= 0) {
        guard.idle_since = 0;
        return false;
    }
    if (guard.idle_since == 0) guard.idle_since = now;
    return now - guard.idle_since >= IDLE_END;
}

static void set_wake(int64_t at) {
    struct itimerspec when = {.it_value = {at / SECOND, at % SECOND}};
    timerfd_settime(guard.wake, TFD_TIMER_ABSTIME, &when, NULL);
}

static void drain(int descriptor) {
    uint64_t ignored;
    ssize_t length = read(descriptor, &ignored, sizeof ignored);
    (void)length;
}

static void run(void) {
    for (;;) {
        int64_t now = mg_boottime();
        guard.rounds++;
        deadline_take_page(now);
        deadline_supervise(now);
        deadline_set_own_end(now);
        watchdog_tend(now);
        agent_expire(now);
        agent_publish(now);
        if (finished(now)) return;

        now = mg_boottime();
        int64_t next = deadline_next(now);
        set_wake(next);
        enum { SIGNALS, WAKE, LISTENER, AGENT, EVENT, PIDFD, FIRST_STRANGER };
        struct pollfd watched[FIRST_STRANGER + STRANGERS] = {
            [SIGNALS] = {.fd = guard.signals, .events = POLLIN},
            [WAKE] = {.fd = guard.wake, .events = POLLIN},
            [LISTENER] = {.fd = guard.listener, .events = POLLIN},
            [AGENT] = {.fd = guard.agent.descriptor, .events = POLLIN},
            [EVENT] = {.fd = guard.agent.event, .events = POLLIN},
            // Ended, it stays readable: watched only while its end is news.
            [PIDFD] = {.fd = guard.postmaster.life == RUNNING ? guard.postmaster.pidfd : -1, .events = POLLIN},
        };
        for (int i = 0; i < STRANGERS; i++)
            watched[FIRST_STRANGER + i] = (struct pollfd){.fd = guard.strangers[i].descriptor, .events = POLLIN};
        // The timer goes by the clock of the deadlines; should it fail, the wait ends all the same. (What it has counted
        // is forgotten when it is set again.)
        if (poll(watched, FIRST_STRANGER + STRANGERS, (int)((next - now) / MILLISECOND) + 1000) <= 0) continue;
        now = mg_boottime();
        if (watched[EVENT].revents) drain(guard.agent.event);
        if (watched[SIGNALS].revents) read_signals();
        if (watched[AGENT].revents) {
            // Deadlines before requests.
            deadline_take_page(now);
            deadline_supervise(now);
            agent_read(now);
        }
        for (int i = 0; i < STRANGERS; i++)
            if (watched[FIRST_STRANGER + i].revents) agent_hear(i, now);
        if (watched[LISTENER].revents) agent_accept(now);
    }
}

int main(int argc, char **argv) {
    bool foreground = false;
    guard.watchdog_timeout = 5 * SECOND;
    static const struct option options[] = {
        {"state-dir", required_argument, NULL, 's'},  {"postgres-log", required_argument, NULL, 'l'},
        {"tick-ms", required_argument, NULL, 't'},    {"watchdog", required_argument, NULL, 'w'},
        {"watchdog-timeout", required_argument, NULL, 'W'}, {"foreground", no_argument, NULL, 'f'},
        {"scan-by-parent", no_argument, NULL, 'p'},
        {"version", no_argument, NULL, 'v'},          {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 's': guard.state_path = optarg; break;
        case 'l': guard.postgres_log = optarg; break;
        case 't': guard.tick = number(optarg, "--tick-ms", 1, 1000) * MILLISECOND; break;
        case 'w': guard.watchdog_path = optarg; break;
        case 'W': guard.watchdog_timeout = number(optarg, "--watchdog-timeout", 1, 600) * SECOND; break;
        case 'p': guard.degraded |= MG_DEGRADED_CHILDREN; break;
        case 'f': foreground = true; break;
        case 'v': printf("matriarch-guard %s (protocol %d)\n", VERSION, MG_PROTOCOL_VERSION); return 0;
        case 'h': fputs(usage, stdout); return 0;
        default: fputs(usage, stderr); return EXIT_USAGE;
        }
    }
    if (!guard.state_path || optind != argc) {
        fputs(usage, stderr);
        return EXIT_USAGE;
    }
    if (getuid() == 0 || geteuid() == 0)
        give_up(EXIT_FAILURE, "refuses to run as root: run it as the account that owns PostgreSQL");

    // Descriptors 0 to 2 always exist, so that no other can be taken for them.
    for (int descriptor; (descriptor = open("/dev/null", O_RDWR)) >= 0;)
        if (descriptor > STDERR_FILENO) {
            close(descriptor);
            break;
        }
    syscall(SYS_close_range, 3u, ~0u, 0u);
    if (!foreground) become_daemon();
    guard.pid = getpid();
    open_state_directory();
    take_lock();
    redirect(foreground);
    open_events();
    harden();
    note("guard %s, protocol %d, degraded %#x", VERSION, MG_PROTOCOL_VERSION, guard.degraded);
    if (ready >= 0) {
        char fine = 0;
        ssize_t ignored = write(ready, &fine, 1);
        (void)ignored;
        close(ready);
        ready = -1;
    }
    run();
    // The socket goes before the lock: whoever gets the lock next has a clean place.
    unlinkat(guard.state, "guard.sock", 0);
    watchdog_tend(mg_boottime());
    note("leaving");
    return 0;
}
