// request - time requests to an API socket.
//
//     request start -n N SOCKET COMMAND [ARG..]   from exec to the answer of vmm.ping, N times; the command is then ended
//     request repeat -n N SOCKET ROUTE            N requests after each other on one connection
//     request do SOCKET ROUTE BODY [ROUTE BODY]..  PUT requests after each other on one connection
//
// The first two print lines of fields between tabs, in microseconds: "wall" or "cpu", n, min, median, 99th percentile.
// "cpu" is the processor time of the command until its answer was there, that of all its threads. The last one prints
// each route with the microseconds that it took, and "all" with those of all.
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int count = 100;
static volatile double *began; // shared with the child
static struct sockaddr_un place = {.sun_family = AF_UNIX};

static double now_us(clockid_t clock) {
  struct timespec t;
  if (clock_gettime(clock, &t)) return 0;
  return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static void fail(const char *what, const char *detail) {
  fprintf(stderr, "request: %s: %s\n", what, detail);
  exit(1);
}

// A connection, or -1 where nobody listens yet.
static int connection(void) {
  int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (s < 0) fail("socket", strerror(errno));
  if (connect(s, (struct sockaddr *)&place, sizeof place) == 0) return s;
  close(s);
  return -1;
}

// Sends a request and reads its answer to the end, which its Content-Length tells; an answer 204 has none.
static void send_request(int s, const char *method, const char *route, const char *content) {
  char text[65536];
  size_t length = 0;
  int size = snprintf(text, sizeof text,
                      "%s /api/v1/%s HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\nContent-Length: %zu\r\n\r\n%s",
                      method, route, strlen(content), content);
  if (size >= (int)sizeof text || write(s, text, size) != size) fail("write", strerror(errno));
  for (;;) {
    ssize_t got = read(s, text + length, sizeof text - 1 - length);
    if (got <= 0) fail("read", got ? strerror(errno) : "the server closed the connection");
    text[length += got] = 0;
    char *body = strstr(text, "\r\n\r\n"), *field = strcasestr(text, "\r\ncontent-length:");
    if (!body) continue;
    if (!strncmp(text, "HTTP/1.1 204", 12)) return;
    if (strncmp(text, "HTTP/1.1 200", 12)) fail(route, text);
    if (!field || field > body) fail(route, "the answer has no Content-Length");
    if (length >= (size_t)(body + 4 - text) + strtoul(field + 17, NULL, 10)) return;
  }
}

static void ask(int s, const char *route) { send_request(s, "GET", route, ""); }

static void start(char **words, double *wall, double *cpu) {
  unlink(place.sun_path);
  pid_t child = fork();
  if (child < 0) fail("fork", strerror(errno));
  if (child == 0) {
    *began = now_us(CLOCK_MONOTONIC);
    execvp(words[0], words);
    _exit(127);
  }
  int s;
  double deadline = now_us(CLOCK_MONOTONIC) + 30e6;
  struct timespec pause = {.tv_nsec = 20000};
  while ((s = connection()) < 0) {
    if (now_us(CLOCK_MONOTONIC) > deadline || waitpid(child, NULL, WNOHANG)) fail("nobody listens", place.sun_path);
    nanosleep(&pause, NULL);
  }
  ask(s, "vmm.ping");
  *wall = now_us(CLOCK_MONOTONIC) - *began;
  clockid_t clock;
  if (clock_getcpuclockid(child, &clock)) fail("clock_getcpuclockid", "no clock of the command");
  *cpu = now_us(clock);
  close(s);
  kill(child, SIGTERM);
  waitpid(child, NULL, 0);
}

static int order(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

static void report(const char *what, double *times) {
  qsort(times, count, sizeof *times, order);
  printf("%s\t%d\t%.0f\t%.0f\t%.0f\n", what, count, times[0], times[count / 2], times[(count * 99 - 1) / 100]);
}

static int carry_out(int argc, char **argv) {
  if (strlen(argv[2]) >= sizeof place.sun_path) fail(argv[2], "a socket's path is shorter");
  strcpy(place.sun_path, argv[2]);
  int s = connection();
  if (s < 0) fail("nobody listens", place.sun_path);
  double first = now_us(CLOCK_MONOTONIC);
  for (int i = 3; i + 1 < argc; i += 2) {
    double from = now_us(CLOCK_MONOTONIC);
    send_request(s, "PUT", argv[i], argv[i + 1]);
    printf("%s\t%.0f\n", argv[i], now_us(CLOCK_MONOTONIC) - from);
  }
  printf("all\t%.0f\n", now_us(CLOCK_MONOTONIC) - first);
  return 0;
}

int main(int argc, char **argv) {
  if (argc > 4 && !strcmp(argv[1], "do")) return carry_out(argc, argv);
  if (argc < 6 || strcmp(argv[2], "-n")) fail("usage", "request start|repeat -n N SOCKET COMMAND..|ROUTE, or do SOCKET ROUTE BODY..");
  count = atoi(argv[3]);
  if (count < 1 || count > 1000000) fail("-n", "1 to 1000000");
  if (strlen(argv[4]) >= sizeof place.sun_path) fail(argv[4], "a socket's path is shorter");
  strcpy(place.sun_path, argv[4]);
  began = mmap(NULL, sizeof *began, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  double *wall = calloc(count, sizeof *wall), *cpu = calloc(count, sizeof *cpu);
  if (began == MAP_FAILED || !wall || !cpu) fail("memory", strerror(errno));
  if (!strcmp(argv[1], "start")) {
    double unused;
    for (int i = 0; i < 3; i++) start(argv + 5, &unused, &unused); // warm-up
    for (int i = 0; i < count; i++) start(argv + 5, &wall[i], &cpu[i]);
    report("wall", wall);
    report("cpu", cpu);
  } else {
    int s = connection();
    if (s < 0) fail("nobody listens", place.sun_path);
    for (int i = 0; i < 100; i++) ask(s, argv[5]); // warm-up
    for (int i = 0; i < count; i++) {
      double from = now_us(CLOCK_MONOTONIC);
      ask(s, argv[5]);
      wall[i] = now_us(CLOCK_MONOTONIC) - from;
    }
    report("wall", wall);
  }
  return 0;
}
