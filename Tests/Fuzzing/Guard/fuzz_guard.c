// The guard fed with whatever an agent, a stranger on its socket or a faulty hand in the page may send.
//
// All of the guard's code but main.c and process.c: no process is started or signalled, time is the harness's, and every
// data directory is one of the harness's own. An input is a row of steps, each a letter and what it needs; letters that
// are none are skipped, so that seeds can be written by hand.
#define _GNU_SOURCE
#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHECK(holds, ...)                                                                                              \
    do {                                                                                                               \
        if (!(holds)) {                                                                                                \
            fprintf(stderr, "finding: " __VA_ARGS__);                                                                  \
            fputc('\n', stderr);                                                                                       \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

struct guard guard;

static char scratch[64];  // the one data directory there is
static int agent = -1;    // the agent's end of its connection
static struct mg_page *page;
static bool exits;        // the postmaster's end is still to be reaped
static bool quit_sent, kill_sent;

// MARK: What the harness stands in for

// Formatted, so that the sanitizers see what would be read, and thrown away.
void note(const char *format, ...) {
    char line[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
}

int __wrap_mg_open_directory(const char *path) {
    if (strcmp(path, scratch) != 0) {
        errno = ENOENT;
        return -1;
    }
    return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

enum start_result process_start(
    const char *executable, const char *directory, const char *log, char *const *arguments, char *const *environment,
    int64_t until, char *reason, size_t capacity) {
    (void)until;
    // Every text has an end within the block; the sanitizer watches this.
    size_t length = strlen(executable) + strlen(directory) + (log ? strlen(log) : 0);
    for (; *arguments; arguments++) length += strlen(*arguments);
    for (; *environment; environment++) length += strlen(*environment);
    if (length % 7 == 0) {
        snprintf(reason, capacity, "it does not start");
        return START_FAILED;
    }
    guard.postmaster.pid = 4242;
    guard.postmaster.life = RUNNING;
    return STARTED;
}

void process_signal_all(int number) {
    if (number == SIGQUIT) quit_sent = true;
    if (number == SIGKILL) kill_sent = true;
}

int process_signal_postmaster(int number) {
    (void)number;
    return 0;
}

bool process_reap(bool *exited, int *status) {
    *exited = exits && guard.postmaster.life == RUNNING;
    *status = 0;
    bool none = exits && guard.postmaster.life == LEFTOVERS;
    if (none) exits = false;
    return none;
}

pid_t process_find(dev_t executable_device, ino_t executable_inode, dev_t device, ino_t inode) {
    (void)executable_device, (void)executable_inode, (void)device, (void)inode;
    return 0;
}

bool process_identify(pid_t pid, dev_t *executable_device, ino_t *executable_inode, dev_t *device, ino_t *inode) {
    (void)pid;
    struct stat status;
    if (stat(scratch, &status) != 0) return false;
    *executable_device = *device = status.st_dev;
    *executable_inode = *inode = status.st_ino;
    return true;
}


// MARK: The input

struct input {
    const uint8_t *bytes;
    size_t left;
};

static uint8_t byte(struct input *input) {
    if (input->left == 0) return 0;
    input->left--;
    return *input->bytes++;
}

static uint64_t number(struct input *input, int count) {
    uint64_t value = 0;
    while (count-- > 0) value = value << 8 | byte(input);
    return value;
}

// An instant or a length: near now, or one of those that overflow.
static int64_t instant(struct input *input, int64_t from) {
    uint8_t kind = byte(input);
    switch (kind) {
    case 'M': return INT64_MAX;
    case 'm': return INT64_MIN;
    case 'n': return -1;
    case 'r': return (int64_t)number(input, 8);
    default: return from + kind * 20 * MILLISECOND;
    }
}

static struct mg_term term(struct input *input) {
    uint8_t era = byte(input), count = byte(input);
    return (struct mg_term){
        .era = era == 'M' ? UINT32_MAX : era % 4u, .number = count == 'M' ? UINT64_MAX : count % 8u};
}

// MARK: The agent

static int descriptor_count(void) {
    int count = 0;
    for (int descriptor = 0; descriptor < 128; descriptor++) count += fcntl(descriptor, F_GETFD) >= 0;
    return count;
}

// Reads what the guard has sent; every packet must be whole.
static void read_answers(void) {
    while (agent >= 0) {
        static union {
            struct mg_message message;
            char bytes[sizeof(struct mg_message) + MG_TEXT_LIMIT];
        } packet;
        int descriptors[4], count;
        ssize_t length = mg_socket_receive(agent, &packet, sizeof packet, descriptors, &count);
        if (length == 0 || (length < 0 && errno != EAGAIN)) {
            close(agent);
            mg_page_unmap(page);
            agent = -1, page = NULL;
        }
        if (length <= 0) return;
        CHECK(length >= (ssize_t)sizeof packet.message, "a packet of %zd bytes", length);
        CHECK(packet.message.header.magic == MG_MAGIC && packet.message.header.version == MG_PROTOCOL_VERSION,
              "a packet that is none of ours");
        CHECK((size_t)length == sizeof packet.message + packet.message.text_length, "a text of another length");
        CHECK(memchr(packet.message.status.directory, 0, MG_DIRECTORY_LIMIT), "a directory without an end");
        if (count > 0 && !page) page = mg_page_map(descriptors[0]);
        while (count > 0) close(descriptors[--count]);
    }
}

// A connection as from the listener, and its first packet.
static void connect_with(const void *hello, size_t length, int64_t now) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) return;
    mg_socket_send(ends[1], hello, length, NULL, 0, NULL, 0);
    guard.strangers[0] = (struct stranger){.descriptor = ends[0], .since = now};
    int before = guard.agent.descriptor;
    agent_hear(0, now);
    if (guard.strangers[0].descriptor >= 0) {
        close(guard.strangers[0].descriptor);
        guard.strangers[0].descriptor = -1;
    }
    if (guard.agent.descriptor != before || guard.agent.descriptor == ends[0]) {
        if (agent >= 0) close(agent);
        mg_page_unmap(page);
        agent = ends[1], page = NULL;
    } else {
        close(ends[1]);
    }
    read_answers();
}

static void send_raw(const void *bytes, size_t length, const int *descriptors, int count, int64_t now) {
    if (agent < 0) return;
    mg_socket_send(agent, bytes, length, NULL, 0, descriptors, count);
    agent_read(now);
    read_answers();
}

static void send_request(struct input *input, int64_t now) {
    struct {
        struct mg_request request;
        char text[MG_DIRECTORY_LIMIT];
    } packet;
    memset(&packet, 0, sizeof packet);
    struct mg_request *request = &packet.request;
    uint8_t type = byte(input);
    request->header.magic = MG_MAGIC;
    request->header.version = MG_PROTOCOL_VERSION;
    request->header.type = type >= '0' ? type - '0' : type;
    request->term = term(input);
    request->duration = instant(input, 0);
    uint8_t mode = byte(input);
    request->mode = mode >= '0' ? mode - '0' : mode;
    uint8_t pid = byte(input);
    request->pid = pid == 'p' ? getpid() : pid;
    request->signal = byte(input) % 70;
    uint8_t place = byte(input);
    size_t length = 0;
    if (place == 'd') length = (size_t)snprintf(packet.text, sizeof packet.text, "%s", scratch);
    else
        for (length = 0; length < place && length < sizeof packet.text - 1; length++)
            packet.text[length] = (char)byte(input);
    request->text_length = (uint32_t)length;
    int blob = -1;
    if (request->header.type == MG_START) {
        char strings[512];
        size_t used = 0;
        uint8_t good = byte(input);
        if (good == 'g') {
            used = (size_t)snprintf(strings, sizeof strings, "/bin/postgres%c%clog%c%s%cpostgres", 0, 0, 0, scratch, 0) + 1;
            request->arguments = 1;
        } else {
            while (used < sizeof strings && used < good) strings[used++] = (char)byte(input);
            request->arguments = byte(input) == 'M' ? UINT32_MAX : byte(input);
            request->environment = byte(input);
        }
        request->blob_length = (uint32_t)used + (byte(input) == 'x' ? 1 : 0);
        blob = mg_blob_create(strings, used);
    }
    send_raw(&packet, offsetof(typeof(packet), text) + length, &blob, blob >= 0, now);
    if (blob >= 0) close(blob);
}

// MARK: What must hold

static void check_rules(int64_t now, const struct mg_lease *before) {
    const struct mg_lease *lease = &guard.lease;
    if (lease->armed) {
        CHECK(mg_term_compare(lease->term, lease->over) > 0, "armed for a term that is over");
        CHECK(lease->quit < lease->kill && lease->kill <= lease->end, "deadlines without order");
        CHECK(lease->granted > 0 && lease->granted <= LONGEST_TERM, "a lease longer than any");
    }
    CHECK(mg_term_compare(lease->over, before->over) >= 0, "a term that was over is over no more");
    if (before->armed && lease->armed && mg_term_compare(lease->term, before->term) == 0) {
        CHECK(lease->quit >= before->quit && lease->kill >= before->kill, "a deadline has shrunk");
        CHECK(!before->frozen || lease->quit == before->quit, "a frozen deadline has moved");
    }
    if (lease->armed && (!before->armed || lease->end != before->end))
        CHECK(lease->end <= now + lease->granted, "a deadline beyond what was granted");
}

static void supervise(int64_t now) {
    deadline_take_page(now);
    quit_sent = false;
    deadline_supervise(now);
    deadline_set_own_end(now);
    agent_expire(now);
    agent_publish(now);
    read_answers();
    int64_t next = deadline_next(now);
    CHECK(next > now && next <= now + 2 * SECOND, "awake again after %lld ns", (long long)(next - now));
    bool writable = guard.mode == MG_MODE_PRIMARY || guard.mode == MG_MODE_PROMOTING || guard.mode == MG_MODE_FAILSAFE;
    if (guard.postmaster.life == RUNNING && writable && !guard.stopping.active)
        CHECK(guard.lease.armed && guard.lease.quit > now, "a primary past its deadline goes on");
    if (guard.stopping.active && guard.postmaster.life == RUNNING && now >= guard.stopping.kill_at)
        CHECK(kill_sent, "the time to kill has passed, and nothing was killed");
}

static void write_control(uint8_t state) {
    static int file = -1;
    char path[96];
    unsigned char bytes[64] = {[16] = state};
    snprintf(path, sizeof path, "%s/global/pg_control", scratch);
    if (file < 0) file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    ssize_t ignored = pwrite(file, bytes, sizeof bytes, 0);
    (void)ignored;
}

static void remove_scratch(void) {
    char path[96];
    snprintf(path, sizeof path, "%s/global/pg_control", scratch);
    unlink(path);
    snprintf(path, sizeof path, "%s/global", scratch);
    rmdir(path);
    snprintf(path, sizeof path, "%s/promote", scratch);
    unlink(path);
    rmdir(scratch);
}

int LLVMFuzzerInitialize(int *count, char ***arguments) {
    (void)count, (void)arguments;
    char path[96];
    // No PostgreSQL's data directory has such a name.
    snprintf(scratch, sizeof scratch, "/tmp/matriarch-fuzz-guard.%d", (int)getpid());
    mkdir(scratch, 0700);
    snprintf(path, sizeof path, "%s/global", scratch);
    mkdir(path, 0700);
    atexit(remove_scratch);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    write_control(1);
    int descriptors = descriptor_count();
    struct input input = {data, size};
    guard = (struct guard){
        .state = -1,
        .agent = {.descriptor = -1, .page_descriptor = -1, .event = -1},
        .strangers = {{.descriptor = -1}, {.descriptor = -1}, {.descriptor = -1}, {.descriptor = -1}},
        .postmaster = {.pidfd = -1, .directory = -1, .control_file = -1},
        .pid = getpid(),
        .degraded = MG_DEGRADED_TIMER,
    };
    exits = kill_sent = false;
    int64_t now = 1000 * SECOND;
    for (int steps = 0; input.left > 0 && steps < 64; steps++) {
        struct mg_lease before = guard.lease;
        switch (byte(&input)) {
        case 'H': {
            struct mg_request hello = {
                .header = {.magic = MG_MAGIC, .version = MG_PROTOCOL_VERSION, .type = MG_HELLO, .sequence = 1}};
            hello.duration = instant(&input, 0);
            connect_with(&hello, sizeof hello, now);
            break;
        }
        case 'h': {
            size_t length = byte(&input);
            if (length > input.left) length = input.left;
            connect_with(input.bytes, length, now);
            input.bytes += length, input.left -= length;
            break;
        }
        case 'R': send_request(&input, now); break;
        case 'r': {
            size_t length = (size_t)number(&input, 2) % 2048;
            if (length > input.left) length = input.left;
            send_raw(input.bytes, length, NULL, 0, now);
            input.bytes += length, input.left -= length;
            break;
        }
        case 'O':
            if (page) {
                struct mg_offer offer = {.term = term(&input), .over = term(&input)};
                offer.quit = instant(&input, now);
                offer.kill = instant(&input, now);
                offer.end = instant(&input, now);
                offer.granted = instant(&input, 0);
                offer.flags = byte(&input) == 'f' ? MG_OFFER_FROZEN : 0;
                mg_page_offer(page, &offer);
                deadline_take_page(now);
                read_answers();
            }
            break;
        case 's':
            // A hand in the page that keeps to no rule.
            if (page) {
                size_t at = (size_t)number(&input, 2) % MG_PAGE_BYTES;
                ((volatile uint8_t *)page)[at] = byte(&input);
                supervise(now);
            }
            break;
        case 'T':
            now += byte(&input) * 10 * MILLISECOND;
            supervise(now);
            break;
        case 'C': write_control(byte(&input) % 8); break;
        case 'E': exits = true; break;
        case 'X': guard.terminate = true; break;
        case 'D':
            agent_drop("the harness");
            read_answers();
            break;
        default: continue;
        }
        check_rules(now, &before);
    }
    agent_drop("the end");
    if (agent >= 0) close(agent);
    mg_page_unmap(page);
    agent = -1, page = NULL;
    for (int i = 0; i < STRANGERS; i++)
        if (guard.strangers[i].descriptor >= 0) close(guard.strangers[i].descriptor);
    if (guard.postmaster.pidfd >= 0) close(guard.postmaster.pidfd);
    if (guard.postmaster.directory >= 0) close(guard.postmaster.directory);
    control_forget();
    int left = descriptor_count();
    CHECK(left <= descriptors, "%d descriptors are left open", left - descriptors);
    return 0;
}
