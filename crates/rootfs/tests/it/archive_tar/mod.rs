//! The reader against Go's `archive/tar`, entry for entry: the corpus, Go's own test data, and damaged copies of both.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;

use shale_rootfs::{decompress, tar_split};

use crate::fixture;

const SEED_BYTES_MAX: u64 = 256 << 10;
const DAMAGED_COPIES: u64 = 24;

/// Collects tars by name.
fn seeds() -> BTreeMap<String, Vec<u8>> {
    let go_root =
        Command::new("go").args(["env", "GOROOT"]).output().expect("the peer go is installed").stdout;
    let go_root = String::from_utf8(go_root).unwrap();
    let directories = [
        fixture("hostile/layers"),
        Path::new(go_root.trim()).join("src/archive/tar/testdata"),
        fixture("hostile/archives"),
    ];
    let mut seeds = BTreeMap::new();
    for (index, directory) in directories.iter().enumerate() {
        for file in fs::read_dir(directory).unwrap() {
            let path = file.unwrap().path();
            let mut tar = Vec::new();
            let Ok(stream) = decompress(Box::new(fs::File::open(&path).unwrap())) else { continue };
            let complete = stream.take(SEED_BYTES_MAX).read_to_end(&mut tar).is_ok();
            if complete && (tar.len() as u64) < SEED_BYTES_MAX {
                seeds.insert(format!("{index}-{}", path.file_name().unwrap().display()), tar);
            }
        }
    }
    assert!(seeds.len() > 150, "{}", seeds.len());
    seeds
}

/// Changes some bytes, mostly in headers, and mostly mends the checksum, so that more than the checksum is tested.
fn damage(tar: &mut Vec<u8>, random: &mut impl FnMut(u64) -> u64) {
    if tar.len() < 512 {
        return;
    }
    let block = random(tar.len() as u64 / 512) as usize * 512;
    for _ in 0..=random(3) {
        let offset = match random(8) {
            0 => 156,
            1 | 2 => 124 + random(12),
            3 => 345 + random(167),
            4 => 257 + random(8),
            _ => random(512),
        };
        const BYTES: &[u8] = b"\0 01257LKSgx/.\x80\xff=\n,9";
        tar[block + offset as usize] = match random(4) {
            0 => random(256) as u8,
            _ => BYTES[random(BYTES.len() as u64) as usize],
        };
    }
    if random(8) != 0 {
        let header = &mut tar[block..block + 512];
        header[148..156].fill(b' ');
        let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    if random(16) == 0 {
        let length = random(tar.len() as u64) as usize;
        tar.truncate(length);
    }
}

fn ours(tar: &[u8]) -> String {
    let mut lines = Vec::new();
    if tar_split::disassemble(&mut &tar[..], &mut lines).is_err() {
        return "error".into();
    }
    let mut text = String::new();
    for entry in tar_split::entries(&mut &lines[..]) {
        let entry = entry.unwrap();
        let hex = |name: &[u8]| name.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let kind = match entry.kind {
            tar_split::EntryKind::File => '0',
            tar_split::EntryKind::HardLink => '1',
            tar_split::EntryKind::Symlink => '2',
            tar_split::EntryKind::CharacterDevice => '3',
            tar_split::EntryKind::BlockDevice => '4',
            tar_split::EntryKind::Directory => '5',
            tar_split::EntryKind::Fifo => '6',
        };
        writeln!(
            text,
            "{} {kind} {:o} {} {} {} {}.{:09} {} {},{}",
            hex(entry.name.as_bytes()),
            entry.mode,
            entry.uid,
            entry.gid,
            entry.size_bytes,
            entry.mtime.seconds,
            entry.mtime.nanoseconds,
            hex(entry.link_name.as_bytes()),
            entry.device.0,
            entry.device.1
        )
        .unwrap();
    }
    text
}

#[test]
fn archives_have_the_entries_that_go_reads() {
    let scratch = tempfile::tempdir().unwrap();
    let tars = scratch.path().join("tars");
    fs::create_dir(&tars).unwrap();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) % below.max(1)
    };
    for (name, tar) in seeds() {
        fs::write(tars.join(format!("{name}-whole")), &tar).unwrap();
        if tar.len() > 40 << 10 {
            continue;
        }
        for copy in 0..DAMAGED_COPIES {
            let mut damaged = tar.clone();
            for _ in 0..=random(2) {
                damage(&mut damaged, &mut random);
            }
            fs::write(tars.join(format!("{name}-{copy}")), damaged).unwrap();
        }
    }

    let program = scratch.path().join("list.go");
    fs::write(&program, include_str!("list.go")).unwrap();
    let listed =
        Command::new("go").arg("run").arg(&program).arg(&tars).env("GO111MODULE", "off").output().unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let listed = String::from_utf8(listed.stdout).unwrap();
    let mut differences = Vec::new();
    let (mut accepted, mut refused) = (0, 0);
    for section in listed.split("file ").skip(1) {
        let (name, theirs) = section.split_once('\n').unwrap();
        let theirs = if theirs.contains("error") { "error" } else { theirs };
        let ours = ours(&fs::read(tars.join(name)).unwrap());
        *if theirs == "error" { &mut refused } else { &mut accepted } += 1;
        if ours != theirs {
            if let Ok(keep) = std::env::var("SHALE_KEEP_DIFFERENCES") {
                fs::copy(tars.join(name), Path::new(&keep).join(name)).unwrap();
            }
            differences.push(format!("{name}\n--- Go\n{theirs}\n--- here\n{ours}"));
        }
    }
    assert!(differences.is_empty(), "{} differ\n{}", differences.len(), differences.join("\n"));
    println!("{accepted} archives read alike, {refused} refused alike");
    assert!(accepted > 500 && refused > 500, "{accepted} {refused}");
}
