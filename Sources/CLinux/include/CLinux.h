// The kernel's interface as Swift can import it: UAPI headers, the request numbers that the importer drops because
// they are function-like macros, and fixed-arity calls that return -errno in place of -1 with a thread-local.
#pragma once

// This header must not define _GNU_SOURCE: other modules import the C library without it, and the definitions of a
// few structures would differ. What needs it lives in the .c files; constants that need it are numbers, checked there.

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/if_tun.h>
#include <linux/kvm.h>
#include <linux/kvm_para.h>
#include <net/if.h>
#include <poll.h>
#include <netinet/in.h>
#include <pthread.h>
#include <pty.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/vfs.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "CLinuxFiles.h"
#include "CLinuxKVM.h"
#include "CLinuxNet.h"
#include "CLinuxSocket.h"
#include "CLinuxStream.h"
#include "CLinuxTerminal.h"
#include "CLinuxUserFault.h"

// The calling thread's errno, to be read straight after the failed call.
static inline int cl_errno(void) { return errno; }

// A full memory barrier on each thread of the process, where the kernel has membarrier(2); on this one in any case.
void cl_memory_barrier(void);

static inline long cl_result(long value) { return value < 0 ? -(long)errno : value; }

// ioctl with a pointer argument, with a number as argument, and without one.
static inline int cl_ioctl_pointer(int fd, unsigned long request, void *argument) {
    return (int)cl_result(ioctl(fd, request, argument));
}
static inline int cl_ioctl_value(int fd, unsigned long request, unsigned long value) {
    return (int)cl_result(ioctl(fd, request, value));
}

static inline int cl_open(const char *path, int flags, unsigned mode) {
    return (int)cl_result(open(path, flags | O_CLOEXEC, mode));
}
// Whether two descriptors of this process are one open file description; 0 where the kernel does not tell.
int cl_same_open_file(int first, int second);
static inline int cl_fcntl(int fd, int command, long value) { return (int)cl_result(fcntl(fd, command, value)); }
static inline int cl_fcntl_lock(int fd, int command, struct flock *lock) {
    return (int)cl_result(fcntl(fd, command, lock));
}
int cl_memfd_create(const char *name, unsigned flags);
int cl_fallocate(int fd, int mode, int64_t offset, int64_t length);
// What positions and lengths in a file are multiples of in direct I/O, in bytes; 0 where the kernel does not tell.
uint32_t cl_direct_offset_alignment(int fd);
// The words for an error number; the GNU variant, which may answer with a constant instead of filling the buffer.
const char *cl_error_words(int number, char *buffer, size_t length);
static inline int cl_is_error_mapping(const void *address) { return address == MAP_FAILED; }
static inline int cl_set_thread_name(const char *name) {
    return (int)cl_result(prctl(PR_SET_NAME, (unsigned long)name, 0, 0, 0));
}
static inline int cl_thread_id(void) { return (int)syscall(SYS_gettid); }

// Signals that a vCPU thread is kicked with: the handler does nothing, its arrival ends KVM_RUN with EINTR.
int cl_install_kick_handler(int signal_number);
void cl_ignore_write_signals(void);
void cl_open_standard_descriptors(void);
static inline int cl_sigrtmin(void) { return SIGRTMIN; }
static inline int cl_pthread_kill(pthread_t thread, int signal_number) { return pthread_kill(thread, signal_number); }

// The host's RAM and swap space in bytes, or -errno.
int cl_host_memory(uint64_t *ram, uint64_t *swap);

// CPUID of this processor.
static inline void cl_cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4]) {
    __asm__ volatile("cpuid" : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3]) : "a"(leaf), "c"(subleaf));
}

