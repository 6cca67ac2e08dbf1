//! `--format buildkit`: the words that BuildKit 0.32.2 wrote for the same instructions (builder reference 8).

use shale_build::{BuildOptions, ImageFormat};
use shale_dockerfile::Dialect;

use crate::machine::Machine;

/// The digest of a tar with nothing in it: two blocks of zeros.
const EMPTY_TAR: &str = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";

fn options() -> BuildOptions {
    BuildOptions {
        format: ImageFormat::BuildKit,
        build_arguments: [("GIVEN".to_owned(), "by hand".to_owned())].into(),
        labels: [("from".to_owned(), "outside".to_owned())].into(),
        ..BuildOptions::default()
    }
}

const DOCKERFILE: &str = r#"FROM base
ARG FOO=bar
ARG UNSET
ARG GIVEN=x
ENV K1=v1 K2="v 2"
LABEL a=b "c d"="e f"
MAINTAINER x
COPY a.txt /dst/
COPY --chown=1:2 a.txt d /dst2/
COPY --link --chmod=600 a.txt /dst3/
COPY <<T1 <<T2 /hd/
one
T1
two
T2
ADD a.txt /added
WORKDIR /work/dir
RUN echo $FOO > f1
RUN true
RUN ["/bin/true", "x"]
EXPOSE 443 53/udp 80/tcp
VOLUME /data /data2
HEALTHCHECK --interval=5s --timeout=3s --start-period=1s --retries=2 CMD echo ok
USER 1000:1000
SHELL ["/bin/sh","-ec"]
CMD ["echo","hi"]
ENTRYPOINT x y
ONBUILD RUN echo trig
STOPSIGNAL SIGTERM
"#;

#[test]
fn history_and_config_are_buildkits() {
    let Some(machine) = Machine::new() else { return };
    machine.file("a.txt", "hello\n");
    machine.file("d/b.txt", "w\n");
    let image = machine.build_with(DOCKERFILE, Dialect::Shale, &options()).image();
    let config = machine.config(image);
    let args = "|3 FOO=bar UNSET= GIVEN=by hand";
    let run = |words: &str| format!("RUN {args} {words} # buildkit");
    let expected = [
        ("ARG FOO=bar", true),
        ("ARG UNSET", true),
        ("ARG GIVEN=by hand", true),
        ("ENV K1=v1 K2=v 2", true),
        ("LABEL a=b c d=e f", true),
        ("MAINTAINER x", true),
        ("COPY a.txt /dst/ # buildkit", false),
        ("COPY --chown=1:2 a.txt d /dst2/ # buildkit", false),
        ("COPY --chmod=600 a.txt /dst3/ # buildkit", false),
        ("COPY <<T1 <<T2 /hd/ # buildkit", false),
        ("ADD a.txt /added # buildkit", false),
        ("WORKDIR /work/dir", false),
        (&run("/bin/sh -c echo $FOO > f1"), false),
        (&run("/bin/sh -c true"), false),
        (&run("/bin/true x"), false),
        ("EXPOSE [443/tcp 53/udp 80/tcp]", true),
        ("VOLUME [/data /data2]", true),
        (
            "HEALTHCHECK {Test:[CMD-SHELL echo ok] Interval:5s Timeout:3s StartPeriod:1s StartInterval:0s Retries:2}",
            true,
        ),
        ("USER 1000:1000", true),
        ("SHELL [/bin/sh -ec]", true),
        (r#"CMD ["echo" "hi"]"#, true),
        (r#"ENTRYPOINT ["/bin/sh" "-ec" "x y"]"#, true),
        ("STOPSIGNAL SIGTERM", true),
    ];
    let history = &config.history[1..];
    let written: Vec<(&str, bool)> =
        history.iter().map(|entry| (entry.created_by.as_str(), entry.empty_layer)).collect();
    assert_eq!(written, expected);
    assert!(history.iter().all(|entry| entry.comment == "buildkit.dockerfile.v0" && entry.author.is_empty()));
    let layers = history.iter().filter(|entry| !entry.empty_layer).count();
    assert_eq!(config.rootfs.diff_ids.len(), 1 + layers);
    assert_eq!(config.rootfs.diff_ids[8].to_string(), EMPTY_TAR);
    assert_eq!(config.created, history.last().unwrap().created);
    // Those before the first new layer have its time.
    assert_eq!(history[0].created, history[6].created);

    let bytes = machine.store.image(image).unwrap().unwrap().config.to_vec();
    let document: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    let keys: Vec<&String> = document.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["architecture", "author", "config", "created", "history", "os", "rootfs"]);
    let expected = serde_json::json!({
        "User": "1000:1000",
        "ExposedPorts": { "443/tcp": {}, "53/udp": {}, "80/tcp": {} },
        "Env": document["config"]["Env"],
        "Entrypoint": ["/bin/sh", "-ec", "x y"],
        "Cmd": ["echo", "hi"],
        "Volumes": { "/data": {}, "/data2": {} },
        "WorkingDir": "/work/dir",
        "Labels": { "a": "b", "c d": "e f", "from": "outside" },
        "StopSignal": "SIGTERM",
        "Healthcheck": { "Test": ["CMD-SHELL", "echo ok"], "Interval": 5_000_000_000_u64,
            "Timeout": 3_000_000_000_u64, "StartPeriod": 1_000_000_000_u64, "Retries": 2 },
        "ArgsEscaped": true,
        "OnBuild": ["RUN echo trig"],
        "Shell": ["/bin/sh", "-ec"],
    });
    assert_eq!(document["config"], expected);
}

#[test]
fn each_form_finds_its_own_steps() {
    let Some(machine) = Machine::new() else { return };
    machine.file("a.txt", "hello\n");
    machine.file("d/b.txt", "w\n");
    let cached = |text: &str| text.matches("Using cache").count();
    let first = machine.build_with(DOCKERFILE, Dialect::Shale, &options());
    let again = machine.build_with(DOCKERFILE, Dialect::Shale, &options());
    assert_eq!(again.image(), first.image());
    assert_eq!(cached(&again.text), 25, "{}", again.text);
    let classic = BuildOptions { format: ImageFormat::Classic, ..options() };
    let other = machine.build_with(DOCKERFILE, Dialect::Shale, &classic);
    // What has no layer is one step in both forms, up to the first COPY.
    assert_eq!(cached(&other.text), 6, "{}", other.text);
    let config = machine.config(other.image());
    let run_true = config.history.iter().find(|entry| entry.created_by.ends_with("-c true")).unwrap();
    assert!(run_true.empty_layer);
}

#[test]
fn the_form_is_written_in_every_dialect() {
    let Some(machine) = Machine::new() else { return };
    for dialect in [Dialect::Classic, Dialect::BuildKit, Dialect::Shale] {
        let options = BuildOptions { source_date_epoch: Some(1_600_000_000), ..options() };
        let image = machine.build_with("FROM base\nRUN true\nCMD x\n", dialect, &options).image();
        let config = machine.config(image);
        let words: Vec<&str> = config.history[1..].iter().map(|entry| entry.created_by.as_str()).collect();
        assert_eq!(words, ["RUN /bin/sh -c true # buildkit", r#"CMD ["/bin/sh" "-c" "x"]"#]);
        assert_eq!(config.created.as_deref(), Some("2020-09-13T12:26:40Z"));
    }
}
