import Provenance
import Runtime

/// Which code trained: from the environment, or else from git itself.
package enum GitFacts {
    /// The commit, branch and cleanliness of the working directory; what cannot be found out is nil.
    package static func gather() -> Manifest.Pipeline {
        let commit = Environment.value("PIPELINE_GIT_COMMIT")
        let branch = Environment.value("PIPELINE_GIT_BRANCH")
        let dirty = Environment.value("PIPELINE_GIT_DIRTY")
        return Manifest.Pipeline(
            commit: commit ?? git("rev-parse", "--verify", "HEAD"),
            // On a detached head there is no branch to name.
            branch: branch ?? git("symbolic-ref", "--short", "--quiet", "HEAD"),
            isDirty: dirty.flatMap(flag) ?? isTreeDirty())
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
