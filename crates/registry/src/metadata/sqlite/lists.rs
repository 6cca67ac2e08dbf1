//! Lists and pages of them.

use rusqlite::{Connection, Row, params};
use shale_oci::{Algorithm, Digest};

use super::{digest_column, find_repository, limit, unsigned};
use crate::metadata::{OpenUpload, Page, Referrer, RepositorySummary, TagSummary};
use crate::name::{RepositoryName, UploadId};

type Result<T> = std::result::Result<T, rusqlite::Error>;

pub(super) fn tags(
    connection: &Connection,
    repository: &RepositoryName,
    page: &Page,
) -> Result<Option<Vec<String>>> {
    let Some(key) = find_repository(connection, repository.as_str())? else { return Ok(None) };
    let sql = "SELECT name FROM tags WHERE repository_id = $1 AND name > $2 ORDER BY name LIMIT $3";
    let mut statement = connection.prepare_cached(sql)?;
    let after = page.after.as_deref().unwrap_or("");
    let names = statement.query_map(params![key, after, limit(page.limit)], |row| row.get(0))?;
    names.collect::<Result<Vec<String>>>().map(Some)
}

pub(super) fn repositories(connection: &Connection, page: &Page) -> Result<Vec<String>> {
    let sql = "SELECT name FROM repositories r WHERE name > $1
        AND EXISTS (SELECT 1 FROM manifests m WHERE m.repository_id = r.id) ORDER BY name LIMIT $2";
    let mut statement = connection.prepare_cached(sql)?;
    let after = page.after.as_deref().unwrap_or("");
    statement.query_map(params![after, limit(page.limit)], |row| row.get(0))?.collect()
}

pub(super) fn referrers(
    connection: &Connection,
    repository: &RepositoryName,
    subject: Digest,
    artifact_type: Option<&str>,
    page: &Page,
) -> Result<Vec<Referrer>> {
    let Some(key) = find_repository(connection, repository.as_str())? else { return Ok(Vec::new()) };
    let sql = "SELECT digest, referrer FROM manifests
        WHERE repository_id = $1 AND subject = $2 AND digest > $3 AND ($4 = '' OR artifact_type = $4)
        ORDER BY digest LIMIT $5";
    let mut statement = connection.prepare_cached(sql)?;
    let after = page.after.as_deref().unwrap_or("");
    let wanted = params![key, subject.to_string(), after, artifact_type.unwrap_or(""), limit(page.limit)];
    let found = statement
        .query_map(wanted, |row| Ok(Referrer { digest: digest_column(row, 0)?, descriptor: row.get(1)? }))?;
    found.collect()
}

pub(super) fn summaries(
    connection: &Connection,
    search: &str,
    page: &Page,
) -> Result<Vec<RepositorySummary>> {
    let sql = "SELECT r.name,
            (SELECT COUNT(*) FROM tags t WHERE t.repository_id = r.id),
            (SELECT COUNT(*) FROM manifests m WHERE m.repository_id = r.id),
            (SELECT COALESCE(SUM(s.size_bytes), 0) FROM repository_blobs b JOIN blobs s ON s.digest = b.digest
                WHERE b.repository_id = r.id),
            r.pushed_at
        FROM repositories r
        WHERE r.name > $1 AND r.name LIKE $2 ESCAPE '\\'
            AND EXISTS (SELECT 1 FROM manifests m WHERE m.repository_id = r.id)
        ORDER BY r.name LIMIT $3";
    let escaped = search.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
    let mut statement = connection.prepare_cached(sql)?;
    let wanted = params![page.after.as_deref().unwrap_or(""), format!("%{escaped}%"), limit(page.limit)];
    let found = statement.query_map(wanted, |row| {
        Ok(RepositorySummary {
            name: row.get(0)?,
            tags: unsigned(row.get(1)?),
            manifests: unsigned(row.get(2)?),
            size_bytes: unsigned(row.get(3)?),
            pushed_at: row.get(4)?,
        })
    })?;
    found.collect()
}

pub(super) fn tag_summaries(
    connection: &Connection,
    repository: &RepositoryName,
    offset: usize,
    most: usize,
) -> Result<Vec<TagSummary>> {
    let Some(key) = find_repository(connection, repository.as_str())? else { return Ok(Vec::new()) };
    // The size of an index is that of the blobs of its children, which stand one step further.
    let sql = "SELECT t.name, t.manifest, m.media_type, t.pushed_at,
            (SELECT COALESCE(SUM(a.size_bytes), 0) FROM manifest_targets a
                WHERE a.repository_id = t.repository_id AND a.manifest = t.manifest AND a.is_manifest = 0)
            + (SELECT COALESCE(SUM(b.size_bytes), 0) FROM manifest_targets a
                JOIN manifest_targets b ON b.repository_id = a.repository_id AND b.manifest = a.target AND b.is_manifest = 0
                WHERE a.repository_id = t.repository_id AND a.manifest = t.manifest AND a.is_manifest = 1)
        FROM tags t JOIN manifests m ON m.repository_id = t.repository_id AND m.digest = t.manifest
        WHERE t.repository_id = $1 ORDER BY t.pushed_at DESC, t.name LIMIT $2 OFFSET $3";
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_map(params![key, limit(most), limit(offset)], |row| {
        Ok(TagSummary {
            name: row.get(0)?,
            digest: digest_column(row, 1)?,
            media_type: row.get(2)?,
            pushed_at: row.get(3)?,
            size_bytes: unsigned(row.get(4)?),
        })
    })?;
    found.collect()
}

pub(super) fn tags_of(
    connection: &Connection,
    repository: &RepositoryName,
    digest: Digest,
) -> Result<Vec<String>> {
    let sql = "SELECT t.name FROM tags t JOIN repositories r ON r.id = t.repository_id
        WHERE r.name = $1 AND t.manifest = $2 ORDER BY t.name";
    let mut statement = connection.prepare_cached(sql)?;
    statement.query_map(params![repository.as_str(), digest.to_string()], |row| row.get(0))?.collect()
}

pub(super) fn blobs(
    connection: &Connection,
    after: Option<Digest>,
    most: usize,
) -> Result<Vec<(Digest, u64)>> {
    let sql = "SELECT digest, size_bytes FROM blobs WHERE digest > $1 ORDER BY digest LIMIT $2";
    let mut statement = connection.prepare_cached(sql)?;
    let after = after.map_or(String::new(), |digest| digest.to_string());
    let found = statement
        .query_map(params![after, limit(most)], |row| Ok((digest_column(row, 0)?, unsigned(row.get(1)?))))?;
    found.collect()
}

/// Reads an upload; a row that holds no name of ours counts as none.
pub(super) fn upload(row: &Row<'_>) -> Result<Option<OpenUpload>> {
    let (id, repository, algorithm) =
        (row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?, row.get_ref(2)?.as_str()?);
    let algorithm = if algorithm == Algorithm::Sha512.name() { Algorithm::Sha512 } else { Algorithm::Sha256 };
    let (Some(id), Ok(repository)) = (UploadId::parse(id), RepositoryName::parse(repository)) else {
        return Ok(None);
    };
    Ok(Some(OpenUpload { id, repository, algorithm, touched_at: row.get(3)? }))
}
