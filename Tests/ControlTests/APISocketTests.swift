import CLinux
import Foundation
import Host
import TestSupport
import Testing

@testable import Control

/// Where the API listens: the option's value, the files and their permissions.
struct APISocketTests {
    private func mode(_ path: String) throws -> Int {
        try #require(FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int)
    }

    @Test func valuesOfTheOption() throws {
        #expect(try APISocketPlace(parsing: "/run/a.sock") == .path("/run/a.sock"))
        #expect(try APISocketPlace(parsing: "path=/run/a=b,c.sock") == .path("/run/a=b,c.sock"))
        #expect(try APISocketPlace(parsing: "fd=7") == .descriptor(7))
        for text in ["", "path=", "fd=", "fd=-1", "fd=x", "fd=99999999999"] {
            #expect(throws: APISocketError.self) { try APISocketPlace(parsing: text) }
        }
    }

    @Test func theFilesAreOursAloneAndGoAgain() throws {
        let directory = try ScratchDirectory("socket")
        let path = directory.path("api.sock")
        let socket = try APISocket(.path(path))
        #expect(try mode(path) == 0o600 && mode(path + ".lock") == 0o600)
        let holder = LockFile.holder(of: path + ".lock")
        #expect(holder == getpid())
        let client = try UnixStream.connect(path: path)
        let isWaiting = try socket.accept() != nil
        #expect(isWaiting)
        _ = consume client
        socket.close()
        socket.close()
        #expect(try directory.entries().isEmpty)
        let isOver = try socket.accept() == nil
        #expect(isOver)
    }

