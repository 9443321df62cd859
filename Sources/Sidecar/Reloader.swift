import Manifests
import Provenance
import Runtime
import Synchronization

/// Loads the configuration anew: what can change while everything runs changes, what cannot is named, and what is wrong changes nothing.
/// Any thread may ask.
final class Reloader: Sendable {
    enum Outcome: Sendable {
        case loaded(changed: [String], needRestart: [String])
        case refused([String])
    }

    private struct State {
        var configuration: Configuration
        /// Keys that have other values in the file than those that are in use.
        var needRestart: [String] = []
        var successes = 0
        var failures = 0
        /// Why the last attempt changed nothing.
        var problem: String?
    }

    private let sources: Configuration.Sources
    /// Held for as long as one takes: files and names are looked at, which may take its time.
    private let turn = Mutex<Void>(())
    /// Held for moments only: whoever asks for the token must not wait for a disk.
    private let state: Mutex<State>
    private let log: EventLog
    typealias WhenLooked = @Sendable ([ActivationLoader.State]) -> Void
    /// Hands the settings to those who follow them; calls back when the pointers have been looked at.
    private let adopt: Adopt
    typealias Adopt =
        @Sendable (SidecarSettings, _ cause: ActivationLoader.Cause, _ actor: String?, WhenLooked?) -> Void

    init(
        _ configuration: Configuration, from sources: Configuration.Sources, _ log: EventLog,
        adopt: @escaping Adopt
    ) {
        self.sources = sources
        self.log = log
        self.adopt = adopt
        state = Mutex(State(configuration: configuration))
    }

    /// What is in use.
    var settings: SidecarSettings { state.withLock { $0.configuration.settings } }
    var needRestart: [String] { state.withLock { $0.needRestart } }
    var successes: Int { state.withLock { $0.successes } }
    var failures: Int { state.withLock { $0.failures } }
    var problem: String? { state.withLock { $0.problem } }

    /// Pointers are looked at in any case; `whenLooked` is told what came of it, by the loader's thread.
    func reload(
        cause: ActivationLoader.Cause, by actor: String? = nil,
        whenLooked: (@Sendable (Outcome, [ActivationLoader.State]) -> Void)? = nil
    ) {
        // One after the other: what was loaded last is what everybody ends up with.
        let outcome = turn.withLock { _ -> Outcome in
            let outcome = load()
            var tell: WhenLooked?
            if let whenLooked { tell = { whenLooked(outcome, $0) } }
            adopt(settings, cause, actor, tell)
            return outcome
        }
        switch outcome {
        case .loaded(let changed, let needRestart):
            log.write(
                .info, "reload",
                [("cause", .string(cause.rawValue)), ("changed", .array(changed.map(JSON.string)))])
            if !needRestart.isEmpty {
                log.write(
                    .warn, "restart-needed",
                    [
                        ("keys", .array(needRestart.map(JSON.string))),
                        ("advice", .string("these are as they were until the next start")),
                    ])
            }
        case .refused(let problems):
            log.write(
                .warn, "reload-refused",
                [
                    ("cause", .string(cause.rawValue)), ("problems", .array(problems.map(JSON.string))),
                    ("effect", .string("the configuration is as it was")),
                ])
        }
    }

    private func load() -> Outcome {
        func refuse(_ problems: [String]) -> Outcome {
            state.withLock { state in
                state.failures += 1
                state.problem = problems.first
            }
            return .refused(problems)
        }
        do throws(ConfigurationError) {
            let before = state.withLock { $0.configuration }
            let new = try Configuration(sources)
            let changes = new.changes(since: before)
            let live = changes.filter { $0.isLive && Self.canChange($0, from: before.settings, to: new.settings) }
            let merged = try before.adopting(live, from: new)
            do throws(SidecarError) {
                try new.settings.check()
                try merged.settings.check()
            } catch { return refuse([error.text(new)]) }
            let unreadable = Self.unreadablePointers(of: merged, since: before)
            guard unreadable.isEmpty else { return refuse(unreadable) }
            let rest = changes.filter { key in !live.contains { $0.name == key.name } }
            state.withLock { state in
                state.configuration = merged
                state.needRestart = rest.map(\.name)
                state.problem = nil
                state.successes += 1
            }
            return .loaded(changed: live.map(\.name), needRestart: rest.map(\.name))
        } catch { return refuse(error.problems) }
    }

    /// A pointer that is nowhere to be found is a mistake in the file, as it is at a start.
    private static func unreadablePointers(of new: Configuration, since old: Configuration) -> [String] {
        guard !new.settings.manifestOptional else { return [] }
        var problems: [String] = []
        for (variant, path) in new.settings.manifest {
            let before = old.settings.value(of: variant, in: old.settings.manifest)
            guard !(before?.hasSameBytes(as: path) ?? false) else { continue }
            do { _ = try ManifestFile.load(path, verification: new.settings.verify) } catch {
                problems.append(new.text(SettingError("manifest", "cannot be followed: \(error.description)")))
            }
        }
        return problems
    }

    /// Pointers may lead elsewhere; which variants there are is decided at the start.
    private static func canChange(_ key: SettingKey, from old: SidecarSettings, to new: SidecarSettings) -> Bool {
        key.name != "manifest" || old.variants == new.variants
    }
}
