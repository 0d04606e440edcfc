// The deadlines: which of them stand, when PostgreSQL is stopped, and the guard's own end.
#define _GNU_SOURCE
#include "guard.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static bool alive(void) { return guard.postmaster.life != SILENT; }

// Would a deadline that passes stop PostgreSQL?
bool deadline_enforced(void) {
    switch (guard.mode) {
    case MG_MODE_PROMOTING:
    case MG_MODE_PRIMARY:
    case MG_MODE_FAILSAFE:
        return true;
    case MG_MODE_BOOTSTRAP:
    case MG_MODE_STOPPING:
    case MG_MODE_RESUMED:
    case MG_MODE_ADOPTED:
        return guard.lease.armed;
    default:
        return false;
    }
}

// Under an enforced term PostgreSQL must have been silent before the next term can begin: between the two the lease may have
// been somebody else's.
bool deadline_term_may_change(void) {
    if (!alive()) return true;
    if (guard.stopping.active) return false;
    if (!guard.lease.armed) return guard.mode != MG_MODE_PROMOTING && guard.mode != MG_MODE_PRIMARY
            && guard.mode != MG_MODE_FAILSAFE && guard.mode != MG_MODE_STOPPING;
    // In failsafe the members' grants cover the time between: nobody else could have had the lease.
    return guard.mode == MG_MODE_REPLICA || guard.mode == MG_MODE_PAUSED || guard.mode == MG_MODE_FAILSAFE;
}

// MARK: The own end

bool deadline_create_own_end(void) {
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL};
    guard.own_end_at = 0;
    return timer_create(CLOCK_BOOTTIME, &event, &guard.own_end) == 0;
}

// The kernel kills the guard at that instant unless it comes round to move it: a stopped guard then ends, and its death
// signal ends PostgreSQL. An adopted server has no death signal, so for that one a late guard is better than none.
void deadline_set_own_end(int64_t now) {
    int64_t at = 0;
    if (alive() && !guard.postmaster.adopted && !(guard.degraded & MG_DEGRADED_TIMER)) {
        if (guard.stopping.active || guard.postmaster.life == LEFTOVERS) {
            // From K on the guard is awake and killing; the timer follows it at a distance.
            int64_t from = guard.stopping.kill_at > now + 200 * MILLISECOND ? guard.stopping.kill_at
                                                                           : now + 200 * MILLISECOND;
            at = from + OWN_END_GRACE;
        } else if (deadline_enforced() && guard.lease.armed) {
            at = guard.lease.quit + OWN_END_GRACE;
        }
    }
    // Following at a distance need not be exact: a system call a round is saved.
    if (at == guard.own_end_at) return;
    struct itimerspec when = {.it_value = {at / SECOND, at % SECOND}};
    if (timer_settime(guard.own_end, TIMER_ABSTIME, &when, NULL) == 0) guard.own_end_at = at;
}

// MARK: The page

void deadline_end_term(int64_t now, struct mg_term term) {
    if (mg_term_is_none(term)) return;
    bool current = guard.lease.armed && mg_term_compare(guard.lease.term, term) <= 0;
    int64_t kill = guard.lease.kill;
    bool enforced = deadline_enforced();
    mg_lease_end(&guard.lease, term);
    if (!current) return;
    note("term %u.%llu is over", guard.lease.term.era, (unsigned long long)guard.lease.term.number);
    if (guard.postmaster.life == RUNNING && enforced && !guard.stopping.active)
        deadline_begin_stop(now, kill < now + UNDATED_KILL ? kill : now + UNDATED_KILL, "the term was ended");
}

void deadline_take_page(int64_t now) {
    if (!guard.agent.page) return;
    struct mg_offer offer;
    uint64_t sequence;
    if (!mg_page_read_offer(guard.agent.page, &offer, &sequence) || sequence == guard.agent.seen) return;
    guard.agent.seen = sequence;
    if (mg_term_compare(offer.over, guard.lease.over) > 0) deadline_end_term(now, offer.over);
    // The declaration stays in the page and carries the ended term's values with it: no offer.
    if (mg_term_compare(offer.term, offer.over) <= 0) return;

    struct mg_term before = guard.lease.term;
    bool was_armed = guard.lease.armed, was_frozen = guard.lease.frozen;
    enum mg_verdict verdict = mg_lease_judge(&guard.lease, &offer, now, deadline_term_may_change());
    guard.agent.verdict = verdict;
    if (verdict == MG_UNCHANGED) return;
    if (verdict != MG_ACCEPTED) {
        note("offer for term %u.%llu refused: %s", offer.term.era, (unsigned long long)offer.term.number,
             mg_verdict_text(verdict));
        agent_report(MG_REPORT_REFUSED, 0, 0, mg_verdict_text(verdict));
        return;
    }
    bool fresh = !was_armed || mg_term_compare(before, offer.term) != 0;
    // Whoever holds a newer term knows that the older one is over.
    if (mg_term_compare(before, offer.term) < 0 && !mg_term_is_none(before)) mg_lease_end(&guard.lease, before);
    mg_lease_take(&guard.lease, &offer);
    if (fresh) {
        // The timer first: the report says that the deadline is enforced.
        deadline_set_own_end(now);
        note("armed: term %u.%llu", offer.term.era, (unsigned long long)offer.term.number);
        agent_report(MG_REPORT_ARMED, 0, 0, "");
    }
    if (guard.lease.frozen && !was_frozen) agent_report(MG_REPORT_STATUS, 0, 0, "frozen");
}

