import Runtime

/// Segments that were delivered are written over by those that come next: the disk has found room for them already, so that it neither looks
/// for some again nor has to sync where it found it.
///
/// What an older segment left in a file says nothing there: its records have another secret, and lower numbers.
extension Spool {
    /// Removes a segment that was delivered, or keeps its file for the next one.
    mutating func retire(_ segment: Segment) {
        guard spareBytes == 0, let size = reusableSize(segment), bytes + size <= settings.bytes else {
            try? storage.remove(segment.name)
            return
        }
        do throws(SystemError) {
            try storage.rename(segment.name, to: SpoolFormat.spareName)
            (spareBytes, spareSecret) = (size, segment.secret)
            // Before anything is written over it: under its old name it would be taken for damaged.
            try storage.syncNames()
        } catch {
            if spareBytes > 0 { removeSpare() } else { try? storage.remove(segment.name) }
        }
    }

    /// How long the file of a segment is, if it can be written over: one that grew far beyond the others would take the room of what waits,
    /// and behind a write that failed stand records that were put down elsewhere.
    private func reusableSize(_ segment: Segment) -> Int? {
        guard let file = try? storage.open(segment.name) else { return nil }
        defer { storage.close(file) }
        let known = max(segment.size, segment.reused)
        guard let size = try? storage.size(of: file), size == known, size <= settings.segment / 2 * 3 else {
            return nil
        }
        return size
    }

    /// Makes the file that was kept the segment `name`, whose head was written to it.
    mutating func takeSpare(_ file: Int32, _ name: String) throws(SystemError) {
        do throws(SystemError) {
            // With its new name, but the head of before, it would be taken for damaged.
            try storage.sync(file)
            try storage.rename(SpoolFormat.spareName, to: name)
        } catch {
            removeSpare()
            throw error
        }
        spareBytes = 0
    }

    mutating func removeSpare() {
        guard spareBytes > 0 else { return }
        spareBytes = 0
        try? storage.remove(SpoolFormat.spareName)
    }

    /// Takes away what an older segment left behind the records of one that is not written to any more.
    mutating func cutOlder(_ index: Int) {
        guard let file = segments[index].file, segments[index].reused > segments[index].size else { return }
        if (try? storage.truncate(file, to: segments[index].size)) != nil { segments[index].reused = 0 }
    }
}
