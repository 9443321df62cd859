import CSystem
import Glibc

/// An address to listen on or to connect to: `host:port`, `[ipv6]:port` or `unix:/path`.
package struct SocketAddress: Sendable {
    private var storage = sockaddr_storage()
    private let length: socklen_t
    /// As it was given, for messages.
    package let text: String
    /// The path of a Unix socket.
    package let path: String?

    /// Why an address cannot be used.
    package struct Invalid: Error, CustomStringConvertible {
        package let text: String
        package let reason: String
        /// Whether it cannot be an address at all, rather than one that is not known.
        package var isMalformed = true

        package var description: String { "\(text.onOneLineOrEmpty): \(reason)" }
    }

    /// Refuses what cannot be an address, without asking anybody.
    package static func check(_ text: String) throws(Invalid) {
        if text.hasPrefix("unix:") { _ = try unix(String(text.dropFirst(5)), text) } else { _ = try split(text) }
    }

    /// All that `text` stands for: a name may have several addresses. Asks the resolver, which may take a while.
    package static func resolve(_ text: String) throws(Invalid) -> [SocketAddress] {
        if text.hasPrefix("unix:") { return [try unix(String(text.dropFirst(5)), text)] }
        let (host, port) = try split(text)
        var hints = addrinfo()
        hints.ai_family = AF_UNSPEC
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        hints.ai_flags = AI_NUMERICSERV
        var list: UnsafeMutablePointer<addrinfo>?
        let code = getaddrinfo(host, port, &hints, &list)
        guard code == 0 else {
            throw Invalid(
                text: text, reason: "\(host) does not resolve (\(String(cString: gai_strerror(code)))): check the name",
                isMalformed: false)
        }
        defer { freeaddrinfo(list) }
        var found: [SocketAddress] = []
        var next = list
        // More are never tried.
        while let info = next, found.count < 16 {
            if let address = info.pointee.ai_addr {
                found.append(SocketAddress(address, info.pointee.ai_addrlen, text: text))
            }
            next = info.pointee.ai_next
        }
        guard !found.isEmpty else { throw Invalid(text: text, reason: "\(host) has no address") }
        return found
    }

    private static func split(_ text: String) throws(Invalid) -> (host: String, port: String) {
        let form = "write HOST:PORT, [IPV6]:PORT or unix:PATH"
        guard !text.hasPrefix("http://"), !text.hasPrefix("https://") else {
            throw Invalid(text: text, reason: "an address has no scheme: \(form)")
        }
        guard let colon = text.lastIndex(of: ":") else {
            let isPort = !text.isEmpty && text.utf8.allSatisfy { $0 >= 0x30 && $0 <= 0x39 }
            throw Invalid(
                text: text, reason: isPort ? "it has no host: write 127.0.0.1:\(text)" : "it has no port: \(form)")
        }
        var host = String(text[..<colon])
        let port = String(text[text.index(after: colon)...])
        guard let number = UInt16(port), port.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }) else {
            throw Invalid(text: text, reason: "its port is not a number from 0 to 65535: \(form)")
        }
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = String(host.dropFirst().dropLast())
        } else if host.contains(":") {
            throw Invalid(text: text, reason: "an IPv6 address needs brackets: \(form)")
        }
        guard !host.isEmpty, !host.contains("/") else { throw Invalid(text: text, reason: "it has no host: \(form)") }
        return (host, String(number))
    }

    private static func unix(_ path: String, _ text: String) throws(Invalid) -> SocketAddress {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        guard !bytes.isEmpty else { throw Invalid(text: text, reason: "it has no path: write unix:PATH") }
        guard bytes.count <= longestPath, !bytes.contains(0) else {
            throw Invalid(
                text: text, reason: "the path of a Unix socket has at most \(longestPath) bytes: choose a shorter one")
        }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                SocketAddress($0, socklen_t(MemoryLayout<sockaddr_un>.size), text: text, path: path)
            }
        }
    }

    private init(_ address: UnsafePointer<sockaddr>, _ length: socklen_t, text: String, path: String? = nil) {
        withUnsafeMutableBytes(of: &storage) {
            $0.copyMemory(from: UnsafeRawBufferPointer(start: address, count: Int(length)))
        }
        self.length = length
        self.text = text
        self.path = path
    }

    package var isUnix: Bool { path != nil }

    /// What has room in `sun_path`, with a zero behind it.
    package static let longestPath = 107

    /// Whether whoever listens on one listens on the other too, as far as names can be looked up here.
    package static func areSame(_ left: String, _ right: String) -> Bool {
        if left.utf8.elementsEqual(right.utf8) { return true }
        // Other names are looked up when they are needed: whoever answers for them may be slow.
        guard let (host, port) = try? split(left), let (otherHost, otherPort) = try? split(right), port == otherPort,
            [host, otherHost].allSatisfy({ $0 == "localhost" || $0.utf8.allSatisfy(isOfNumber) }),
            let ones = try? resolve(left), let others = try? resolve(right)
        else { return false }
        return ones.contains { one in
            others.contains { other in
                one.numericName == other.numericName
                    || one.family == other.family
                        && (one.isForAll && (other.isLoopback || other.isForAll) || other.isForAll && one.isLoopback)
            }
        }
    }

    private static func isOfNumber(_ byte: UInt8) -> Bool {
        byte >= 0x30 && byte <= 0x3A || byte == 0x2E || byte | 0x20 >= 0x61 && byte | 0x20 <= 0x66
    }

    /// Whether it stands for all addresses of this machine.
    private var isForAll: Bool { numericName.hasPrefix("0.0.0.0:") || numericName.hasPrefix("[::]:") }

    var family: Int32 { Int32(storage.ss_family) }

    /// Whether only this machine can reach it.
    package var isLoopback: Bool {
        switch family {
        case AF_UNIX: true
        case AF_INET: withUnsafeBytes(of: storage) { $0[4] == 127 }
        case AF_INET6:
            withUnsafeBytes(of: storage) { bytes in
                let address = bytes[8..<24]
                let isMapped = address.prefix(10).allSatisfy { $0 == 0 } && bytes[18] == 0xFF && bytes[19] == 0xFF
                return address.dropLast().allSatisfy { $0 == 0 } && bytes[23] == 1 || isMapped && bytes[20] == 127
            }
        default: false
        }
    }

    func with<Result>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Result) -> Result {
        withUnsafePointer(to: storage) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, length) }
        }
    }

    /// The numeric form of what a socket is bound to: `127.0.0.1:41001`.
    static func name(ofSocket descriptor: Int32) -> String? {
        var address = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let code = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) }
        }
        guard code == 0 else { return nil }
        return name(of: address)
    }

    /// The address in numbers: `127.0.0.1:8082`.
    package var numericName: String { isUnix ? text : Self.name(of: storage) }

    private static func name(of address: sockaddr_storage) -> String {
        var peer = PeerName()
        peer.set(address)
        let port = withUnsafeBytes(of: address) { UInt16($0[2]) << 8 | UInt16($0[3]) }
        let host = String(decoding: (0..<Int(peer.count)).map { peer.bytes[$0] }, as: UTF8.self)
        return Int32(address.ss_family) == AF_INET6 ? "[\(host)]:\(port)" : "\(host):\(port)"
    }
}

extension String {
    fileprivate var onOneLineOrEmpty: String { isEmpty ? "''" : self }
}

extension PeerName {
    /// Takes over the address, without its port. Mapped IPv4 is written as IPv4.
    mutating func set(_ address: sockaddr_storage) {
        var text = InlineArray<64, CChar>(repeating: 0)
        let family = Int32(address.ss_family)
        let offset = family == AF_INET6 ? 8 : 4
        guard family == AF_INET || family == AF_INET6 else {
            self = PeerName("unknown")
            return
        }
        withUnsafeBytes(of: address) { bytes in
            var start = offset
            var family = family
            if family == AF_INET6, bytes[18] == 0xFF, bytes[19] == 0xFF, bytes[8..<18].allSatisfy({ $0 == 0 }) {
                family = AF_INET
                start = 20
            }
            withUnsafeMutableBytes(of: &text) { output in
                guard let base = output.baseAddress, let source = bytes.baseAddress else { return }
                _ = inet_ntop(family, source + start, base.assumingMemoryBound(to: CChar.self), 64)
            }
        }
        count = 0
        while Int(count) < Self.capacity, text[Int(count)] != 0 {
            bytes[Int(count)] = UInt8(bitPattern: text[Int(count)])
            count += 1
        }
    }
}
