import Enrichment
import Provenance
import Proxy
import Runtime

/// What contradicts itself is refused here, before anything of the machine is looked at.
extension SidecarSettings {
    package func check() throws(SidecarError) {
        if let first = contradictions.first { throw first }
    }

    /// Everything that contradicts itself.
    package var contradictions: [SidecarError] {
        var found: [SidecarError] = []
        if !Instance.isName(instance) {
            found.append(
                .setting(
                    SettingError(
                        "instance",
                        "\"\(instance.onOneLine)\" is no name: take up to 64 printable characters without spaces or slashes"
                    )))
        }
        findAddresses(&found)
        findVariants(&found)
        findPlaces(&found)
        findRoute(&found)
        findHeads(&found)
        findAdmin(&found)
        do throws(SidecarError) { try lines.refuseLost() } catch { found.append(error) }
        do throws(SidecarError) { try lines.check(to: lines.destination(otherwise: .off)) } catch {
            found.append(error)
        }
        return found
    }

    /// What is allowed, and hardly what anybody wants.
    package var cautions: [String] {
        guard variants.count > 1, hasOneUpstream, case .pointer = attribution else { return [] }
        return [
            "nothing says which of \(variants.map(\.onOneLine).joined(separator: ", ")) has answered, so every response is unknown: set attribution.from to the response header that names it, or give each an upstream of its own and route.header"
        ]
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
    private func findAddresses(_ found: inout [SidecarError]) {
        for (key, address) in upstream.map({ ("upstream", $0.value) }) + listen.map({ ("listen", $0) }) {
            do { try SocketAddress.check(address) } catch { found.append(.address(key: key, error)) }
        }
        for (index, address) in listen.enumerated() where !address.hasSuffix(":0") {
            func refuse(_ name: String, _ reason: String) { found.append(.setting(SettingError(name, reason))) }
            if let other = listen[..<index].first(where: { SocketAddress.areSame($0, address) }) {
                refuse(
                    "listen",
                    other.hasSameBytes(as: address)
                        ? "names \(address.onOneLine) twice"
                        : "names \(other.onOneLine) and \(address.onOneLine), which are one address: leave one out")
            }
            if SocketAddress.areSame(adminListen, address) {
                refuse(
                    "listen",
                    "names \(address.onOneLine), which is that of the admin listener: change one (admin.listen)")
            }
            if upstream.contains(where: { SocketAddress.areSame($0.value, address) }) {
                refuse("upstream", "\(address.onOneLine) is where it listens itself: name the model server")
            }
        }
    }

    /// What only the start would find otherwise.
    private func findPlaces(_ found: inout [SidecarError]) {
        for path in lines.unix.map(\.path) where path.utf8.count > SocketAddress.longestPath {
            found.append(
                .setting(
                    SettingError(
                        "logs.unix",
                        "\(path.onOneLine) has \(path.utf8.count) bytes, and no socket's path more than \(SocketAddress.longestPath): choose a shorter one"
                    )))
        }
        if let accessLog, let status = try? FileStatus.of(accessLog), status.isDirectory {
            found.append(
                .setting(SettingError("log.access", "\(accessLog.onOneLine) is a directory: name a file in it")))
        }
    }

    private func findVariants(_ found: inout [SidecarError]) {
        guard variants.count <= 200 else {
            return found.append(.setting(SettingError("manifest", "names more than 200 variants")))
        }
        for (key, map, other) in [("upstream", upstream, manifest), ("manifest", manifest, upstream)] {
            // For those that it does not name; where there are none, it was meant as a name.
            let lacking = variants.contains { name in !map.contains { $0.variant.hasSameBytes(as: name) } }
            if map.count > 1, !lacking, map.contains(where: { $0.variant == Self.onlyVariant }) {
                found.append(
                    .setting(
                        SettingError(
                            key,
                            "names \(Self.onlyVariant) beside all variants: that word stands for those that are not named; give it another name"
                        )))
            }
            for name in variants where value(of: name, in: map) == nil {
                // One that only the other names may be the same one, spelled wrongly.
                let surplus = map.map(\.variant).filter { own in !other.contains { $0.variant.hasSameBytes(as: own) } }
                let hint = Spelling.nearest(to: name, among: surplus).map {
                    " (it names \($0.onOneLine): is that the same?)"
                }
                found.append(.setting(SettingError(key, "names none for the variant \(name.onOneLine)\(hint ?? "")")))
            }
        }
    }

    private func findRoute(_ found: inout [SidecarError]) {
        let names = variants
        if names.count > 1, !hasOneUpstream, routeHeader.isEmpty {
            found.append(
                .setting(
                    SettingError(
                        "route.header", "is needed with several upstreams: name the request header that picks one")))
        }
        if !routeDefault.isEmpty, !names.contains(where: { $0.hasSameBytes(as: routeDefault) }) {
            found.append(
                .setting(
                    SettingError(
                        "route.default",
                        "names \(routeDefault.onOneLine), which is no variant: there are \(names.joined(separator: ", "))"
                    )))
        }
        if ProxySettings.isOwn(routeHeader, headers) {
            found.append(
                .setting(SettingError("route.header", "is a name of the stamp, which is removed from requests")))
        }
    }

    private func findHeads(_ found: inout [SidecarError]) {
        let written = [
            ("stamp.version", headers.version), ("stamp.commit", headers.commit), ("stamp.data", headers.data),
            ("stamp.manifest", headers.manifest), ("stamp.attribution", headers.attribution),
        ].compactMap { key, name in name.map { (key: key, name: $0.lowercased()) } }
        for (index, own) in written.enumerated() {
            guard let other = written[..<index].first(where: { $0.name.hasSameBytes(as: own.name) }) else { continue }
            found.append(
                .setting(SettingError(own.key, "is \(own.name.onOneLine), as \(other.key) is: choose another name")))
        }
        if let connections, let workers, connections < workers {
            found.append(
                .setting(
                    SettingError(
                        "limits.connections", "\(connections) is less than --workers \(workers): each needs one")))
        }
        if limits.headBytes < limits.fields * 4 {
            found.append(
                .setting(
                    SettingError(
                        "limits.head_bytes",
                        "is too small for \(limits.fields) fields: lower --limits-fields or raise it")))
        }
    }

    private func findAdmin(_ found: inout [SidecarError]) {
        if !adminToken.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) {
            found.append(
                .setting(
                    SettingError("admin.token", "takes printable characters without blanks: no header can carry others")
                ))
        }
        guard adminListen != "off", adminToken.isEmpty else { return }
        do throws(SocketAddress.Invalid) {
            guard try !SocketAddress.resolve(adminListen)[0].isLoopback else { return }
            found.append(
                .setting(
                    SettingError(
                        "admin.listen",
                        "\(adminListen.onOneLine) can be reached from elsewhere: set --admin-token, or listen on loopback"
                    )))
        } catch { found.append(.address(key: "admin.listen", error)) }
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
            (kafka.createsTopic, "kafka.create_topic"), (!kafka.properties.isEmpty, "kafka.properties"),
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
