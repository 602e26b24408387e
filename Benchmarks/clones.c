// clones - start many VMs from one snapshot at once, and see what they take together.
//
//     clones N TEXT COMMAND [ARG..]   starts the command N times; a VM runs when it has printed TEXT
//
// When all run, and each has printed TEXT twice more, the memory of all is added up and all are ended. Prints lines of
// fields between tabs: "first", "median" and "last", the milliseconds from the first start until so many ran; "rss" and
// "pss", KiB of all processes together (/proc/PID/smaps_rollup).
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { most = 1000 };

static struct {
  pid_t process;
  int seen; // how often it has printed the text
  double ran;
} clones[most];
static struct pollfd outputs[most];
static int count;

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static void end_all(void) {
  for (int i = 0; i < count; i++)
    if (clones[i].process > 0) kill(clones[i].process, SIGKILL);
  for (int i = 0; i < count; i++)
    if (clones[i].process > 0) waitpid(clones[i].process, NULL, 0);
}

static void fail(const char *what, const char *detail) {
  end_all();
  fprintf(stderr, "clones: %s: %s\n", what, detail);
  exit(1);
}

static void start(int i, char **words) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC)) fail("pipe", strerror(errno));
  pid_t child = fork();
  if (child < 0) fail("fork", strerror(errno));
  if (child == 0) {
    dup2(open("/dev/null", O_RDONLY), 0);
    dup2(ends[1], 1);
    execvp(words[0], words);
    _exit(127);
  }
  close(ends[1]);
  clones[i].process = child;
  outputs[i] = (struct pollfd){.fd = ends[0], .events = POLLIN};
}

// Reads what clones print until each has printed the text so often.
static void await(const char *text, int often, double deadline) {
  for (;;) {
    int missing = 0;
    for (int i = 0; i < count; i++) missing += clones[i].seen < often;
    if (missing == 0) return;
    double left = deadline - now_ms();
    if (left <= 0 || poll(outputs, count, (int)left + 1) <= 0) fail("not all clones run", "the time is up");
    for (int i = 0; i < count; i++) {
      if (!outputs[i].revents) continue;
      char part[4096];
      ssize_t got = read(outputs[i].fd, part, sizeof part - 1);
      if (got <= 0) fail("a clone", "ended");
      part[got] = 0;
      for (char *at = part; (at = strstr(at, text)); at += strlen(text))
        if (clones[i].seen++ == 0) clones[i].ran = now_ms();
    }
  }
}

static void add_memory(pid_t process, long *rss, long *pss) {
  char name[64], line[256];
  long value;
  snprintf(name, sizeof name, "/proc/%d/smaps_rollup", process);
  FILE *file = fopen(name, "r");
  if (!file) fail(name, strerror(errno));
  while (fgets(line, sizeof line, file)) {
    if (sscanf(line, "Rss: %ld kB", &value) == 1) *rss += value;
    if (sscanf(line, "Pss: %ld kB", &value) == 1) *pss += value;
  }
  fclose(file);
}

static int order(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

int main(int argc, char **argv) {
  static double times[most];
  if (argc < 4 || atoi(argv[1]) < 1 || atoi(argv[1]) > most || !argv[2][0]) fail("usage", "clones N TEXT COMMAND [ARG..]");
  double began = now_ms(), deadline = began + 120e3;
  for (int wanted = atoi(argv[1]); count < wanted; count++) start(count, argv + 3);
  await(argv[2], 1, deadline);
  for (int i = 0; i < count; i++) {
    times[i] = clones[i].ran - began;
    clones[i].seen = 1;
  }
  await(argv[2], 3, deadline);
  long rss = 0, pss = 0;
  for (int i = 0; i < count; i++) add_memory(clones[i].process, &rss, &pss);
  end_all();
  qsort(times, count, sizeof *times, order);
  printf("first\t%.0f\nmedian\t%.0f\nlast\t%.0f\nrss\t%ld\npss\t%ld\n", times[0], times[count / 2], times[count - 1], rss, pss);
  return 0;
}
