#define _GNU_SOURCE
#include "CLinux.h"
#include "bus_errors.h"

#include <stdatomic.h>

static struct termios saved;
static int saved_fd = -1;
static atomic_int raw;

static const int faults[] = {SIGSEGV, SIGILL, SIGABRT, SIGFPE, SIGTRAP};

void cl_terminal_restore(void) {
    if (atomic_exchange(&raw, 0)) {
        tcsetattr(saved_fd, TCSANOW, &saved);
    }
}

static void faulted(int signal_number) {
    cl_terminal_restore();
    // SA_RESETHAND gave the signal its default action back.
    raise(signal_number);
}

int cl_terminal_make_raw(int fd) {
    struct termios wanted;
    static atomic_int arranged;

    if (tcgetattr(fd, &saved) < 0) {
        return -errno;
    }
    saved_fd = fd;
    if (!atomic_exchange(&arranged, 1)) {
        struct sigaction action;
        memset(&action, 0, sizeof action);
        action.sa_handler = faulted;
        action.sa_flags = (int)SA_RESETHAND | SA_NODEFER;
        for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
            sigaction(faults[i], &action, NULL);
        }
        cl_end_at_bus_errors();
        atexit(cl_terminal_restore);
    }
    wanted = saved;
    cfmakeraw(&wanted);
    wanted.c_oflag = saved.c_oflag; // our own messages keep their line ends
    atomic_store(&raw, 1);
    // In a background process group the change would stop the process; it waits until the shell brings it forward.
    if (tcsetattr(fd, TCSANOW, &wanted) < 0) {
        int error = errno;
        atomic_store(&raw, 0);
        return -error;
    }
    return 0;
}
