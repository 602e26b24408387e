import Testing

/// Files and sockets that several parts of one spec name.
@Suite struct OutputRejections {
    @Test func aFileTakesTheOutputOfOneConsole() throws {
        #expect(
            issues(#"{"serial":{"mode":"File","file":"/a"},"console":{"mode":"File","file":"/a"}}"#)
                == [#"$.serial.file: "/a" is already taken by $.console.file; name another"#])
        #expect(
            issues(
                #"{"serial":{"mode":"File","file":"/a"},"console":{"mode":"Off"},"#
                    + #""debug_console":{"mode":"File","file":"/a"}}"#)
                == [#"$.debug_console.file: "/a" is already taken by $.serial.file; name another"#])
        #expect(
            issues {
                $0.serial = "file=/a"
                $0.console = "file=/a"
            } == [#"--serial: key 'file': "/a" is already taken by --console: key 'file'; name another"#])
        // A device takes what many write, and a file of another mode is not used.
        #expect(
            issues(#"{"serial":{"mode":"File","file":"/dev/null"},"console":{"mode":"File","file":"/dev/null"}}"#) == []
        )
        #expect(
            issues(#"{"serial":{"mode":"File","file":"/a"},"console":{"mode":"Null","file":"/a"}}"#) == [])
    }

    @Test func aSocketHasOneListener() throws {
        #expect(
            issues(#"{"serial":{"mode":"Socket","socket":"/s"},"console":{"mode":"Socket","socket":"/s"}}"#)
                == [#"$.serial.socket: "/s" is already taken by $.console.socket; name another"#])
        #expect(
            issues(#"{"serial":{"mode":"Socket","socket":"/s"},"console":{"mode":"File","file":"/s"}}"#)
                == [#"$.serial.socket: "/s" is already taken by $.console.file; name another"#])
        #expect(
            issues(#"{"serial":{"mode":"Socket","socket":"/s"},"vsock":{"cid":3,"socket":"/s"}}"#)
                == [#"$.vsock.socket: "/s" is already taken by $.serial.socket; name another"#])
        #expect(
            issues(#"{"serial":{"mode":"Socket","socket":"/s"},"console":{"mode":"Socket","socket":"/t"}}"#) == [])
    }

    @Test func outputOverwritesNoDiskOrKernel() throws {
        #expect(
            issues(#"{"disks":[{"path":"/x"},{"path":"/d"}],"console":{"mode":"File","file":"/d"}}"#)
                == [#"$.console.file: "/d" is $.disks[1].path, which must not be overwritten; name another"#])
        #expect(
            issues(
                #"{"payload":{"kernel":"/k","initramfs":"/i"},"console":{"mode":"File","file":"/k"},"#
                    + #""serial":{"mode":"File","file":"/i"}}"#)
                == [
                    #"$.console.file: "/k" is $.payload.kernel, which must not be overwritten; name another"#,
                    #"$.serial.file: "/i" is $.payload.initramfs, which must not be overwritten; name another"#,
                ])
    }

    @Test func anUnknownKeyIsAnsweredWithThoseThatWork() throws {
        #expect(
            issues { $0.cpus = "4" } == [
                "--cpus: key '4': unknown; allowed: affinity, boot, max, max_phys_bits, topology"
            ])
        let disk = try #require(issues { $0.disks = ["path=/x,zzzzzz=1"] }.first)
        for refused in ["vhost_user", "iommu", "bw_size", "pci_segment", "rate_limit_group", "socket"] {
            #expect(!disk.contains(refused), "\(disk)")
        }
        // What is known in order to be refused is still told from a slip of the pen.
        #expect(issues { $0.disks = ["path=/x,vhost_usr=on"] }.first?.contains("did you mean 'vhost_user'?") == true)
    }
}
