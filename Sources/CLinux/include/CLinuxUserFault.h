// userfaultfd(2): page faults of this process that it answers itself.
#pragma once

#include <stdint.h>

// A descriptor that tells of missing pages of shared memory and of huge pages too, the kernel's own accesses included;
// -errno, of the call (EPERM where it is forbidden), or EOPNOTSUPP where the kernel cannot do all of that.
int cl_userfault_open(void);
// Has missing pages of a range be told of. Where they are not, or no more, a missing page is one of zeroes. 0 or -errno.
int cl_userfault_register(int fd, uint64_t address, uint64_t length);
int cl_userfault_unregister(int fd, uint64_t address, uint64_t length);
// The address of the next access that waits, within its page; -EAGAIN where none does.
int64_t cl_userfault_next(int fd);
// Gives missing pages bytes, or zeroes, and wakes who waits for them. The bytes done, or -errno before any.
int64_t cl_userfault_copy(int fd, uint64_t address, const void *from, uint64_t length);
int64_t cl_userfault_zero(int fd, uint64_t address, uint64_t length);
// Reads a byte, whatever it is.
static inline void cl_touch(const void *address) { (void)*(const volatile uint8_t *)address; }
// Wakes who waits for the range's pages; they look again.
int cl_userfault_wake(int fd, uint64_t address, uint64_t length);
