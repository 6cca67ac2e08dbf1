//! The history, the keys and the text that dockerd 20.10.24 made of the same Dockerfiles and files.

use shale_dockerfile::Dialect;

use crate::machine::Machine;

/// The words of the history, oldest first, without that of the base.
#[track_caller]
fn history(machine: &Machine, dockerfile: &str) -> Vec<String> {
    let image = machine.build(dockerfile, Dialect::Classic).image();
    machine.config(image).history.into_iter().skip(1).map(|entry| entry.created_by).collect()
}

// The lines are those of `docker history --no-trunc` on dockerd 20.10.24, observed 2026-11-22.
#[test]
fn history_is_dockers() {
    let Some(machine) = Machine::new() else { return };
    let dockerfile = r#"FROM base
ARG FOO=bar
ENV K1=v1 K2="v 2"
LABEL a=b "c d"="e f"
MAINTAINER me
WORKDIR /work/dir
WORKDIR rel
RUN echo $FOO > /f1; echo err >&2
EXPOSE 80/tcp 443
VOLUME /data
HEALTHCHECK --interval=5s CMD echo ok
USER 1000:1000
SHELL ["/bin/sh","-ec"]
CMD x y
ENTRYPOINT ["/bin/e"]
ONBUILD RUN echo trig
STOPSIGNAL SIGTERM
CMD []
"#;
    let expected = [
        "/bin/sh -c #(nop)  ARG FOO=bar",
        "/bin/sh -c #(nop)  ENV K1=v1 K2=v 2",
        "/bin/sh -c #(nop)  LABEL a=b c d=e f",
        "/bin/sh -c #(nop)  MAINTAINER me",
        "/bin/sh -c #(nop) WORKDIR /work/dir",
        "/bin/sh -c #(nop) WORKDIR /work/dir/rel",
        "|1 FOO=bar /bin/sh -c echo $FOO > /f1; echo err >&2",
        "/bin/sh -c #(nop)  EXPOSE 443 80/tcp",
        "/bin/sh -c #(nop)  VOLUME [/data]",
        r#"/bin/sh -c #(nop)  HEALTHCHECK &{["CMD-SHELL" "echo ok"] "5s" "0s" "0s" '\x00'}"#,
        "/bin/sh -c #(nop)  USER 1000:1000",
        "/bin/sh -ec #(nop)  SHELL [/bin/sh -ec]",
        r#"/bin/sh -ec #(nop)  CMD ["/bin/sh" "-ec" "x y"]"#,
        r#"/bin/sh -ec #(nop)  ENTRYPOINT ["/bin/e"]"#,
        "/bin/sh -ec #(nop)  ONBUILD RUN echo trig",
        "/bin/sh -ec #(nop)  STOPSIGNAL SIGTERM",
        "/bin/sh -ec #(nop)  CMD []",
    ];
    assert_eq!(history(&machine, dockerfile), expected);
}

// The digests are those in the history of dockerd 20.10.24 for the same files, sent by the docker program of 20.10.24.
#[test]
fn keys_of_copied_files_are_dockers() {
    let Some(machine) = Machine::new() else { return };
    machine.file("a.txt", "hello\n");
    machine.file("d/b.txt", "w\n");
    machine.file("e2/sub/x", "x\n");
    std::fs::create_dir(machine.context().join("e1")).unwrap();
    std::os::unix::fs::symlink("b.txt", machine.context().join("e1/l")).unwrap();
    let dockerfile =
        "FROM base\nCOPY a.txt /dst/\nCOPY d /\nCOPY a.txt d /dst2/\nCOPY e2 /e2/\nCOPY e1 /e1/\n";
    let copy = |hash: &str, to: &str| format!("/bin/sh -c #(nop) COPY {hash} in {to} ");
    assert_eq!(
        history(&machine, dockerfile),
        [
            copy("file:679c43c79a56cffbb3b002bda3050542c152a2f09757a0f1a9578871f7cda00d", "/dst/"),
            copy("dir:3ee70f3da85c13339dcf857e13eb6878b3e04b617e57b9dd718a9e247896143a", "/"),
            copy("multi:d03ffac99ce45f6262d713a6110fe7314ce6aeb437e0363ccae1db76fe8eb134", "/dst2/"),
            copy("dir:f739be5a51730e19c6b9b353134ad15241f99b841888f2126ad383f32b79288e", "/e2/"),
            copy("dir:f6145b1710550f0ec84e8f52e3abd32b7ff0a3bd1420ada10654cca7d09fa342", "/e1/"),
        ]
    );
}

