//! Manifests and tags: find, store, remove.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Row, params};
use shale_oci::Digest;

use super::{digest_column, find_repository, repository_key, signed};
use crate::api::route::Reference;
use crate::metadata::{Missing, NewManifest, StoredManifest, Target, TargetKind, UnixMillis};
use crate::name::RepositoryName;
use crate::takeover::ImportedRepository;

type Result<T> = std::result::Result<T, rusqlite::Error>;

pub(super) fn find(
    connection: &Connection,
    repository: &RepositoryName,
    reference: &Reference,
) -> Result<Option<StoredManifest>> {
    let stored = |row: &Row<'_>| {
        let bytes: Vec<u8> = row.get(2)?;
        Ok(StoredManifest {
            digest: digest_column(row, 0)?,
            media_type: row.get(1)?,
            bytes: Bytes::from(bytes),
        })
    };
    let (sql, key) = match reference {
        Reference::Digest(digest) => (
            "SELECT m.digest, m.media_type, b.bytes FROM repositories r
            JOIN manifests m ON m.repository_id = r.id AND m.digest = $1
            JOIN manifest_bytes b ON b.digest = m.digest WHERE r.name = $2",
            digest.to_string(),
        ),
        Reference::Tag(tag) => (
            "SELECT m.digest, m.media_type, b.bytes FROM repositories r
            JOIN tags t ON t.repository_id = r.id AND t.name = $1
            JOIN manifests m ON m.repository_id = r.id AND m.digest = t.manifest
            JOIN manifest_bytes b ON b.digest = m.digest WHERE r.name = $2",
            tag.to_string(),
        ),
    };
    connection.prepare_cached(sql)?.query_row([key.as_str(), repository.as_str()], stored).optional()
}

pub(super) fn missing(
    connection: &Connection,
    repository: &RepositoryName,
    targets: &[Target],
) -> Result<Missing> {
    let mut missing = Missing::default();
    let repository = find_repository(connection, repository.as_str())?;
    let mut find_blob = connection.prepare_cached(
        "SELECT s.size_bytes FROM repository_blobs b JOIN blobs s ON s.digest = b.digest
        WHERE b.digest = $1 AND b.repository_id = $2",
    )?;
    let mut find_manifest =
        connection.prepare_cached("SELECT 1 FROM manifests WHERE digest = $1 AND repository_id = $2")?;
    for target in targets {
        let Some(key) = repository else {
            missing.digests.push(target.digest);
            continue;
        };
        let wanted = params![target.digest.to_string(), key];
        match target.kind {
            TargetKind::Blob => match find_blob.query_row(wanted, |row| row.get::<_, i64>(0)).optional()? {
                None => missing.digests.push(target.digest),
                Some(size_bytes) if size_bytes != signed(target.size_bytes) => {
                    missing.other_size.push(target.digest)
                }
                Some(_) => {}
            },
            TargetKind::Manifest if find_manifest.exists(wanted)? => {}
            TargetKind::Manifest => missing.digests.push(target.digest),
        }
    }
    Ok(missing)
}

pub(super) fn put(
    connection: &Connection,
    repository: &RepositoryName,
    manifest: &NewManifest,
    now: UnixMillis,
) -> Result<()> {
    let key = repository_key(connection, repository.as_str(), now)?;
    let digest = manifest.digest.to_string();
    let sql = "INSERT INTO manifest_bytes (digest, bytes) VALUES ($1, $2) ON CONFLICT (digest) DO NOTHING";
    connection.prepare_cached(sql)?.execute(params![digest, &manifest.bytes[..]])?;
    let sql = "INSERT INTO manifests (repository_id, digest, media_type, artifact_type, subject, referrer, pushed_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
        ON CONFLICT (repository_id, digest) DO UPDATE
        SET media_type = excluded.media_type, artifact_type = excluded.artifact_type,
            referrer = excluded.referrer, pushed_at = excluded.pushed_at";
    let subject = manifest.subject.map(|subject| subject.to_string());
    connection.prepare_cached(sql)?.execute(params![
        key,
        digest,
        manifest.media_type,
        manifest.artifact_type,
        subject,
        manifest.referrer,
        now
    ])?;
    let sql = "INSERT INTO manifest_targets (repository_id, manifest, target, is_manifest, size_bytes)
        VALUES ($1, $2, $3, $4, $5) ON CONFLICT (repository_id, manifest, target) DO NOTHING";
    let mut insert = connection.prepare_cached(sql)?;
    for target in &manifest.targets {
        let is_manifest = i64::from(target.kind == TargetKind::Manifest);
        insert.execute(params![
            key,
            digest,
            target.digest.to_string(),
            is_manifest,
            signed(target.size_bytes)
        ])?;
    }
    let sql = "INSERT INTO tags (repository_id, name, manifest, pushed_at) VALUES ($1, $2, $3, $4)
        ON CONFLICT (repository_id, name) DO UPDATE SET manifest = excluded.manifest, pushed_at = excluded.pushed_at";
    let mut insert = connection.prepare_cached(sql)?;
    for tag in &manifest.tags {
        insert.execute(params![key, tag.as_str(), digest, now])?;
    }
    connection.prepare_cached("UPDATE repositories SET pushed_at = $1 WHERE id = $2")?.execute([now, key])?;
    Ok(())
}

