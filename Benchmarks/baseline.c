// baseline - the least that any VM monitor on KVM has to do: open /dev/kvm, create a VM with its interrupt chip, map
// the guest's memory, create a vCPU, and run one OUT instruction. What a monitor needs beyond this is its own.
//
//     baseline [MIB]      memory of the guest (default 256)
//
// Prints the microseconds from the start of main to the guest's exit, behind the seconds of the line itself. Plain C,
// static, without error handling beyond naming the step that failed.
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>

static double now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static void need(int good, const char *step) {
  if (good) return;
  perror(step);
  exit(1);
}

int main(int argc, char **argv) {
  double begin = now_us();
  size_t bytes = (size_t)(argc > 1 ? strtoul(argv[1], NULL, 10) : 256) << 20;
  need(bytes > 0, "the guest's memory");
  int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
  need(kvm >= 0, "/dev/kvm");
  int vm = ioctl(kvm, KVM_CREATE_VM, 0);
  need(vm >= 0, "KVM_CREATE_VM");
  // Only Intel hosts use these two, but every monitor sets them.
  __u64 identity = 0xfeffc000;
  need(ioctl(vm, KVM_SET_IDENTITY_MAP_ADDR, &identity) >= 0, "KVM_SET_IDENTITY_MAP_ADDR");
  need(ioctl(vm, KVM_SET_TSS_ADDR, 0xfeffd000) >= 0, "KVM_SET_TSS_ADDR");
  need(ioctl(vm, KVM_CREATE_IRQCHIP, 0) >= 0, "KVM_CREATE_IRQCHIP");
  unsigned char *ram =
      mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  need(ram != MAP_FAILED, "mmap of the guest's memory");
  struct kvm_userspace_memory_region region = {.memory_size = bytes, .userspace_addr = (__u64)(size_t)ram};
  need(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) >= 0, "KVM_SET_USER_MEMORY_REGION");
  memcpy(ram + 0x1000, "\xe6\x80\xf4", 3); // out 0x80, al; hlt
  int vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
  need(vcpu >= 0, "KVM_CREATE_VCPU");
  int size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
  struct kvm_run *run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
  need(run != MAP_FAILED, "mmap of kvm_run");
  struct kvm_sregs segments;
  need(ioctl(vcpu, KVM_GET_SREGS, &segments) >= 0, "KVM_GET_SREGS");
  segments.cs.base = 0;
  segments.cs.selector = 0;
  need(ioctl(vcpu, KVM_SET_SREGS, &segments) >= 0, "KVM_SET_SREGS");
  struct kvm_regs registers = {.rip = 0x1000, .rflags = 2, .rax = 1};
  need(ioctl(vcpu, KVM_SET_REGS, &registers) >= 0, "KVM_SET_REGS");
  need(ioctl(vcpu, KVM_RUN, 0) >= 0, "KVM_RUN");
  if (run->exit_reason != KVM_EXIT_IO || run->io.port != 0x80) {
    fprintf(stderr, "the guest did not execute its OUT: exit reason %u\n", run->exit_reason);
    return 1;
  }
  double after = now_us() - begin;
  printf("[%.6f] after_us=%.0f\n", (now_us() - begin) / 1e6, after);
  return 0;
}
