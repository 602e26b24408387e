// dirtylog - what KVM's ways of noting written pages cost, without a monitor around them.
//
//     dirtylog [-p PIECE_MIB] MIB [ROUNDS]
//
// A guest of so many MiB whose pages are all mapped. For each way: turning the log on, looking at it with nothing written
// and with 16, 1024 and 8192 pages written (in a row, and spread over all of the memory), the guest's own time for these
// writes, and turning it off. Minima of the rounds in µs, one line each: way, what, time.
//
//     legacy  KVM_GET_DIRTY_LOG protects what it returns
//     manual  it does not; KVM_CLEAR_DIRTY_LOG does, in pieces
//     set     the same, and all pages count as written first: "clear all" makes it as empty as the others are
//     ring    a ring of 65536 pages; the guest's own time has its exits when that is full
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { CODE = 0x1000, TABLES = 0x10000, FIRST = 16 << 20, ENTRIES = 65536 };
enum way { LEGACY, MANUAL, SET, RING, WAYS };
static const char *const names[] = {"legacy", "manual", "set", "ring"};

// 1: incl (%rdi); addq %rsi, %rdi; decq %rcx; jnz 1b; outb %al, $0x80
static const unsigned char code[] = {0xFF, 0x07, 0x48, 0x01, 0xF7, 0x48, 0xFF, 0xC9, 0x75, 0xF6, 0xE6, 0x80};

static int kvm, vm, vcpu;
static struct kvm_run *run;
static struct kvm_dirty_gfn *ring;
static unsigned fetched;
static unsigned long long size, pages, piece = 16384;
static unsigned char *memory;
static unsigned long *words;
static enum way way;

static void die(const char *what) { fprintf(stderr, "dirtylog: %s: %s\n", what, strerror(errno)); exit(2); }

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e6 + time.tv_nsec / 1e3;
}

static void slot(int log) {
    struct kvm_userspace_memory_region region = {
        .flags = log ? KVM_MEM_LOG_DIRTY_PAGES : 0, .memory_size = size, .userspace_addr = (unsigned long)memory};
    if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region)) die("KVM_SET_USER_MEMORY_REGION");
}

