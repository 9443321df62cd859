import Provenance
import Runtime

/// Which code trained: from the environment, or else from git itself.
package enum GitFacts {
    /// The commit, branch and cleanliness of the working directory; what cannot be found out is nil.
    package static func gather() -> Manifest.Pipeline {
        let commit = Environment.value("PIPELINE_GIT_COMMIT")
        let branch = Environment.value("PIPELINE_GIT_BRANCH")
        let dirty = Environment.value("PIPELINE_GIT_DIRTY").flatMap(flag)
        // A commit that was told may be of another repository than the one here: then git is asked nothing.
        if let commit { return Manifest.Pipeline(commit: commit, branch: branch, isDirty: dirty) }
        return Manifest.Pipeline(
            commit: git("rev-parse", "--verify", "HEAD"),
            // On a detached head there is no branch to name.
            branch: branch ?? git("symbolic-ref", "--short", "--quiet", "HEAD"),
            isDirty: dirty ?? isTreeDirty())
    }

    /// What is wrong with the environment; nil when nothing is.
    package static var problem: String? {
        guard let dirty = Environment.value("PIPELINE_GIT_DIRTY"), flag(dirty) == nil else { return nil }
        return "PIPELINE_GIT_DIRTY is \"\(dirty.onOneLine)\": write 0 or 1"
    }

    private static func flag(_ text: String) -> Bool? {
        switch text.lowercased() {
        case "1", "true": true
        case "0", "false": false
        default: nil
        }
    }

    /// Whether a file that git follows differs from the commit. Files that it does not follow do not count: a training
    /// run leaves its artifacts lying about.
    private static func isTreeDirty() -> Bool? {
        git("status", "--porcelain", "--untracked-files=no").map { !$0.isEmpty }
    }

    private static func git(_ arguments: String...) -> String? {
        guard let result = Subprocess.run(["git"] + arguments), result.exitStatus == 0 else { return nil }
        return result.text
    }
}
