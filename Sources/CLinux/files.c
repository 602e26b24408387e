#define _GNU_SOURCE
#include "CLinux.h"

#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>

int cl_rename_new(const char *from, const char *to) {
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0) {
        return 0;
    }
    if (errno != EINVAL && errno != ENOSYS) {
        return -errno;
    }
    // A file system without the flag. What appears between the look and the renaming is replaced only where it is an empty
    // directory.
    struct stat status;
    if (lstat(to, &status) == 0) {
        return -EEXIST;
    }
    return (int)cl_result(rename(from, to));
}

void cl_start_writeback(int fd, int64_t offset, int64_t length) {
    (void)sync_file_range(fd, offset, length, SYNC_FILE_RANGE_WRITE);
}

int64_t cl_next_data(int fd, int64_t offset) { return cl_result(lseek(fd, offset, SEEK_DATA)); }

int64_t cl_next_hole(int fd, int64_t offset) { return cl_result(lseek(fd, offset, SEEK_HOLE)); }

int cl_clone_file(int to, int from) { return (int)cl_result(ioctl(to, FICLONE, from)); }

int cl_free_bytes(int fd, uint64_t *bytes) {
    struct statvfs status;
    if (fstatvfs(fd, &status) != 0) {
        return -errno;
    }
    *bytes = (uint64_t)status.f_bavail * status.f_frsize;
    return 0;
}
