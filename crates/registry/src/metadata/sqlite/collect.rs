//! The part of the garbage collection that is a question to the database.

use rusqlite::{Connection, params};
use shale_oci::Digest;

use super::{digest_column, limit, manifests};
use crate::maintenance::check::Finding;
use crate::metadata::{Cut, MayCut, UnixMillis};

type Result<T> = std::result::Result<T, rusqlite::Error>;

/// Alive is what a tag names, what was pushed lately, what an index that is alive names, and what refers to something alive.
pub(super) fn untagged(connection: &Connection, before: UnixMillis, mut may_cut: MayCut) -> Result<Cut> {
    let sql = "WITH RECURSIVE live (repository_id, digest) AS (
            SELECT repository_id, manifest FROM tags
            UNION
            SELECT repository_id, digest FROM manifests WHERE pushed_at >= $1
            UNION
            SELECT t.repository_id, t.target FROM live
                JOIN manifest_targets t ON t.repository_id = live.repository_id AND t.manifest = live.digest
                WHERE t.is_manifest = 1
            UNION
            SELECT m.repository_id, m.digest FROM live
                JOIN manifests m ON m.repository_id = live.repository_id AND m.subject = live.digest
        )
        SELECT m.repository_id, m.digest, r.name FROM manifests m JOIN repositories r ON r.id = m.repository_id
        WHERE NOT EXISTS (SELECT 1 FROM live WHERE live.repository_id = m.repository_id AND live.digest = m.digest)";
    let mut statement = connection.prepare_cached(sql)?;
    let dead = statement.query_map([before], |row| {
        Ok((row.get::<_, i64>(0)?, digest_column(row, 1)?, row.get::<_, String>(2)?))
    })?;
    let dead = dead.collect::<Result<Vec<_>>>()?;
    let mut rows = 0;
    for (repository, digest, name) in dead {
        if may_cut(&name, digest) {
            manifests::remove(connection, repository, &digest.to_string())?;
            rows += 1;
        }
    }
    Ok(Cut { rows, more: false })
}

const LOOSE_LINKS: &str = "SELECT b.repository_id, b.digest, r.name FROM repository_blobs b
    JOIN repositories r ON r.id = b.repository_id
    WHERE b.linked_at < $1 AND NOT EXISTS (
        SELECT 1 FROM manifest_targets t WHERE t.repository_id = b.repository_id AND t.target = b.digest)";

pub(super) fn has_loose_links(connection: &Connection, before: UnixMillis) -> Result<bool> {
    connection.prepare_cached(&format!("{LOOSE_LINKS} LIMIT 1"))?.exists([before])
}

pub(super) fn links(
    connection: &Connection,
    before: UnixMillis,
    most: usize,
    mut may_cut: MayCut,
) -> Result<Cut> {
    let mut statement = connection.prepare_cached(LOOSE_LINKS)?;
    let mut delete =
        connection.prepare_cached("DELETE FROM repository_blobs WHERE repository_id = $1 AND digest = $2")?;
    let mut loose = Vec::new();
    let mut more = false;
    let mut rows = statement.query([before])?;
    while let Some(row) = rows.next()? {
        let (repository, digest): (i64, Digest) = (row.get(0)?, digest_column(row, 1)?);
        if loose.len() == most {
            more = true;
            break;
        }
        if may_cut(row.get_ref(2)?.as_str()?, digest) {
            loose.push((repository, digest));
        }
    }
    drop(rows);
    for (repository, digest) in &loose {
        delete.execute(params![repository, digest.to_string()])?;
    }
    Ok(Cut { rows: loose.len() as u64, more })
}

const EMPTY_REPOSITORIES: &str = "created_at < $1
    AND NOT EXISTS (SELECT 1 FROM manifests m WHERE m.repository_id = repositories.id)
    AND NOT EXISTS (SELECT 1 FROM repository_blobs b WHERE b.repository_id = repositories.id)";

pub(super) fn has_empty_repositories(connection: &Connection, before: UnixMillis) -> Result<bool> {
    connection
        .prepare_cached(&format!("SELECT 1 FROM repositories WHERE {EMPTY_REPOSITORIES} LIMIT 1"))?
        .exists([before])
}

pub(super) fn repositories(connection: &Connection, before: UnixMillis) -> Result<Cut> {
    let rows =
        connection.execute(&format!("DELETE FROM repositories WHERE {EMPTY_REPOSITORIES}"), [before])?;
    Ok(Cut { rows: rows as u64, more: false })
}

pub(super) fn unheld(connection: &Connection, after: Option<Digest>, most: usize) -> Result<Vec<Digest>> {
    let sql = "SELECT s.digest FROM blobs s WHERE s.digest > $1
        AND NOT EXISTS (SELECT 1 FROM repository_blobs b WHERE b.digest = s.digest) ORDER BY s.digest LIMIT $2";
    let after = after.map_or(String::new(), |digest| digest.to_string());
    let mut statement = connection.prepare_cached(sql)?;
    statement.query_map(params![after, limit(most)], |row| digest_column(row, 0))?.collect()
}

pub(super) fn forget(connection: &Connection, digests: &[Digest]) -> Result<Vec<Digest>> {
    let sql = "DELETE FROM blobs WHERE digest = $1
        AND NOT EXISTS (SELECT 1 FROM repository_blobs b WHERE b.digest = $1)";
    let mut statement = connection.prepare_cached(sql)?;
    let mut forgotten = Vec::new();
    for digest in digests {
        if statement.execute([digest.to_string()])? > 0 {
            forgotten.push(*digest);
        }
    }
    Ok(forgotten)
}

pub(super) fn check_manifests(connection: &Connection) -> Result<(u64, Vec<Finding>)> {
    let mut findings = Vec::new();
    let mut statement = connection.prepare("SELECT digest, bytes FROM manifest_bytes")?;
    let mut rows = statement.query([])?;
    let mut manifests = 0;
    while let Some(row) = rows.next()? {
        let digest = digest_column(row, 0)?;
        manifests += 1;
        if Digest::of(digest.algorithm(), row.get_ref(1)?.as_blob()?) != digest {
            findings.push(Finding::ManifestDamaged { digest });
        }
    }
    let sql = "SELECT r.name, t.name FROM tags t JOIN repositories r ON r.id = t.repository_id
        WHERE NOT EXISTS (SELECT 1 FROM manifests m JOIN manifest_bytes b ON b.digest = m.digest
            WHERE m.repository_id = t.repository_id AND m.digest = t.manifest)";
    let mut statement = connection.prepare(sql)?;
    let lost = statement
        .query_map([], |row| Ok(Finding::TagWithoutManifest { repository: row.get(0)?, tag: row.get(1)? }))?;
    for finding in lost {
        findings.push(finding?);
    }
    Ok((manifests, findings))
}
