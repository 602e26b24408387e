import Boot
import Host
import Memory
import VirtioBlock
import VirtioNet

/// The files and taps that a plan names, looked at one by one, so that one run tells all that is wrong with them.
package enum PlannedFiles {
    /// Something about a file that keeps the machine from running.
    package struct Finding: Equatable, Sendable {
        /// The JSON path, the file, what is wrong, and what to do; one line.
        package let text: String
        /// Whether it is only that this user may not open the file: another one may.
        package let isForbidden: Bool

        init(_ error: some CustomStringConvertible, _ errno: Errno?) {
            text = error.description
            isForbidden = errno == .accessDenied || errno == .notPermitted
        }
    }

    /// Looks at kernel, initramfs, disks, taps, and the source of random bytes, in this order. Nothing is written or kept
    /// open.
    ///
    /// - Parameter asForBoot: whether disks are opened and locked as for a boot, not only looked at.
    package static func findings(_ plan: MachinePlan, asForBoot: Bool = false) -> [Finding] {
        var findings = payload(plan) + SharedFiles.issues(plan).map { Finding($0, nil) }
        for device in plan.devices {
            switch device.kind {
            case .block(let options, _):
                do throws(DiskError) {
                    if asForBoot { _ = try DiskImage(options) } else { try DiskImage.check(options) }
                } catch {
                    findings.append(Finding(error, error.errno))
                }
            case .entropy(let source):
                do throws(MachineError) { try FieldErrors.checkEntropy(source) } catch {
                    findings.append(Finding(error, HostProbe.openForReading(source)))
                }
            case .net(let settings):
                if let mistake = NetBackend.mistake(settings) { findings.append(Finding(mistake, nil)) }
            case .console, .vsock: break
            }
        }
        return findings
    }

    /// An error of opening the host's resources, together with what else is wrong with the plan's files.
    static func completed(_ error: any Error, _ plan: MachinePlan) -> MachineError {
        let first = MachineError(sorting: error)
        guard case .spec(let text) = first else { return first }
        let all = findings(plan, asForBoot: true).map(\.text)
        return .spec((all.contains(text) ? all : [text] + all).joined(separator: "\n"))
    }

    /// Loads the payload into memory that goes again, as a boot does.
    private static func payload(_ plan: MachinePlan) -> [Finding] {
        guard case .kernel(let path, let field, let initramfs, let commandLine) = plan.payload else { return [] }
        var findings: [Finding] = []
        func open(_ path: String, _ field: String) -> PayloadSource? {
            do throws(BootError) { return try PayloadSource(path: path, field: field) } catch {
                findings.append(Finding(error, error.errno))
                return nil
            }
        }
        let kernel = open(path, field)
        let archive = initramfs.flatMap { open($0, "$.payload.initramfs") }
        guard let kernel else { return findings }
        do throws(BootError) {
            // Without its initramfs a kernel can still be told from what is none.
            guard findings.isEmpty, let memory = try? GuestMemory(plan.memory.ranges) else {
                _ = try PayloadLoader.inspect(kernel)
                return findings
            }
            let payload = Payload(kernel: kernel, initramfs: archive, commandLine: commandLine)
            _ = try PayloadLoader.load(payload, into: memory, map: plan.memory, rsdp: MachineLayout.rsdp)
        } catch {
            findings.insert(Finding(error, error.errno), at: 0)
        }
        return findings
    }
}
