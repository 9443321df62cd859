import Provenance
import Proxy
import Runtime

/// What the workers need of the settings, checked: what contradicts itself is refused here.
extension SidecarSettings {
    func proxySettings(workers: Int, connections: Int) throws(SidecarError) -> ProxySettings {
        let names = variants
        guard names.count <= 200 else {
            throw .setting(SettingError(key: "--manifest", reason: "names more than 200 variants"))
        }
        var upstreams: [ProxySettings.Upstream] = []
        var variants: [ProxySettings.Variant] = []
        let isOneUpstream = upstream.count == 1 && upstream[0].variant == Self.onlyVariant
        for name in names {
            guard let address = value(of: name, in: upstream) else {
                throw .setting(SettingError(key: "--upstream", reason: "names none for the variant \(name.onOneLine)"))
            }
            guard value(of: name, in: manifest) != nil else {
                throw .setting(SettingError(key: "--manifest", reason: "names none for the variant \(name.onOneLine)"))
            }
            if isOneUpstream, !upstreams.isEmpty {
                variants.append(.init(name: name, upstream: 0))
                continue
            }
            do {
                let addresses = try SocketAddress.resolve(address)
                variants.append(.init(name: name, upstream: upstreams.count))
                upstreams.append(.init(name: isOneUpstream ? Self.onlyVariant : name, addresses: addresses))
            } catch { throw .address(key: "upstream", error) }
        }
        try checkRoute(names, isOneUpstream: isOneUpstream)
        var proxy = ProxySettings(upstreams: upstreams, variants: variants)
        proxy.routeHeader = routeHeader
        proxy.defaultVariant =
            routeDefault.isEmpty ? 0 : names.firstIndex { $0.hasSameBytes(as: routeDefault) } ?? 0
        proxy.headers = headers
        proxy.attribution = attribution
        proxy.trustsMintedIDs = trustsMintedIDs
        proxy.limits = limits
        // Each worker has its share, rounded up; the kernel spreads connections over them, and not quite evenly.
        proxy.limits.connections = (connections + workers - 1) / workers
        proxy.timeouts = timeouts
        return proxy
    }

    private func checkRoute(_ names: [String], isOneUpstream: Bool) throws(SidecarError) {
        if names.count > 1, !isOneUpstream, routeHeader.isEmpty {
            throw .setting(
                SettingError(
                    key: "--route-header",
                    reason: "is needed with several upstreams: name the request header that picks one"))
        }
        if !routeDefault.isEmpty, !names.contains(where: { $0.hasSameBytes(as: routeDefault) }) {
            throw .setting(
                SettingError(
                    key: "--route-default",
                    reason:
                        "names \(routeDefault.onOneLine), which is no variant: there are \(names.joined(separator: ", "))"
                ))
        }
        let written = [headers.version, headers.commit, headers.data, headers.manifest, headers.attribution].compactMap
        {
            $0?.lowercased()
        }
        for (index, name) in written.enumerated() where written[..<index].contains(where: { $0.hasSameBytes(as: name) })
        {
            throw .setting(
                SettingError(key: "--stamp-…", reason: "gives \(name) to two headers: choose different names"))
        }
        if ProxySettings.isOwn(routeHeader, headers) {
            throw .setting(
                SettingError(key: "--route-header", reason: "is a name of the stamp, which is removed from requests"))
        }
        if let connections, let workers, connections < workers {
            throw .setting(
                SettingError(
                    key: "--limits-connections",
                    reason: "\(connections) is less than --workers \(workers): each needs one"))
        }
        guard limits.headBytes >= limits.fields * 4 else {
            throw .setting(
                SettingError(
                    key: "--limits-head-bytes",
                    reason: "is too small for \(limits.fields) fields: lower --limits-fields or raise it"))
        }
    }
}
