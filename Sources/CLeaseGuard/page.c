// The page: a sealed memfd of one page, written by the agent on one half and by the guard on the other.
//
// Each half is a sequence lock: odd while its writer is inside. Readers never wait: a guard that meets an odd
// sequence keeps what it has, so an agent stopped in the middle of a write changes nothing.
#define _GNU_SOURCE
#include "CLeaseGuard.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE_MAGIC 0x4550414745474dull
#define WORDS(type) ((sizeof(type) + 7) / 8)

// The halves lie on cache lines of their own. Their contents are stored word by word as relaxed atomics: a torn
// reading is then defined behaviour, and the sequence tells that it was torn.
struct mg_page {
    uint64_t magic;
    uint32_t version;
    uint32_t bytes;
    _Alignas(64) _Atomic uint64_t offer_sequence;
    _Atomic uint64_t offer[WORDS(struct mg_offer)];
    _Alignas(64) _Atomic uint64_t published_sequence;
    _Atomic uint64_t published[WORDS(struct mg_published)];
    _Alignas(64) _Atomic uint64_t rounds;
};

_Static_assert(sizeof(struct mg_page) <= MG_PAGE_BYTES, "the page's layout fits one page");
_Static_assert(sizeof(struct mg_offer) % 8 == 0, "an offer is whole words");
_Static_assert(sizeof(struct mg_published) % 8 == 0, "what is published is whole words");

static void store(_Atomic uint64_t *sequence, _Atomic uint64_t *words, const void *value, size_t count) {
    uint64_t source[32];
    memcpy(source, value, count * 8);
    uint64_t before = atomic_load_explicit(sequence, memory_order_relaxed) & ~1ull;
    atomic_store_explicit(sequence, before + 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    for (size_t i = 0; i < count; i++) atomic_store_explicit(&words[i], source[i], memory_order_relaxed);
    atomic_store_explicit(sequence, before + 2, memory_order_release);
}

static bool load(_Atomic uint64_t *sequence, _Atomic uint64_t *words, void *value, size_t count, uint64_t *seen) {
    uint64_t target[32];
    for (int attempt = 0; attempt < 64; attempt++) {
        uint64_t before = atomic_load_explicit(sequence, memory_order_acquire);
        if (before & 1) continue;
        for (size_t i = 0; i < count; i++) target[i] = atomic_load_explicit(&words[i], memory_order_relaxed);
        atomic_thread_fence(memory_order_acquire);
        if (atomic_load_explicit(sequence, memory_order_relaxed) != before) continue;
        memcpy(value, target, count * 8);
        if (seen) *seen = before;
        return true;
    }
    return false;
}

int mg_page_create(struct mg_page **result) {
    int descriptor = memfd_create("matriarch-lease", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (descriptor < 0) return -1;
    // Sealed in size, so that a faulty agent cannot truncate it under the guard's feet (SIGBUS).
    if (ftruncate(descriptor, MG_PAGE_BYTES) != 0
        || fcntl(descriptor, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        close(descriptor);
        return -1;
    }
    void *mapped = mmap(NULL, MG_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, descriptor, 0);
    if (mapped == MAP_FAILED) {
        close(descriptor);
        return -1;
    }
    struct mg_page *page = mapped;
    page->magic = PAGE_MAGIC;
    page->version = MG_PROTOCOL_VERSION;
    page->bytes = MG_PAGE_BYTES;
    *result = page;
    return descriptor;
}

struct mg_page *mg_page_map(int descriptor) {
    struct stat status;
    if (fstat(descriptor, &status) != 0) return NULL;
    if (status.st_size != MG_PAGE_BYTES) {
        errno = EPROTO;
        return NULL;
    }
    void *mapped = mmap(NULL, MG_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, descriptor, 0);
    if (mapped == MAP_FAILED) return NULL;
    struct mg_page *page = mapped;
    if (page->magic != PAGE_MAGIC || page->version != MG_PROTOCOL_VERSION) {
        munmap(mapped, MG_PAGE_BYTES);
        errno = EPROTO;
        return NULL;
    }
    return page;
}

void mg_page_unmap(struct mg_page *page) {
    if (page) munmap(page, MG_PAGE_BYTES);
}

void mg_page_offer(struct mg_page *page, const struct mg_offer *offer) {
    store(&page->offer_sequence, page->offer, offer, WORDS(struct mg_offer));
}

bool mg_page_read_offer(struct mg_page *page, struct mg_offer *offer, uint64_t *sequence) {
    return load(&page->offer_sequence, page->offer, offer, WORDS(struct mg_offer), sequence);
}

void mg_page_publish(struct mg_page *page, const struct mg_published *published) {
    store(&page->published_sequence, page->published, published, WORDS(struct mg_published));
    atomic_store_explicit(&page->rounds, published->rounds, memory_order_release);
}

bool mg_page_read_published(struct mg_page *page, struct mg_published *published) {
    return load(&page->published_sequence, page->published, published, WORDS(struct mg_published), NULL);
}

uint64_t mg_page_rounds(struct mg_page *page) {
    return atomic_load_explicit(&page->rounds, memory_order_acquire);
}
