import Enrichment
import Provenance
import Proxy
import Runtime

/// What contradicts itself is refused here, before anything of the machine is looked at.
extension SidecarSettings {
    package func check() throws(SidecarError) {
        guard Instance.isName(instance) else { throw .instance(.name(instance)) }
        try checkAddresses()
        try checkVariants()
        try checkRoute()
        try checkHeads()
        try checkAdmin()
        try lines.refuseLost()
        try lines.check(to: lines.destination(otherwise: .off))
    }

    /// One server answers for all variants.
    var hasOneUpstream: Bool { upstream.count == 1 && upstream[0].variant == Self.onlyVariant }

    /// Upstreams whose names nobody here knows: where the sidecar runs, somebody may.
    package var unresolved: [String] {
        upstream.compactMap { entry in
            do {
                _ = try SocketAddress.resolve(entry.value)
                return nil
            } catch { return "upstream \(error)" }
        }
    }

    /// Addresses that can be none.
    private func checkAddresses() throws(SidecarError) {
        for (key, address) in upstream.map({ ("upstream", $0.value) }) + listen.map({ ("listen", $0) }) {
            do { try SocketAddress.check(address) } catch { throw .address(key: key, error) }
        }
        for (index, address) in listen.enumerated() where !address.hasSuffix(":0") {
            let others = listen[..<index] + [adminListen]
            if others.contains(where: { $0.hasSameBytes(as: address) }) {
                throw .setting(
                    SettingError("listen", "names \(address.onOneLine), where something of its own listens already"))
            }
            if upstream.contains(where: { $0.value.hasSameBytes(as: address) }) {
                throw .setting(
                    SettingError("upstream", "\(address.onOneLine) is where it listens itself: name the model server"))
            }
        }
    }

    private func checkVariants() throws(SidecarError) {
        guard variants.count <= 200 else { throw .setting(SettingError("manifest", "names more than 200 variants")) }
        for name in variants {
            guard value(of: name, in: upstream) != nil else {
                throw .setting(SettingError("upstream", "names none for the variant \(name.onOneLine)"))
            }
            guard value(of: name, in: manifest) != nil else {
                throw .setting(SettingError("manifest", "names none for the variant \(name.onOneLine)"))
            }
        }
    }

    private func checkRoute() throws(SidecarError) {
        let names = variants
        if names.count > 1, !hasOneUpstream, routeHeader.isEmpty {
            throw .setting(
                SettingError(
                    "route.header", "is needed with several upstreams: name the request header that picks one"))
        }
        if !routeDefault.isEmpty, !names.contains(where: { $0.hasSameBytes(as: routeDefault) }) {
            throw .setting(
                SettingError(
                    "route.default",
                    "names \(routeDefault.onOneLine), which is no variant: there are \(names.joined(separator: ", "))"))
        }
        if ProxySettings.isOwn(routeHeader, headers) {
            throw .setting(SettingError("route.header", "is a name of the stamp, which is removed from requests"))
        }
    }

    private func checkHeads() throws(SidecarError) {
        let written = [headers.version, headers.commit, headers.data, headers.manifest, headers.attribution]
            .compactMap { $0?.lowercased() }
        for (index, name) in written.enumerated() where written[..<index].contains(where: { $0.hasSameBytes(as: name) })
        {
            throw .setting(
                SettingError(
                    "stamp.version", "and other keys of stamp give \(name) to two headers: choose different names"))
        }
        if let connections, let workers, connections < workers {
            throw .setting(
                SettingError("limits.connections", "\(connections) is less than --workers \(workers): each needs one"))
        }
        guard limits.headBytes >= limits.fields * 4 else {
            throw .setting(
                SettingError(
                    "limits.head_bytes", "is too small for \(limits.fields) fields: lower --limits-fields or raise it"))
        }
    }

    private func checkAdmin() throws(SidecarError) {
        guard adminToken.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
            throw .setting(
                SettingError("admin.token", "takes printable characters without blanks: no header can carry others"))
        }
        guard adminListen != "off", adminToken.isEmpty else { return }
        let address: SocketAddress
        do { address = try SocketAddress.resolve(adminListen)[0] } catch { throw .address(key: "admin.listen", error) }
        guard address.isLoopback else {
            throw .setting(
                SettingError(
                    "admin.listen",
                    "\(adminListen.onOneLine) can be reached from elsewhere: set --admin-token, or listen on loopback"))
        }
    }
}

extension LineSettings {
    /// Lines that were asked for need somewhere to go.
    func refuseLost() throws(SidecarError) {
        guard to == .auto, kafka.brokers.isEmpty else { return }
        let asked: [(isAsked: Bool, key: String)] = [
            (!files.isEmpty, "logs.files"), (!unix.isEmpty, "logs.unix"), (!fromTopic.isEmpty, "logs.from_kafka.topic"),
            (ofExchanges == .on, "recommendation.line"),
            (!kafka.topic.hasSameBytes(as: KafkaSettings().topic), "kafka.topic"),
            (kafka.createsTopic, "kafka.create_topic"),
        ]
        guard let key = asked.first(where: { $0.isAsked })?.key else { return }
        throw .setting(
            SettingError(
                key, "has nowhere to go: name brokers (--kafka-brokers HOST:PORT), or --logs-to stdout or file:PATH"))
    }

    /// Refuses what contradicts itself where lines go to `destination`.
    func check(to destination: Destination) throws(SidecarError) {
        guard destination != .off else { return }
        guard deadLetterBytes >= 16 * intake.lineLimit else {
            throw .setting(
                SettingError(
                    "dead_letters.bytes",
                    "must be at least 16 times --limits-line-bytes: \(Units.text(16 * intake.lineLimit))"))
        }
        if destination == .kafka, kafka.brokers.isEmpty {
            throw .setting(SettingError("kafka.brokers", "is missing: name at least one, HOST:PORT"))
        }
        do throws(KafkaSettingsError) {
            _ = try kafka.producerProperties(lineLimit: intake.lineLimit)
        } catch { throw .kafka(error) }
        guard !fromTopic.isEmpty else { return }
        let key = "logs.from_kafka.topic"
        guard destination == .kafka else {
            throw .setting(
                SettingError(key, "goes to another topic of the same brokers only: name them (--kafka-brokers)"))
        }
        guard !fromTopic.hasSameBytes(as: kafka.topic) else {
            throw .setting(
                SettingError(key, "and --kafka-topic are both \(fromTopic): its lines would come back for ever"))
        }
    }
}
