#define _GNU_SOURCE
#include "CLinux.h"

#include <setjmp.h>

enum { page_size = 4096 };

// SIGBUS while a file is copied: who waits for it on this thread, and what the process did with it before.
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local sigjmp_buf *waiting;
static struct sigaction before;

static void page_is_lost(int signal_number) {
    (void)signal_number;
    if (waiting) {
        siglongjmp(*waiting, 1);
    }
    // Another thread's own fault: it happens again, and meets what was there before.
    sigaction(SIGBUS, &before, NULL);
}

// Copies a page or a part of one, unless it is zero: the first byte is, and each is as the one before it. Whether it was
// copied. In pieces, since the C library copies long ones by string instructions, which take their time to begin.
static int copy_page(uint8_t *to, const uint8_t *from, size_t count) {
    enum { piece = 1024 };
    if (from[0] == 0 && memcmp(from, from + 1, count - 1) == 0) {
        return 0;
    }
    for (; count > piece; to += piece, from += piece, count -= piece) {
        memcpy(to, from, piece);
    }
    memcpy(to, from, count);
    return 1;
}

size_t cl_copy_nonzero_pages(void *to, const void *from, size_t count, uint8_t *written) {
    volatile size_t done = 0;
    sigjmp_buf place;
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = page_is_lost;
    action.sa_flags = SA_NODEFER; // the handler is left by a jump

    pthread_mutex_lock(&turn);
    if (sigaction(SIGBUS, &action, &before) == 0) {
        waiting = &place;
        if (sigsetjmp(place, 0) == 0) {
            size_t page = 0;
            while (done < count) {
                uint8_t *target = (uint8_t *)to + done;
                const uint8_t *source = (const uint8_t *)from + done;
                size_t length = page_size - ((uintptr_t)target & (page_size - 1));
                if (length > count - done) {
                    length = count - done;
                }
                int copied = copy_page(target, source, length);
                if (written) {
                    written[page] = (uint8_t)copied;
                }
                page++;
                done += length;
            }
        }
        waiting = NULL;
        sigaction(SIGBUS, &before, NULL);
    }
    pthread_mutex_unlock(&turn);
    return done;
}
