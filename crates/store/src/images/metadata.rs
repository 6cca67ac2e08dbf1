//! What a store notes about an image beside its config.

use jiff::Zoned;
use shale_oci::ImageId;

use crate::Store;
use crate::durable::{self, DiskError};
use crate::layers::parse_trimmed;
use crate::layout::Layout;
use crate::lock::AccessError;

/// Why metadata of an image was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ImageMetadataError {
    /// The image is not in the store.
    #[error("no such image: {0}")]
    NoSuchImage(ImageId),
    /// The store may not be written.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

#[derive(Debug, Default)]
pub(super) struct Metadata {
    pub(super) parent: Option<ImageId>,
    pub(super) last_updated: Option<String>,
    pub(super) built_locally: bool,
}

/// Reads an image's metadata; damaged files count as absent, as in Docker.
pub(super) fn read(layout: &Layout, id: ImageId) -> Result<Metadata, DiskError> {
    let directory = layout.metadata(id);
    let Some(last_updated) = durable::read(&directory.join("lastUpdated"))? else {
        // Most images were pulled and have no directory at all.
        if durable::metadata(&directory)?.is_none() {
            return Ok(Metadata::default());
        }
        return read_rest(layout, id, None);
    };
    read_rest(layout, id, String::from_utf8(last_updated).ok())
}

fn read_rest(layout: &Layout, id: ImageId, last_updated: Option<String>) -> Result<Metadata, DiskError> {
    let directory = layout.metadata(id);
    let parent = durable::read(&directory.join("parent"))?;
    let built_locally = durable::read(&directory.join("builtLocally"))?;
    Ok(Metadata {
        parent: parent.as_deref().and_then(parse_trimmed),
        last_updated: last_updated.filter(|text| text.parse::<jiff::Timestamp>().is_ok()),
        built_locally: built_locally.as_deref() == Some(&[1]),
    })
}

impl Store {
    /// Notes when the image was tagged; Docker does so for `tag`, `build`, `commit` and `import`, not for `pull`.
    /// Of an image that somebody removed since it was tagged there is nothing to note.
    ///
    /// # Errors
    /// [`ImageMetadataError`]; nothing was changed.
    pub fn set_last_updated(&self, id: ImageId, time: &Zoned) -> Result<(), ImageMetadataError> {
        let _commit = self.commit()?;
        match write(&self.layout, id, "lastUpdated", rfc3339_nano(time).as_bytes()) {
            Err(ImageMetadataError::NoSuchImage(_)) => Ok(()),
            written => written,
        }
    }

    /// Notes upon which image this one was built, or that it was built upon none.
    ///
    /// # Errors
    /// [`ImageMetadataError`]; nothing was changed.
    pub fn set_parent(&self, id: ImageId, parent: Option<ImageId>) -> Result<(), ImageMetadataError> {
        let _commit = self.commit()?;
        match parent {
            Some(parent) => write(&self.layout, id, "parent", parent.to_string().as_bytes()),
            None => Ok(durable::remove_file(&self.layout.metadata(id).join("parent")).map(drop)?),
        }
    }

    /// Notes that the image was built or committed here.
    ///
    /// # Errors
    /// [`ImageMetadataError`]; nothing was changed.
    pub fn set_built_locally(&self, id: ImageId) -> Result<(), ImageMetadataError> {
        let _commit = self.commit()?;
        write(&self.layout, id, "builtLocally", &[1])
    }
}

/// Writes one key; the caller holds the lock.
pub(super) fn write(layout: &Layout, id: ImageId, key: &str, value: &[u8]) -> Result<(), ImageMetadataError> {
    if durable::metadata(&layout.content(id))?.is_none() {
        return Err(ImageMetadataError::NoSuchImage(id));
    }
    let directory = layout.metadata(id);
    if durable::read(&directory.join(key))?.as_deref() == Some(value) {
        return Ok(());
    }
    durable::ensure_dir(&directory, 0o700)?;
    Ok(durable::replace(layout.staging(), directory.join(key), value, 0o600)?)
}

/// Formats a time as Go's `time.RFC3339Nano` does: no trailing zeros, `Z` for the offset zero.
fn rfc3339_nano(time: &Zoned) -> String {
    let mut text = time.strftime("%Y-%m-%dT%H:%M:%S").to_string();
    let nanosecond = time.subsec_nanosecond();
    if nanosecond != 0 {
        text.push('.');
        text.push_str(format!("{nanosecond:09}").trim_end_matches('0'));
    }
    match time.offset().seconds() {
        0 => text.push('Z'),
        _ => text.push_str(&time.strftime("%:z").to_string()),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(time: &str, expected: &str) {
        assert_eq!(rfc3339_nano(&time.parse().unwrap()), expected);
    }

    #[test]
    fn times_are_written_as_go_does() {
        // The layout is "2006-01-02T15:04:05.999999999Z07:00".
        check("2026-11-21T22:04:19.812345600Z[UTC]", "2026-11-21T22:04:19.8123456Z");
        check("2026-11-21T22:04:19Z[UTC]", "2026-11-21T22:04:19Z");
        check("2026-01-02T03:04:05.000000001+05:30[Asia/Kolkata]", "2026-01-02T03:04:05.000000001+05:30");
    }
}
