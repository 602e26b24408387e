// Files and their checksums: calls that need _GNU_SOURCE, and CRC-32C.
#pragma once

#include <dirent.h>
#include <stddef.h>
#include <stdint.h>

// Renames unless something has the new name already (-EEXIST). 0 or -errno.
int cl_rename_new(const char *from, const char *to);
// Has the kernel begin to write a range of a file to its disk; it does not wait, and a failure shows itself in fsync.
void cl_start_writeback(int fd, int64_t offset, int64_t length);
// Where the next data, or the next hole, of a file is at or behind an offset; -ENXIO where there is none.
int64_t cl_next_data(int fd, int64_t offset);
int64_t cl_next_hole(int fd, int64_t offset);
// Starts a program in a session of its own, nobody's child, with the arguments that end with NULL. Of this process's
// descriptors it has standard output and error, and `keep` as number 3. 0 or -errno.
int cl_spawn_detached(const char *program, char *const arguments[], int keep);
// Starts a program without arguments that reads `input`; its number, to be waited for, or -errno.
int cl_start_program(const char *program, int input);
// As waitpid(2): the number of the process when it has ended, 0 while `flags` has WNOHANG and it has not, or -errno.
int cl_wait_program(int process, int *status, int flags);
// Has a new file share the blocks of another one (FICLONE). 0 or -errno.
int cl_clone_file(int to, int from);
// The bytes that a user without privileges may still write to the file system of an open file. 0 or -errno.
int cl_free_bytes(int fd, uint64_t *bytes);

// CRC-32C (Castagnoli, as in iSCSI, RFC 3720): of bytes behind those whose sum is `sum`, 0 for the first.
uint32_t cl_crc32c(uint32_t sum, const void *bytes, size_t count);
// The same without the processor's instruction.
uint32_t cl_crc32c_portable(uint32_t sum, const void *bytes, size_t count);

// A chunk is at most 512 pages of 4096 bytes; a set of them is eight words, page i in bit i % 64 of word i / 64.

// The CRC-32C of the CRC-32Cs (32 bits, little-endian) of the pages in the set, in ascending order. Page by page, since the
// instruction's results come late and those of different pages need not wait for each other.
uint32_t cl_pages_checksum(const void *chunk, const uint64_t *set);
// Which pages of the set hold a byte that is not zero.
void cl_nonzero_pages(const void *chunk, const uint64_t *set, uint64_t *nonzero);
