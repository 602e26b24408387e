// qmp - save a QEMU VM into a file or move it, as its users do, and time that.
//
//     qmp SOCKET FILE         stop, migrate to the file and wait for the disk, cont
//     qmp SOCKET FILE quit    migrate the running guest to the file, and end; a QEMU that gets the file has it run on
//     qmp SOCKET URI live [N] migrate the running guest to a QEMU that waits there, over N channels if given, and end
//
// Prints the microseconds until the migration was over; behind `stop`, the guest stands still for as long. Behind `live`,
// a tab and the downtime in ms that QEMU tells follow.
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static double now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static void fail(const char *what, const char *detail) {
  fprintf(stderr, "qmp: %s: %s\n", what, detail);
  exit(1);
}

static FILE *in, *out;

// Reads lines until one that answers; events are skipped. The line is valid until the next call.
static char *answer(const char *begin) {
  static char line[65536];
  while (fgets(line, sizeof line, in)) {
    if (!strncmp(line, "{\"error\"", 8)) fail(begin, line);
    if (!strncmp(line, begin, strlen(begin))) return line;
  }
  fail(begin, "QEMU closed the connection");
  return NULL;
}

static char *ask(const char *request) {
  fprintf(out, "%s\r\n", request);
  fflush(out);
  return answer("{\"return\"");
}

int main(int argc, char **argv) {
  if (argc < 3) fail("usage", "qmp SOCKET FILE [quit], or qmp SOCKET URI live [N]");
  int is_live = argc > 3 && !strcmp(argv[3], "live");
  struct sockaddr_un place = {.sun_family = AF_UNIX};
  if (strlen(argv[1]) >= sizeof place.sun_path) fail(argv[1], "a socket's path is shorter");
  strcpy(place.sun_path, argv[1]);
  int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (s < 0 || connect(s, (struct sockaddr *)&place, sizeof place)) fail(argv[1], strerror(errno));
  in = fdopen(s, "r");
  out = fdopen(dup(s), "w");
  answer("{\"QMP\"");
  ask("{\"execute\":\"qmp_capabilities\"}");
  // As fast as it can: the default is 128 MiB/s.
  ask("{\"execute\":\"migrate-set-parameters\",\"arguments\":{\"max-bandwidth\":1099511627776}}");
  char request[4096];
  if (argc > 4) {
    ask("{\"execute\":\"migrate-set-capabilities\",\"arguments\":{\"capabilities\":[{\"capability\":\"multifd\",\"state\":true}]}}");
    snprintf(request, sizeof request,
             "{\"execute\":\"migrate-set-parameters\",\"arguments\":{\"multifd-channels\":%d}}", atoi(argv[4]));
    ask(request);
  }
  snprintf(request, sizeof request, "{\"execute\":\"migrate\",\"arguments\":{\"uri\":\"%s%s%s\"}}", is_live ? "" : "exec:dd of=",
           argv[2], is_live ? "" : " bs=1M iflag=fullblock conv=fsync status=none");
  double from = now_us();
  if (argc == 3) ask("{\"execute\":\"stop\"}");
  ask(request);
  int downtime = -1;
  for (;;) {
    char *state = ask("{\"execute\":\"query-migrate\"}"), *found = strstr(state, "\"downtime\": ");
    if (found) downtime = atoi(found + 12);
    if (strstr(state, "\"status\": \"completed\"")) break;
    if (strstr(state, "\"status\": \"failed\"")) fail("migrate", state);
    nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
  }
  if (is_live) printf("%.0f\t%d\n", now_us() - from, downtime);
  else printf("%.0f\n", now_us() - from);
  if (argc > 3) ask("{\"execute\":\"quit\"}");
  else ask("{\"execute\":\"cont\"}");
  return 0;
}
