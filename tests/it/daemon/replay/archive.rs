//! Archives in the place of those that were not recorded.

use serde_json::Value;
use shale_tests::program::{require, shell};
use shale_tests::scratch::Scratch;

/// A file system with busybox.
pub fn busybox(scratch: &Scratch) -> Vec<u8> {
    let directory = scratch.folder("busybox");
    let busybox = require("busybox", "busybox-static");
    let path = directory.join("rootfs.tar");
    if !path.exists() {
        shell(
            &directory,
            &format!(
                "mkdir -p tree/bin tree/etc tree/tmp tree/root
                cp {} tree/bin/busybox
                for name in $(tree/bin/busybox --list); do [ $name = busybox ] || ln -s busybox tree/bin/$name; done
                echo root:x:0:0:root:/root:/bin/sh > tree/etc/passwd
                echo root:x:0: > tree/etc/group
                tar -C tree -cf rootfs.tar .",
                busybox.display()
            ),
        );
    }
    std::fs::read(path).expect("it was made")
}

/// An archive with the members that were listed: `- name size`, `d name 0`.
pub fn like(members: &[Value]) -> Vec<u8> {
    let files = members.iter().filter_map(|member| {
        let (kind, rest) = member.as_str()?.split_once(' ')?;
        let (name, size) = rest.rsplit_once(' ')?;
        Some((kind == "d", name.to_owned(), vec![b'x'; size.parse().ok()?]))
    });
    tar(files)
}

/// A build context with the members that were listed, and the Dockerfile that the builder was recorded to read.
pub fn build_context(members: &[Value], request: &Value, answer: &Value) -> Vec<u8> {
    let query = &request["query"];
    let name = query["dockerfile"].as_str().unwrap_or("Dockerfile");
    let dockerfile = dockerfile(query, answer);
    let files = members.iter().filter_map(|member| {
        let (kind, rest) = member.as_str()?.split_once(' ')?;
        let (path, size) = rest.rsplit_once(' ')?;
        let content = match path.trim_start_matches("./") {
            path if path == name => dockerfile.clone(),
            ".dockerignore" => b"*.log\n".to_vec(),
            _ => vec![b'x'; size.parse().ok()?],
        };
        Some((kind == "d", path.to_owned(), content))
    });
    tar(files)
}

/// The builder tells each instruction; labels of the query come last and are none.
fn dockerfile(query: &Value, answer: &Value) -> Vec<u8> {
    let body = &answer["body"];
    let lines = body["_jsonlines"].as_array().cloned().unwrap_or_default();
    let mut steps: Vec<String> = lines
        .iter()
        .filter_map(|line| {
            Some(line["stream"].as_str()?.strip_prefix("Step ")?.split_once(" : ")?.1.to_owned())
        })
        .map(|step| step.trim_end().to_owned())
        .collect();
    let labels = query["labels"].as_str().and_then(|labels| serde_json::from_str::<Value>(labels).ok());
    let labels = labels.as_ref().and_then(Value::as_object).map_or(0, serde_json::Map::len);
    steps.truncate(steps.len().saturating_sub(labels));
    if let Some(word) = body["_json"]["message"].as_str().and_then(|text| text.rsplit_once("instruction: ")) {
        steps = vec!["FROM busybox".to_owned(), word.1.to_owned()];
    }
    if steps.is_empty() {
        steps = vec!["FROM busybox".to_owned(), "RUN true".to_owned()];
    }
    (steps.join("\n") + "\n").into_bytes()
}

fn tar(files: impl Iterator<Item = (bool, String, Vec<u8>)>) -> Vec<u8> {
    let mut archive = Vec::new();
    for (is_directory, name, content) in files {
        let mut header = [0_u8; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        let content = if is_directory { Vec::new() } else { content };
        let mut put = |at: usize, text: String| header[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(100, if is_directory { "0000755".to_owned() } else { "0000644".to_owned() });
        put(108, "0000000".to_owned());
        put(116, "0000000".to_owned());
        put(124, format!("{:011o}", content.len()));
        put(136, "00000000000".to_owned());
        put(148, "        ".to_owned());
        put(156, if is_directory { "5".to_owned() } else { "0".to_owned() });
        put(257, "ustar\0".to_owned());
        put(263, "00".to_owned());
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        archive.extend_from_slice(&header);
        archive.extend_from_slice(&content);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}
