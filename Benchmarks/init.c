// init - the whole userspace of a guest whose boot is measured: says that it runs, and powers off.
//
// Its one line goes to the console that the kernel opened for it. Plain C, static, no libc start-up to speak of.
#include <string.h>
#include <sys/reboot.h>
#include <unistd.h>

int main(void) {
  static const char line[] = "init runs\n";
  ssize_t written = write(1, line, strlen(line));
  reboot(RB_POWER_OFF);
  return written != (ssize_t)strlen(line);
}