// MARK: Stopping

void deadline_begin_stop(int64_t now, int64_t kill_at, const char *reason) {
    guard.stopping.active = true;
    guard.stopping.killing = false;
    guard.stopping.kill_at = kill_at;
    guard.stopping.repeat_at = now + 50 * MILLISECOND;
    // A stop is not revoked: its term takes no further deadline.
    if (guard.lease.armed) mg_lease_end(&guard.lease, guard.lease.term);
    deadline_set_own_end(now);
    process_signal_all(SIGQUIT);
    note("stopping PostgreSQL: %s", reason);
    agent_report(MG_REPORT_STOPPING, guard.postmaster.pid, 0, reason);
}

static void became_silent(int64_t now) {
    guard.postmaster.life = SILENT;
    guard.postmaster.pid = 0;
    guard.postmaster.adopted = false;
    if (guard.postmaster.pidfd >= 0) close(guard.postmaster.pidfd);
    if (guard.postmaster.directory >= 0) close(guard.postmaster.directory);
    control_forget();
    guard.postmaster.pidfd = -1;
    guard.postmaster.directory = -1;
    guard.stopping = (struct stopping){0};
    guard.mode = MG_MODE_NONE;
    guard.grace_until = 0;
    // An offer that was refused because PostgreSQL still ran may hold now.
    if (guard.agent.verdict == MG_REFUSED_CHANGE) guard.agent.seen = 0;
    deadline_set_own_end(now);
    note("silent");
    agent_report(MG_REPORT_SILENT, 0, 0, "");
}

static void postmaster_ended(int64_t now, int status) {
    pid_t pid = guard.postmaster.pid;
    guard.postmaster.life = LEFTOVERS;
    // Its backends go on with what they do until they look: they are told at once, and killed soon after, so that a
    // restart finds no one attached to the old shared memory.
    process_signal_all(SIGQUIT);
    int64_t kill_at = now + LEFTOVER_GRACE;
    if (guard.lease.armed && guard.lease.kill < kill_at) kill_at = guard.lease.kill;
    if (guard.stopping.active && guard.stopping.kill_at < kill_at) kill_at = guard.stopping.kill_at;
    guard.stopping.kill_at = kill_at;
    guard.stopping.repeat_at = now + 50 * MILLISECOND;
    if (guard.postmaster.adopted) note("postmaster %d has ended", (int)pid);
    else if (WIFSIGNALED(status)) note("postmaster %d ended by signal %d", (int)pid, WTERMSIG(status));
    else note("postmaster %d ended with status %d", (int)pid, WEXITSTATUS(status));
    guard.postmaster.pid = 0;
    agent_report(MG_REPORT_EXITED, (int)pid, status, "");
}

// Is an unarmed server writable? Looks once a second, and twice before it says so.
static bool in_production(int64_t now, bool look_now) {
    if (now < guard.control_next && !look_now) return false;
    enum control_state state = control_read();
    if (state != CONTROL_PRODUCTION) {
        guard.control_suspect = false;
        guard.control_next = now + SECOND;
        return false;
    }
    if (!guard.control_suspect && !look_now) {
        guard.control_suspect = true;
        guard.control_next = now + 20 * MILLISECOND;
        return false;
    }
    guard.control_suspect = false;
    guard.control_next = now + SECOND;
    return true;
}

