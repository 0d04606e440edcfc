// The agent's connection: one at a time, a page of its own each, replaced by the next one that says hello.
#define _GNU_SOURCE
#include "guard.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

static void fill_status(struct mg_status *status) {
    memset(status, 0, sizeof *status);
    status->term = guard.lease.term;
    status->over = guard.lease.over;
    status->quit = guard.lease.quit;
    status->kill = guard.lease.kill;
    status->end = guard.lease.end;
    status->granted = guard.lease.granted;
    status->rounds = guard.rounds;
    status->guard = guard.pid;
    status->mode = guard.mode;
    status->degraded = guard.degraded;
    if (guard.postmaster.life == RUNNING) {
        status->postmaster = guard.postmaster.pid;
        status->start_time = guard.postmaster.start_time;
    }
    if (guard.postmaster.life != SILENT)
        memcpy(status->directory, guard.postmaster.directory_path, sizeof status->directory);
    if (guard.lease.armed) status->flags |= MG_FLAG_ARMED;
    if (guard.lease.frozen) status->flags |= MG_FLAG_FROZEN;
    if (guard.postmaster.adopted) status->flags |= MG_FLAG_ADOPTED;
    if (guard.postmaster.life == SILENT) status->flags |= MG_FLAG_SILENT;
    if (guard.stopping.active) status->flags |= MG_FLAG_STOPPING;
    if (guard.postmaster.life != SILENT && deadline_enforced()) status->flags |= MG_FLAG_ENFORCED;
}

void agent_publish(int64_t now) {
    if (!guard.agent.page) return;
    struct mg_status status;
    fill_status(&status);
    struct mg_published published = {
        .term = status.term,
        .quit = status.quit,
        .kill = status.kill,
        .looked_at = now,
        .rounds = status.rounds,
        .mode = status.mode,
        .flags = status.flags,
        .verdict = guard.agent.verdict,
    };
    mg_page_publish(guard.agent.page, &published);
}

void agent_drop(const char *reason) {
    if (guard.agent.descriptor < 0) return;
    note("agent %d disconnected: %s", (int)guard.agent.pid, reason);
    close(guard.agent.descriptor);
    close(guard.agent.page_descriptor);
    close(guard.agent.event);
    mg_page_unmap(guard.agent.page);
    guard.agent = (struct agent){.descriptor = -1, .page_descriptor = -1, .event = -1};
}

static bool send_message(
    int descriptor, const struct mg_message *message, const char *text, const int *descriptors, int count) {
    return mg_socket_send(
               descriptor, message, sizeof *message, text, message->text_length, descriptors, count)
        == 0;
}

bool agent_send(const struct mg_message *message, const char *text, const int *descriptors, int count) {
    if (guard.agent.descriptor < 0) return false;
    if (send_message(guard.agent.descriptor, message, text, descriptors, count)) return true;
    // An agent that does not read hundreds of packets is told everything when it connects again.
    agent_drop(errno == EAGAIN ? "it does not read" : strerror(errno));
    return false;
}

static struct mg_message new_message(enum mg_type type, const char *text) {
    struct mg_message message;
    memset(&message, 0, sizeof message);
    message.header.magic = MG_MAGIC;
    message.header.version = MG_PROTOCOL_VERSION;
    message.header.type = (uint16_t)type;
    message.header.sequence = ++guard.agent.sequence;
    message.term = guard.lease.term;
    size_t length = strlen(text);
    message.text_length = (uint32_t)(length < MG_TEXT_LIMIT ? length : MG_TEXT_LIMIT);
    fill_status(&message.status);
    return message;
}

void agent_report(enum mg_report kind, int pid, int wait_status, const char *text) {
    if (guard.agent.descriptor < 0) return;
    struct mg_message message = new_message(MG_REPORT, text);
    message.kind = kind;
    message.pid = pid;
    message.wait_status = wait_status;
    agent_send(&message, text, NULL, 0);
}

void agent_reply(const struct mg_header *request, bool refused, int pid, const char *text) {
    if (guard.agent.descriptor < 0) return;
    struct mg_message message = new_message(MG_REPLY, text);
    message.in_reply_to = request->sequence;
    message.refused = refused;
    message.pid = pid;
    if (refused) note("request %u refused: %s", request->type, text);
    agent_send(&message, text, NULL, 0);
}

// MARK: Connecting

