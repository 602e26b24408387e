// Checks, and the end of the run: what failed is counted, the count becomes the machine's result code.

enum Result {
    nonisolated(unsafe) static var failures = 0
    nonisolated(unsafe) static var power = Power()

    /// Prints the line, with its verdict, and counts a failure.
    @discardableResult
    @inline(never) static func check(_ passed: Bool, _ text: Text) -> Bool {
        if !passed { failures += 1 }
        say(passed ? ": ok" : ": FAILED")
        return passed
    }

    /// The final line, the result code, and the end of the machine.
    @inline(never) static func finish() -> Never {
        if failures == 0 {
            say("selftest: PASS")
        } else {
            say("selftest: FAIL (\(failures) checks failed)")
        }
        stop(UInt8(min(failures, 255)))
    }

    /// A failure that leaves nothing to go on with.
    @inline(never) static func abort(_ text: Text) -> Never {
        say("")
        failures += 1
        finish()
    }

    /// Reports `code` at the debug exit port and powers off.
    @inline(never) static func stop(_ code: UInt8) -> Never {
        portWrite8(0xF4, code)
        power.off()
        haltForever()
    }
}

@_cdecl("guest_fault")
func guestFault(_ vector: UInt32, _ error: UInt64, _ instruction: UInt64, _ address: UInt64) {
    Result.abort("exception \(vector), error \(hex: error), at \(hex: instruction), address \(hex: address)")
}
