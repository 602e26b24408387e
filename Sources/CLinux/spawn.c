#define _GNU_SOURCE
#include "CLinux.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

// Between vfork and exec only this thread's stack and the kernel are touched: other threads may hold any lock.
static void run(const char *program, char *const arguments[], int keep, volatile int *failure) {
    int moved = fcntl(keep, F_DUPFD, 16);
    int null = open("/dev/null", O_RDONLY);
    if (moved < 0 || null < 0 || dup2(null, 0) < 0 || dup2(moved, 3) < 0) {
        *failure = errno;
        _exit(127);
    }
    (void)close_range(4, ~0U, 0);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execv(program, arguments);
    *failure = errno;
    _exit(127);
}

int cl_spawn_detached(const char *program, char *const arguments[], int keep) {
    volatile int failure = 0;
    sigset_t all, before;
    sigfillset(&all);
    // A signal's handler must not run in the memory that is shared with the child.
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t child = vfork();
    if (child == 0) {
        setsid();
        pid_t grandchild = vfork();
        if (grandchild == 0) {
            run(program, arguments, keep, &failure);
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
    while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR) {
    }
    return -failure;
}

static void run_hook(const char *program, int input, volatile int *failure) {
    char *arguments[2] = {(char *)program, NULL};
    int moved = fcntl(input, F_DUPFD, 16);
    if (moved < 0 || dup2(moved, 0) < 0) {
        *failure = errno;
        _exit(127);
    }
    (void)close_range(3, ~0U, 0);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execv(program, arguments);
    *failure = errno;
    _exit(127);
}

int cl_start_program(const char *program, int input) {
    volatile int failure = 0;
    sigset_t all, before;
    sigfillset(&all);
    // As above: no handler in memory that is shared.
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t child = vfork();
    if (child == 0) {
        run_hook(program, input, &failure);
    }
    if (child < 0) {
        failure = errno;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failure != 0 && child > 0) {
        while (waitpid(child, NULL, 0) < 0 && errno == EINTR) {
        }
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
