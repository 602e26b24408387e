// measure - run two or more commands alternately and compare the time that each takes.
//
//     measure [OPTIONS] NAME COMMAND [ARG..] [--- NAME COMMAND [ARG..]]..
//
//     -n N          measured rounds (default 10); a round runs every command once, the first one first in even rounds
//     -w N          warm-up rounds that are not counted (default 1)
//     -m TEXT       a run ends when TEXT is printed; the command is then killed (default: when it exits)
//     -k KEY        a run ends at the moment that the command tells, in a line "[SECONDS] .. KEY=MICROSECONDS": both
//                   numbers count from the same moment, so the line's arrival here says when that was
//     -t S          seconds after which a run counts as hung and all fails (default 60)
//     -o FILE       append every single time: NAME, a tab, microseconds
//
// The time of a run starts in the child, right before execve. Prints lines of fields between tabs, in microseconds:
// "time", name, n, min, median for each command; "against", name, the last command's name, ratio of the minima, ratio
// of the medians, median of the pairwise differences for each but the last one.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { most_commands = 8, most_rounds = 100000, most_output = 1 << 16 };

struct command {
  char *name, **words;
  double *times;
};

static struct command commands[most_commands];
static int count, rounds = 10, warmups = 1, limit = 60;
static const char *marker, *key;
static volatile double *began; // shared with the child

static double now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static void fail(const char *what, const char *detail) {
  fprintf(stderr, "measure: %s%s%s\n", what, detail ? ": " : "", detail ? detail : "");
  exit(1);
}

static pid_t start(struct command *command, int output, int input) {
  pid_t child = fork();
  if (child < 0) fail("fork", strerror(errno));
  if (child == 0) {
    dup2(input, 0);
    dup2(output, 1);
    dup2(output, 2);
    *began = now_us();
    execvp(command->words[0], command->words);
    _exit(127);
  }
  return child;
}

// Where the number behind "KEY=" begins, in a line that is complete.
static char *told(char *text) {
  char *at = text;
  while ((at = strstr(at, key))) {
    at += strlen(key);
    if (*at == '=' && strchr(at, '\n')) return at + 1 + (at[1] == '"');
  }
  return NULL;
}

// The moment that a line tells which arrived at the given time: see -k.
static double moment(char *text, char *value, double arrival) {
  char *line = value;
  while (line > text && line[-1] != '\n') line--;
  // The guest's output may stand before it.
  while (line < value && *line != '[') line++;
  if (*line != '[') fail("the line has no [SECONDS]", line);
  return arrival - strtod(line + 1, NULL) * 1e6 + strtod(value, NULL);
}

// Runs a command once and returns its microseconds.
static double run(struct command *command) {
  static char text[most_output + 1];
  size_t length = 0;
  int ends[2], status;
  char *value;
  if (pipe2(ends, O_CLOEXEC)) fail("pipe", strerror(errno));
  int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
  pid_t child = start(command, ends[1], nothing);
  close(ends[1]);
  close(nothing);
  double end = 0, deadline = now_us() + limit * 1e6;
  for (;;) {
    struct pollfd ready = {.fd = ends[0], .events = POLLIN};
    double left = deadline - now_us();
    if (left <= 0 || poll(&ready, 1, (int)(left / 1e3) + 1) <= 0) {
      kill(child, SIGKILL);
      text[length] = 0;
      fprintf(stderr, "%s\n", text);
      fail("a run did not end in time", command->name);
    }
    if (length == most_output) { // keep the newer half
      memmove(text, text + most_output / 2, most_output / 2);
      length = most_output / 2;
    }
    ssize_t got = read(ends[0], text + length, most_output - length);
    if (got <= 0) break;
    length += got;
    text[length] = 0;
    if (!end && key && (value = told(text))) end = moment(text, value, now_us());
    if (!end && marker && memmem(text, length, marker, strlen(marker))) {
      end = now_us();
      kill(child, SIGKILL);
    }
  }
  waitpid(child, &status, 0);
  close(ends[0]);
  text[length] = 0;
  int failed = !WIFEXITED(status) || WEXITSTATUS(status);
  if (!marker && !key) end = now_us();
  if (!end || (failed && !marker)) {
    fprintf(stderr, "%s\n", text);
    fail(failed && !marker ? "a run failed" : "a run ended without what it was to print", command->name);
  }
  return end - *began;
}

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double quantile(const double *times, int n, double q) {
  double *sorted = malloc(n * sizeof *sorted);
  memcpy(sorted, times, n * sizeof *sorted);
  qsort(sorted, n, sizeof *sorted, ascending);
  double place = q * (n - 1);
  int low = (int)place, high = low + 1 < n ? low + 1 : low;
  double answer = sorted[low] + (sorted[high] - sorted[low]) * (place - low);
  free(sorted);
  return answer;
}