enum {
    CL_O_DIRECT_VALUE = 040000,
    CL_F_OFD_GETLK_VALUE = 36,
    CL_F_OFD_SETLK_VALUE = 37,
    CL_MFD_CLOEXEC_VALUE = 1,
    CL_MFD_HUGETLB_VALUE = 4,
};
static const int CL_O_DIRECT = CL_O_DIRECT_VALUE;
static const int CL_F_OFD_GETLK = CL_F_OFD_GETLK_VALUE;
static const int CL_F_OFD_SETLK = CL_F_OFD_SETLK_VALUE;
static const unsigned CL_MFD_CLOEXEC = CL_MFD_CLOEXEC_VALUE;
static const unsigned CL_MFD_HUGETLB = CL_MFD_HUGETLB_VALUE;
static const int CL_MFD_HUGE_SHIFT = 26;
static const int CL_MADV_DONTDUMP = MADV_DONTDUMP;
static const int CL_MADV_HUGEPAGE = MADV_HUGEPAGE;
static const int CL_MADV_NOHUGEPAGE = MADV_NOHUGEPAGE;
static const int CL_MADV_MERGEABLE = MADV_MERGEABLE;
static const int CL_MADV_POPULATE_WRITE = 23;
static const int CL_MADV_REMOVE = MADV_REMOVE;
static const unsigned long CL_BLKGETSIZE64 = BLKGETSIZE64;
static const unsigned long CL_BLKROGET = BLKROGET;
static const unsigned long CL_BLKSSZGET = BLKSSZGET;
static const unsigned long CL_BLKPBSZGET = BLKPBSZGET;
static const unsigned long CL_BLKDISCARD = BLKDISCARD;
static const unsigned long CL_BLKZEROOUT = BLKZEROOUT;
static const unsigned long CL_TUNSETIFF = TUNSETIFF;
static const unsigned long CL_TUNSETOFFLOAD = TUNSETOFFLOAD;
static const unsigned long CL_TUNSETVNETHDRSZ = TUNSETVNETHDRSZ;
static const unsigned long CL_TUNSETQUEUE = TUNSETQUEUE;
static const unsigned long CL_TUNGETFEATURES = TUNGETFEATURES;
static const unsigned long CL_TUNGETIFF = TUNGETIFF;
static const unsigned long CL_TIOCGWINSZ = TIOCGWINSZ;
static const unsigned long CL_TIOCSWINSZ = TIOCSWINSZ;
static const unsigned CL_EPOLLET = EPOLLET;
static const int CL_POLLRDHUP = 0x2000;

// KVM_IRQ_LINE; its structure's anonymous union is no plain value in Swift.
static inline int cl_kvm_irq_line(int vm, uint32_t gsi, uint32_t level) {
    struct kvm_irq_level line = {.irq = gsi, .level = level};
    return cl_ioctl_pointer(vm, CL_KVM_IRQ_LINE, &line);
}
// KVM_REGISTER_COALESCED_MMIO for I/O ports, with such a union too.
static inline int cl_kvm_defer_port_writes(int vm, uint16_t port, uint32_t size) {
    struct kvm_coalesced_mmio_zone zone = {.addr = port, .size = size, .pio = 1};
    return cl_ioctl_pointer(vm, CL_KVM_REGISTER_COALESCED_MMIO, &zone);
}
// The host's time stamp counter now.
static inline uint64_t cl_tsc(void) { return __builtin_ia32_rdtsc(); }
static inline uint8_t *cl_kvm_immediate_exit(struct kvm_run *run) { return &run->immediate_exit; }

// Runs a thread on the processors whose bits are set in `words`; an error number, or 0.
int cl_set_affinity(pthread_t thread, const void *words, size_t bytes);

// Asks for turns of the calling thread on a busy processor that are so long (sched_setattr(2), sched_runtime of a thread
// without a real-time policy: Linux 6.12).
int cl_set_slice(uint64_t nanoseconds);
// Names another thread, at most 15 bytes; an error number, or 0. It needs /proc.
int cl_name_thread(pthread_t thread, const char *name);

// Whether the kernel knows a call: 0, or -errno of a harmless attempt.
int cl_probe_io_uring(void);
int cl_probe_userfaultfd(void);

// Copies bytes of a mapped file to memory that holds zeroes, page by page of the target; pages of zeroes are left alone.
// Ends early where a page of the file is lost, because the file became shorter or cannot be read, or where the target
// has no page left to give: either would be a SIGBUS. `written` (or NULL) takes for each page of the target whether it was
// written. Returns the bytes done.
size_t cl_copy_nonzero_pages(void *to, const void *from, size_t count, uint8_t *written);

// Keeps the process alive where pages of a mapped file in a range of memory are lost, because the file became shorter or
// cannot be read: whoever touches one finds zeroes. Before that `*state`, a byte that outlives the guard, is set to
// `lost`; behind it the eventfd `event` is signalled. Kernel code that touches such a page gets EFAULT, and no zeroes.
// `start` and `count` are whole pages. Returns the guard's number; -ENOSPC where there are too many.
int cl_guard_pages(uintptr_t start, size_t count, void *state, uint8_t lost, int event);

// Ends a guard, when nobody touches its range any more.
void cl_unguard_pages(int guard);
