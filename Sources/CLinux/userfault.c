#define _GNU_SOURCE
#include "CLinux.h"

#include <linux/userfaultfd.h>

// USERFAULTFD_IOC_NEW of Linux 6.1, which older headers lack.
enum { new_from_device = 0xAA00 };

// By the system call, or by the device that its owner may give to users whom the call is forbidden to.
static int open_any(void) {
    long result = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    if (result >= 0 || errno != EPERM) {
        return (int)cl_result(result);
    }
    int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
    if (device < 0) {
        return -EPERM;
    }
    result = cl_result(ioctl(device, new_from_device, O_CLOEXEC | O_NONBLOCK));
    close(device);
    return (int)result;
}

int cl_userfault_open(void) {
    int fd = open_any();
    if (fd < 0) {
        return fd;
    }
    struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_MISSING_SHMEM | UFFD_FEATURE_MISSING_HUGETLBFS};
    if (ioctl(fd, UFFDIO_API, &api) != 0) {
        int error = errno == EINVAL ? EOPNOTSUPP : errno;
        close(fd);
        return -error;
    }
    return fd;
}

int cl_probe_userfaultfd(void) {
    int fd = cl_userfault_open();
    if (fd < 0) {
        return fd;
    }
    close(fd);
    return 0;
}

int cl_userfault_register(int fd, uint64_t address, uint64_t length) {
    struct uffdio_register request = {
        .range = {.start = address, .len = length}, .mode = UFFDIO_REGISTER_MODE_MISSING};
    return cl_ioctl_pointer(fd, UFFDIO_REGISTER, &request);
}

int cl_userfault_unregister(int fd, uint64_t address, uint64_t length) {
    struct uffdio_range range = {.start = address, .len = length};
    return cl_ioctl_pointer(fd, UFFDIO_UNREGISTER, &range);
}

int64_t cl_userfault_next(int fd) {
    struct uffd_msg message;
    for (;;) {
        ssize_t count = read(fd, &message, sizeof message);
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            return -errno;
        }
        if (count != sizeof message) {
            return -EIO;
        }
        if (message.event == UFFD_EVENT_PAGEFAULT) {
            return (int64_t)message.arg.pagefault.address;
        }
    }
}

int64_t cl_userfault_copy(int fd, uint64_t address, const void *from, uint64_t length) {
    struct uffdio_copy request = {.dst = address, .src = (uint64_t)(uintptr_t)from, .len = length};
    int result = cl_ioctl_pointer(fd, UFFDIO_COPY, &request);
    // What was done before the kernel was interrupted is told instead of the error.
    return request.copy > 0 ? request.copy : result;
}

int64_t cl_userfault_zero(int fd, uint64_t address, uint64_t length) {
    struct uffdio_zeropage request = {.range = {.start = address, .len = length}};
    int result = cl_ioctl_pointer(fd, UFFDIO_ZEROPAGE, &request);
    return request.zeropage > 0 ? request.zeropage : result;
}

int cl_userfault_wake(int fd, uint64_t address, uint64_t length) {
    struct uffdio_range range = {.start = address, .len = length};
    return cl_ioctl_pointer(fd, UFFDIO_WAKE, &range);
}