// The rules, in their order. NULL: nothing to stop for.
static const char *why_stop(int64_t now, int64_t *kill_at) {
    *kill_at = now + UNDATED_KILL;
    bool passed = guard.lease.armed && now >= guard.lease.quit;
    if (passed) *kill_at = guard.lease.kill;
    if (guard.terminate) {
        // The host goes down and no agent is there: a fast shutdown first, as long as that takes a reasonable time.
        if (guard.terminate_at == 0) {
            guard.terminate_at = now + 10 * SECOND;
            process_signal_postmaster(SIGINT);
        }
        if (!passed && now >= guard.terminate_at) return "the guard was told to end";
    }
    switch (guard.mode) {
    case MG_MODE_BOOTSTRAP:
        if (guard.agent.descriptor < 0) return "the agent is gone during bootstrap";
        return passed ? "the deadline has passed" : NULL;

    case MG_MODE_REPLICA:
        if (passed) {
            // Not writable: nothing to stop, the term is over all the same.
            if (in_production(now, true)) return "the deadline has passed";
            *kill_at = now + UNDATED_KILL;
            deadline_end_term(now, guard.lease.term);
            return NULL;
        }
        if (!in_production(now, false)) return NULL;
        if (!guard.lease.armed) return "it is in production without a term";
        // Promoted by other hands than ours while a term stands: enforced from here on.
        guard.mode = MG_MODE_PRIMARY;
        agent_report(MG_REPORT_STATUS, 0, 0, "promoted by others");
        return NULL;

    case MG_MODE_PROMOTING:
    case MG_MODE_PRIMARY:
    case MG_MODE_FAILSAFE:
        if (!guard.lease.armed) return "it is a primary without a term";
        return passed ? "the deadline has passed" : NULL;

    case MG_MODE_STOPPING:
        if (passed) return "the deadline has passed";
        if (!guard.lease.armed && now >= guard.grace_until && in_production(now, false))
            return "it is in production without a term";
        return NULL;

    case MG_MODE_RESUMED:
    case MG_MODE_ADOPTED:
        if (guard.lease.armed) {
            if (!passed) return NULL;
            if (in_production(now, true)) return "the deadline has passed";
            deadline_end_term(now, guard.lease.term);
            guard.mode = MG_MODE_REPLICA;
            return NULL;
        }
        if (now < guard.grace_until) return NULL;
        if (in_production(now, true)) return "no term came in time";
        guard.mode = MG_MODE_REPLICA;
        return NULL;

    case MG_MODE_PAUSED:
        // Suspended. The term may be renewed after its deadline, so it is not over, only not in force.
        if (passed) guard.lease.armed = false;
        return NULL;

    case MG_MODE_NONE:
        return NULL;
    }
    return NULL;
}

void deadline_supervise(int64_t now) {
    if (guard.postmaster.life == SILENT) {
        if (guard.lease.armed && now >= guard.lease.quit) deadline_end_term(now, guard.lease.term);
        return;
    }
    bool exited;
    int status;
    bool none = process_reap(&exited, &status);
    if (exited) {
        postmaster_ended(now, status);
        none = process_reap(&exited, &status);
    }
    if (guard.postmaster.life == LEFTOVERS && none) {
        became_silent(now);
        return;
    }
    if (guard.postmaster.life == RUNNING && !guard.stopping.active) {
        int64_t kill_at;
        const char *reason = why_stop(now, &kill_at);
        if (reason && !guard.stopping.active) deadline_begin_stop(now, kill_at, reason);
    }
    if (!guard.stopping.active && guard.postmaster.life != LEFTOVERS) return;
    if (now >= guard.stopping.kill_at) {
        process_signal_all(SIGKILL);
        if (!guard.stopping.killing) {
            guard.stopping.killing = true;
            const char *what = guard.postmaster.life == RUNNING ? "postmaster and all its processes" : "what was left";
            note("killed: %s", what);
            agent_report(MG_REPORT_KILLED, guard.postmaster.pid, 0, what);
        }
    } else if (now >= guard.stopping.repeat_at) {
        process_signal_all(SIGQUIT);
        guard.stopping.repeat_at = now + 100 * MILLISECOND;
    }
}

// Whether this mode looks at pg_control, once a second.
static bool reads_control(void) {
    if (guard.postmaster.life != RUNNING) return false;
    return guard.mode == MG_MODE_REPLICA || (guard.mode == MG_MODE_STOPPING && !guard.lease.armed);
}

// How long the guard may sleep when nothing calls it. What cannot wait calls it: an offer in the page (the event), the
// postmaster's end, a request, the deadline itself. So this bounds only how soon its standing still can be noticed, which
// the agent reckons by the same rule (mg_round_interval).
static int64_t longest_round(void) {
    int64_t round = SECOND;
    if (guard.lease.armed && !reads_control()) round = mg_round_interval(guard.lease.granted);
    // A watchdog starves between two rounds that are too far apart.
    if (guard.watchdog_path && guard.watchdog_timeout / 4 < round) round = guard.watchdog_timeout / 4;
    if (guard.tick > 0 && guard.tick < round) round = guard.tick;
    if (guard.stopping.active || guard.postmaster.life == LEFTOVERS) round = 10 * MILLISECOND;
    return round;
}

// When the guard must be awake next.
int64_t deadline_next(int64_t now) {
    int64_t next = now + longest_round();
    if (guard.lease.armed && guard.lease.quit < next) next = guard.lease.quit;
    if (guard.postmaster.life == RUNNING && !guard.stopping.active) {
        if (guard.control_suspect && guard.control_next < next) next = guard.control_next;
        if (guard.grace_until > now && guard.grace_until < next) next = guard.grace_until;
        if (guard.terminate_at > now && guard.terminate_at < next) next = guard.terminate_at;
    }
    for (int i = 0; i < STRANGERS; i++)
        if (guard.strangers[i].descriptor >= 0 && guard.strangers[i].since + HELLO_LIMIT < next)
            next = guard.strangers[i].since + HELLO_LIMIT;
    if ((guard.stopping.active || guard.postmaster.life == LEFTOVERS) && guard.stopping.kill_at > now
        && guard.stopping.kill_at < next)
        next = guard.stopping.kill_at;
    return next > now ? next : now + MILLISECOND;
}
