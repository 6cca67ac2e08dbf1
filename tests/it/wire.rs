//! The wire: a real docker-registry in each of its guises, a bad line, a mirror, and a second host that listens.

mod lies;
mod urls;

use std::fs;
use std::process::Command;

use shale_tests::data_root::DataRoot;
use shale_tests::image::storage;
use shale_tests::peer::{Access, CuttingProxy, DockerRegistry, Shale, TokenServer};
use shale_tests::program::{require, run, run_bounded};
use shale_tests::scratch::Scratch;
use shale_tests::terminal::run_on_terminal;
use shale_tests::tree::Compare;

/// Memory for a pull of a whole distribution.
const MEMORY_MAX_KIB: u64 = 100 * 1024;

const LINE_BYTES: usize = 1_000_000;

/// Image IDs in the store, sorted.
fn images(shale: &Shale) -> Vec<String> {
    let mut ids: Vec<String> =
        shale.shale(&["images", "--all", "--quiet", "--no-trunc"]).lines().map(str::to_owned).collect();
    ids.sort();
    ids
}

fn copy_image(from: &str, to: &str, extra: &[&str]) {
    let mut command = Command::new(require("skopeo", "skopeo"));
    command.args(["copy", "--quiet", "--src-tls-verify=false"]).args(extra);
    run(command.args([format!("docker://{from}"), format!("docker://{to}")])).success();
}

#[test]
fn a_line_that_breaks_every_megabyte_only_slows_a_pull_down() {
    let scratch = Scratch::new("cut");
    let registry = DockerRegistry::on_storage(&scratch.folder("r"), &storage(), Access::ReadOnly);
    let proxy = CuttingProxy::start(registry.port(), LINE_BYTES);
    let shale = Shale::new(&scratch.folder("cut"));
    let pulled =
        run_bounded(&mut shale.command(&["pull", &format!("{}/images/debian:1", proxy.host())]), TIME_MAX);
    assert!(pulled.finished.is_success(), "{}", pulled.finished.describe());
    assert!(pulled.peak_kib < MEMORY_MAX_KIB, "{} KiB", pulled.peak_kib);
    assert!(proxy.cuts() >= 5, "only {} cuts: the image is too small to say anything", proxy.cuts());
    // docker-registry answers a Range request with 206; each cut but the last must have been followed by one.
    let partial = registry.requests("GET", "/blobs/").iter().filter(|line| line.contains("\" 206 ")).count();
    assert!(partial >= proxy.cuts() / 2, "{partial} ranges for {} cuts", proxy.cuts());

    let whole = Shale::new(&scratch.folder("whole"));
    whole.shale(&["pull", &format!("{}/images/debian:1", registry.host())]);
    let (cut, whole) = (DataRoot::read(shale.data_root()), DataRoot::read(whole.data_root()));
    assert_eq!(cut.configs, whole.configs);
    for (chain, layer) in &whole.layers {
        let compare = Compare { times: true };
        let difference = shale_tests::data_root::layer_differences(chain, &cut.layers[chain], layer, compare);
        assert_eq!(difference, Vec::<String>::new());
    }
}

const TIME_MAX: std::time::Duration = std::time::Duration::from_secs(240);

