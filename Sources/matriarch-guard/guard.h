// The guard's state and the parts that work on it. One thread, one static instance, nothing allocated after start.
#ifndef GUARD_H
#define GUARD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#include "CLeaseGuard.h"

#define VERSION "0.1.0"
#define MILLISECOND 1000000ll
#define SECOND 1000000000ll

#define OWN_END_GRACE (50 * MILLISECOND)
#define LEFTOVER_GRACE (150 * MILLISECOND)
#define UNDATED_KILL (500 * MILLISECOND)
#define IDLE_END (30 * SECOND)
#define HELLO_LIMIT (2 * SECOND)
#define LONGEST_TERM (3600 * SECOND)
#define STRANGERS 4
#define NEVER INT64_MAX

enum life {
    SILENT,     // nothing of PostgreSQL is left
    RUNNING,    // there is a postmaster
    LEFTOVERS,  // the postmaster is gone, some of its processes are not
};

struct agent {
    int descriptor;  // -1: none
    pid_t pid;
    struct mg_page *page;
    int page_descriptor;
    int event;
    uint64_t seen;  // sequence of the last offer judged
    enum mg_verdict verdict;
    uint64_t sequence;  // of what we send
};

struct stranger {
    int descriptor;  // connected, has not said hello; -1: free
    int64_t since;
};

struct postmaster {
    enum life life;
    pid_t pid;
    int pidfd;  // adopted only, -1 otherwise
    bool adopted;
    uint64_t start_time;
    dev_t executable_device;
    ino_t executable_inode;
    dev_t directory_device;
    ino_t directory_inode;
    int directory;  // descriptor
    char directory_path[MG_DIRECTORY_LIMIT];
    int control_file;            // pg_control while it is read; -1: not open
    unsigned char control[512];  // pg_control as it was before the start
    ssize_t control_length;
};

struct stopping {
    bool active;
    bool killing;
    int64_t kill_at;
    int64_t repeat_at;  // SIGQUIT once more, for those forked meanwhile
};

struct guard {
    const char *state_path;
    const char *postgres_log;
    const char *watchdog_path;
    int64_t watchdog_timeout;
    int64_t tick;  // longest round asked for, 0: by the rules
    int state;     // the state directory
    int lock;
    int listener;
    int signals;
    int wake;
    timer_t own_end;
    int64_t own_end_at;  // 0: disarmed
    pid_t pid;
    uint32_t degraded;
    int nice_before;

    struct agent agent;
    struct stranger strangers[STRANGERS];
    struct postmaster postmaster;
    struct stopping stopping;
    struct mg_lease lease;
    enum mg_mode mode;
    int64_t grace_until;    // resumed, adopted: until then without a term
    int64_t control_next;   // next look at pg_control
    bool control_suspect;   // it said "in production" once
    int64_t idle_since;     // 0: not idle
    uint64_t rounds;
    bool child_ended;  // SIGCHLD since the last reaping
    bool leave;
    bool terminate;        // SIGTERM was received
    int64_t terminate_at;  // until then PostgreSQL's own fast shutdown is waited for; 0: not asked for
};

extern struct guard guard;

// log.c
void note(const char *format, ...) __attribute__((format(printf, 1, 2)));

// process.c
enum start_result { STARTED, START_FAILED };
enum start_result process_start(
    const char *executable, const char *directory, const char *log, char *const *arguments, char *const *environment,
    int64_t until, char *reason, size_t capacity);
void process_check_children_file(void);
// Signals the postmaster first, then everything that descends from the guard (or belongs to the adopted server).
void process_signal_all(int signal);
// Signals the postmaster alone. 0 or -1.
int process_signal_postmaster(int signal);
// Takes in ended children. Sets `exited` and `status` once the postmaster is among them. Returns whether none is left.
bool process_reap(bool *exited, int *status);
// Is any process of this server (same executable and working directory) alive? Gives one.
pid_t process_find(dev_t executable_device, ino_t executable_inode, dev_t device, ino_t inode);
bool process_identify(pid_t pid, dev_t *executable_device, ino_t *executable_inode, dev_t *device, ino_t *inode);

// control.c
enum control_state { CONTROL_UNREADABLE, CONTROL_STALE, CONTROL_OTHER, CONTROL_PRODUCTION };
void control_remember(void);
void control_forget(void);
enum control_state control_read(void);

// deadline.c
bool deadline_enforced(void);
bool deadline_term_may_change(void);
void deadline_take_page(int64_t now);
void deadline_supervise(int64_t now);
void deadline_set_own_end(int64_t now);
int64_t deadline_next(int64_t now);
void deadline_begin_stop(int64_t now, int64_t kill_at, const char *reason);
void deadline_end_term(int64_t now, struct mg_term term);
bool deadline_create_own_end(void);

// agent.c
void agent_accept(int64_t now);
void agent_hear(int index, int64_t now);
void agent_read(int64_t now);
void agent_drop(const char *reason);
void agent_expire(int64_t now);
void agent_report(enum mg_report kind, int pid, int wait_status, const char *text);
void agent_reply(const struct mg_header *request, bool refused, int pid, const char *text);
bool agent_send(const struct mg_message *message, const char *text, const int *descriptors, int count);
void agent_publish(int64_t now);

// requests.c
void request_handle(
    const struct mg_request *request, const char *text, const int *descriptors, int count, int64_t now);

// watchdog.c
void watchdog_tend(int64_t now);

#endif
