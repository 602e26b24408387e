// guest-block - ask a block device for what BusyBox has no command for. Ranges are in bytes.
//
//   block write DEVICE OFFSET LENGTH     the letter Z, past the page cache
//   block zero DEVICE OFFSET LENGTH      zeroes that keep their space (BLKZEROOUT)
//   block punch DEVICE OFFSET LENGTH     zeroes that may give their space back (fallocate of a hole)
//   block discard DEVICE OFFSET LENGTH   space given back (BLKDISCARD)
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int write_direct(int device, uint64_t offset, uint64_t length) {
    void *bytes = NULL;
    if (posix_memalign(&bytes, 4096, length) != 0) {
        return -1;
    }
    memset(bytes, 'Z', length);
    return pwrite(device, bytes, length, (off_t)offset) == (ssize_t)length ? 0 : -1;
}

int main(int count, char **words) {
    if (count != 5) {
        fprintf(stderr, "usage: block write|zero|punch|discard DEVICE OFFSET LENGTH\n");
        return 2;
    }
    uint64_t range[2] = {strtoull(words[3], NULL, 0), strtoull(words[4], NULL, 0)};
    int writes = !strcmp(words[1], "write");
    int device = open(words[2], O_RDWR | O_CLOEXEC | (writes ? O_DIRECT : 0));
    if (device < 0) {
        perror(words[2]);
        return 1;
    }
    int result;
    if (writes) {
        result = write_direct(device, range[0], range[1]);
    } else if (!strcmp(words[1], "punch")) {
        result = fallocate(device, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)range[0], (off_t)range[1]);
    } else {
        result = ioctl(device, !strcmp(words[1], "zero") ? BLKZEROOUT : BLKDISCARD, range);
    }
    if (result != 0) {
        perror(words[1]);
        return 1;
    }
    return 0;
}
