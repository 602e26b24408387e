// gap - how long a guest that keeps writing was silent while it moved from one process to another.
//
//     gap FILE FILE..     reads from all of them (FIFOs) at once
//
// Prints "up" when the first byte has come. At each SIGUSR1 it prints the longest time between two bytes since then, or
// since the signal before, in microseconds, and counts anew. It runs until it is killed.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

enum { most_files = 4 };

static double now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static void fail(const char *what, const char *detail) {
  fprintf(stderr, "gap: %s: %s\n", what, detail);
  exit(1);
}

int main(int argc, char **argv) {
  if (argc < 2 || argc - 1 > most_files) fail("usage", "gap FILE..");
  struct pollfd entries[most_files + 1];
  int files = argc - 1;
  for (int i = 0; i < files; i++) {
    // Also for writing, so that it neither waits for the writer nor ends before it has come.
    entries[i] = (struct pollfd){.fd = open(argv[i + 1], O_RDWR | O_CLOEXEC | O_NONBLOCK), .events = POLLIN};
    if (entries[i].fd < 0) fail(argv[i + 1], strerror(errno));
  }
  sigset_t asked;
  sigemptyset(&asked);
  sigaddset(&asked, SIGUSR1);
  sigprocmask(SIG_BLOCK, &asked, NULL);
  entries[files] = (struct pollfd){.fd = signalfd(-1, &asked, SFD_CLOEXEC), .events = POLLIN};
  if (entries[files].fd < 0) fail("signalfd", strerror(errno));
  double last = 0, longest = 0;
  for (;;) {
    if (poll(entries, files + 1, -1) < 0 && errno != EINTR) fail("poll", strerror(errno));
    double now = now_us();
    for (int i = 0; i < files; i++) {
      char bytes[65536];
      ssize_t got = entries[i].revents ? read(entries[i].fd, bytes, sizeof bytes) : -1;
      if (got <= 0) continue;
      if (last == 0) {
        printf("up\n");
        fflush(stdout);
      } else if (now - last > longest) {
        longest = now - last;
      }
      last = now;
    }
    if (entries[files].revents) {
      struct signalfd_siginfo unused;
      if (read(entries[files].fd, &unused, sizeof unused) < 0) fail("signalfd", strerror(errno));
      printf("%.0f\n", longest);
      fflush(stdout);
      longest = 0;
    }
  }
}
