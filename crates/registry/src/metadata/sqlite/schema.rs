//! The tables. SQL here and beside it keeps to what SQLite and PostgreSQL have in common, but for `WITHOUT ROWID`.

use rusqlite::Connection;

/// The version that [`migrate`] leaves behind.
const VERSION: i64 = 1;

/// Each entry takes a database from the version of its index to the next one.
const STEPS: &[&str] = &["
CREATE TABLE repositories (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    pushed_at BIGINT NOT NULL
);
CREATE TABLE blobs (
    digest TEXT NOT NULL PRIMARY KEY,
    size_bytes BIGINT NOT NULL,
    stored_at BIGINT NOT NULL
) WITHOUT ROWID;
CREATE TABLE repository_blobs (
    repository_id INTEGER NOT NULL,
    digest TEXT NOT NULL,
    linked_at BIGINT NOT NULL,
    PRIMARY KEY (repository_id, digest)
) WITHOUT ROWID;
CREATE INDEX repository_blobs_digest ON repository_blobs (digest);
CREATE TABLE manifest_bytes (
    digest TEXT NOT NULL PRIMARY KEY,
    bytes BLOB NOT NULL
);
CREATE TABLE manifests (
    repository_id INTEGER NOT NULL,
    digest TEXT NOT NULL,
    media_type TEXT NOT NULL,
    artifact_type TEXT,
    subject TEXT,
    referrer TEXT,
    pushed_at BIGINT NOT NULL,
    PRIMARY KEY (repository_id, digest)
) WITHOUT ROWID;
CREATE INDEX manifests_digest ON manifests (digest);
CREATE INDEX manifests_subject ON manifests (repository_id, subject, digest) WHERE subject IS NOT NULL;
CREATE TABLE manifest_targets (
    repository_id INTEGER NOT NULL,
    manifest TEXT NOT NULL,
    target TEXT NOT NULL,
    is_manifest INTEGER NOT NULL,
    size_bytes BIGINT NOT NULL,
    PRIMARY KEY (repository_id, manifest, target)
) WITHOUT ROWID;
CREATE INDEX manifest_targets_target ON manifest_targets (repository_id, target);
CREATE TABLE tags (
    repository_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    manifest TEXT NOT NULL,
    pushed_at BIGINT NOT NULL,
    PRIMARY KEY (repository_id, name)
) WITHOUT ROWID;
CREATE INDEX tags_manifest ON tags (repository_id, manifest);
CREATE INDEX tags_pushed ON tags (repository_id, pushed_at);
CREATE TABLE uploads (
    id TEXT NOT NULL PRIMARY KEY,
    repository TEXT NOT NULL,
    algorithm TEXT NOT NULL,
    touched_at BIGINT NOT NULL
) WITHOUT ROWID;
CREATE INDEX uploads_touched ON uploads (touched_at);
CREATE TABLE events (
    number INTEGER PRIMARY KEY,
    endpoint TEXT NOT NULL,
    body TEXT NOT NULL,
    queued_at BIGINT NOT NULL
);
CREATE INDEX events_endpoint ON events (endpoint, number);
CREATE TABLE settings (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;
"];

/// Makes the tables, or brings older ones up to date.
///
/// # Errors
/// When the database fails, or was written by a later version.
pub(super) fn migrate(connection: &mut Connection) -> Result<(), MigrateError> {
    let transaction = connection.transaction()?;
    let version: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version > VERSION {
        return Err(MigrateError::Newer { version });
    }
    // Writing the same version again would wait for the disk.
    if version == VERSION {
        return Ok(());
    }
    for step in &STEPS[usize::try_from(version).unwrap_or(0)..] {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    Ok(())
}

/// Why the tables could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The database was written by a later version of the program.
    #[error("the metadata has version {version}, which a later version of this program wrote")]
    Newer {
        /// The version found.
        version: i64,
    },
    /// The database failed.
    #[error("could not prepare the metadata")]
    Database(#[from] rusqlite::Error),
}
