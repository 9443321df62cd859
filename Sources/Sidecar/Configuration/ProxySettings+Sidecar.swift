import Provenance
import Proxy
import Runtime

/// What the workers need of the settings.
extension SidecarSettings {
    func proxySettings(workers: Int, connections: Int) throws(SidecarError) -> ProxySettings {
        var upstreams: [ProxySettings.Upstream] = []
        var variants: [ProxySettings.Variant] = []
        for name in self.variants {
            if hasOneUpstream, !upstreams.isEmpty {
                variants.append(.init(name: name, upstream: 0))
                continue
            }
            do {
                let addresses = try SocketAddress.resolve(value(of: name, in: upstream) ?? "")
                variants.append(.init(name: name, upstream: upstreams.count))
                upstreams.append(.init(name: hasOneUpstream ? Self.onlyVariant : name, addresses: addresses))
            } catch { throw .address(key: "upstream", error) }
        }
        var proxy = ProxySettings(upstreams: upstreams, variants: variants)
        proxy.routeHeader = routeHeader
        proxy.defaultVariant =
            routeDefault.isEmpty ? 0 : self.variants.firstIndex { $0.hasSameBytes(as: routeDefault) } ?? 0
        proxy.headers = headers
        proxy.attribution = attribution
        proxy.trustsMintedIDs = trustsMintedIDs
        proxy.limits = limits
        // Each worker has its share, rounded up; the kernel spreads connections over them, and not quite evenly.
        proxy.limits.connections = (connections + workers - 1) / workers
        proxy.timeouts = timeouts
        return proxy
    }
}
