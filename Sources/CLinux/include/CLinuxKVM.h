// Request numbers and capabilities of /dev/kvm. Kernel: Documentation/virt/kvm/api.rst.
#pragma once

#include <linux/kvm.h>

static const unsigned long CL_KVM_GET_API_VERSION = KVM_GET_API_VERSION;
static const unsigned long CL_KVM_CREATE_VM = KVM_CREATE_VM;
static const unsigned long CL_KVM_CHECK_EXTENSION = KVM_CHECK_EXTENSION;
static const unsigned long CL_KVM_GET_VCPU_MMAP_SIZE = KVM_GET_VCPU_MMAP_SIZE;
static const unsigned long CL_KVM_GET_SUPPORTED_CPUID = KVM_GET_SUPPORTED_CPUID;
static const unsigned long CL_KVM_GET_MSR_INDEX_LIST = KVM_GET_MSR_INDEX_LIST;
static const unsigned long CL_KVM_GET_MSR_FEATURE_INDEX_LIST = KVM_GET_MSR_FEATURE_INDEX_LIST;
static const unsigned long CL_KVM_CREATE_VCPU = KVM_CREATE_VCPU;
static const unsigned long CL_KVM_GET_DIRTY_LOG = KVM_GET_DIRTY_LOG;
static const unsigned long CL_KVM_CLEAR_DIRTY_LOG = KVM_CLEAR_DIRTY_LOG;
static const unsigned long CL_KVM_RESET_DIRTY_RINGS = KVM_RESET_DIRTY_RINGS;
static const unsigned long CL_KVM_SET_USER_MEMORY_REGION = KVM_SET_USER_MEMORY_REGION;
static const unsigned long CL_KVM_SET_TSS_ADDR = KVM_SET_TSS_ADDR;
static const unsigned long CL_KVM_SET_IDENTITY_MAP_ADDR = KVM_SET_IDENTITY_MAP_ADDR;
static const unsigned long CL_KVM_CREATE_IRQCHIP = KVM_CREATE_IRQCHIP;
static const unsigned long CL_KVM_CREATE_PIT2 = KVM_CREATE_PIT2;
static const unsigned long CL_KVM_IRQ_LINE = KVM_IRQ_LINE;
static const unsigned long CL_KVM_GET_IRQCHIP = KVM_GET_IRQCHIP;
static const unsigned long CL_KVM_SET_IRQCHIP = KVM_SET_IRQCHIP;
static const unsigned long CL_KVM_SET_GSI_ROUTING = KVM_SET_GSI_ROUTING;
static const unsigned long CL_KVM_IRQFD = KVM_IRQFD;
static const unsigned long CL_KVM_IOEVENTFD = KVM_IOEVENTFD;
static const unsigned long CL_KVM_REGISTER_COALESCED_MMIO = KVM_REGISTER_COALESCED_MMIO;
static const unsigned long CL_KVM_SIGNAL_MSI = KVM_SIGNAL_MSI;
static const unsigned long CL_KVM_SET_BOOT_CPU_ID = KVM_SET_BOOT_CPU_ID;
static const unsigned long CL_KVM_GET_CLOCK = KVM_GET_CLOCK;
static const unsigned long CL_KVM_SET_CLOCK = KVM_SET_CLOCK;
static const unsigned long CL_KVM_ENABLE_CAP = KVM_ENABLE_CAP;
static const unsigned long CL_KVM_RUN = KVM_RUN;
static const unsigned long CL_KVM_GET_REGS = KVM_GET_REGS;
static const unsigned long CL_KVM_SET_REGS = KVM_SET_REGS;
static const unsigned long CL_KVM_GET_SREGS = KVM_GET_SREGS;
static const unsigned long CL_KVM_SET_SREGS = KVM_SET_SREGS;
static const unsigned long CL_KVM_GET_MSRS = KVM_GET_MSRS;
static const unsigned long CL_KVM_SET_MSRS = KVM_SET_MSRS;
static const unsigned long CL_KVM_GET_FPU = KVM_GET_FPU;
static const unsigned long CL_KVM_SET_FPU = KVM_SET_FPU;
static const unsigned long CL_KVM_SET_CPUID2 = KVM_SET_CPUID2;
static const unsigned long CL_KVM_GET_CPUID2 = KVM_GET_CPUID2;
static const unsigned long CL_KVM_GET_LAPIC = KVM_GET_LAPIC;
static const unsigned long CL_KVM_SET_LAPIC = KVM_SET_LAPIC;
static const unsigned long CL_KVM_GET_MP_STATE = KVM_GET_MP_STATE;
static const unsigned long CL_KVM_SET_MP_STATE = KVM_SET_MP_STATE;
static const unsigned long CL_KVM_GET_VCPU_EVENTS = KVM_GET_VCPU_EVENTS;
static const unsigned long CL_KVM_SET_VCPU_EVENTS = KVM_SET_VCPU_EVENTS;
static const unsigned long CL_KVM_GET_XSAVE = KVM_GET_XSAVE;
static const unsigned long CL_KVM_SET_XSAVE = KVM_SET_XSAVE;
static const unsigned long CL_KVM_GET_XCRS = KVM_GET_XCRS;
static const unsigned long CL_KVM_SET_XCRS = KVM_SET_XCRS;
static const unsigned long CL_KVM_SET_TSC_KHZ = KVM_SET_TSC_KHZ;
static const unsigned long CL_KVM_GET_TSC_KHZ = KVM_GET_TSC_KHZ;
static const unsigned long CL_KVM_NMI = KVM_NMI;
static const unsigned long CL_KVM_KVMCLOCK_CTRL = KVM_KVMCLOCK_CTRL;
static const unsigned long CL_KVM_GET_DEBUGREGS = KVM_GET_DEBUGREGS;
static const unsigned long CL_KVM_SET_DEBUGREGS = KVM_SET_DEBUGREGS;
static const unsigned long CL_KVM_SET_SIGNAL_MASK = KVM_SET_SIGNAL_MASK;
static const unsigned long CL_KVM_GET_XSAVE2 = KVM_GET_XSAVE2;
static const unsigned long CL_KVM_GET_NESTED_STATE = KVM_GET_NESTED_STATE;
static const unsigned long CL_KVM_SET_NESTED_STATE = KVM_SET_NESTED_STATE;
static const unsigned long CL_KVM_GET_SREGS2 = KVM_GET_SREGS2;
static const unsigned long CL_KVM_SET_SREGS2 = KVM_SET_SREGS2;
static const unsigned long CL_KVM_INTERRUPT = KVM_INTERRUPT;
static const unsigned long CL_KVM_GET_DEVICE_ATTR = KVM_GET_DEVICE_ATTR;
static const unsigned long CL_KVM_SET_DEVICE_ATTR = KVM_SET_DEVICE_ATTR;
static const unsigned long CL_KVM_HAS_DEVICE_ATTR = KVM_HAS_DEVICE_ATTR;

