#define _GNU_SOURCE
#include "CLinux.h"
#include "bus_errors.h"

#include <stdatomic.h>

// A page of a mapped file that the file has no more, or that its medium does not give, is a SIGBUS for whoever touches
// it. One handler for the whole process decides what becomes of that.

enum { page_size = 4096, guards = 64, single_pages = 1024 };

// Bytes that somebody guards; free while `start` is 0, which is written last and cleared first.
struct guard {
    atomic_uintptr_t start;
    uintptr_t end;
    _Atomic uint8_t *state;
    uint8_t lost;
    int event;
    atomic_uint replaced;
};

static struct guard table[guards];
static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct sigaction before;
static atomic_int ends_plainly;
static _Thread_local sigjmp_buf *waiting;

// Puts zeroes in a guarded page's place, and says so. Whether it is a guarded one.
static int replace(uintptr_t address) {
    for (int index = 0; index < guards; index++) {
        struct guard *guard = &table[index];
        uintptr_t start = atomic_load_explicit(&guard->start, memory_order_acquire);
        if (start == 0 || address < start || address >= guard->end) {
            continue;
        }
        uintptr_t page = address & ~(uintptr_t)(page_size - 1);
        // Whoever walks through all of a lost file does not split the mapping at each page.
        int single = atomic_fetch_add_explicit(&guard->replaced, 1, memory_order_relaxed) < single_pages;
        // Before anybody can see the zeroes.
        atomic_store_explicit(guard->state, guard->lost, memory_order_release);
        void *result = mmap((void *)page, single ? page_size : guard->end - page, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
        uint64_t one = 1;
        (void)!write(guard->event, &one, sizeof one);
        return result != MAP_FAILED;
    }
    return 0;
}

static void bus_error(int signal_number, siginfo_t *information, void *context) {
    (void)context;
    int error = errno;
    // Above 0 it is a fault of this thread's own and not somebody's kill(2).
    if (information->si_code > 0) {
        if (waiting) {
            siglongjmp(*waiting, 1);
        }
        if (replace((uintptr_t)information->si_addr)) {
            errno = error;
            return;
        }
    }
    // It meets what was there before, or the default action: a fault when it happens again, and a signal that was sent
    // when it is raised.
    cl_terminal_restore();
    if (ends_plainly) {
        signal(SIGBUS, SIG_DFL);
    } else {
        sigaction(SIGBUS, &before, NULL);
    }
    if (information->si_code <= 0) {
        raise(signal_number);
    }
}

static void install(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = bus_error;
    action.sa_flags = SA_SIGINFO | SA_NODEFER; // it is left by a jump
    sigaction(SIGBUS, &action, &before);
}

static void handle(void) { pthread_once(&once, install); }

void cl_end_at_bus_errors(void) {
    ends_plainly = 1;
    handle();
}

void cl_await_bus_error(sigjmp_buf *place) {
    handle();
    waiting = place;
}

int cl_guard_pages(uintptr_t start, size_t count, void *state, uint8_t lost, int event) {
    int found = -ENOSPC;
    handle();
    pthread_mutex_lock(&table_lock);
    for (int index = 0; index < guards; index++) {
        struct guard *guard = &table[index];
        if (atomic_load_explicit(&guard->start, memory_order_relaxed) == 0) {
            guard->end = start + count;
            guard->state = state;
            guard->lost = lost;
            guard->event = event;
            atomic_store_explicit(&guard->replaced, 0, memory_order_relaxed);
            atomic_store_explicit(&guard->start, start, memory_order_release);
            found = index;
            break;
        }
    }
    pthread_mutex_unlock(&table_lock);
    return found;
}

void cl_unguard_pages(int guard) { atomic_store_explicit(&table[guard].start, 0, memory_order_release); }