// Docker's text for the same file, ids replaced.
#[test]
fn text_is_dockers() {
    let Some(machine) = Machine::new() else { return };
    let dockerfile = "ARG V=1\nFROM base\nRUN echo out; echo err >&2\nHEALTHCHECK CMD a\nHEALTHCHECK NONE\n";
    let text = machine.build(dockerfile, Dialect::Classic).text;
    let plain: String = text
        .lines()
        .map(|line| {
            let is_id = |word: &str| word.len() == 12 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
            let words = line.split(' ').map(|word| if is_id(word) { "ID" } else { word });
            words.collect::<Vec<_>>().join(" ") + "\n"
        })
        .collect();
    let expected = "Step 1/5 : ARG V=1\nStep 2/5 : FROM base\n ---> ID\nStep 3/5 : RUN echo out; echo err >&2\n ---> \
                    Running in ID\nout\n\u{1b}[91merr\n\u{1b}[0mRemoving intermediate container ID\n ---> ID\nStep 4/5 : \
                    HEALTHCHECK CMD a\n ---> Running in ID\nRemoving intermediate container ID\n ---> ID\nStep 5/5 : \
                    HEALTHCHECK NONE\nNote: overriding previous HEALTHCHECK: [CMD-SHELL a]\n ---> Running in ID\nRemoving \
                    intermediate container ID\n ---> ID\n";
    // The two streams of the container race; here they are in the order of the script.
    assert_eq!(plain.replace("\u{1b}[91merr\n\u{1b}[0mout\n", "out\n\u{1b}[91merr\n\u{1b}[0m"), expected);
}

// The messages are those of dockerd 20.10.24, observed 2026-11-22.
#[test]
fn mistakes_are_told_in_dockers_words() {
    let Some(machine) = Machine::new() else { return };
    machine.file("a.txt", "a\n");
    machine.file("b.txt", "b\n");
    for (step, message) in [
        ("RUN exit 3", "The command '/bin/sh -c exit 3' returned a non-zero code: 3"),
        ("COPY ../a.txt /", "COPY failed: forbidden path outside the build context: ../a.txt ()"),
        ("COPY zz* /x/", "COPY failed: no source files were specified"),
        (
            "COPY a.txt b.txt /x",
            "When using COPY with more than one source file, the destination must be a directory and end with a /",
        ),
        (
            "COPY nowhere.txt /",
            "COPY failed: file not found in build context or excluded by .dockerignore: stat nowhere.txt: file does not exist",
        ),
        (
            "COPY --chown=nouser a.txt /",
            "unable to convert uid/gid chown string to host mapping: can't find uid for user nouser: no such user: nouser",
        ),
        ("USER nouser\nRUN id", "unable to find user nouser: no matching entries in passwd file"),
    ] {
        let outcome = machine.build(&format!("FROM base\n{step}\n"), Dialect::Classic);
        assert_eq!(outcome.error(Dialect::Classic), message);
    }
    let outcome = machine.build("FROM base\nRUN exit 3\n", Dialect::Classic);
    assert_eq!(outcome.result.unwrap_err().exit_code(), 3);
    let outcome = machine.build("FROM scratch\n", Dialect::Classic);
    assert_eq!(outcome.error(Dialect::Classic), "No image was generated. Is your Dockerfile empty?");
}
