//! `shale import`.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;

use anyhow::Context as _;
use bytes::{Buf as _, Bytes};
use shale_engine::archive::import::Import;
use shale_engine::images::tag::parse_tag_target;
use shale_oci::{ImageId, Platform};
use tokio::sync::mpsc;

use super::Failure;
use crate::context::Context;

/// Chunks that wait between the socket and the unpacker.
const CHUNKS_MAX: usize = 16;

/// Makes an image of the tar of a file system, and prints its ID.
pub fn run(context: &Context, command: &crate::cli::Import) -> Result<(), Failure> {
    let source = command.source.as_str();
    let is_url = source.starts_with("http://") || source.starts_with("https://");
    let import = Import {
        changes: command.changes.clone(),
        // Docker's client reads files itself, so that its daemon calls them all by one name.
        message: command
            .message
            .clone()
            .unwrap_or_else(|| format!("Imported from {}", if is_url { source } else { "-" })),
        platform: match &command.platform {
            Some(platform) => platform.parse()?,
            None => Platform::host(),
        },
        reference: command.reference.as_deref().map(parse_tag_target).transpose()?,
    };
    let image = match source {
        url if is_url => import_url(context, url, import)?,
        "-" => {
            let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
            context.engine()?.import(Box::new(input), &import, &jiff::Zoned::now())?
        }
        path => {
            let file = File::open(path).with_context(|| format!("could not open {path}"))?;
            context.engine()?.import(Box::new(file), &import, &jiff::Zoned::now())?
        }
    };
    println!("{image}");
    Ok(())
}

/// Unpacks while the file arrives.
fn import_url(context: &Context, url: &str, import: Import) -> Result<ImageId, Failure> {
    let engine = context.engine()?;
    let client = context.client()?;
    context.block_on(async {
        let mut file = client.url_file(url).await.with_context(|| format!("could not fetch {url}"))?;
        println!("Downloading from {url}");
        let (chunks, receiver) = mpsc::channel(CHUNKS_MAX);
        let importing = tokio::task::spawn_blocking(move || {
            let archive = Arriving { chunks: receiver, chunk: Bytes::new() };
            engine.import(Box::new(archive), &import, &jiff::Zoned::now())
        });
        loop {
            let chunk = match file.chunk().await {
                Ok(None) => break,
                Ok(Some(chunk)) => Ok(chunk),
                Err(error) => Err(io::Error::other(error)),
            };
            let is_last = chunk.is_err();
            // The importer went away; it says why.
            if chunks.send(chunk).await.is_err() || is_last {
                break;
            }
        }
        drop(chunks);
        Ok::<_, Failure>(importing.await.expect("importing does not panic")?)
    })
}

/// What the socket sends, as a stream that blocks.
struct Arriving {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    chunk: Bytes,
}

impl Read for Arriving {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.chunk = chunk?,
                None => return Ok(0),
            }
        }
        let count = into.len().min(self.chunk.len());
        self.chunk.copy_to_slice(&mut into[..count]);
        Ok(count)
    }
}