void agent_accept(int64_t now) {
    for (;;) {
        int descriptor = accept4(guard.listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (descriptor < 0) return;
        uid_t uid;
        // Root may do as it likes with us anyhow, so its connection is no wider a door.
        if (mg_socket_peer(descriptor, NULL, &uid) != 0 || (uid != getuid() && uid != 0)) {
            close(descriptor);
            continue;
        }
        int oldest = 0;
        for (int i = 0; i < STRANGERS; i++) {
            if (guard.strangers[i].descriptor < 0) {
                oldest = i;
                break;
            }
            if (guard.strangers[i].since < guard.strangers[oldest].since) oldest = i;
        }
        if (guard.strangers[oldest].descriptor >= 0) close(guard.strangers[oldest].descriptor);
        guard.strangers[oldest] = (struct stranger){.descriptor = descriptor, .since = now};
    }
}

void agent_expire(int64_t now) {
    for (int i = 0; i < STRANGERS; i++) {
        if (guard.strangers[i].descriptor < 0 || now - guard.strangers[i].since < HELLO_LIMIT) continue;
        close(guard.strangers[i].descriptor);
        guard.strangers[i].descriptor = -1;
    }
}

// The first packet of a connection: a hello that fits makes it the agent's.
void agent_hear(int index, int64_t now) {
    int descriptor = guard.strangers[index].descriptor;
    struct mg_request hello;
    int descriptors[4], count;
    ssize_t length = mg_socket_receive(descriptor, &hello, sizeof hello, descriptors, &count);
    if (length < 0 && errno == EAGAIN) return;
    while (count > 0) close(descriptors[--count]);
    guard.strangers[index].descriptor = -1;
    if (length != (ssize_t)sizeof hello || hello.header.magic != MG_MAGIC || hello.header.type != MG_HELLO) {
        close(descriptor);
        return;
    }
    if (hello.header.version != MG_PROTOCOL_VERSION || hello.duration <= 0) {
        const char *text = "this guard speaks another version of the protocol";
        struct mg_message message = new_message(MG_REPLY, text);
        message.in_reply_to = hello.header.sequence;
        message.refused = 1;
        send_message(descriptor, &message, text, NULL, 0);
        close(descriptor);
        return;
    }
    struct mg_page *page = NULL;
    int page_descriptor = mg_page_create(&page);
    int event = page_descriptor < 0 ? -1 : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (event < 0) {
        note("no page for a new agent: %s", strerror(errno));
        if (page_descriptor >= 0) close(page_descriptor);
        mg_page_unmap(page);
        close(descriptor);
        return;
    }
    // Its last word first; then its page is gone from here, and what it still writes goes nowhere.
    deadline_take_page(now);
    agent_drop("replaced by another connection");
    // The old agent's bootstrap is not the new one's.
    if (guard.postmaster.life == RUNNING && guard.mode == MG_MODE_BOOTSTRAP && !guard.stopping.active)
        deadline_begin_stop(now, now + UNDATED_KILL, "the agent was replaced during bootstrap");

    pid_t pid = hello.pid;
    mg_socket_peer(descriptor, &pid, NULL);
    guard.agent = (struct agent){
        .descriptor = descriptor, .pid = pid, .page = page, .page_descriptor = page_descriptor, .event = event};
    guard.lease.longest = hello.duration < LONGEST_TERM ? hello.duration : LONGEST_TERM;
    agent_publish(now);
    struct mg_message message = new_message(MG_REPLY, "");
    message.in_reply_to = hello.header.sequence;
    int shared[2] = {page_descriptor, event};
    note("agent %d connected", (int)pid);
    agent_send(&message, "", shared, 2);
}

void agent_read(int64_t now) {
    // A bounded number a round: a chattering agent must not keep the guard from its deadlines.
    for (int packets = 0; packets < 16 && guard.agent.descriptor >= 0; packets++) {
        struct {
            struct mg_request request;
            char text[MG_DIRECTORY_LIMIT];
        } packet;
        int descriptors[4], count;
        ssize_t length = mg_socket_receive(guard.agent.descriptor, &packet, sizeof packet, descriptors, &count);
        if (length < 0 && errno == EAGAIN) return;
        if (length <= 0) {
            agent_drop(length == 0 ? "it closed the connection" : strerror(errno));
            return;
        }
        const struct mg_request *request = &packet.request;
        if (length < (ssize_t)sizeof *request || request->header.magic != MG_MAGIC
            || request->header.version != MG_PROTOCOL_VERSION || request->text_length >= sizeof packet.text
            || (size_t)length != offsetof(typeof(packet), text) + request->text_length) {
            agent_drop("it sent something else than a request");
        } else {
            packet.text[request->text_length] = 0;
            request_handle(request, packet.text, descriptors, count, now);
        }
        while (count > 0) close(descriptors[--count]);
    }
}
