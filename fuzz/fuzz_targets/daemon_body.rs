//! Bodies that are archives: of a build, a load, an import, and for a container.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use shale_fuzz::Daemon;

static DAEMON: OnceLock<Daemon> = OnceLock::new();

/// A daemon with one container, which never runs.
fn daemon() -> Daemon {
    let daemon = Daemon::default();
    // A tar without members is two blocks of zeros.
    let (status, answer) = daemon.send("POST /images/create?fromSrc=-&repo=x HTTP/1.1", &[0; 1024]);
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
    let config = br#"{"Image":"x","Cmd":["none"]}"#;
    let head = "POST /containers/create?name=cc HTTP/1.1\r\nContent-Type: application/json";
    let (status, answer) = daemon.send(head, config);
    assert_eq!(status, 201, "{}", String::from_utf8_lossy(&answer));
    daemon
}

fuzz_target!(|input: &[u8]| {
    let daemon = DAEMON.get_or_init(daemon);
    let Some((choice, rest)) = input.split_first() else { return };
    let end = rest.iter().position(|byte| *byte == b'\n');
    let (query, body) = end.map_or((&[][..], rest), |end| (&rest[..end], &rest[end + 1..]));
    let Ok(query) = std::str::from_utf8(query) else { return };
    if query.contains(|letter: char| letter.is_ascii_control() || letter == ' ') {
        return;
    }
    let line = match choice % 4 {
        0 => format!("POST /build?networkmode=none&{query}"),
        1 => format!("POST /images/load?{query}"),
        2 => format!("POST /images/create?fromSrc=-&{query}"),
        _ => format!("PUT /containers/cc/archive?{query}"),
    };
    let (status, answer) = daemon.send(&format!("{line} HTTP/1.1\r\nContent-Type: application/x-tar"), body);
    let answer = String::from_utf8_lossy(&answer);
    // dockerd answers so when the Dockerfile is not in the context, and when an archive cannot be imported.
    let is_known = choice % 4 == 2 || answer.contains("Cannot locate specified Dockerfile");
    assert!(status < 500 || status == 501 || is_known, "{line}: {answer}");
    assert!(!answer.contains("panicked"), "{line}: {answer}");
    daemon.check_surroundings();
});