static const int CL_KVM_CAP_IRQCHIP = KVM_CAP_IRQCHIP;
static const int CL_KVM_CAP_NR_VCPUS = KVM_CAP_NR_VCPUS;
static const int CL_KVM_CAP_MAX_VCPUS = KVM_CAP_MAX_VCPUS;
static const int CL_KVM_CAP_MAX_VCPU_ID = KVM_CAP_MAX_VCPU_ID;
static const int CL_KVM_CAP_NR_MEMSLOTS = KVM_CAP_NR_MEMSLOTS;
static const int CL_KVM_CAP_IRQFD = KVM_CAP_IRQFD;
static const int CL_KVM_CAP_IOEVENTFD = KVM_CAP_IOEVENTFD;
static const int CL_KVM_CAP_SIGNAL_MSI = KVM_CAP_SIGNAL_MSI;
static const int CL_KVM_CAP_IRQ_ROUTING = KVM_CAP_IRQ_ROUTING;
static const int CL_KVM_CAP_X2APIC_API = KVM_CAP_X2APIC_API;
static const int CL_KVM_CAP_TSC_DEADLINE_TIMER = KVM_CAP_TSC_DEADLINE_TIMER;
static const int CL_KVM_CAP_TSC_CONTROL = KVM_CAP_TSC_CONTROL;
static const int CL_KVM_CAP_GET_TSC_KHZ = KVM_CAP_GET_TSC_KHZ;
static const int CL_KVM_CAP_IMMEDIATE_EXIT = KVM_CAP_IMMEDIATE_EXIT;
static const int CL_KVM_CAP_EXT_CPUID = KVM_CAP_EXT_CPUID;
static const int CL_KVM_CAP_USER_MEMORY = KVM_CAP_USER_MEMORY;
static const int CL_KVM_CAP_SET_TSS_ADDR = KVM_CAP_SET_TSS_ADDR;
static const int CL_KVM_CAP_SET_IDENTITY_MAP_ADDR = KVM_CAP_SET_IDENTITY_MAP_ADDR;
static const int CL_KVM_CAP_MP_STATE = KVM_CAP_MP_STATE;
static const int CL_KVM_CAP_ADJUST_CLOCK = KVM_CAP_ADJUST_CLOCK;
static const int CL_KVM_CAP_XSAVE = KVM_CAP_XSAVE;
static const int CL_KVM_CAP_XSAVE2 = KVM_CAP_XSAVE2;
static const int CL_KVM_CAP_SREGS2 = KVM_CAP_SREGS2;
static const int CL_KVM_CAP_XCRS = KVM_CAP_XCRS;
static const int CL_KVM_CAP_SPLIT_IRQCHIP = KVM_CAP_SPLIT_IRQCHIP;
static const int CL_KVM_CAP_IOEVENTFD_ANY_LENGTH = KVM_CAP_IOEVENTFD_ANY_LENGTH;
static const int CL_KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2;
static const int CL_KVM_CAP_DIRTY_LOG_RING = KVM_CAP_DIRTY_LOG_RING;
static const int CL_KVM_CAP_COALESCED_MMIO = KVM_CAP_COALESCED_MMIO;
static const int CL_KVM_CAP_COALESCED_PIO = KVM_CAP_COALESCED_PIO;
static const int CL_KVM_CAP_NESTED_STATE = KVM_CAP_NESTED_STATE;
static const int CL_KVM_CAP_HALT_POLL = KVM_CAP_HALT_POLL;
static const int CL_KVM_CAP_X86_SMM = KVM_CAP_X86_SMM;
static const int CL_KVM_CAP_READONLY_MEM = KVM_CAP_READONLY_MEM;
static const int CL_KVM_CAP_CHECK_EXTENSION_VM = KVM_CAP_CHECK_EXTENSION_VM;
static const int CL_KVM_CAP_X86_DISABLE_EXITS = KVM_CAP_X86_DISABLE_EXITS;
static const int CL_KVM_CAP_EXIT_ON_EMULATION_FAILURE = KVM_CAP_EXIT_ON_EMULATION_FAILURE;

// The flexible arrays that follow a fixed header.
static inline struct kvm_cpuid_entry2 *cl_kvm_cpuid_entries(struct kvm_cpuid2 *table) { return table->entries; }
static inline struct kvm_msr_entry *cl_kvm_msr_entries(struct kvm_msrs *list) { return list->entries; }
static inline uint32_t *cl_kvm_msr_indices(struct kvm_msr_list *list) { return list->indices; }
static inline struct kvm_irq_routing_entry *cl_kvm_routing_entries(struct kvm_irq_routing *table) {
    return table->entries;
}
_Static_assert(sizeof(struct kvm_irqchip) == 520, "kvm_irqchip");