#[test]
fn a_password_is_asked_for_and_only_the_right_one_opens() {
    let scratch = Scratch::new("password");
    let source = DockerRegistry::on_storage(&scratch.folder("s"), &storage(), Access::ReadOnly);
    let registry = DockerRegistry::start(&scratch.folder("r"), Access::Password);
    let reference = format!("{}/private/busybox:1", registry.host());
    let extra = ["--dest-tls-verify=false", "--dest-creds=bob:s3cret"];
    copy_image(&format!("{}/images/busybox:1", source.host()), &reference, &extra);

    let shale = Shale::new(scratch.path());
    let message = shale.run(&["pull", &reference]).refusal();
    assert!(message.to_lowercase().contains("auth") || message.contains("denied"), "{message}");
    let (host, open) = (registry.host(), format!("{}/images/busybox:1", source.host()));
    for (from, to) in [(&reference, &open), (&open, &reference)] {
        let message = shale.run(&["copy", from, to]).refusal();
        let hint = format!("access to {host}/private/busybox refused, may require 'shale login {host}'");
        assert!(message.contains(&format!("{hint}: unauthorized: authentication required")), "{message}");
    }
    shale.run(&["login", "-u", "bob", "-p", "wrong", &registry.host()]).refusal();
    assert_eq!(images(&shale), Vec::<String>::new());
    let greeting = shale.shale(&["login", "-u", "bob", "-p", "s3cret", &registry.host()]);
    assert!(greeting.contains("Login Succeeded"), "{greeting}");
    shale.shale(&["pull", &reference]);
    assert_eq!(images(&shale).len(), 1);
    let copy = format!("{}/private/again:1", registry.host());
    shale.shale(&["tag", &reference, &copy]);
    shale.shale(&["push", &copy]);
    shale.shale(&["logout", &registry.host()]);
    shale.run(&["pull", &copy]).refusal();
    let config = fs::read_to_string(shale.config().join("config.json")).unwrap_or_default();
    assert!(!config.contains(&registry.host()), "logout left {config}");
}

