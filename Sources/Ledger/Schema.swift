/// The ledger's tables. Migrations are append-only: a step that was released is never edited, because databases made
/// by it are out there; see `docs/decisions/0004-ledger-schema.md`.
enum Schema {
    /// Marks the file as a ledger ("Colo"), so that another program's database is not mistaken for one.
    static let applicationID: Int64 = 0x436F_6C6F

    /// Each step leads from the version that is its index to the next one (`PRAGMA user_version`).
    static let migrations: [String] = [graph, doubts]

    static var version: Int64 { Int64(migrations.count) }

    /// From which version on there are doubts: an older ledger that nobody may write has none.
    static let doubtsVersion: Int64 = 2

    private static let graph = """
        -- Everything that has a name by its content: an artifact, a dataset, later a segment or an image.
        CREATE TABLE entities (
            id INTEGER PRIMARY KEY,
            sha256 BLOB NOT NULL UNIQUE CHECK (length(sha256) = 32)
        ) STRICT;

        -- Everything that was ever said of entities, as it was said: a manifest now; receipts, events and runs later.
        CREATE TABLE records (
            id INTEGER PRIMARY KEY,
            kind TEXT NOT NULL,
            digest BLOB NOT NULL CHECK (length(digest) = 32),
            recorded_at INTEGER NOT NULL,
            body BLOB NOT NULL
        ) STRICT;
        CREATE UNIQUE INDEX records_by_digest ON records (kind, digest);

        CREATE TRIGGER records_are_immutable BEFORE UPDATE ON records
        BEGIN SELECT RAISE(ABORT, 'a record of the ledger never changes'); END;
        CREATE TRIGGER records_are_kept BEFORE DELETE ON records
        BEGIN SELECT RAISE(ABORT, 'a record of the ledger is never deleted'); END;

        -- Which entities a record took in and which it brought forth. Derived from the record.
        CREATE TABLE edges (
            record INTEGER NOT NULL REFERENCES records (id),
            role TEXT NOT NULL,
            name TEXT NOT NULL,
            direction TEXT NOT NULL CHECK (direction IN ('input', 'output')),
            entity INTEGER NOT NULL REFERENCES entities (id),
            label TEXT,
            path TEXT,
            size_bytes INTEGER,
            PRIMARY KEY (record, role, name)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX edges_by_entity ON edges (entity, role, record);

        -- What manifests are looked up by. Derived from the record.
        CREATE TABLE manifests (
            record INTEGER PRIMARY KEY REFERENCES records (id),
            version TEXT NOT NULL,
            family TEXT,
            trained_at INTEGER,
            git_commit TEXT,
            dataset_version TEXT,
            digest_form TEXT NOT NULL,
            declared_sha256 TEXT
        ) STRICT;
        CREATE INDEX manifests_by_version ON manifests (version, record);
        CREATE INDEX manifests_by_commit ON manifests (git_commit, record) WHERE git_commit IS NOT NULL;
        CREATE INDEX manifests_by_dataset ON manifests (dataset_version, record) WHERE dataset_version IS NOT NULL;

        CREATE TRIGGER manifests_are_immutable BEFORE UPDATE ON manifests
        BEGIN SELECT RAISE(ABORT, 'a manifest of the ledger never changes'); END;

        CREATE VIEW artifacts AS
            SELECT edges.record, edges.name, edges.path, entities.sha256, edges.size_bytes
            FROM edges JOIN entities ON entities.id = edges.entity WHERE edges.role = 'artifact';
        CREATE VIEW datasets AS
            SELECT edges.record, edges.label AS version, edges.path, entities.sha256, edges.size_bytes
            FROM edges JOIN entities ON entities.id = edges.entity WHERE edges.role = 'dataset';

        -- The names in a manifest, for finding any part of them. Its row ids are those of the records.
        CREATE VIRTUAL TABLE search USING fts5 (names, content = '', tokenize = 'trigram', columnsize = 0);

        -- Where manifests were seen: a pointer's place leads to another manifest tomorrow.
        CREATE TABLE files (
            path TEXT PRIMARY KEY,
            record INTEGER NOT NULL REFERENCES records (id)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX files_by_record ON files (record);

        -- Manifest M became active for a variant at a time; the next activation of the variant closes the interval.
        CREATE TABLE activations (
            id INTEGER PRIMARY KEY,
            variant TEXT NOT NULL,
            record INTEGER NOT NULL REFERENCES records (id),
            active_from INTEGER NOT NULL,
            wall_time INTEGER NOT NULL,
            cause TEXT NOT NULL,
            actor TEXT,
            instance TEXT NOT NULL,
            previous INTEGER REFERENCES records (id)
        ) STRICT;
        CREATE UNIQUE INDEX activations_by_variant ON activations (variant, active_from);
        CREATE INDEX activations_by_record ON activations (record, active_from);

        CREATE VIEW intervals AS
            SELECT id, variant, record, active_from,
                (SELECT min(later.active_from) FROM activations AS later
                 WHERE later.variant = activations.variant AND later.active_from > activations.active_from)
                AS active_until,
                wall_time, cause, actor, instance, previous
            FROM activations;

        CREATE TRIGGER activations_go_forward BEFORE INSERT ON activations
        WHEN EXISTS (SELECT 1 FROM activations WHERE variant = NEW.variant AND active_from >= NEW.active_from)
        BEGIN SELECT RAISE(ABORT, 'an activation begins after the one before it'); END;
        CREATE TRIGGER activations_are_immutable BEFORE UPDATE ON activations
        BEGIN SELECT RAISE(ABORT, 'an activation never changes'); END;
        CREATE TRIGGER activations_are_kept BEFORE DELETE ON activations
        BEGIN SELECT RAISE(ABORT, 'an activation is never deleted'); END;
        """

    private static let doubts = """
        -- The pointer of a variant named something that was not active: whether its server had moved on, nobody knew.
        CREATE TABLE doubts (
            id INTEGER PRIMARY KEY,
            variant TEXT NOT NULL,
            since INTEGER NOT NULL,
            until INTEGER CHECK (until >= since),
            reason TEXT NOT NULL,
            instance TEXT NOT NULL
        ) STRICT;
        CREATE INDEX doubts_by_variant ON doubts (variant, until);

        -- Whatever was doubted, an activation ends, whoever writes it.
        CREATE TRIGGER activations_end_doubts AFTER INSERT ON activations
        BEGIN UPDATE doubts SET until = max(since, NEW.active_from) WHERE variant = NEW.variant AND until IS NULL; END;

        CREATE TRIGGER doubts_only_end BEFORE UPDATE ON doubts
        WHEN OLD.until IS NOT NULL OR NEW.until IS NULL OR OLD.id <> NEW.id OR OLD.variant <> NEW.variant
            OR OLD.since <> NEW.since OR OLD.reason <> NEW.reason OR OLD.instance <> NEW.instance
        BEGIN SELECT RAISE(ABORT, 'a doubt only ends, and once'); END;
        CREATE TRIGGER doubts_are_kept BEFORE DELETE ON doubts
        BEGIN SELECT RAISE(ABORT, 'a doubt is never deleted'); END;
        """
}
