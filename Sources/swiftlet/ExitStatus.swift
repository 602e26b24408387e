/// What the process's exit status says. Documented in README.md; scripts depend on the numbers.
enum ExitStatus {
    /// The guest powered off, or the user ended the VM from the terminal; a check or doctor found nothing wrong.
    static let success: Int32 = 0
    /// The self-test guest found something wrong, or `doctor` says that this host cannot run guests.
    static let failed: Int32 = 1
    /// The command line is wrong (`EX_USAGE`).
    static let usage: Int32 = 64
    /// The spec, or a file that it names, is wrong (`EX_DATAERR`).
    static let badSpec: Int32 = 65
    /// The host lacks something or refuses it (`EX_UNAVAILABLE`).
    static let hostLacks: Int32 = 69
    /// The guest died: a triple fault, or an instruction that KVM cannot run (`EX_SOFTWARE`).
    static let guestDied: Int32 = 70
    /// What answered is no VMM, or the connection to it broke (`EX_PROTOCOL`).
    static let badPeer: Int32 = 76
    /// The time that `--timeout` gave is up, as `timeout(1)` has it.
    static let timeUp: Int32 = 124
    /// A signal ended the VM: this and the signal's number.
    static let signalBase: Int32 = 128
}
