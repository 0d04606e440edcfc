// What the agent and the guard share: the lease page, the packets between them, and the few Linux calls
// that Swift cannot spell. Everything here is usable from both sides; nothing allocates.
//
// All instants are nanoseconds of CLOCK_BOOTTIME.
#ifndef CLEASEGUARD_H
#define CLEASEGUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

// MARK: Terms and offers

// One holding of the leader entry. (0, 0) is no term.
struct mg_term {
    uint32_t era;
    uint32_t reserved;
    uint64_t number;
};

static inline int mg_term_compare(struct mg_term left, struct mg_term right) {
    if (left.era != right.era) return left.era < right.era ? -1 : 1;
    if (left.number != right.number) return left.number < right.number ? -1 : 1;
    return 0;
}

static inline bool mg_term_is_none(struct mg_term term) { return term.era == 0 && term.number == 0; }

// The term's deadlines take no further change.
#define MG_OFFER_FROZEN 1u
// The holding that PostgreSQL runs under goes on under this term: the cluster moved to another store, in a later era.
#define MG_OFFER_SUCCEEDS 2u

// What the agent writes into the page.
struct mg_offer {
    struct mg_term term;
    // The highest term the agent knows to be over. It stays in the page with later offers, so that a new term
    // written before the guard looked cannot hide the end of the old one.
    struct mg_term over;
    int64_t quit;     // Q
    int64_t kill;     // K
    int64_t end;      // E'
    int64_t granted;  // T
    uint32_t flags;
    uint32_t reserved;
};

// What the guard has accepted.
struct mg_lease {
    struct mg_term term;
    struct mg_term over;
    int64_t quit;
    int64_t kill;
    int64_t end;
    int64_t granted;
    int64_t longest;  // no offer may be granted longer than this
    bool armed;       // the deadlines are in force
    bool frozen;
};

enum mg_verdict {
    MG_UNCHANGED = 0,
    MG_ACCEPTED,
    MG_REFUSED_ORDER,    // not quit < kill <= end
    MG_REFUSED_OVER,     // the term is over
    MG_REFUSED_OLDER,    // an older term than the one accepted
    MG_REFUSED_CHANGE,   // another term while PostgreSQL still runs under the accepted one
    MG_REFUSED_SHRINK,   // an earlier deadline in the same term
    MG_REFUSED_FROZEN,   // the term's deadlines are frozen
    MG_REFUSED_FAR,      // beyond now + T, or T out of bounds
    MG_REFUSED_PASSED,   // the deadline has passed already
};

// The rules of the page, without side effects. `term_may_change` is false while PostgreSQL runs under the accepted term.
enum mg_verdict mg_lease_judge(
    const struct mg_lease *lease, const struct mg_offer *offer, int64_t now, bool term_may_change);
// Takes over an offer that was judged MG_ACCEPTED.
void mg_lease_take(struct mg_lease *lease, const struct mg_offer *offer);
// The term is over, now and for good; so is every lower one. Disarms if it covers the accepted term.
void mg_lease_end(struct mg_lease *lease, struct mg_term term);
const char *mg_verdict_text(enum mg_verdict verdict);

// How long a guard with an armed lease of this T sleeps at most, if nothing calls it: T/8, 4 s at the longest.
int64_t mg_round_interval(int64_t granted);

// MARK: The page

#define MG_PAGE_BYTES 4096

struct mg_page;

// What the guard writes back.
struct mg_published {
    struct mg_term term;
    int64_t quit;
    int64_t kill;
    int64_t looked_at;  // when the last round began
    uint64_t rounds;
    uint32_t mode;
    uint32_t flags;    // MG_FLAG_*
    uint32_t verdict;  // of the last offer
    uint32_t reserved;
};

// The guard's side: a fresh sealed memfd, formatted and mapped. Returns the descriptor or -1.
int mg_page_create(struct mg_page **page);
// The agent's side: maps a page received from the guard. NULL with errno on failure or if it is no page of ours.
struct mg_page *mg_page_map(int descriptor);
void mg_page_unmap(struct mg_page *page);

// One writer at a time (the caller's lock).
void mg_page_offer(struct mg_page *page, const struct mg_offer *offer);
// False if nothing consistent could be read now (the writer is in the middle). `sequence` changes with each offer, 0: none yet.
bool mg_page_read_offer(struct mg_page *page, struct mg_offer *offer, uint64_t *sequence);
void mg_page_publish(struct mg_page *page, const struct mg_published *published);
bool mg_page_read_published(struct mg_page *page, struct mg_published *published);
uint64_t mg_page_rounds(struct mg_page *page);

// MARK: Packets

#define MG_PROTOCOL_VERSION 1
#define MG_MAGIC 0x5247544du
#define MG_BLOB_LIMIT (128 * 1024)
#define MG_TEXT_LIMIT 1024
#define MG_DIRECTORY_LIMIT 1024

enum mg_mode {
    MG_MODE_NONE = 0,
    MG_MODE_BOOTSTRAP = 1,
    MG_MODE_REPLICA = 2,
    MG_MODE_PROMOTING = 3,
    MG_MODE_PRIMARY = 4,
    MG_MODE_FAILSAFE = 5,
    MG_MODE_STOPPING = 6,
    MG_MODE_PAUSED = 7,
    MG_MODE_RESUMED = 8,
    MG_MODE_ADOPTED = 9,
};

enum mg_type {
    MG_HELLO = 1,
    MG_START = 2,
    MG_SIGNAL = 3,
    MG_PROMOTE = 4,
    MG_SET_MODE = 5,
    MG_ADOPT = 6,
    MG_QUERY = 7,
    MG_LEAVE = 8,
    MG_STOP = 9,
    MG_REPLY = 100,
    MG_REPORT = 101,
};

