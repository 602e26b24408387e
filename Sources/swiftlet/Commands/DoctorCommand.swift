import ArgumentParser

/// `swiftlet doctor`
struct DoctorCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor", abstract: "Say what this host can run, and what to do about what it cannot.",
        discussion: "Runs the embedded self-test guest for a moment. Exit status 1 when no guest can run here.")

    @Flag(help: "Print the findings as JSON.")
    var json = false

    func run() throws {
        let kvm = HostFindings.kvm()
        let usable = kvm.allSatisfy { $0.verdict != .no }
        let guest =
            usable ? GuestFindings.probe() : GuestFindings.Result(findings: [], guests: false, linuxGuests: false)
        let diagnosis = Diagnosis(
            findings: kvm + guest.findings + HostFindings.host() + [HostFindings.build()], guests: guest.guests,
            linuxGuests: guest.linuxGuests)
        if json {
            StandardStreams.out(try JSONText.make(diagnosis))
        } else {
            StandardStreams.out(diagnosis.findings.flatMap(\.lines).joined(separator: "\n"))
        }
        throw ExitCode(diagnosis.guests ? ExitStatus.success : ExitStatus.failed)
    }
}
