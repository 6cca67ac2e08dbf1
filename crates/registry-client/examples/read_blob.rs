//! Measures the reading of a blob: `read_blob HOST/NAME DIGEST SIZE [hash]` prints seconds, CPU seconds and peak memory.

use std::time::Instant;

use shale_oci::{Descriptor, Digester, Repository};
use shale_registry_client::{Client, ClientOptions};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, digest, size, rest @ ..] = arguments.as_slice() else {
        return Err("usage: read_blob HOST/NAME DIGEST SIZE [hash]".into());
    };
    let client = Client::new(ClientOptions::default())?;
    let descriptor = Descriptor::new("application/octet-stream", digest.parse()?, size.parse()?);
    let begin = Instant::now();
    let mut blob = client.blob(&Repository::parse(name)?, &descriptor, 0)?;
    let (mut bytes, mut chunks) = (0, 0);
    if rest.is_empty() {
        while let Some(chunk) = blob.chunk().await? {
            bytes += chunk.len();
            chunks += 1;
        }
    } else {
        let mut blob = blob.hashed(Digester::sha256());
        while let Some(chunk) = blob.chunk().await? {
            bytes += chunk.len();
            chunks += 1;
        }
    }
    let usage = usage_of_self()?;
    println!("{bytes} bytes in {chunks} chunks, {:.2} s, {usage}", begin.elapsed().as_secs_f64());
    Ok(())
}

/// Returns the CPU time and the peak memory of this process, from `/proc`.
fn usage_of_self() -> Result<String, Box<dyn std::error::Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    // Fields 14 and 15 of proc(5), in ticks of 10 ms; the split begins at field 3.
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or_default().to_owned();
    Ok(format!("{:.2} CPU s, {}", ticks as f64 / 100.0, peak.replace('\t', " ")))
}
