#include "CLinux.h"

enum { page_size = 4096, words_in_set = 8, pages_in_word = 64 };

static uint32_t table[256];
static pthread_once_t table_once = PTHREAD_ONCE_INIT;

static void make_table(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t value = byte;
        for (int bit = 0; bit < 8; bit++) {
            value = value & 1 ? value >> 1 ^ 0x82f63b78u : value >> 1;
        }
        table[byte] = value;
    }
}

uint32_t cl_crc32c_portable(uint32_t sum, const void *bytes, size_t count) {
    pthread_once(&table_once, make_table);
    const uint8_t *next = bytes;
    uint32_t value = ~sum;
    for (; count > 0; count--) {
        value = value >> 8 ^ table[(value ^ *next++) & 0xff];
    }
    return ~value;
}

static uint64_t word_at(const uint8_t *bytes) {
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    return word;
}

// What `lane` bytes of zeroes make of a sum's bits, byte by byte: sums are linear.
enum { lane = 1024 };
static uint32_t behind_lane[4][256];
static pthread_once_t behind_lane_once = PTHREAD_ONCE_INIT;

static void make_behind_lane(void) {
    pthread_once(&table_once, make_table);
    for (int bit = 0; bit < 32; bit++) {
        uint32_t value = 1u << bit;
        for (int byte = 0; byte < lane; byte++) {
            value = value >> 8 ^ table[value & 0xff];
        }
        for (int byte = 0; byte < 256; byte++) {
            if (byte >> bit % 8 & 1) {
                behind_lane[bit / 8][byte] ^= value;
            }
        }
    }
}

static uint32_t pass_lane(uint32_t value) {
    return behind_lane[0][value & 0xff] ^ behind_lane[1][value >> 8 & 0xff] ^ behind_lane[2][value >> 16 & 0xff] ^
           behind_lane[3][value >> 24];
}

// Four lanes at once, since the processor has four results under way.
__attribute__((target("sse4.2"))) static uint32_t four_lanes(uint32_t value, const uint8_t *bytes) {
    uint64_t a = value, b = 0, c = 0, d = 0;
    for (size_t at = 0; at < lane; at += 8) {
        a = __builtin_ia32_crc32di(a, word_at(bytes + at));
        b = __builtin_ia32_crc32di(b, word_at(bytes + lane + at));
        c = __builtin_ia32_crc32di(c, word_at(bytes + 2 * lane + at));
        d = __builtin_ia32_crc32di(d, word_at(bytes + 3 * lane + at));
    }
    return pass_lane(pass_lane(pass_lane((uint32_t)a) ^ (uint32_t)b) ^ (uint32_t)c) ^ (uint32_t)d;
}

__attribute__((target("sse4.2"))) static uint32_t crc32c_by_instruction(uint32_t sum, const void *bytes, size_t count) {
    const uint8_t *next = bytes;
    uint64_t value = (uint32_t)~sum;
    if (count >= 4 * lane) {
        pthread_once(&behind_lane_once, make_behind_lane);
        for (; count >= 4 * lane; count -= 4 * lane, next += 4 * lane) {
            value = four_lanes((uint32_t)value, next);
        }
    }
    for (; count >= 8; count -= 8, next += 8) {
        value = __builtin_ia32_crc32di(value, word_at(next));
    }
    for (; count > 0; count--) {
        value = __builtin_ia32_crc32qi((uint32_t)value, *next++);
    }
    return ~(uint32_t)value;
}

// Whether the processor has SSE4.2 (SDM volume 2A, CPUID.1:ECX bit 20). Asked once, since a hypervisor answers CPUID.
static int has_instruction(void) {
    static int known; // 0 not yet, 1 no, 2 yes; every thread that asks finds the same
    int value = __atomic_load_n(&known, __ATOMIC_RELAXED);
    if (value == 0) {
        uint32_t registers[4];
        cl_cpuid(1, 0, registers);
        value = registers[2] & 1u << 20 ? 2 : 1;
        __atomic_store_n(&known, value, __ATOMIC_RELAXED);
    }
    return value == 2;
}

uint32_t cl_crc32c(uint32_t sum, const void *bytes, size_t count) {
    return has_instruction() ? crc32c_by_instruction(sum, bytes, count) : cl_crc32c_portable(sum, bytes, count);
}

uint32_t cl_pages_checksum(const void *chunk, const uint64_t *set) {
    uint32_t total = 0;
    for (int word = 0; word < words_in_set; word++) {
        for (uint64_t left = set[word]; left != 0; left &= left - 1) {
            size_t page = (size_t)word * pages_in_word + (size_t)__builtin_ctzll(left);
            uint32_t sum = cl_crc32c(0, (const uint8_t *)chunk + page * page_size, page_size);
            total = cl_crc32c(total, &sum, sizeof sum);
        }
    }
    return total;
}

// How many pages ahead of the one that is looked at the first bytes are asked for: of most pages these tell that it is not
// zero, and no processor foresees where the next page's are.
enum { pages_ahead = 8 };

void cl_nonzero_pages(const void *chunk, const uint64_t *set, uint64_t *nonzero) {
    for (int word = 0; word < words_in_set; word++) {
        uint64_t found = 0;
        for (uint64_t left = set[word]; left != 0; left &= left - 1) {
            int bit = __builtin_ctzll(left);
            const uint8_t *page = (const uint8_t *)chunk + ((size_t)word * pages_in_word + (size_t)bit) * page_size;
            __builtin_prefetch(page + pages_ahead * page_size);
            // Zero is a page whose first byte is and where each byte is as the one before it.
            if (page[0] != 0 || memcmp(page, page + 1, page_size - 1) != 0) {
                found |= 1ull << bit;
            }
        }
        nonzero[word] = found;
    }
}
