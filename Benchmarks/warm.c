// warm - touches so many MiB, in huge pages, and gives them back.
//
// A virtual machine's own host may have taken the memory that lies free in it; the first to touch it again would pay for
// that, for the other one's benefit.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

int main(int count, char **words) {
  size_t bytes = count == 2 ? strtoul(words[1], NULL, 10) << 20 : 0;
  if (!bytes) {
    fprintf(stderr, "usage: warm MIB\n");
    return 2;
  }
  char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    fprintf(stderr, "warm: %s\n", strerror(errno));
    return 1;
  }
  madvise(memory, bytes, MADV_HUGEPAGE);
  memset(memory, 1, bytes);
  return 0;
}
