#define _GNU_SOURCE
#include "CLinux.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

// Between vfork and exec only this thread's stack and the kernel are touched: other threads may hold any lock. What ends
// the child before its program begins is left in *failure.
static void run(const char *program, char *const arguments[], int input, int beside, volatile int *failure) {
    // Out of the way of the numbers that they are to have.
    int moved[2] = {fcntl(input, F_DUPFD, 16), beside < 0 ? -1 : fcntl(beside, F_DUPFD, 16)};
    if (moved[0] < 0 || dup2(moved[0], 0) < 0 || (beside >= 0 && (moved[1] < 0 || dup2(moved[1], 3) < 0))) {
        *failure = errno;
        _exit(127);
    }
    (void)close_range(beside < 0 ? 3 : 4, ~0U, 0);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execv(program, arguments);
    *failure = errno;
    _exit(127);
}

// A signal's handler must not run in the memory that is shared with the child.
static void hold_signals(sigset_t *before) {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, before);
}

int cl_spawn_detached(const char *program, char *const arguments[], int keep) {
    volatile int failure = 0;
    sigset_t before;
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null < 0) {
        return -errno;
    }
    hold_signals(&before);
    pid_t child = vfork();
    if (child == 0) {
        setsid();
        pid_t grandchild = vfork();
        if (grandchild == 0) {
            run(program, arguments, null, keep, &failure);
        }
        if (grandchild < 0) {
            failure = errno;
        }
        _exit(0);
    }
    if (child < 0) {
        failure = errno;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    close(null);
    if (child > 0) {
        cl_wait_program(child, NULL, 0);
    }
    return -failure;
}

int cl_start_program(const char *program, int input) {
    char *arguments[2] = {(char *)program, NULL};
    volatile int failure = 0;
    sigset_t before;
    hold_signals(&before);
    pid_t child = vfork();
    if (child == 0) {
        run(program, arguments, input, -1, &failure);
    }
    if (child < 0) {
        failure = errno;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failure != 0 && child > 0) {
        cl_wait_program(child, NULL, 0);
    }
    return failure != 0 ? -failure : child;
}

int cl_wait_program(int process, int *status, int flags) {
    pid_t ended;
    do {
        ended = waitpid(process, status, flags);
    } while (ended < 0 && errno == EINTR);
    return ended < 0 ? -errno : ended;
}