pub(super) fn delete(
    connection: &Connection,
    repository: &RepositoryName,
    digest: Digest,
) -> Result<Option<Vec<String>>> {
    let Some(key) = find_repository(connection, repository.as_str())? else { return Ok(None) };
    let text = digest.to_string();
    let mut statement = connection
        .prepare_cached("DELETE FROM tags WHERE repository_id = $1 AND manifest = $2 RETURNING name")?;
    let tags = statement.query_map(params![key, text], |row| row.get(0))?.collect::<Result<Vec<String>>>()?;
    if !remove(connection, key, &text)? {
        return Ok(None);
    }
    Ok(Some(tags))
}

/// Removes one manifest of a repository, and its bytes when no other repository has it.
pub(super) fn remove(connection: &Connection, repository: i64, digest: &str) -> Result<bool> {
    let sql = "DELETE FROM manifests WHERE repository_id = $1 AND digest = $2";
    let existed = connection.prepare_cached(sql)?.execute(params![repository, digest])? > 0;
    let sql = "DELETE FROM manifest_targets WHERE repository_id = $1 AND manifest = $2";
    connection.prepare_cached(sql)?.execute(params![repository, digest])?;
    let sql = "DELETE FROM manifest_bytes WHERE digest = $1 AND NOT EXISTS (SELECT 1 FROM manifests WHERE digest = $1)";
    connection.prepare_cached(sql)?.execute([digest])?;
    Ok(existed)
}

pub(super) fn delete_repository(connection: &Connection, repository: &RepositoryName) -> Result<bool> {
    let Some(key) = find_repository(connection, repository.as_str())? else { return Ok(false) };
    let mut statement = connection.prepare_cached("SELECT digest FROM manifests WHERE repository_id = $1")?;
    let digests = statement.query_map([key], |row| row.get(0))?.collect::<Result<Vec<String>>>()?;
    for digest in digests {
        remove(connection, key, &digest)?;
    }
    for table in ["tags", "repository_blobs"] {
        connection.execute(&format!("DELETE FROM {table} WHERE repository_id = $1"), [key])?;
    }
    connection.prepare_cached("DELETE FROM repositories WHERE id = $1")?.execute([key])?;
    Ok(true)
}

pub(super) fn import(connection: &Connection, repository: &ImportedRepository) -> Result<()> {
    let name = repository.name.as_str();
    let newest = repository
        .manifests
        .iter()
        .map(|(_, at)| *at)
        .chain(repository.tags.iter().map(|(.., at)| *at))
        .max();
    let key = repository_key(connection, name, newest.unwrap_or(0))?;
    let mut blob = connection.prepare_cached(
        "INSERT INTO blobs (digest, size_bytes, stored_at) VALUES ($1, $2, $3) ON CONFLICT (digest) DO NOTHING",
    )?;
    let mut link = connection.prepare_cached(
        "INSERT INTO repository_blobs (repository_id, digest, linked_at) VALUES ($1, $2, $3)
        ON CONFLICT (repository_id, digest) DO NOTHING",
    )?;
    for (digest, size_bytes, at) in &repository.blobs {
        let digest = digest.to_string();
        blob.execute(params![digest, signed(*size_bytes), at])?;
        link.execute(params![key, digest, at])?;
    }
    for (manifest, at) in &repository.manifests {
        put(connection, &repository.name, manifest, *at)?;
    }
    let sql = "INSERT INTO tags (repository_id, name, manifest, pushed_at) VALUES ($1, $2, $3, $4)
        ON CONFLICT (repository_id, name) DO NOTHING";
    let mut insert = connection.prepare_cached(sql)?;
    for (tag, digest, at) in &repository.tags {
        insert.execute(params![key, tag.as_str(), digest.to_string(), at])?;
    }
    connection
        .prepare_cached("UPDATE repositories SET pushed_at = $1 WHERE id = $2")?
        .execute(params![newest.unwrap_or(0), key])?;
    Ok(())
}