static unsigned long harvest(void) {
    unsigned long count = 0;
    for (;; fetched++, count++) {
        struct kvm_dirty_gfn *entry = &ring[fetched % ENTRIES];
        if (!(__atomic_load_n(&entry->flags, __ATOMIC_ACQUIRE) & KVM_DIRTY_GFN_F_DIRTY)) break;
        words[entry->offset / 64] |= 1UL << entry->offset % 64;
        __atomic_store_n(&entry->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
    }
    if (count && ioctl(vm, KVM_RESET_DIRTY_RINGS, 0) < 0) die("KVM_RESET_DIRTY_RINGS");
    return count;
}

static void write_pages(unsigned long long first, unsigned long long stride, unsigned long long count) {
    struct kvm_regs registers = {.rip = CODE, .rflags = 2, .rdi = first, .rsi = stride, .rcx = count};
    if (ioctl(vcpu, KVM_SET_REGS, &registers)) die("KVM_SET_REGS");
    do {
        if (ioctl(vcpu, KVM_RUN, 0) && errno != EINTR) die("KVM_RUN");
        if (run->exit_reason == KVM_EXIT_DIRTY_RING_FULL) harvest();
    } while (run->exit_reason == KVM_EXIT_DIRTY_RING_FULL);
    if (run->exit_reason != KVM_EXIT_IO) { errno = EIO; fprintf(stderr, "exit %u\n", run->exit_reason); die("the guest"); }
}

static void clear_all(int everything) {
    unsigned long long at, length;
    unsigned long *own = everything ? malloc(piece / 8) : NULL;
    if (own) memset(own, 0xFF, piece / 8);
    for (at = 0; at < pages; at += piece) {
        length = piece < pages - at ? piece : pages - at;
        struct kvm_clear_dirty_log clear = {.first_page = at, .num_pages = length,
            .dirty_bitmap = own ? own : words + at / 64};
        unsigned long any = 0;
        for (unsigned long long word = 0; !own && word < (length + 63) / 64; word++) any |= words[at / 64 + word];
        if (!own && !any) continue;
        if (ioctl(vm, KVM_CLEAR_DIRTY_LOG, &clear) < 0) die("KVM_CLEAR_DIRTY_LOG");
    }
    free(own);
}

// look: the pages that were written since the last one, as the guest stands still
static unsigned long look(double *got, double *cleared) {
    unsigned long count = 0;
    double start;
    // To clear the bitmap is not KVM's matter, and a monitor need not.
    if (way == RING) memset(words, 0, (pages + 63) / 64 * 8);
    start = now();
    if (way == RING) {
        harvest();
        *got = now() - start, *cleared = 0;
    } else {
        struct kvm_dirty_log log = {.dirty_bitmap = words};
        if (ioctl(vm, KVM_GET_DIRTY_LOG, &log)) die("KVM_GET_DIRTY_LOG");
        *got = now() - start;
        start = now();
        if (way != LEGACY) clear_all(0);
        *cleared = now() - start;
    }
    for (unsigned long long word = 0; word < (pages + 63) / 64; word++) count += __builtin_popcountl(words[word]);
    return count;
}

static void segment(struct kvm_segment *segment, int is_code) {
    memset(segment, 0, sizeof *segment);
    segment->limit = ~0u, segment->present = segment->s = segment->g = 1;
    segment->selector = is_code ? 8 : 16, segment->type = is_code ? 11 : 3;
    if (is_code) segment->l = 1; else segment->db = 1;
}

static void prepare(void) {
    struct kvm_sregs special;
    unsigned long long *top = (void *)(memory + TABLES), *middle = top + 512, gigabytes = (size + (1 << 30) - 1) >> 30;
    if ((kvm = open("/dev/kvm", O_RDWR)) < 0 || (vm = ioctl(kvm, KVM_CREATE_VM, 0)) < 0) die("/dev/kvm");
    ioctl(vm, KVM_SET_TSS_ADDR, 0xFFFBD000);
    struct kvm_enable_cap enable = {.cap = way == RING ? KVM_CAP_DIRTY_LOG_RING : KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
        .args = {way == RING ? ENTRIES * sizeof *ring : way == SET ? 3 : 1}};
    if (way != LEGACY && ioctl(vm, KVM_ENABLE_CAP, &enable)) die(names[way]);
    memset(memory, 0, 1 << 20);
    memcpy(memory + CODE, code, sizeof code);
    top[0] = TABLES + 0x1000 + 3;
    for (unsigned long long i = 0; i < gigabytes; i++) {
        middle[i] = TABLES + 0x2000 + 0x1000 * i + 3;
        for (unsigned long long j = 0; j < 512; j++) top[1024 + 512 * i + j] = (i << 30) + (j << 21) + 0x83;
    }
    slot(0);
    if ((vcpu = ioctl(vm, KVM_CREATE_VCPU, 0)) < 0) die("KVM_CREATE_VCPU");
    run = mmap(NULL, ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
    if (run == MAP_FAILED) die("kvm_run");
    fetched = 0;
    if (way == RING) {
        ring = mmap(NULL, ENTRIES * sizeof *ring, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu,
            KVM_DIRTY_LOG_PAGE_OFFSET * sysconf(_SC_PAGESIZE));
        if (ring == MAP_FAILED) die("the ring");
    }
    if (ioctl(vcpu, KVM_GET_SREGS, &special)) die("KVM_GET_SREGS");
    special.cr0 = 0x80000011, special.cr3 = TABLES, special.cr4 = 0x20, special.efer = 0x500;
    segment(&special.cs, 1);
    segment(&special.ds, 0), special.es = special.ss = special.fs = special.gs = special.ds;
    if (ioctl(vcpu, KVM_SET_SREGS, &special)) die("KVM_SET_SREGS");
    write_pages(FIRST, 2 << 20, (size - FIRST) >> 21);
}

static struct { char name[48]; double time; } times[256];
static void note(const char *what, double time) {
    char name[48];
    snprintf(name, sizeof name, "%s\t%s", names[way], what);
    for (int i = 0; i < 256; i++) {
        if (times[i].name[0] && strcmp(times[i].name, name)) continue;
        if (!times[i].name[0] || time < times[i].time) times[i].time = time;
        strcpy(times[i].name, name);
        return;
    }
}

static void measure(void) {
    static const unsigned counts[] = {0, 16, 1024, 8192};
    char what[48];
    double start, got, cleared;
    prepare();
    start = now();
    slot(1);
    note("on", now() - start);
    if (way == SET) {
        start = now();
        clear_all(1);
        note("clear all", now() - start);
    }
    look(&got, &cleared);
    for (int spread = 0; spread < 2; spread++) {
        for (int i = 0; i < 4; i++) {
            unsigned long long stride = spread && counts[i] ? (size - FIRST) / counts[i] & ~4095ULL : 4096;
            if ((spread && !counts[i]) || counts[i] > (size - FIRST) >> 12) continue;
            // The first time the pages get tables of their own; the second time each is only protected.
            for (int again = 0; again < 2; again++) {
                const char *how = !counts[i] ? "" : spread ? ", spread" : ", in a row";
                start = now();
                if (counts[i]) write_pages(FIRST, stride, counts[i]);
                snprintf(what, sizeof what, "%u pages%s: guest%s", counts[i], how, again ? ", again" : "");
                if (counts[i]) note(what, now() - start);
                unsigned long seen = look(&got, &cleared);
                // Beside them some of the guest's own page tables.
                if (way != RING && seen < counts[i]) { errno = EIO; die("pages are missing"); }
                if (!again) continue;
                snprintf(what, sizeof what, "%u pages%s: get", counts[i], how);
                note(what, got);
                snprintf(what, sizeof what, "%u pages%s: clear", counts[i], how);
                if (way == MANUAL || way == SET) note(what, cleared);
            }
        }
    }
    start = now();
    slot(0);
    note("off", now() - start);
    munmap(run, ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0));
    if (way == RING) munmap(ring, ENTRIES * sizeof *ring);
    close(vcpu), close(vm), close(kvm);
}

int main(int argc, char **argv) {
    int option;
    while ((option = getopt(argc, argv, "p:")) > 0) piece = strtoull(optarg, NULL, 0) << 8;
    if (optind >= argc || option == '?' || !piece) { fprintf(stderr, "usage: dirtylog [-p PIECE_MIB] MIB [ROUNDS]\n"); return 2; }
    size = strtoull(argv[optind], NULL, 0) << 20, pages = size >> 12;
    int rounds = optind + 1 < argc ? atoi(argv[optind + 1]) : 3;
    void *place = mmap(NULL, size + (2 << 20), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (place == MAP_FAILED) die("memory");
    memory = (void *)(((unsigned long)place + (2 << 20) - 1) & -(2UL << 20));
    madvise(memory, size, MADV_HUGEPAGE);
    words = calloc((pages + 63) / 64, 8);
    for (int round = 0; round < rounds; round++)
        for (way = LEGACY; way < WAYS; way++) measure();
    for (int i = 0; i < 256 && times[i].name[0]; i++) printf("%s\t%.1f\n", times[i].name, times[i].time);
    return 0;
}
