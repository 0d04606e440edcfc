// Sockets with descriptors, memfds, pidfds: what Linux offers and Swift's Glibc module does not import.
#define _GNU_SOURCE
#include "CLeaseGuard.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

int64_t mg_boottime(void) {
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int mg_clock_is_synchronized(void) {
    struct timex state = {.modes = 0};
    int code = adjtimex(&state);
    if (code < 0) return -1;
    return code != TIME_ERROR && !(state.status & STA_UNSYNC);
}

int mg_open_directory(const char *path) { return open(path, O_PATH | O_DIRECTORY | O_CLOEXEC); }

// A socket's address holds 107 bytes; by way of the directory's descriptor its own path may be of any length.
static socklen_t address_of(struct sockaddr_un *address, int directory, const char *name) {
    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d/%s", directory, name);
    return sizeof *address;
}

int mg_socket_listen(int directory, const char *name) {
    int descriptor = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (descriptor < 0) return -1;
    struct sockaddr_un address;
    socklen_t length = address_of(&address, directory, name);
    if (unlinkat(directory, name, 0) != 0 && errno != ENOENT) goto failed;
    // Its mode is the socket's own from the start: bind applies the descriptor's mode and the umask.
    if (fchmod(descriptor, 0600) != 0) goto failed;
    mode_t mask = umask(0177);
    int bound = bind(descriptor, (struct sockaddr *)&address, length);
    umask(mask);
    if (bound != 0 || listen(descriptor, 8) != 0) goto failed;
    return descriptor;
failed:;
    int saved = errno;
    close(descriptor);
    errno = saved;
    return -1;
}

int mg_socket_connect(int directory, const char *name) {
    int descriptor = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (descriptor < 0) return -1;
    struct sockaddr_un address;
    socklen_t length = address_of(&address, directory, name);
    if (connect(descriptor, (struct sockaddr *)&address, length) != 0) {
        int saved = errno;
        close(descriptor);
        errno = saved;
        return -1;
    }
    return descriptor;
}

int mg_socket_peer(int socket, pid_t *pid, uid_t *uid) {
    struct ucred credentials;
    socklen_t length = sizeof credentials;
    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) return -1;
    if (pid) *pid = credentials.pid;
    if (uid) *uid = credentials.uid;
    return 0;
}

int mg_socket_send(
    int socket, const void *head, size_t head_length, const void *tail, size_t tail_length, const int *descriptors,
    int count) {
    struct iovec parts[2] = {{(void *)head, head_length}, {(void *)tail, tail_length}};
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(4 * sizeof(int))];
    } control;
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = tail_length ? 2 : 1};
    if (count > 4) {
        errno = EINVAL;
        return -1;
    }
    if (count > 0) {
        memset(&control, 0, sizeof control);
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE((size_t)count * sizeof(int));
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
        memcpy(CMSG_DATA(header), descriptors, (size_t)count * sizeof(int));
    }
    for (;;) {
        ssize_t sent = sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent >= 0) return 0;
        if (errno != EINTR) return -1;
    }
}

ssize_t mg_socket_receive(int socket, void *buffer, size_t capacity, int *descriptors, int *count) {
    struct iovec part = {buffer, capacity};
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(4 * sizeof(int))];
    } control;
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    *count = 0;
    ssize_t length;
    do {
        length = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (length < 0 && errno == EINTR);
    if (length < 0) return -1;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
        size_t received = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < received; i++) {
            int descriptor;
            memcpy(&descriptor, CMSG_DATA(header) + i * sizeof(int), sizeof descriptor);
            if (*count < 4) descriptors[(*count)++] = descriptor;
            else close(descriptor);
        }
    }
    if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
        while (*count > 0) close(descriptors[--*count]);
        errno = EMSGSIZE;
        return -1;
    }
    return length;
}

int mg_wait_readable(int socket, int64_t until) {
    for (;;) {
        int64_t left = until - mg_boottime();
        if (left < 0) left = 0;
        struct pollfd watched = {.fd = socket, .events = POLLIN};
        struct timespec wait = {left / 1000000000, left % 1000000000};
        int ready = ppoll(&watched, 1, &wait, NULL);
        if (ready > 0) return 1;
        if (ready < 0 && errno != EINTR) return -1;
        if (ready == 0 && left == 0) return 0;
    }
}

int mg_blob_create(const void *bytes, size_t length) {
    int descriptor = memfd_create("matriarch-start", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (descriptor < 0) return -1;
    size_t written = 0;
    while (written < length) {
        ssize_t step = write(descriptor, (const char *)bytes + written, length - written);
        if (step < 0 && errno == EINTR) continue;
        if (step <= 0) {
            close(descriptor);
            return -1;
        }
        written += (size_t)step;
    }
    fcntl(descriptor, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL);
    return descriptor;
}

int mg_eventfd_notify(int descriptor) {
    uint64_t one = 1;
    return write(descriptor, &one, sizeof one) == (ssize_t)sizeof one || errno == EAGAIN ? 0 : -1;
}

int mg_pidfd_open(pid_t pid) { return (int)syscall(SYS_pidfd_open, pid, 0); }

int mg_pidfd_signal(int pidfd, int signal) { return (int)syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0); }

uint64_t mg_start_time(pid_t pid) {
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) return 0;
    ssize_t length = read(descriptor, text, sizeof text - 1);
    close(descriptor);
    if (length <= 0) return 0;
    text[length] = 0;
    // The name in field 2 may hold blanks and parentheses: count from the last one.
    const char *at = strrchr(text, ')');
    if (!at) return 0;
    for (int field = 2; field < 22; field++) {
        at = strchr(at + 1, ' ');
        if (!at) return 0;
    }
    return strtoull(at + 1, NULL, 10);
}
