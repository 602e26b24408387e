@testable import Spec

/// What is wrong with a configuration in JSON, one text for each issue; empty where nothing is.
func issues(_ json: String, mode: ReadingMode = .strict) -> [String] {
    do {
        _ = try VMConfig.parse(Array(json.utf8), mode: mode)
        return []
    } catch {
        return error.issues.map(\.description)
    }
}

/// What is wrong with a configuration in flags.
func issues(_ set: (inout VMFlags) -> Void) -> [String] {
    var flags = VMFlags()
    set(&flags)
    do {
        _ = try VMConfig.fromFlags(flags)
        return []
    } catch {
        return error.issues.map(\.description)
    }
}

/// A configuration in flags that has to be right.
func config(_ set: (inout VMFlags) -> Void) throws -> VMConfig {
    var flags = VMFlags()
    set(&flags)
    return try VMConfig.fromFlags(flags).config
}

/// A configuration in JSON that has to be right.
func config(_ json: String) throws -> VMConfig { try VMConfig.parse(Array(json.utf8)).config }

/// The same numbers in every run (SplitMix64).
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}
