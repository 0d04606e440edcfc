// The rules of the page: which deadlines the guard accepts. Pure, so that they can be tested as a table.
#include "CLeaseGuard.h"

enum mg_verdict mg_lease_judge(
    const struct mg_lease *lease, const struct mg_offer *offer, int64_t now, bool term_may_change) {
    if (mg_term_is_none(offer->term)) return MG_UNCHANGED;
    if (offer->quit <= 0 || offer->quit >= offer->kill || offer->kill > offer->end) return MG_REFUSED_ORDER;
    // An offer whose own term it declares over is the declaration alone.
    if (mg_term_compare(offer->term, offer->over) <= 0 || mg_term_compare(offer->term, lease->over) <= 0)
        return MG_REFUSED_OVER;

    bool same = mg_term_compare(offer->term, lease->term) == 0;
    if (same) {
        bool frozen = (offer->flags & MG_OFFER_FROZEN) != 0;
        bool moved = offer->quit != lease->quit || offer->kill != lease->kill || offer->end != lease->end;
        if (lease->frozen) return moved ? MG_REFUSED_FROZEN : MG_UNCHANGED;
        if (offer->quit < lease->quit || offer->kill < lease->kill || offer->end < lease->end)
            return MG_REFUSED_SHRINK;
        if (!moved && !frozen && lease->armed) return MG_UNCHANGED;
    } else {
        if (mg_term_compare(offer->term, lease->term) < 0) return MG_REFUSED_OLDER;
        if (!term_may_change) {
            // Only a succession: nothing was given up between the two, so nothing may get shorter.
            bool succeeds = (offer->flags & MG_OFFER_SUCCEEDS) != 0 && lease->armed && !lease->frozen
                && offer->term.era > lease->term.era;
            if (!succeeds) return MG_REFUSED_CHANGE;
            if (offer->quit < lease->quit || offer->kill < lease->kill || offer->end < lease->end)
                return MG_REFUSED_SHRINK;
        }
    }
    if (offer->granted <= 0 || offer->granted > lease->longest) return MG_REFUSED_FAR;
    // quit < kill <= end, so the last one bounds them all.
    if (offer->end - now > offer->granted) return MG_REFUSED_FAR;
    if (offer->quit <= now) return MG_REFUSED_PASSED;
    return MG_ACCEPTED;
}

void mg_lease_take(struct mg_lease *lease, const struct mg_offer *offer) {
    lease->term = offer->term;
    lease->quit = offer->quit;
    lease->kill = offer->kill;
    lease->end = offer->end;
    lease->granted = offer->granted;
    lease->frozen = (offer->flags & MG_OFFER_FROZEN) != 0;
    lease->armed = true;
}

void mg_lease_end(struct mg_lease *lease, struct mg_term term) {
    if (mg_term_compare(term, lease->over) > 0) lease->over = term;
    if (mg_term_compare(lease->term, lease->over) <= 0) lease->armed = false;
}

const char *mg_verdict_text(enum mg_verdict verdict) {
    switch (verdict) {
    case MG_UNCHANGED: return "unchanged";
    case MG_ACCEPTED: return "accepted";
    case MG_REFUSED_ORDER: return "the deadlines are not in the order quit, kill, end";
    case MG_REFUSED_OVER: return "the term is over";
    case MG_REFUSED_OLDER: return "the term is older than the one accepted";
    case MG_REFUSED_CHANGE: return "PostgreSQL still runs under another term";
    case MG_REFUSED_SHRINK: return "the deadline would shrink within its term";
    case MG_REFUSED_FROZEN: return "the term's deadlines are frozen";
    case MG_REFUSED_FAR: return "the deadline is further away than the lease was granted for";
    case MG_REFUSED_PASSED: return "the deadline has passed already";
    }
    return "unknown";
}

int64_t mg_round_interval(int64_t granted) {
    const int64_t least = 1000000, most = 4000000000;
    int64_t round = granted / 8;
    return round < least ? least : round > most ? most : round;
}
