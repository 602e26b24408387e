#define _GNU_SOURCE
#include "CLinux.h"
#include "bus_errors.h"

#include <sys/platform/x86.h>

enum { page_size = 4096 };

typedef uint64_t vector __attribute__((vector_size(32), aligned(1), may_alias));
enum { page_vectors = page_size / sizeof(vector), group = 16 };

// Copies a whole page, unless it is zero. Whether it was copied. In groups of vectors, so that next to all instructions
// move bytes.
static inline __attribute__((always_inline)) int copy_whole(vector *to, const vector *from) {
    for (int first = 0;; first += group) {
        if (first == page_vectors) {
            return 0;
        }
        vector any = from[first];
#pragma clang loop unroll(full)
        for (int index = 1; index < group; index++) {
            any |= from[first + index];
        }
        if ((any[0] | any[1] | any[2] | any[3]) != 0) {
            break;
        }
    }
    for (int first = 0; first < page_vectors; first += group) {
#pragma clang loop unroll(full)
        for (int index = 0; index < group; index++) {
            to[first + index] = from[first + index];
        }
    }
    return 1;
}

__attribute__((target("avx2"))) static int copy_whole_avx2(uint8_t *to, const uint8_t *from) {
    return copy_whole((vector *)to, (const vector *)from);
}

static int copy_whole_any(uint8_t *to, const uint8_t *from) {
    return copy_whole((vector *)to, (const vector *)from);
}

// The same for a part of a page, which is zero when the first byte is, and each is as the one before it.
static int copy_part(uint8_t *to, const uint8_t *from, size_t count) {
    if (from[0] == 0 && memcmp(from, from + 1, count - 1) == 0) {
        return 0;
    }
    memcpy(to, from, count);
    return 1;
}

size_t cl_copy_nonzero_pages(void *to, const void *from, size_t count, uint8_t *written) {
    volatile size_t done = 0;
    sigjmp_buf place;
    int (*const copy)(uint8_t *, const uint8_t *) = CPU_FEATURE_ACTIVE(AVX2) ? copy_whole_avx2 : copy_whole_any;

    if (sigsetjmp(place, 0) == 0) {
        cl_await_bus_error(&place);
        size_t page = 0;
        while (done < count) {
            uint8_t *target = (uint8_t *)to + done;
            const uint8_t *source = (const uint8_t *)from + done;
            size_t length = page_size - ((uintptr_t)target & (page_size - 1));
            if (length > count - done) {
                length = count - done;
            }
            int copied = length == page_size ? copy(target, source) : copy_part(target, source, length);
            if (written) {
                written[page] = (uint8_t)copied;
            }
            page++;
            done += length;
        }
    }
    cl_await_bus_error(NULL);
    return done;
}
