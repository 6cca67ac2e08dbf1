//! What no client of good will sends: refused as the client's fault, and nothing changes beside the root.

use http::{Request, StatusCode};
use shale_daemon::check_head;

use crate::server::{Reply, Running};

#[track_caller]
fn refused(target: &str, headers: &[(&str, &str)]) -> StatusCode {
    let mut request = Request::post(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    check_head(request.body(()).unwrap().into_parts().0).expect_err(target)
}

#[test]
fn heads_that_make_no_sense_are_the_clients_fault() {
    for (target, status) in [
        ("/nosuch", 404),
        ("/v1.99/build", 400),
        ("/v1.1e9/build", 404),
        ("/v99999999999999999999.1/build", 404),
        ("/build?%", 400),
        ("/build?t=%ff", 400),
        ("/build?filters=[", 400),
        ("/build?filters={%22a%22:1}", 400),
        ("/build?t=UPPER", 400),
        ("/build?buildargs=[]", 400),
        ("/build?memory=99999999999999999999", 400),
        ("/build?platform=a/b/c/d/e", 400),
        ("/build?extrahosts=x:y", 400),
        ("/build?networkmode=container:x", 404),
        ("/build?isolation=hyperv", 400),
        ("/images/create?fromImage=UPPER", 400),
        ("/images/create?fromImage=x&tag=a%20b", 400),
        ("/images/create?fromImage=x&platform={", 400),
    ] {
        assert_eq!(refused(target, &[]).as_u16(), status, "{target}");
    }
    // A bomb of brackets is refused before it is a tree.
    let deep = "%5B".repeat(20_000);
    assert_eq!(refused(&format!("/build?filters={deep}"), &[]), 400);
}

/// A client that is still writing when the connection is closed tells of a broken pipe instead of the answer.
#[test]
fn a_body_that_nobody_wants_is_read_before_the_next_request() {
    use std::io::{Read, Write};
    let daemon = Running::start();
    for (target, status) in
        [("/v1.41/nosuch", "404"), ("/v1.99/build", "400"), ("/v1.41/build?t=UPPER", "400")]
    {
        let mut stream = std::os::unix::net::UnixStream::connect(daemon.socket()).unwrap();
        let body = vec![b' '; 300_000];
        write!(stream, "POST {target} HTTP/1.1\r\nHost: d\r\nContent-Length: {}\r\n\r\n", body.len())
            .unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).unwrap();
        assert_eq!(start, format!("HTTP/1.1 {status}").as_bytes(), "{target}");
        stream.write_all(&body).expect(target);
        stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n").expect(target);
        let mut rest = String::new();
        stream.read_to_string(&mut rest).unwrap();
        assert!(rest.ends_with("OK"), "{target}: {rest}");
    }
}

#[test]
fn credentials_that_make_no_sense_are_nobodys() {
    let deep = "[".repeat(30_000);
    for value in ["e30", "!", "bnVsbA==", "W10=", &deep] {
        let head =
            Request::post("/build").header("X-Registry-Auth", value).header("X-Registry-Config", value);
        check_head(head.body(()).unwrap().into_parts().0).expect(value);
    }
}

/// One member of a tar, its data filled up to whole blocks.
pub fn member(name: &str, kind: u8, link: &str, data: &[u8]) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..107].copy_from_slice(b"0000644");
    block[108..115].copy_from_slice(b"0000000");
    block[116..123].copy_from_slice(b"0000000");
    block[124..135].copy_from_slice(format!("{:011o}", data.len()).as_bytes());
    block[136..147].copy_from_slice(b"00000000000");
    block[148..156].copy_from_slice(b"        ");
    block[156] = kind;
    block[157..157 + link.len()].copy_from_slice(link.as_bytes());
    block[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block.extend_from_slice(data);
    block.resize(block.len().next_multiple_of(512), 0);
    block
}

/// Archives that try to get out, and one that does not.
fn archives() -> Vec<Vec<u8>> {
    let end = vec![0; 1024];
    let dockerfile = member("Dockerfile", b'0', "", b"FROM scratch\nCOPY . /\n");
    let manifest = br#"[{"Config":"../../beside","RepoTags":["x:1"],"Layers":["up/beside"]}]"#;
    let members = [
        member("../beside", b'0', "", b"out"),
        member("/../../beside", b'0', "", b"out"),
        [member("up", b'2', "../../../..", b""), member("up/beside", b'0', "", b"out")].concat(),
        [member("up", b'2', "/", b""), member("up/tmp/beside-the-root", b'0', "", b"out")].concat(),
        [member("hard", b'1', "../../../../../../etc/passwd", b""), member("hard", b'0', "", b"out")]
            .concat(),
        [member("manifest.json", b'0', "", manifest), member("up", b'2', "/etc", b"")].concat(),
        member("null", b'3', "", b""),
        member("a", b'0', "", b"in"),
    ];
    members.into_iter().map(|members| [dockerfile.clone(), members, end.clone()].concat()).collect()
}

/// Cut off and spoilt forms of an archive, always the same ones.
fn spoilt(archive: &[u8]) -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = (0..archive.len()).step_by(1500).map(|cut| archive[..cut].to_vec()).collect();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..3 {
        let mut copy = archive.to_vec();
        for _ in 0..4 {
            // xorshift64: any numbers do, the same each time.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let at = usize::try_from(state).unwrap_or(0) % copy.len();
            copy[at] = (state >> 40) as u8;
        }
        all.push(copy);
    }
    all
}

fn check(line: &str, reply: &Reply) {
    let text = String::from_utf8_lossy(&reply.chunks.concat()).into_owned();
    // dockerd says so with this status when the Dockerfile is not in the context, and of any archive that it cannot import.
    let is_known = text.contains("Cannot locate specified Dockerfile") || line.contains("fromSrc");
    assert!(reply.status < 500 || is_known, "{line}: {} {text}", reply.status);
    assert!(!text.contains("panicked"), "{line}: {text}");
}

#[test]
fn bodies_that_make_no_sense_are_the_clients_fault_and_stay_inside() {
    let daemon = Running::start();
    daemon.import("x:1");
    let created = daemon.send(
        "POST",
        "/containers/create?name=cc",
        "Content-Type: application/json\r\n",
        br#"{"Image":"x:1","Cmd":["none"]}"#,
    );
    assert_eq!(created.status, 201, "{created:?}");
    let beside = daemon.directory.path().join("beside");
    std::fs::write(&beside, "canary").unwrap();
    let passwd = std::fs::read("/etc/passwd").unwrap();
    for archive in archives() {
        for body in [vec![archive.clone()], spoilt(&archive)].concat() {
            for (method, line) in [
                ("POST", "/build"),
                ("POST", "/images/load"),
                ("POST", "/images/create?fromSrc=-"),
                ("PUT", "/containers/cc/archive?path=/"),
                ("PUT", "/containers/cc/archive?path=up"),
            ] {
                check(line, &daemon.send(method, line, "Content-Type: application/x-tar\r\n", &body));
            }
        }
    }
    assert_eq!(std::fs::read(&beside).unwrap(), b"canary");
    assert_eq!(std::fs::read("/etc/passwd").unwrap(), passwd);
    assert!(!std::path::Path::new("/tmp/beside-the-root").exists());
    let mut names: Vec<_> =
        std::fs::read_dir(daemon.directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["beside", "root", "s"]);
    assert_eq!(daemon.get("/_ping").text(), "OK");
}
