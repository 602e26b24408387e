#define _GNU_SOURCE
#include "CLinux.h"

#include <linux/kcmp.h>
#include <linux/membarrier.h>
#include <sys/sysinfo.h>

_Static_assert(POLLRDHUP == 0x2000, "CL_POLLRDHUP");

static void register_barrier(void) {
    (void)syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
}

static void kicked(int signal_number) { (void)signal_number; }

int cl_install_kick_handler(int signal_number) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = kicked; // no SA_RESTART: KVM_RUN has to return
    return (int)cl_result(sigaction(signal_number, &action, NULL));
}

void cl_memory_barrier(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, register_barrier);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    (void)syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
}

void cl_ignore_write_signals(void) {
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
}

void cl_open_standard_descriptors(void) {
    for (int fd = 0; fd <= 2; fd++) {
        // The lowest free number is the closed one.
        if (fcntl(fd, F_GETFD) == -1 && errno == EBADF && open("/dev/null", O_RDWR) != fd) {
            return;
        }
    }
}

int cl_memfd_create(const char *name, unsigned flags) { return (int)cl_result(memfd_create(name, flags)); }

int cl_fallocate(int fd, int mode, int64_t offset, int64_t length) {
    return (int)cl_result(fallocate(fd, mode, offset, length));
}

uint32_t cl_direct_offset_alignment(int fd) {
#ifdef STATX_DIOALIGN
    struct statx status;
    if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &status) == 0 && status.stx_mask & STATX_DIOALIGN) {
        return status.stx_dio_offset_align;
    }
#endif
    return 0;
}

int cl_set_affinity(pthread_t thread, const void *words, size_t bytes) {
    return pthread_setaffinity_np(thread, bytes, (const cpu_set_t *)words);
}

// struct sched_attr in its first version (sched_setattr(2)): its header does not go with the C library's own.
struct scheduling {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

int cl_set_slice(uint64_t nanoseconds) {
    struct scheduling attributes;
    memset(&attributes, 0, sizeof attributes);
    long result = syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0);
    // A real-time policy has no such turns.
    if (result == 0 && (attributes.policy == SCHED_OTHER || attributes.policy == SCHED_BATCH)) {
        attributes.flags = 1; // SCHED_FLAG_RESET_ON_FORK: not for whom it starts, a user's hook for one
        attributes.runtime = nanoseconds;
        result = syscall(SYS_sched_setattr, 0, &attributes, 0);
    }
    return (int)cl_result(result);
}

int cl_name_thread(pthread_t thread, const char *name) { return pthread_setname_np(thread, name); }

int cl_host_memory(uint64_t *ram, uint64_t *swap) {
    struct sysinfo info;
    if (sysinfo(&info) != 0) return -errno;
    *ram = (uint64_t)info.totalram * info.mem_unit;
    *swap = (uint64_t)info.totalswap * info.mem_unit;
    return 0;
}

const char *cl_error_words(int number, char *buffer, size_t length) { return strerror_r(number, buffer, length); }

_Static_assert(CL_O_DIRECT_VALUE == O_DIRECT, "O_DIRECT");
_Static_assert(CL_F_OFD_GETLK_VALUE == F_OFD_GETLK, "F_OFD_GETLK");
_Static_assert(CL_F_OFD_SETLK_VALUE == F_OFD_SETLK, "F_OFD_SETLK");
_Static_assert(CL_MFD_CLOEXEC_VALUE == MFD_CLOEXEC && CL_MFD_HUGETLB_VALUE == MFD_HUGETLB, "memfd flags");

int cl_probe_io_uring(void) {
    // Without parameters the call fails with EFAULT where it exists and is allowed.
    long result = syscall(SYS_io_uring_setup, 1, NULL);
    return result < 0 && errno != EFAULT ? -errno : 0;
}

int cl_same_open_file(int first, int second) {
    long self = getpid();
    return syscall(SYS_kcmp, self, self, KCMP_FILE, (long)first, (long)second) == 0;
}
