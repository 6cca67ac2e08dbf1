use shale_dockerfile::IgnoreFile;

use crate::{check, data};

fn describe(source: &str, paths: &str) -> String {
    match IgnoreFile::parse(source.as_bytes()) {
        Ok(file) => paths.lines().filter(|path| file.matches(path)).map(|path| format!("{path}\n")).collect(),
        Err(error) => format!("error {}\n", error.fault),
    }
}

#[test]
fn ignores_what_docker_ignores() {
    let paths = data("ignore/paths.txt");
    check("ignore", ACCEPTED, |source| describe(source, &paths), |expected| expected);
}

const ACCEPTED: &[&str] = &[];
