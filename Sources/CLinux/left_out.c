// What stands in for library code that the released executable leaves out (see swiftlet/Release/LeftOut.ld).

#include <stdlib.h>
#include <unistd.h>

_Noreturn void swiftlet_left_out(void);

/// Reached only if code runs that was taken for unused: the process ends rather than go on without it.
_Noreturn void swiftlet_left_out(void) {
    static const char message[] = "swiftlet: reached library code that this executable was linked without; "
                                  "report this with what you did\n";
    ssize_t written = write(STDERR_FILENO, message, sizeof message - 1);
    (void)written;
    abort();
}

/// A record for Swift's runtime that equals no other and describes nothing.
__attribute__((aligned(16))) const unsigned char swiftlet_left_out_record[64] = {0};
