// What instructions.S, interrupts.S and entry.S offer.

@_extern(c, "port_read8") func portRead8(_ port: UInt16) -> UInt8
@_extern(c, "port_read16") func portRead16(_ port: UInt16) -> UInt16
@_extern(c, "port_read32") func portRead32(_ port: UInt16) -> UInt32
@_extern(c, "port_write8") func portWrite8(_ port: UInt16, _ value: UInt8)
@_extern(c, "port_write16") func portWrite16(_ port: UInt16, _ value: UInt16)
@_extern(c, "port_write32") func portWrite32(_ port: UInt16, _ value: UInt32)

@_extern(c, "memory_read8") func memoryRead8(_ address: UInt64) -> UInt8
@_extern(c, "memory_read16") func memoryRead16(_ address: UInt64) -> UInt16
@_extern(c, "memory_read32") func memoryRead32(_ address: UInt64) -> UInt32
@_extern(c, "memory_read64") func memoryRead64(_ address: UInt64) -> UInt64
@_extern(c, "memory_write8") func memoryWrite8(_ address: UInt64, _ value: UInt8)
@_extern(c, "memory_write16") func memoryWrite16(_ address: UInt64, _ value: UInt16)
@_extern(c, "memory_write32") func memoryWrite32(_ address: UInt64, _ value: UInt32)
@_extern(c, "memory_write64") func memoryWrite64(_ address: UInt64, _ value: UInt64)
@_extern(c, "memory_fill") func memoryFill(_ address: UInt64, _ quadwords: UInt64, _ value: UInt64)
@_extern(c, "memory_fence") func memoryFence()
@_extern(c, "find_word") func findWord(_ address: UInt64, _ length: UInt64, _ word: UInt32) -> UInt64
@_extern(c, "sum_bytes") func sumBytes(_ address: UInt64, _ length: UInt64) -> UInt8

@_extern(c, "execute_cpuid")
func executeCPUID(_ leaf: UInt32, _ subleaf: UInt32, _ result: UnsafeMutableRawPointer)
@_extern(c, "read_msr") func readMSR(_ index: UInt32) -> UInt64
@_extern(c, "write_msr") func writeMSR(_ index: UInt32, _ value: UInt64)
@_extern(c, "read_tsc") func readTSC() -> UInt64
@_extern(c, "pause_cpu") func pauseCPU()
@_extern(c, "flush_page") func flushPage(_ address: UInt64)
@_extern(c, "halt_forever") func executeHaltForever()
@_extern(c, "spin_forever") func executeSpinForever()
@_extern(c, "image_address") func imageAddress(_ index: UInt32) -> UInt64

@_extern(c, "interrupt_window") func interruptWindow()
@_extern(c, "interrupt_window_halted") func interruptWindowHalted()
@_extern(c, "load_idt") func loadIDT()
@_extern(c, "triple_fault") func tripleFault()

/// The four registers that CPUID answers in.
struct CPUIDResult {
    var eax: UInt32 = 0
    var ebx: UInt32 = 0
    var ecx: UInt32 = 0
    var edx: UInt32 = 0
}

func cpuid(_ leaf: UInt32, _ subleaf: UInt32 = 0) -> CPUIDResult {
    var result = CPUIDResult()
    executeCPUID(leaf, subleaf, &result)
    return result
}

/// Stops this CPU with interrupts off.
func haltForever() -> Never {
    while true { executeHaltForever() }
}

/// Runs this CPU for ever without a single exit.
func spinForever() -> Never {
    while true { executeSpinForever() }
}

/// Places in the image, in the order of the table in instructions.S.
enum Image: UInt32 {
    case pageMap, pagePool, pagePoolEnd, buffers, buffersEnd
    case interruptTable, interruptStubs, interruptCounts, localAPIC
    case trampoline, trampolineEnd, otherDone, otherReport, probeMSR

    var address: UInt64 { imageAddress(rawValue) }
}
