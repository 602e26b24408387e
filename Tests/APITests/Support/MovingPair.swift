import Foundation
import TestSupport
import Testing

/// The guest, the two processes and the call that tests of migration share.
extension MigrationTests {
    /// A guest that counts in a register and writes the count into one page after the other, checks each page's count from
    /// before, and tells the lowest byte to its serial port; 0xEE at port 0x80 and a halt where memory is not as it was.
    static let counter = TinyKernel([
        0x31, 0xC9,  // xor ecx, ecx
        0x41,  // next: inc ecx
        0x89, 0xC8,  // mov eax, ecx
        0x25, 0xFF, 0x03, 0x00, 0x00,  // and eax, 0x3ff
        0xC1, 0xE0, 0x0C,  // shl eax, 12
        0x05, 0x00, 0x00, 0x40, 0x00,  // add eax, 0x400000
        0x8B, 0x10,  // mov edx, [eax]
        0x85, 0xD2,  // test edx, edx
        0x74, 0x0A,  // jz first
        0x81, 0xC2, 0x00, 0x04, 0x00, 0x00,  // add edx, 0x400
        0x39, 0xCA,  // cmp edx, ecx
        0x75, 0x14,  // jne wrong
        0x89, 0x08,  // first: mov [eax], ecx
        0x66, 0xBA, 0xFD, 0x03,  // wait: mov dx, 0x3fd
        0xEC,  // in al, dx
        0xA8, 0x20,  // test al, 0x20
        0x74, 0xF7,  // jz wait
        0x66, 0xBA, 0xF8, 0x03,  // mov dx, 0x3f8
        0x88, 0xC8,  // mov al, cl
        0xEE,  // out dx, al
        0xEB, 0xCC,  // jmp next
        0xF4,  // wrong: hlt
        0xEB, 0xFD,  // jmp wrong
    ])

    struct Pair {
        let scratch: ScratchDirectory
        let serial: String
        let socket: String

        init(_ name: String) throws {
            scratch = try ScratchDirectory(name)
            serial = scratch.path("serial")
            socket = scratch.path("move")
        }

        func config(
            _ memory: String = #""size":33554432"#, _ more: String = "", console: String = #"{"mode":"Off"}"#
        ) throws -> String {
            let kernel = try scratch.write("kernel", MigrationTests.counter.elf)
            return #"{"cpus":{"boot_vcpus":1,"max_vcpus":1},"memory":{\#(memory)},"console":\#(console),"#
                + #""payload":{"kernel":"\#(kernel)"},"serial":{"mode":"File","file":"\#(serial)"}\#(more)}"#
        }

        /// The count so far: bytes that each follow the one before; nil where one does not.
        var count: Int? {
            guard let data = try? Data(contentsOf: URL(filePath: serial)) else { return 0 }
            for (index, byte) in data.enumerated() where byte != UInt8(truncatingIfNeeded: index + 1) { return nil }
            return data.count
        }

        /// Waits until the guest has counted on.
        func expectProgress(_ evidence: @autoclosure () -> String) {
            let before = count ?? 0
            #expect(Deadline.seconds(10).wait { (count ?? 0) > before + 100 }, "stuck at \(before): \(evidence())")
        }

        /// A process with the VM, which counts.
        func boot() throws -> TestVMM {
            let vmm = try TestVMM(selfTest: nil)
            try vmm.put("vm.create", config())
            try vmm.put("vm.boot")
            expectProgress(vmm.evidence)
            return vmm
        }

        /// Has a process wait for the VM, which it does when this returns.
        ///
        /// - Parameter options: further members of the request: a comma and a member, again and again.
        func receiver(_ vmm: TestVMM, _ options: String = "") throws -> Receiver {
            let receiver = try Receiver(vmm, #"{"receiver_url":"unix:\#(socket)"\#(options)}"#)
            #expect(Deadline.seconds(10).wait { FileManager.default.fileExists(atPath: socket) })
            return receiver
        }

        /// Moves the VM from one process to the other.
        func move(_ first: TestVMM, _ second: TestVMM, _ options: String = "", status: Int = 204) throws {
            let receiver = try receiver(second)
            // Everything answers meanwhile.
            #expect(try second.curl("GET", "vmm.ping").status == 200)
            #expect(try second.curl("GET", "vm.migration").json.state.string == "waiting")
            try first.expect(status, "PUT", "vm.send-migration", #"{"destination_url":"unix:\#(socket)"\#(options)}"#)
            if status == 204 { #expect(try receiver.reply().status == 204, "\(second.evidence)") }
        }
    }

    /// `vm.receive-migration` as it waits.
    final class Receiver {
        private let connection: RawConnection

        init(_ vmm: TestVMM, _ body: String) throws {
            connection = try RawConnection(vmm.socket)
            try connection.send("PUT", "vm.receive-migration", body)
        }

        func reply() throws -> APIReply { try connection.reply(by: .seconds(30)) }
    }
}
