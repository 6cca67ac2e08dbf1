//! What docker 28.2 printed in the recorded session: the same commands in the same order before `shale daemon` print it again.
//!
//! IDs, ages, times, sizes and widths of columns are put aside. The client must be of 28.2, because the words are its own:
//! another one prints others.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use shale_tests::peer::{Access, DockerRegistry, ShaleDaemon};
use shale_tests::program::{require, run, shell};
use shale_tests::scratch::Scratch;

use super::super::commands::{all_clients, normal};
use super::archive;

const RECORDED: &str =
    include_str!("../../../../fixtures/engine-api/transcripts/cli28.2_dockerd20.10.console.jsonl");

/// The version of the client that was recorded.
const VERSION: &str = "28.2.";

/// Commands whose words differ here, and why. Those whose reason begins with `it` are not run.
const OTHERWISE: &[(&str, &str)] = &[
    ("version-0", "the daemon has another name, other versions and other parts"),
    ("info-0", "the daemon has another name, other versions and other parts"),
    ("images-16-bad-filter", "dockerd 29 says it as Shale does"),
    ("load-06-garbage", "dockerd 29 says it as Shale does"),
    ("push-01-new", "the registry of the recording had the base's layer in another repository"),
    ("push-05-big-tty", "it draws bars as the bytes go"),
    ("push-09-registry-down", "a registry that is not there is told of in other words"),
    ("pull-03-big-tty", "it draws bars as the bytes come"),
    ("pull-10-registry-down", "a registry that is not there is told of in other words"),
    ("pull-11-platform", "it warns of the other platform, as dockerd 20.10 does for some names only"),
    ("login-08-pull-noauth", "a refusal is told as Docker Hub's is"),
    ("search-", "it asks Docker Hub, or a registry that has no search"),
    ("manifest-02-inspect-verbose", "the bytes of another manifest are printed"),
    ("run-03-it", "it types when the shell's prompt is there"),
    ("run-14-platform-mismatch", "it asks Docker Hub"),
    ("inspect-09-container", "there is no bridge, and so no address"),
    ("exec-03-it", "it types when the shell's prompt is there"),
    ("logs-03-follow", "it ends when the recorder pressed Ctrl-C"),
    ("top-01", "other processes have other numbers"),
    ("stats-01", "another container uses other amounts"),
    ("start-02-attach", "it types when the shell's prompt is there"),
    ("network-03-inspect", "the network was made at another time"),
    ("events-", "it ends when the recorder pressed Ctrl-C, or asks for the moments of the recording"),
    (
        "df-0",
        "dockerd keeps the container of a failed build, and the recording had images of an earlier session",
    ),
    ("ps-02-all-size", "dockerd keeps the container of a failed build"),
    ("ps-03-json", "dockerd keeps the container of a failed build"),
    ("prune-01-container", "dockerd keeps the container of a failed build"),
    ("prune-02-image", "the recording had an image of Docker Hub"),
    ("prune-07-confirm", "what is typed is shown where the terminal wants it"),
];

/// Exceptions of several commands, some of which may print what was recorded.
const MANY: [&str; 3] = ["version-0", "info-0", "df-0"];

/// What was done outside the recording before a step.
const BEFORE: &[(&str, &str)] = &[
    ("images-01", "docker build -q -t big:1 big"),
    ("push-03", "docker tag demo:1 OPEN/demotty:1"),
    ("push-04", "docker tag demo:1 OPEN/demo:2"),
    ("push-05", "docker tag big:1 OPEN/big:1; docker push -q OPEN/big:1"),
    ("push-06", "docker tag big:1 OPEN/bigtwo:1"),
    ("pull-01", "docker rmi -f demo:1 OPEN/demo:1 OPEN/demotty:1"),
    ("pull-04", "docker rmi OPEN/big:1"),
    ("push-09", "docker tag busybox localhost:1/x:1"),
    ("pull-03", "docker pull -q OPEN/big:1; docker rmi localhost:1/x:1"),
    ("login-04", "docker tag busybox CLOSED/bb:1"),
    ("login-07", "docker tag busybox CLOSED/bb:2"),
    // A name that went over to another image while the container ran.
    ("ps-01", "docker tag imp:tty busybox"),
    ("inspect-09", "docker tag $(docker inspect -f {{.Image}} c1) busybox"),
];