    @Test func aSecondOneIsTurnedAway() throws {
        let directory = try ScratchDirectory("socket")
        let path = directory.path("api.sock")
        let first = try APISocket(.path(path))
        let error = #expect(throws: APISocketError.self) { try APISocket(.path(path)) }
        #expect(
            error?.description
                == "the API socket \(path): another VMM (process \(getpid())) is using it and holds \(path).lock; "
                + "use another path")
        _ = try UnixStream.connect(path: path)
        first.close()
        let second = try APISocket(.path(path))
        _ = try UnixStream.connect(path: path)
        second.close()
    }

    @Test func whatADeadVMMLeftIsReplaced() throws {
        let directory = try ScratchDirectory("socket")
        let path = directory.path("api.sock")
        // A file that was bound and that nobody listens on, and a lock that nobody holds.
        let dead = FileDescriptor(owning: cl_unix_socket())
        // SAFETY: the path's bytes live through the call.
        #expect(unsafe cl_unix_bind(dead.raw, path) == 0)
        _ = consume dead
        try directory.write("api.sock.lock", "4000000\n")
        let socket = try APISocket(.path(path))
        _ = try UnixStream.connect(path: path)
        #expect(LockFile.holder(of: path + ".lock") == getpid())
        socket.close()
        #expect(try directory.entries().isEmpty)
    }

    @Test func othersFilesAreLeftAlone() throws {
        let directory = try ScratchDirectory("socket")
        let path = directory.path("api.sock")
        try directory.write("api.sock", "precious")
        #expect(throws: APISocketError.self) { try APISocket(.path(path)) }
        #expect(try directory.read("api.sock") == Array("precious".utf8))
        #expect(try directory.entries() == ["api.sock"])
        // Somebody who listens without a lock.
        let other = directory.path("other.sock")
        let listener = try UnixListener(path: other)
        #expect(throws: APISocketError.self) { try APISocket(.path(other)) }
        _ = try UnixStream.connect(path: other)
        let isWaiting = listener.accept() != nil
        #expect(isWaiting)
        // A file that came in the place of ours stays.
        let third = directory.path("third.sock")
        let socket = try APISocket(.path(third))
        try FileManager.default.removeItem(atPath: third)
        try directory.write("third.sock", "theirs")
        socket.close()
        #expect(try directory.read("third.sock") == Array("theirs".utf8))
    }

    @Test func longAndRelativePaths() throws {
        let long = "/tmp/" + String(repeating: "a", count: 103)
        let error = #expect(throws: APISocketError.self) { try APISocket(.path(long)) }
        #expect(error?.reason == "its path has 108 bytes, but a socket's has at most 107; use a shorter one")
        #expect(!FileManager.default.fileExists(atPath: long + ".lock"))
        #expect(throws: APISocketError.self) { try APISocket(.path("/does/not/exist/api.sock")) }
        let directory = try ScratchDirectory("socket")
        let depth = FileManager.default.currentDirectoryPath.split(separator: "/").count
        let relative = String(repeating: "../", count: depth) + directory.path("r.sock").dropFirst()
        let socket = try APISocket(.path(relative))
        #expect(try directory.entries() == ["r.sock", "r.sock.lock"])
        _ = try UnixStream.connect(path: directory.path("r.sock"))
        socket.close()
        #expect(try directory.entries().isEmpty)
    }

    @Test func aGroupMayConnect() throws {
        let directory = try ScratchDirectory("socket")
        let path = directory.path("api.sock")
        let socket = try APISocket(.path(path), group: "\(getgid())")
        #expect(try mode(path) == 0o660 && mode(path + ".lock") == 0o600)
        socket.close()
        #expect(try FileAccess.group("root") == 0)
        let error = #expect(throws: APISocketError.self) { try APISocket(.path(path), group: "no-such-group") }
        #expect(
            error?.reason == "there is no group no-such-group in /etc/group; give its number if it is defined elsewhere"
        )
        #expect(try directory.entries().isEmpty)
        if getuid() != 0 {
            #expect(throws: APISocketError.self) { try APISocket(.path(path), group: "0") }
            #expect(try directory.entries().isEmpty)
        }
    }

    @Test func anInheritedDescriptorListens() throws {
        let directory = try ScratchDirectory("socket")
        let path = directory.path("api.sock")
        let raw = cl_unix_socket()
        // SAFETY: the path's bytes live through the call.
        #expect(unsafe cl_unix_bind(raw, path) == 0)
        let silent = #expect(throws: APISocketError.self) { try APISocket(.descriptor(raw)) }
        #expect(silent?.description == "the API socket fd=\(raw): the descriptor is no listening Unix stream socket")
        #expect(listen(raw, 4) == 0)
        let server = try APIServer(
            listening: APISocket(.descriptor(raw)), handler: FakeHandler.echo, logger: .init(label: "api"))
        try server.start()
        let client = try RawClient(path)
        try client.send(request("PUT", "/done"))
        #expect(try client.reply().status == 204)
        server.stop()
        // Whoever made the file removes it.
        #expect(try directory.entries() == ["api.sock"])
        let file = try FileDescriptor.open("/dev/null", O_RDONLY)
        #expect(throws: APISocketError("fd=\(file.raw)", "the descriptor is no socket")) {
            try APISocket(.descriptor(file.raw))
        }
        #expect(throws: APISocketError("fd=19999", "the process inherited no descriptor of that number")) {
            try APISocket(.descriptor(19999))
        }
    }

    @Test func curlAndPythonUnderstandIt() throws {
        let server = try TestServer()
        let curl = try runProcess(
            Command(
                "curl",
                ["-sS", "--unix-socket", server.path, "-i", "-X", "PUT", "-H", "Content-Type: application/json"]
                    + ["-d", #"{"a":1}"#, "http://localhost/api/v1/vm.create", "http://localhost/done"]))
        #expect(curl.succeeded, "\(curl)")
        #expect(curl.text.contains("\r\n\r\nPUT /api/v1/vm.create 7 bytes 0 descriptorsHTTP/1.1 204 \r\n"), "\(curl)")
        let script = """
            import http.client, socket, sys
            class Connection(http.client.HTTPConnection):
                def connect(self):
                    self.sock = socket.socket(socket.AF_UNIX)
                    self.sock.connect(sys.argv[1])
            c = Connection("localhost")
            for method, target, body in [("GET", "/a", None), ("PUT", "/b", "12345"), ("PUT", "/done", None),
                                         ("PUT", "/empty", ""), ("PUT", "/c", iter([b"ab", b"cd"]))]:
                c.request(method, target, body, encode_chunked=body is not None and not isinstance(body, str),
                          headers={"Transfer-Encoding": "chunked"} if hasattr(body, "__next__") else {})
                r = c.getresponse()
                print(r.status, r.version, repr(r.reason), r.read().decode())
            """
        let python = try runProcess(Command("python3", ["-c", script, server.path]))
        #expect(
            python.text == """
                200 11 '' GET /a 0 bytes 0 descriptors
                200 11 '' PUT /b 5 bytes 0 descriptors
                204 11 ''\u{20}
                200 11 ''\u{20}
                200 11 '' PUT /c 4 bytes 0 descriptors

                """, "\(python)")
    }
}
