/// CPUID's bits in words (SDM volume 2A, CPUID; APM volume 3, appendix D; names as in /proc/cpuinfo).
enum CPUFeatureNames {
    private struct Place: Hashable {
        let leaf: UInt32, subleaf: UInt32
        let register: String
    }

    /// The names of a register's bits, the lowest first; a dash where a bit has none.
    private static let names: [Place: String] = [
        Place(leaf: 1, subleaf: 0, register: "ecx"):
            "sse3 pclmulqdq dtes64 monitor ds_cpl vmx smx est tm2 ssse3 cid sdbg fma cx16 xtpr pdcm - pcid dca sse4_1 "
            + "sse4_2 x2apic movbe popcnt tsc_deadline_timer aes xsave osxsave avx f16c rdrand hypervisor",
        Place(leaf: 1, subleaf: 0, register: "edx"):
            "fpu vme de pse tsc msr pae mce cx8 apic - sep mtrr pge mca cmov pat pse36 pn clflush - dts acpi mmx fxsr sse "
            + "sse2 ss ht tm ia64 pbe",
        Place(leaf: 7, subleaf: 0, register: "ebx"):
            "fsgsbase tsc_adjust sgx bmi1 hle avx2 fdp_excptn_only smep bmi2 erms invpcid rtm cqm zero_fcs_fds mpx rdt_a "
            + "avx512f avx512dq rdseed adx smap avx512ifma pcommit clflushopt clwb intel_pt avx512pf avx512er avx512cd "
            + "sha_ni avx512bw avx512vl",
        Place(leaf: 7, subleaf: 0, register: "ecx"):
            "prefetchwt1 avx512vbmi umip pku ospke waitpkg avx512_vbmi2 shstk gfni vaes vpclmulqdq avx512_vnni "
            + "avx512_bitalg tme avx512_vpopcntdq - la57 - - - - - rdpid kl bus_lock_detect cldemote - movdiri movdir64b "
            + "enqcmd sgx_lc pks",
        Place(leaf: 7, subleaf: 0, register: "edx"):
            "- sgx_keys avx512_4vnniw avx512_4fmaps fsrm uintr - - avx512_vp2intersect srbds_ctrl md_clear "
            + "rtm_always_abort - rtm_force_abort serialize hybrid_cpu tsxldtrk - pconfig arch_lbr ibt - amx_bf16 "
            + "avx512_fp16 amx_tile amx_int8 spec_ctrl intel_stibp flush_l1d arch_capabilities core_capabilities ssbd",
        Place(leaf: 7, subleaf: 1, register: "eax"):
            "sha512 sm3 sm4 rao_int avx_vnni avx512_bf16 lass cmpccxadd arch_perfmon_ext - fzrm fsrs fsrc - - - - fred lkgs "
            + "wrmsrns nmi_src amx_fp16 hreset avx_ifma - - lam",
        Place(leaf: 0xd, subleaf: 1, register: "eax"): "xsaveopt xsavec xgetbv1 xsaves xfd",
        Place(leaf: 0x8000_0001, subleaf: 0, register: "ecx"):
            "lahf_lm cmp_legacy svm extapic cr8_legacy abm sse4a misalignsse 3dnowprefetch osvw ibs xop skinit wdt - lwp "
            + "fma4 tce - nodeid_msr - tbm topoext perfctr_core perfctr_nb - bpext ptsc perfctr_llc mwaitx",
        Place(leaf: 0x8000_0001, subleaf: 0, register: "edx"):
            "fpu vme de pse tsc msr pae mce cx8 apic - syscall mtrr pge mca cmov pat pse36 - mp nx - mmxext mmx fxsr "
            + "fxsr_opt pdpe1gb rdtscp - lm 3dnowext 3dnow",
        Place(leaf: 0x8000_0008, subleaf: 0, register: "ebx"):
            "clzero irperf xsaveerptr - rdpru - - - - wbnoinvd - - ibpb - ibrs amd_stibp ibrs_always_on "
            + "stibp_always_on - - - - - ppin amd_ssbd virt_ssbd amd_ssb_no cppc amd_psfd",
    ]

    /// The set bits of a word by name, or by place where they have none.
    static func words(_ word: SnapshotNeeds.CPUIDWord) -> [String] {
        let place = Place(leaf: word.leaf, subleaf: word.subleaf, register: word.register.rawValue)
        let known = names[place]?.split(separator: " ") ?? []
        return (0..<32).filter { word.bits >> UInt32($0) & 1 == 1 }
            .map { bit in
                if bit < known.count, known[bit] != "-" { return String(known[bit]) }
                let leaf = "0x\(String(word.leaf, radix: 16)).\(word.subleaf)"
                return "CPUID \(leaf) \(word.register.rawValue) bit \(bit)"
            }
    }
}

extension SnapshotNeeds {
    /// Everything that is needed in words: CPU features as /proc/cpuinfo names them, then KVM's capabilities.
    package var words: [String] {
        // AMD's leaf 0x80000001 says again what leaf 1 has.
        var seen: Set<String> = []
        return (cpuid.flatMap(CPUFeatureNames.words) + kvm).filter { seen.insert($0).inserted }
    }

    /// What a host lacks, in words; empty where it has all.
    ///
    /// - Parameters:
    ///   - cpuid: the host's register of a leaf and subleaf, 0 where it has no such leaf.
    ///   - hasCapability: whether the host's KVM has a capability, by its name.
    package func missing(
        cpuid host: (_ leaf: UInt32, _ subleaf: UInt32, _ register: Register) -> UInt32,
        hasCapability: (String) -> Bool
    ) -> [String] {
        let features = cpuid.flatMap { word in
            var absent = word
            absent.bits &= ~host(word.leaf, word.subleaf, word.register)
            return CPUFeatureNames.words(absent)
        }
        return features + kvm.filter { !hasCapability($0) }
    }
}
