//! Whole requests to a daemon that has no image: any route, any query, any body.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use shale_fuzz::Daemon;

static DAEMON: OnceLock<Daemon> = OnceLock::new();

fuzz_target!(|input: &[u8]| {
    let daemon = DAEMON.get_or_init(Daemon::default);
    let end = input.windows(2).position(|two| two == b"\n\n");
    let (head, body) = end.map_or((input, &[][..]), |end| (&input[..end], &input[end + 2..]));
    let Ok(head) = std::str::from_utf8(head) else { return };
    let mut lines = head.lines();
    let Some(first) = lines.next() else { return };
    // Lengths are the sender's business: a wrong one is a request that never ends.
    let is_length = |line: &&str| {
        let line = line.to_ascii_lowercase();
        ["content-length", "transfer-encoding", "expect", "connection", "upgrade"].iter().any(|name| line.starts_with(name))
    };
    let headers: String = lines.filter(|line| !is_length(line)).map(|line| format!("\r\n{line}")).collect();
    let (status, answer) = daemon.send(&format!("{first} HTTP/1.1{headers}"), body);
    let answer = String::from_utf8_lossy(&answer);
    assert!(!answer.contains("panicked"), "{status}: {answer}");
    daemon.check_surroundings();
});