#[test]
fn a_terminal_shows_what_is_typed_again_after_ctrl_c_at_a_password() {
    let scratch = Scratch::new("ctrl-c");
    let shale = Shale::new(scratch.path());
    let root = scratch.folder("registry");
    let add = ["registry", "user", "add", "--root", &root.to_string_lossy(), "bob"].map(str::to_owned);
    for words in [["login", "-u", "bob", "127.0.0.1:1"].map(str::to_owned).to_vec(), add.to_vec()] {
        let asking = shale.command(&words);
        // The shell outlives the Ctrl-C, tells how the command ended, and whether the terminal echoes.
        let mut shell = Command::new("sh");
        let script = "trap : INT; \"$@\"; echo status $?; stty -a | grep -ow -- '-*echo'";
        shell.args(["-c", script, "sh"]).arg(asking.get_program()).args(asking.get_args());
        shell.envs(asking.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let (screen, _) = run_on_terminal(&shell, ": ", "\u{3}");
        // 128 and the number of the signal that ended it, as with every other program.
        assert!(screen.ends_with("status 130\r\necho\r\n"), "{words:?}: {screen:?}");
    }
}

/// What docker 28.2 does with the same file, but that its `login` replaces it.
#[test]
fn a_broken_config_file_is_warned_of_and_never_written() {
    let scratch = Scratch::new("broken-config");
    let registry = DockerRegistry::on_storage(&scratch.folder("r"), &storage(), Access::ReadOnly);
    let shale = Shale::new(scratch.path());
    let file = shale.config().join("config.json");
    fs::create_dir_all(shale.config()).expect("the scratch directory is ours");
    let broken = r#"{"auths": {"r:5000": {"auth": "Ym9iOnMzY3JldA=="}"#;
    fs::write(&file, broken).expect("the scratch directory is ours");
    let warning = format!("WARNING: Error parsing config file ({}): ", file.display());
    let pulled = shale.run(&["pull", "--quiet", &format!("{}/images/busybox:1", registry.host())]);
    assert_eq!((pulled.code(), pulled.stderr.lines().count()), (0, 1), "{}", pulled.describe());
    assert!(pulled.stderr.starts_with(&warning), "{}", pulled.describe());
    let gone = shale.run(&["logout", "r:5000"]);
    assert_eq!(gone.code(), 0, "{}", gone.describe());
    assert!(gone.stderr.starts_with(&warning), "{}", gone.describe());
    let message = shale.run(&["login", "-u", "bob", "-p", "s3cret", &registry.host()]).refusal();
    assert!(message.contains(&format!("{} is malformed", file.display())), "{message}");
    assert_eq!(fs::read_to_string(&file).expect("it is still there"), broken);
}

#[test]
fn a_token_is_fetched_with_the_password_and_only_for_what_is_needed() {
    let scratch = Scratch::new("token");
    let source = DockerRegistry::on_storage(&scratch.folder("s"), &storage(), Access::ReadOnly);
    let service = TokenServer::start(&scratch.folder("t"));
    let access = Access::Token { realm: service.realm(), certificate: service.certificate() };
    let registry = DockerRegistry::start(&scratch.folder("r"), access);
    let reference = format!("{}/private/busybox:1", registry.host());
    let extra = ["--dest-tls-verify=false", "--dest-creds=bob:s3cret"];
    copy_image(&format!("{}/images/busybox:1", source.host()), &reference, &extra);

    // A password goes to a service on another port only when the user says that it belongs to the registry.
    let system = scratch.folder("etc-docker");
    let settings = serde_json::json!({"shale": {"token-realms": {registry.host(): [service.realm().trim_end_matches("/token")]}}});
    fs::write(system.join("daemon.json"), settings.to_string()).expect("the scratch directory is ours");
    let shale = Shale::new(scratch.path()).with_system_config(&system);
    shale.run(&["pull", &reference]).refusal();
    shale.shale(&["login", "-u", "bob", "-p", "s3cret", &registry.host()]);
    let before = service.requests().len();
    shale.shale(&["pull", &reference]);
    let asked = service.requests().split_off(before);
    let asked: Vec<String> = asked.iter().map(|line| line.replace("%3A", ":").replace("%2F", "/")).collect();
    let is_narrow = |line: &String| line.contains("scope=repository:private/busybox:pull");
    assert!(!asked.is_empty() && asked.iter().all(|line| line.ends_with("as bob")), "{asked:?}");
    assert!(asked.iter().any(is_narrow) && asked.iter().all(|line| !line.contains("push")), "{asked:?}");
    let copy = format!("{}/private/again:1", registry.host());
    shale.shale(&["tag", &reference, &copy]);
    shale.shale(&["push", &copy]);
    assert!(
        !registry.log().contains("s3cret") && !registry.log().contains("Ym9iOnMzY3JldA"),
        "the registry saw the password"
    );
}

#[test]
fn a_certificate_counts_only_with_its_authority() {
    let scratch = Scratch::new("tls");
    let source = DockerRegistry::on_storage(&scratch.folder("s"), &storage(), Access::ReadOnly);
    let registry = DockerRegistry::start(&scratch.folder("r"), Access::Tls);
    let reference = format!("{}/tls/busybox:1", registry.host());
    copy_image(&format!("{}/images/busybox:1", source.host()), &reference, &["--dest-tls-verify=false"]);

    // Without an authority, Docker and Shale take any certificate on loopback; whoever installs one means it.
    let stranger = DockerRegistry::start(&scratch.folder("stranger"), Access::Tls);
    let system = scratch.folder("etc-docker");
    let shale = Shale::new(scratch.path()).with_system_config(&system);
    let certificates = system.join("certs.d").join(registry.host());
    fs::create_dir_all(&certificates).expect("the scratch directory is ours");
    fs::copy(stranger.authority(), certificates.join("ca.crt")).expect("the scratch directory is ours");
    let message = shale.run(&["pull", &reference]).refusal();
    assert!(message.to_lowercase().contains("certificate"), "{message}");
    fs::copy(registry.authority(), certificates.join("ca.crt")).expect("the scratch directory is ours");
    shale.shale(&["pull", &reference]);
    assert_eq!(images(&shale).len(), 1);
}

#[test]
fn a_mirror_that_is_down_is_passed_over_and_one_that_is_up_is_used() {
    let scratch = Scratch::new("mirror");
    let registry = DockerRegistry::start(&scratch.folder("r"), Access::Open);
    let source = DockerRegistry::on_storage(&scratch.folder("s"), &storage(), Access::ReadOnly);
    let copy = format!("{}/library/busybox:1", registry.host());
    copy_image(&format!("{}/images/busybox:1", source.host()), &copy, &["--dest-tls-verify=false"]);

    let system = scratch.folder("etc-docker");
    let shale = Shale::new(scratch.path()).with_system_config(&system);
    let dead = format!("http://127.0.0.1:{}", shale_tests::http::free_port());
    let settings = serde_json::json!({"registry-mirrors": [dead, format!("http://{}", registry.host())]});
    fs::write(system.join("daemon.json"), settings.to_string()).expect("the scratch directory is ours");
    shale.shale(&["pull", "busybox:1"]);
    let names = shale.shale(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    assert_eq!(names.trim(), "busybox:1", "the name is that of Docker Hub, not of the mirror");
}
