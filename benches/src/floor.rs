//! The least that any pull must do with the same bytes: inflate, hash twice, checksum, write once.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::Value;
use sha2::{Digest, Sha256};
use shale_tests::scratch::Scratch;

use crate::measure::{Cost, median, settle};
use crate::report::Table;

/// Measures the floor of the images `a` and `c`, on one core.
pub fn measure(storage: &Path, scratch: &Scratch, rounds: usize) -> Result<Table> {
    let mut table = Table::new("floor, one core");
    for name in ["a", "c"] {
        let blobs = blobs(storage, name)?;
        let mut costs = Vec::new();
        for _ in 0..rounds {
            settle();
            let output = scratch.path().join("floor");
            let start = Instant::now();
            let before = own_cpu_s();
            for blob in &blobs {
                pass(blob, &output)?;
            }
            costs.push(Cost {
                wall_s: start.elapsed().as_secs_f64(),
                cpu_s: own_cpu_s() - before,
                peak_mb: 0.0,
            });
        }
        table.add(&format!("pull-{name}"), median(costs));
    }
    Ok(table)
}

fn pass(blob: &Path, output: &Path) -> Result<()> {
    let compressed = Hashed { inner: File::open(blob)?, hash: Sha256::new() };
    let mut tar = flate2::read::GzDecoder::new(io::BufReader::with_capacity(128 * 1024, compressed));
    let mut file = File::create(output)?;
    let (mut hash, mut checksum) = (Sha256::new(), crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc64GoIso));
    let mut buffer = vec![0; 128 * 1024];
    loop {
        let count = tar.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        hash.update(&buffer[..count]);
        checksum.update(&buffer[..count]);
        file.write_all(&buffer[..count])?;
    }
    // The results are used, or the compiler could leave the work out.
    std::hint::black_box((
        hash.finalize(),
        checksum.finalize(),
        tar.into_inner().into_inner().hash.finalize(),
    ));
    Ok(())
}

struct Hashed {
    inner: File,
    hash: Sha256,
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}

/// The files of an image's layers in the storage of a docker-registry.
fn blobs(storage: &Path, name: &str) -> Result<Vec<PathBuf>> {
    let root = storage.join("docker/registry/v2");
    let blob = |digest: &str| {
        let hex = digest.trim_start_matches("sha256:");
        root.join("blobs/sha256").join(&hex[..2]).join(hex).join("data")
    };
    let link = root.join(format!("repositories/bench/{name}/_manifests/tags/1/current/link"));
    let digest = fs::read_to_string(&link).with_context(|| format!("could not read {}", link.display()))?;
    let manifest: Value = serde_json::from_slice(&fs::read(blob(&digest))?)?;
    let layers = manifest["layers"].as_array().context("the image has layers")?;
    Ok(layers.iter().filter_map(|layer| layer["digest"].as_str()).map(blob).collect())
}

fn own_cpu_s() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    fields.iter().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum::<u64>() as f64 / 100.0
}