static void report(void) {
  for (int i = 0; i < count; i++) {
    struct command *c = &commands[i];
    printf("time\t%s\t%d\t%.0f\t%.0f\n", c->name, rounds, quantile(c->times, rounds, 0),
           quantile(c->times, rounds, 0.5));
  }
  struct command *base = &commands[count - 1];
  for (int i = 0; i + 1 < count; i++) {
    struct command *c = &commands[i];
    double *differences = malloc(rounds * sizeof *differences);
    for (int r = 0; r < rounds; r++) differences[r] = c->times[r] - base->times[r];
    printf("against\t%s\t%s\t%.3f\t%.3f\t%.0f\n", c->name, base->name,
           quantile(c->times, rounds, 0) / quantile(base->times, rounds, 0),
           quantile(c->times, rounds, 0.5) / quantile(base->times, rounds, 0.5), quantile(differences, rounds, 0.5));
    free(differences);
  }
}

int main(int argc, char **argv) {
  const char *record = NULL;
  int option;
  while ((option = getopt(argc, argv, "+n:w:m:k:t:o:")) != -1) switch (option) {
      case 'n': rounds = atoi(optarg); break;
      case 'w': warmups = atoi(optarg); break;
      case 'm': marker = optarg; break;
      case 'k': key = optarg; break;
      case 't': limit = atoi(optarg); break;
      case 'o': record = optarg; break;
      default: fail("usage: measure [-n N] [-w N] [-m TEXT] [-k KEY] [-t S] [-o FILE] NAME COMMAND.. [--- ..]", NULL);
    }
  if (marker && key) fail("-m and -k exclude each other", NULL);
  if (rounds < 1 || rounds > most_rounds || warmups < 0 || limit < 1) fail("a number is out of range", NULL);
  for (int i = optind; i < argc; i++) {
    if (count == most_commands) fail("too many commands", NULL);
    struct command *c = &commands[count++];
    c->name = argv[i++];
    c->words = argv + i;
    c->times = calloc(rounds, sizeof(double));
    while (i < argc && strcmp(argv[i], "---")) i++;
    if (c->words == argv + i || c->words[0] == NULL) fail("no command", c->name);
    if (i < argc) argv[i] = NULL;
  }
  if (count == 0) fail("nothing to measure", NULL);
  began = mmap(NULL, sizeof *began, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (began == MAP_FAILED) fail("mmap", strerror(errno));
  FILE *out = record ? fopen(record, "a") : NULL;
  if (record && !out) fail(record, strerror(errno));
  for (int round = -warmups; round < rounds; round++)
    for (int turn = 0; turn < count; turn++) {
      struct command *c = &commands[round & 1 ? count - 1 - turn : turn];
      double time = run(c);
      if (round < 0) continue;
      c->times[round] = time;
      if (out) fprintf(out, "%s\t%.0f\n", c->name, time);
    }
  if (out) fclose(out);
  report();
  return 0;
}
