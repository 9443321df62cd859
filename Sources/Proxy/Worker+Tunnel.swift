import HTTP
import Runtime

/// After 101 both connections carry bytes of another protocol, which pass unread.
extension Worker where Net: ~Copyable {
    /// Sends the head that switches, and what already came behind it in either direction.
    mutating func beginTunnel(_ client: End, _ upstream: End, from: Int) -> Bool {
        counters.add(.upgrades)
        client.pointee.phase = .tunnel
        upstream.pointee.phase = .tunnel
        clearDeadline(upstream)
        setDeadline(client, after: timeouts.streamIdle)
        let generation = upstream.pointee.generation
        if send(client, data(upstream) + from, upstream.pointee.end &- from) == .failed {
            closeTunnel(client, upstream)
            return false
        }
        let ahead = client.pointee.end &- client.pointee.start
        if ahead > 0, send(upstream, data(client) + client.pointee.start, ahead) == .failed {
            closeTunnel(client, upstream)
            return false
        }
        advance(client)
        return upstream.pointee.generation == generation
    }

    /// Passes on what one side says. False when there is nothing, the other side takes no more, or all is over.
    mutating func pump(from end: End) -> Bool {
        guard let other = peer(of: end), other.pointee.pendingCount == 0, end.pointee.flags.contains(.readable) else {
            return false
        }
        takeBuffer(end)
        end.pointee.start = 0
        end.pointee.end = 0
        let client = end.pointee.role == .client ? end : other
        switch receive(end) {
        case .bytes:
            setDeadline(client, after: timeouts.streamIdle)
            if send(other, data(end), end.pointee.end) == .failed {
                closeTunnel(client, client == end ? other : end)
                return false
            }
            return true
        case .nothing:
            giveBuffer(end)
            return false
        case .ended:
            giveBuffer(end)
            if other.pointee.flags.contains(.ended) {
                closeTunnel(client, client == end ? other : end)
            } else {
                net.finishSending(other.pointee.descriptor)
            }
            return false
        case .failed:
            closeTunnel(client, client == end ? other : end)
            return false
        }
    }

    mutating func closeTunnel(_ client: End, _ upstream: End) {
        closeUpstream(upstream)
        closeClient(client)
    }
}