enum mg_report {
    MG_REPORT_STATUS = 1,
    MG_REPORT_STARTED = 2,
    MG_REPORT_EXITED = 3,
    MG_REPORT_ARMED = 4,
    MG_REPORT_REFUSED = 5,
    MG_REPORT_STOPPING = 6,
    MG_REPORT_KILLED = 7,
    MG_REPORT_SILENT = 8,
};

#define MG_FLAG_ARMED 1u
#define MG_FLAG_FROZEN 2u
#define MG_FLAG_ADOPTED 4u
#define MG_FLAG_SILENT 8u
#define MG_FLAG_STOPPING 16u   // the guard is stopping PostgreSQL
#define MG_FLAG_ENFORCED 32u   // a deadline passing would stop PostgreSQL

#define MG_DEGRADED_MEMORY 1u     // mlockall refused
#define MG_DEGRADED_OOM 2u        // oom_score_adj could not be lowered
#define MG_DEGRADED_PRIORITY 4u   // no raised priority
#define MG_DEGRADED_CHILDREN 8u   // no /proc/.../children: the slower scan is used
#define MG_DEGRADED_WATCHDOG 16u  // a watchdog was asked for and is not armed
#define MG_DEGRADED_TIMER 32u     // no own-end timer: a stopped guard would not end

struct mg_header {
    uint32_t magic;
    uint16_t version;
    uint16_t type;
    uint64_t sequence;
};

// Every request has this form, followed by `text_length` bytes: the data directory where the request names one.
struct mg_request {
    struct mg_header header;
    struct mg_term term;
    int64_t duration;  // HELLO: longest T; SET_MODE, ADOPT: T for the grace; STOP: from SIGQUIT to SIGKILL
    uint64_t start_time;
    uint32_t mode;
    int32_t pid;
    int32_t signal;
    uint32_t arguments;    // START: strings in the blob after the four paths
    uint32_t environment;  // START: strings after the arguments
    uint32_t blob_length;  // START: executable, working directory, log, data directory, arguments, environment; each ends with NUL
    uint32_t text_length;
    uint32_t reserved;
};

struct mg_status {
    struct mg_term term;
    struct mg_term over;
    int64_t quit;
    int64_t kill;
    int64_t end;
    int64_t granted;
    uint64_t rounds;
    uint64_t start_time;  // the postmaster's, in clock ticks since boot
    int32_t guard;
    int32_t postmaster;  // 0: none
    uint32_t mode;
    uint32_t flags;
    uint32_t degraded;
    uint32_t reserved;
    char directory[MG_DIRECTORY_LIMIT];
};

// Every answer and report, followed by `text_length` bytes for people.
struct mg_message {
    struct mg_header header;
    uint64_t in_reply_to;
    struct mg_term term;
    uint32_t kind;     // MG_REPORT: which one
    uint32_t refused;  // MG_REPLY: 0 done, 1 refused
    int32_t pid;
    int32_t wait_status;
    uint32_t text_length;
    uint32_t reserved;
    struct mg_status status;
};

// The directory in a status, always terminated.
static inline const char *mg_status_directory(const struct mg_status *status) { return status->directory; }

// MARK: Linux

int64_t mg_boottime(void);

// Whether something keeps the wall clock right (NTP): 1, 0, or -1 where the kernel does not say. Changes nothing.
int mg_clock_is_synchronized(void);

// A listening SOCK_SEQPACKET socket at NAME in the directory, mode 0600, non-blocking, close-on-exec; replaces a stale one.
int mg_socket_listen(int directory, const char *name);
// A connected, non-blocking, close-on-exec socket, or -1 with errno. Does not wait.
int mg_socket_connect(int directory, const char *name);
int mg_open_directory(const char *path);
// Peer's credentials; 0 or -1.
int mg_socket_peer(int socket, pid_t *pid, uid_t *uid);
// Sends one packet of two parts with up to four descriptors. Never blocks, never raises SIGPIPE. 0 or -1 with errno.
int mg_socket_send(
    int socket, const void *head, size_t head_length, const void *tail, size_t tail_length, const int *descriptors,
    int count);
// Receives one packet. Returns its length, 0 at the end, -1 with errno (EMSGSIZE if it was cut off).
// `descriptors` has room for four; the rest is closed.
ssize_t mg_socket_receive(int socket, void *buffer, size_t capacity, int *descriptors, int *count);
// Waits until the socket can be read or the instant has passed: 1 readable, 0 too late, -1 error.
int mg_wait_readable(int socket, int64_t until);

// A sealed memfd holding these bytes, or -1.
int mg_blob_create(const void *bytes, size_t length);
int mg_eventfd_notify(int descriptor);
int mg_pidfd_open(pid_t pid);
int mg_pidfd_signal(int pidfd, int signal);
// The start time of a process in clock ticks since boot (field 22 of /proc/PID/stat), 0 if there is none.
uint64_t mg_start_time(pid_t pid);

// This process's environment, NULL-terminated. (Swift 6 does not let one touch `environ`.)
char *const *mg_environment(void);

// Runs a program with stdin from /dev/null, stdout discarded, no other descriptors and of the environment PATH alone, and waits for its end until the
// instant. The first bytes it wrote to stderr are put into `message`. Returns its wait status, or -1 with errno
// (ETIMEDOUT: it was killed). Blocks: not for the cooperative pool.
int mg_run(const char *path, char *const *arguments, int64_t until, char *message, size_t capacity);

#ifdef __cplusplus
}
#endif

#endif
