import Manifests
import Provenance
import Runtime

/// Sees whether what a pointer leads to has changed, by looking: a file, a link, the directory of a training run, or a projected
/// volume whose `..data` link is swapped.
struct PointerWatch: Sendable {
    private let path: String
    private var seen: [FileStatus.Modification?] = []
    /// The file that was read last: what is written into it in place changes no directory.
    private var file: String?

    init(_ path: String) { self.path = path }

    /// Everything that decides which manifest the pointer names.
    private var places: [String] {
        [path, Paths.join(path, ManifestFile.pointerName), Paths.join(path, ManifestFile.folderName)]
            + (file.map { [$0] } ?? [])
    }

    /// Where inotify sees such changes.
    var directories: [String] {
        [
            Paths.directory(of: path), path, Paths.join(path, ManifestFile.folderName),
            Paths.directory(of: Paths.resolved(path) ?? path),
        ] + Paths.links(on: path).map(Paths.directory)
    }

    /// Whether looking never waits for another machine.
    var isLocal: Bool {
        (Paths.links(on: path).map(Paths.directory) + [path] + (file.map { [$0] } ?? [])).allSatisfy(Files.isLocal)
    }

    /// When it came to lead where it leads, as far as its links and its file say: whoever puts one in place changes that one. Where there is
    /// nothing, its directory says when that went.
    var changedAt: Instant? {
        let file = file ?? path
        let names = Paths.links(on: file) + [file, Paths.resolved(file) ?? file]
        var times = names.compactMap { FileStatus.ofLink($0)?.modification.changeTime }
        // In a directory of manifests, another one may have come and gone.
        if Files.isDirectory(path, writable: false) {
            for place in [path, Paths.join(path, ManifestFile.folderName)] {
                for name in Paths.links(on: place) + [Paths.resolved(place) ?? place] {
                    if let status = FileStatus.ofLink(name) { times.append(status.modification.changeTime) }
                }
            }
        }
        if FileStatus.ofLink(file) == nil, let directory = FileStatus.ofLink(Paths.directory(of: file)) {
            times.append(directory.modification.changeTime)
        }
        return times.max().map(Instant.init(microseconds:))
    }

    private func look() -> [FileStatus.Modification?] {
        var seen = Paths.links(on: path).map { FileStatus.ofLink($0)?.modification }
        let own = (try? FileStatus.of(path)) ?? nil
        // Below what is no directory there is nothing.
        let isDirectory = own?.isDirectory ?? false
        seen.append(own?.modification)
        for place in places.dropFirst() {
            let mayBe = isDirectory || file.map { place.hasSameBytes(as: $0) } ?? false
            seen.append(mayBe ? ((try? FileStatus.of(place)) ?? nil)?.modification : nil)
        }
        return seen
    }

    /// Some file systems count the times of changes in whole seconds, or in thousandths: a second change may leave the same. So what had just
    /// changed when it was read is read once more when that second has passed.
    private var readAgainAt: Instant?
    private static let coarsest: Int64 = 2_000_000

    func hasChanged(now: Instant = Clock.now()) -> Bool { hasMoved || readAgainAt.map { now >= $0 } ?? false }

    /// Whether it surely leads, or its file reads, other than before.
    var hasMoved: Bool { look() != seen }

    /// What is there now is what will be loaded; called before it is read, so that no later change is missed.
    mutating func remember(now: Instant = Clock.now()) {
        seen = look()
        let latest = seen.compactMap { $0?.changeTime }.max().map(Instant.init(microseconds:))
        readAgainAt = latest.flatMap { now < $0.advanced(by: Self.coarsest) ? now.advanced(by: Self.coarsest) : nil }
    }

    /// It led to this file.
    mutating func remember(_ file: String) {
        guard self.file.map({ !$0.hasSameBytes(as: file) }) ?? true else { return }
        let others = self.file == nil ? seen.count : seen.count - 1
        self.file = file
        // The others are as they were before it was read: a change since then is still news.
        seen = seen.prefix(others) + look().suffix(1)
    }
}