struct Session {
    directory: PathBuf,
    socket: PathBuf,
    /// Where the daemon keeps its images, which it tells.
    data_root: String,
    registries: [(&'static str, String); 2],
    /// IDs of the recording, and ours.
    ids: BTreeMap<String, String>,
}

/// What a command left behind.
struct Printed {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Session {
    fn here(&self, text: &str) -> String {
        let mut text = text.replace("/w/", &format!("{}/", self.directory.display()));
        for (recorded, host) in &self.registries {
            text = text.replace(recorded, host);
        }
        for (recorded, ours) in &self.ids {
            text = text.replace(recorded, ours).replace(&recorded[..12], &ours[..12]);
        }
        text
    }

    fn prepare(&self, script: &str) {
        let [open, closed] =
            self.registries.each_ref().map(|(_, host)| format!("{host}/cli28.2_dockerd20.10"));
        let script = script.replace("OPEN", &open).replace("CLOSED", &closed);
        let mut command = self.command("version");
        command.args(["sh", "-c", &script]).stdin(Stdio::null());
        run(&mut command);
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new("timeout");
        command
            .args(["--signal", "KILL", "60"])
            .current_dir(self.directory.join("work"))
            .env_clear()
            .env("PATH", format!("{}/bin:/usr/sbin:/usr/bin:/sbin:/bin", self.directory.display()))
            .env("HOME", &self.directory)
            .env("LC_ALL", "C")
            .env("DOCKER_CONFIG", self.directory.join("cfg-cli28.2_dockerd20.10"))
            .env("DOCKER_HOST", format!("unix://{}", self.socket.display()));
        let version = match name {
            "version-03-forced-low-api" => "1.23",
            "version-04-forced-high-api" => "1.99",
            // The daemon of the recording spoke it.
            _ => "1.41",
        };
        command.env("DOCKER_API_VERSION", version);
        match name {
            "build-11-default-env-no-buildx" | "prune-04-builder" => {}
            "build-12-buildkit-1-no-buildx" => drop(command.env("DOCKER_BUILDKIT", "1")),
            _ => drop(command.env("DOCKER_BUILDKIT", "0")),
        }
        command
    }

    fn run(&self, step: &Value) -> Printed {
        let name = step["name"].as_str().expect("each has a name");
        let arguments: Vec<String> =
            step["argv"].as_array().expect("a list").iter().map(|word| self.here(text_of(word))).collect();
        let mut command = self.command(name);
        if step["tty"] == true {
            let quoted: Vec<String> =
                arguments.iter().map(|word| format!("'{}'", word.replace('\'', "'\\''"))).collect();
            // A terminal of its own; what is typed comes from our standard input.
            let line = format!("docker {}", quoted.join(" "));
            command.args(["script", "-qefc", &line, "/dev/null"]);
        } else {
            command.arg("docker").args(&arguments);
        }
        let input = self.directory.join("input");
        std::fs::write(&input, self.input(name)).expect("the scratch directory is ours");
        command.stdin(std::fs::File::open(&input).expect("it was just written"));
        let output = command.output().expect("timeout can be run");
        let text = |bytes: &[u8]| match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => format!("[binary {} bytes]", bytes.len()),
        };
        Printed {
            code: output.status.code().unwrap_or(-1),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// What was typed or piped into a command.
    fn input(&self, name: &str) -> Vec<u8> {
        let file = |name: &str| std::fs::read(self.directory.join(name)).unwrap_or_default();
        match name {
            "import-02-stdin-untagged" => file("busybox.tar"),
            "build-07-dockerfile-stdin" => b"FROM busybox:latest\nRUN echo x\n".to_vec(),
            "build-10-from-missing" => self.here("FROM localhost:5044/none/such:1\n").into_bytes(),
            "build-14-context-tar-stdin" => file("ctx.tar"),
            "load-03-stdin" => file("work/two.tar"),
            "load-06-garbage" => "this is not a tar".repeat(100).into_bytes(),
            "login-01-ok" => b"s3cret\n".to_vec(),
            "login-02-wrong" => b"wrong\n".to_vec(),
            "run-04-stdin" => b"from stdin\n".to_vec(),
            "exec-04-stdin" => b"piped\n".to_vec(),
            "cp-06-in-stdin-tar" => file("hello.tar"),
            "prune-07-confirm" => b"n\n".to_vec(),
            _ => Vec::new(),
        }
    }

    /// The words alone, so that two machines print the same.
    fn bare(&self, name: &str, text: &str) -> String {
        let mut text = text.replace("\r\n", "\n").replace("\r", "");
        for (recorded, host) in &self.registries {
            text = text.replace(host.as_str(), recorded);
        }
        if text.contains('\0') || text.starts_with("[binary") {
            return "an archive".to_owned();
        }
        let text = text.replace(&self.data_root, "/w/dd/root");
        let text = normal(&text, &self.directory).replace("DIRECTORY/", "/w/");
        let mut lines: Vec<String> = text.lines().map(|line| bare_line(line.trim_end())).collect();
        let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
        if begins(&["images-", "diff-"]) {
            // Images of one second, and what dockerd keeps in a table, come in any order.
            lines.sort();
        }
        if begins(&["logs-02"]) {
            // Whether the clock struck once or twice since the start is a matter of the moment.
            lines.retain(|line| !line.ends_with(" started"));
        }
        if begins(&["push-", "pull-", "prune-", "rmi-", "run-12", "login-0", "logs-"]) {
            // Layers come and go in any order, and a clock strikes more or less often.
            lines = lines.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
        }
        lines.join("\n")
    }

    /// Notes which of our IDs stands for which of the recording: those behind the same words of a line.
    fn learn(&mut self, recorded: &str, ours: &str) {
        let (recorded, ours) = (ids_of(recorded), ids_of(ours));
        for (words, ids) in recorded {
            if let ([recorded], Some([ours])) = (ids.as_slice(), ours.get(&words).map(Vec::as_slice)) {
                self.ids.entry(recorded.clone()).or_insert_with(|| ours.clone());
            }
        }
    }
}

fn text_of(value: &Value) -> &str {
    value.as_str().expect("a text")
}

/// The first ID of 64 digits of each line, by the words before it.
fn ids_of(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut ids: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split(|character: char| !character.is_ascii_hexdigit());
        let Some(id) = words.find(|word| word.len() == 64) else { continue };
        let before = line.split(id).next().unwrap_or_default();
        let before = before.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        ids.entry(before).or_default().push(id.to_owned());
    }
    ids
}

/// Puts aside what depends on the files and the hour of the recording.
fn bare_line(line: &str) -> String {
    const CHANGING: [&str; 7] =
        ["CreatedAt", "CreatedSince", "RunningFor", "Size", "Status", "VirtualSize", "CreatedBy"];
    if let Ok(Value::Object(mut fields)) = serde_json::from_str(line) {
        for key in CHANGING {
            fields.entry(key).and_modify(|value| *value = Value::from("…"));
        }
        return Value::Object(fields).to_string();
    }
    let mut words: Vec<String> = Vec::new();
    for word in line.split(' ').filter(|word| !word.is_empty()) {
        let bare = word.trim_matches(|character| matches!(character, '(' | ')' | '"' | ','));
        words.push(match () {
            () if is_size(bare) => word.replace(bare, "SIZE"),
            () if bare.starts_with("file:") => word.replace(bare, "file:ID"),
            () if bare.len() > 2 && bare.bytes().all(|byte| byte.is_ascii_digit()) => {
                word.replace(bare, "NUMBER")
            }
            () => word.to_owned(),
        });
    }
    without_dates(&words)
        .join(" ")
        .replace("\"20.10.24+dfsg1\"", "VERSION")
        .replace(concat!("\"", env!("CARGO_PKG_VERSION"), "\""), "VERSION")
}

/// `1.99MB`: the files of the recording were others.
fn is_size(word: &str) -> bool {
    let number = word.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    matches!(&word[number.len()..], "B" | "kB" | "MB" | "GB") && number.parse::<f64>().is_ok()
}

/// `Nov 21 22:00` and `Sat Nov 21 23:07:21 UTC 2026`.
fn without_dates(words: &[String]) -> Vec<String> {
    const MONTHS: &str = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec";
    const DAYS: &str = "Mon Tue Wed Thu Fri Sat Sun";
    let is_one_of = |names: &str, word: &str| names.split(' ').any(|name| name == word);
    let mut rest = words;
    let mut bare = Vec::new();
    while let [word, after @ ..] = rest {
        let is_date = is_one_of(MONTHS, word) && after.len() > 1 && after[1].contains(':');
        if is_one_of(DAYS, word) && after.first().is_some_and(|word| is_one_of(MONTHS, word)) {
            rest = after;
        } else if is_date {
            bare.push("DATE".to_owned());
            rest = &after[2..];
            if let [zone, _, after @ ..] = rest
                && zone == "UTC"
            {
                rest = after;
            }
        } else {
            bare.push(word.clone());
            rest = after;
        }
    }
    bare
}

fn make_files(scratch: &Scratch, directory: &Path, client: &Path) {
    std::fs::write(directory.join("busybox.tar"), archive::busybox(scratch)).expect("the directory is ours");
    std::fs::write(directory.join("client"), client.display().to_string()).expect("the directory is ours");
    shell(
        directory,
        "mkdir -p bin cfg-cli28.2_dockerd20.10 work/ctx work/ctxbad work/ctxms work/big
        ln -s $(cat client) bin/docker
        cd work
        echo '*.log' > ctx/.dockerignore; echo hi > ctx/hello.txt; echo ignore > ctx/ignored.log
        cat > ctx/Dockerfile <<'END'
FROM busybox:latest
ARG WHO=world
ENV GREETING=hello
COPY hello.txt /app/
RUN echo \"$GREETING $WHO\" > /app/out.txt && ls -l /app
HEALTHCHECK --interval=30s --timeout=3s CMD true
CMD [\"cat\", \"/app/out.txt\"]
END
        printf 'FROM busybox:latest\\nRUN echo before && exit 7\\n' > ctxbad/Dockerfile
        printf 'FROM busybox:latest\\nFROBNICATE all\\n' > ctxbad/Dockerfile.syntax
        printf 'FROM busybox:latest AS build\\nRUN echo artefact > /a\\n' > ctxms/Dockerfile
        printf 'FROM scratch AS final\\nCOPY --from=build /a /a\\n' >> ctxms/Dockerfile
        head -c 300000 /dev/urandom > big/a; head -c 300000 /dev/urandom > big/b
        printf 'FROM busybox\\nLABEL big=1\\nCOPY a /a\\nCOPY b /b\\n' > big/Dockerfile
        tar -C ctx -cf ../hello.tar hello.txt
        # Another file of the same size.
        mkdir other; cp ctx/Dockerfile other; echo yo > other/hello.txt
        tar -C other -czf ../ctx.tar Dockerfile hello.txt",
    );
}

fn client_of_the_recording() -> Option<PathBuf> {
    all_clients().into_iter().find(|client| {
        let version = run(Command::new(client).arg("--version"));
        version.is_success() && version.stdout.contains(&format!("version {VERSION}"))
    })
}

#[test]
fn docker_28_prints_what_it_printed_with_dockerd() {
    let Some(client) = client_of_the_recording() else {
        // Its words are what is compared.
        let _ = writeln!(
            std::io::stderr(),
            "there is no docker command of version {VERSION}x: nothing was compared"
        );
        return;
    };
    require("script", "bsdutils");
    let scratch = Scratch::new("con");
    let daemon = ShaleDaemon::start(&scratch.folder("s"));
    let open = DockerRegistry::start(&scratch.folder("r"), Access::Open);
    let closed = DockerRegistry::start(&scratch.folder("p"), Access::Password);
    let directory = scratch.folder("w");
    make_files(&scratch, &directory, &client);
    let registries = [("localhost:5044", open.host()), ("localhost:5045", closed.host())];
    let socket = daemon.socket().to_owned();
    let data_root = daemon.shale.data_root().display().to_string();
    let mut session = Session { directory, socket, data_root, registries, ids: BTreeMap::new() };
    let mut differences = Vec::new();
    let mut compared = 0;
    for line in RECORDED.lines() {
        let step: Value = serde_json::from_str(line).expect("each line is one command");
        let name = text_of(&step["name"]).to_owned();
        let reason = OTHERWISE.iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(_, reason)| *reason);
        if let Some((_, script)) = BEFORE.iter().find(|(prefix, _)| name.starts_with(prefix)) {
            session.prepare(script);
        }
        if reason.is_some_and(|reason| reason.starts_with("it ")) {
            continue;
        }
        let printed = session.run(&step);
        let recorded = (text_of(&step["stdout"]), text_of(&step["stderr"]));
        session.learn(recorded.0, &printed.stdout);
        let shown = |code: &Value, stdout: &str, stderr: &str| {
            let (stdout, stderr) = (session.bare(&name, stdout), session.bare(&name, stderr));
            format!("exit code {code}\n{stdout}\n---\n{stderr}")
        };
        let theirs = shown(&step["exit"], recorded.0, recorded.1);
        let ours = shown(&Value::from(printed.code), &printed.stdout, &printed.stderr);
        compared += 1;
        match reason {
            None if ours != theirs => {
                differences.push(format!("{name}\nshale daemon: {ours}\nrecorded: {theirs}"));
            }
            // An exception that is none any more hides the next mistake; some are of several commands.
            Some(reason) if ours == theirs && !MANY.iter().any(|prefix| name.starts_with(prefix)) => {
                differences.push(format!("{name} prints what was recorded, but it is said that {reason}"));
            }
            _ => {}
        }
    }
    assert!(compared > 150, "{compared} commands");
    assert!(
        differences.is_empty(),
        "{} of {compared} differ:\n\n{}",
        differences.len(),
        differences.join("\n\n")
    );
}
