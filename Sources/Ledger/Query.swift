/// The ledger's queries, prepared once each.
enum Query: String {
    // Looking up.
    case manifestsByDigest = """
        SELECT id, digest FROM records WHERE kind = 'manifest' AND digest BETWEEN ?1 AND ?2 ORDER BY digest LIMIT ?3
        """
    case recordsByVersion = "SELECT record FROM manifests WHERE version = ?1 ORDER BY record DESC LIMIT ?2"
    case recordsByCommit = """
        SELECT record FROM manifests WHERE git_commit >= ?1 AND git_commit < ?2 ORDER BY git_commit, record DESC LIMIT ?3
        """
    case recordsByDatasetVersion = """
        SELECT record FROM manifests WHERE dataset_version = ?1 ORDER BY record DESC LIMIT ?2
        """
    case recordsByEntity = """
        SELECT edges.record FROM entities JOIN edges ON edges.entity = entities.id
        JOIN manifests ON manifests.record = edges.record
        WHERE entities.sha256 BETWEEN ?1 AND ?2 AND edges.role = ?3 LIMIT ?4
        """
    case body = "SELECT digest, body FROM records WHERE id = ?1"
    case fileOfRecord =
        "SELECT path FROM files WHERE record = ?1 ORDER BY path LIKE '%/model_manifest.json', path LIMIT 1"

    // Adding.
    case recordByDigest = "SELECT id, body FROM records WHERE kind = 'manifest' AND digest = ?1"
    case insertRecord = "INSERT INTO records (kind, digest, recorded_at, body) VALUES ('manifest', ?1, ?2, ?3)"
    case insertEntity = "INSERT INTO entities (sha256) VALUES (?1) ON CONFLICT DO NOTHING"
    case entity = "SELECT id FROM entities WHERE sha256 = ?1"
    case insertEdge = """
        INSERT INTO edges (record, role, name, direction, entity, label, path, size_bytes)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
        """
    case insertManifest = """
        INSERT INTO manifests
        (record, version, family, trained_at, git_commit, dataset_version, digest_form, declared_sha256)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
        """
    case insertNames = "INSERT INTO search (rowid, names) VALUES (?1, ?2)"
    case insertFile = """
        INSERT INTO files (path, record) VALUES (?1, ?2) ON CONFLICT (path) DO UPDATE SET record = excluded.record
        WHERE record <> excluded.record
        """

    // Listing and searching, newest row first.
    case list = """
        SELECT manifests.record, digest, version, family, trained_at, recorded_at FROM manifests
        JOIN records ON records.id = manifests.record
        WHERE manifests.record < ?1 ORDER BY manifests.record DESC LIMIT ?2
        """
    case summary = """
        SELECT manifests.record, digest, version, family, trained_at, recorded_at FROM manifests
        JOIN records ON records.id = manifests.record WHERE manifests.record = ?1
        """
    case searchNames = "SELECT rowid FROM search WHERE search MATCH ?1 AND rowid < ?2 ORDER BY rowid DESC LIMIT ?3"
    case searchWholeNames = """
        SELECT record FROM manifests WHERE (version = ?1 OR dataset_version = ?1) AND record < ?2
        ORDER BY record DESC LIMIT ?3
        """
    case searchDigests = """
        SELECT id FROM records WHERE kind = 'manifest' AND digest BETWEEN ?1 AND ?2 AND id < ?3 ORDER BY id DESC LIMIT ?4
        """
    case nextCommit = "SELECT min(git_commit) FROM manifests WHERE git_commit > ?1 AND git_commit < ?2"
    case searchCommit =
        "SELECT record FROM manifests WHERE git_commit = ?1 AND record < ?2 ORDER BY record DESC LIMIT ?3"
    case entitiesByPrefix = "SELECT id FROM entities WHERE sha256 BETWEEN ?1 AND ?2"
    case searchEntity = """
        SELECT record FROM edges WHERE entity = ?1 AND role = ?2 AND record < ?3 ORDER BY record DESC LIMIT ?4
        """
    case revision = "PRAGMA data_version"
    case count = "SELECT count(*) FROM manifests"

    // Activations.
    case lastActivation = """
        SELECT active_from, record FROM activations WHERE variant = ?1 ORDER BY active_from DESC LIMIT 1
        """
    case insertActivation = """
        INSERT INTO activations (variant, record, active_from, wall_time, cause, actor, instance, previous)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
        """
    case intervalsOfRecord = "SELECT * FROM intervals WHERE record = ?1 ORDER BY active_from DESC LIMIT ?2"
    case intervalAt = """
        SELECT * FROM intervals WHERE variant = ?1 AND active_from <= ?2 ORDER BY active_from DESC LIMIT 1
        """
    case history = "SELECT * FROM intervals WHERE id < ?1 ORDER BY id DESC LIMIT ?2"
    case historyOfVariant = """
        SELECT * FROM intervals WHERE variant = ?3 AND id < ?1 ORDER BY active_from DESC LIMIT ?2
        """
    case earlierActivation = """
        SELECT 1 FROM activations WHERE record = ?1 AND variant = ?2 AND active_from < ?3 LIMIT 1
        """
    case earliestWallTime = "SELECT min(wall_time) FROM activations WHERE variant = ?1 AND active_from >= ?2"
    case firstActivation = "SELECT min(active_from) FROM activations WHERE variant = ?1"
    // Doubts. The first of a time's are those that ended in it, then those that began in it or before and ended later, then those that last.
    case insertDoubt = "INSERT INTO doubts (variant, since, until, reason, instance) VALUES (?1, ?2, ?3, ?4, ?5)"
    case endDoubts = """
        UPDATE doubts SET until = max(since, ?2) WHERE variant = ?1 AND until IS NULL AND (?3 IS NULL OR instance = ?3)
        """
    /// The clock was set back during a doubt: the time that comes again is doubted too.
    case doubtSetBack = """
        INSERT INTO doubts (variant, since, until, reason, instance)
        SELECT variant, ?2, since, reason, instance FROM doubts
        WHERE variant = ?1 AND until IS NULL AND since > ?2 AND (?3 IS NULL OR instance = ?3)
        """
    case openDoubt =
        "SELECT since, until, reason FROM doubts WHERE variant = ?1 AND until IS NULL ORDER BY since LIMIT 1"
    case doubtsWithin = """
        SELECT since, until, reason FROM (
            SELECT * FROM doubts WHERE variant = ?1 AND until BETWEEN ?2 AND ?3 ORDER BY until DESC LIMIT ?4)
        UNION ALL SELECT since, until, reason FROM (
            SELECT * FROM doubts WHERE variant = ?1 AND until > ?3 AND since < ?3 ORDER BY since LIMIT ?4)
        UNION ALL SELECT since, until, reason FROM doubts WHERE variant = ?1 AND until IS NULL AND since < ?3
        """

    case nextVariant = "SELECT min(variant) FROM activations WHERE variant > ?1"

    // Rebuilding.
    case bodiesAfter = """
        SELECT id, digest, body FROM records WHERE kind = 'manifest' AND id > ?1 ORDER BY id LIMIT ?2
        """
    case files = "SELECT path FROM files WHERE path > ?1 ORDER BY path LIMIT ?2"
}
