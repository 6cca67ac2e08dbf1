use super::*;

fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

#[track_caller]
fn command(line: &str) -> Command {
    match parse(words(line), 80).unwrap().action {
        Action::Run(command) => command,
        other => panic!("{line:?} gives {other:?}"),
    }
}

#[track_caller]
fn refused(line: &str, exit_code: u8, text: &str) {
    assert_eq!(parse(words(line), 80), Err(UsageError { text: text.to_owned(), exit_code }), "{line}");
}

#[test]
fn flags_and_arguments_mix() {
    let expected = Command::Pull {
        reference: "alpine".into(),
        all_tags: true,
        platform: Some("linux/arm64".into()),
        disable_content_trust: None,
        quiet: true,
    };
    assert_eq!(command("pull -aq --platform linux/arm64 alpine"), expected);
    assert_eq!(command("pull alpine --platform=linux/arm64 -a -q=true"), expected);
    assert_eq!(
        command("image pull --all-tags -q alpine --platform linux/amd64 --platform linux/arm64"),
        expected
    );
}

#[test]
fn short_and_long_paths_give_the_same_command() {
    for (short, long) in [
        ("images -q x", "image ls -q x"),
        ("images -q x", "image list -q x"),
        ("rmi -f x y", "image rm -f x y"),
        ("rmi -f x y", "image remove --force x y"),
        ("history -H=false x", "image history --human=0 x"),
        ("tag a b", "image tag a b"),
        ("save -o f x", "image save -of x"),
        ("load -i f", "image load --input=f"),
        ("import - a:b", "image import - a:b"),
        ("info", "system info"),
    ] {
        assert_eq!(command(short), command(long), "{short}");
    }
}

#[test]
fn values_follow_docker_s_rules() {
    let Command::Images(images) =
        command("images -f dangling=true --filter LABEL=A=b --format {{.ID}} --digests=false")
    else {
        panic!("images gives images");
    };
    assert_eq!(images.filters, ["dangling=true", "label=A=b"]);
    assert_eq!((images.format.as_str(), images.digests), ("{{.ID}}", false));
    let Command::ImageRemove(remove) =
        command("rmi --platform linux/amd64,linux/arm64 --platform linux/386 x")
    else {
        panic!("rmi gives ImageRemove");
    };
    assert_eq!(remove.platforms, ["linux/amd64", "linux/arm64", "linux/386"]);
    let Command::Search(search) = command("search --limit 0x10 web") else { panic!("search gives Search") };
    assert_eq!(search.limit, Some(16));
    // The value of a flag may look like a flag.
    assert_eq!(command("version --format --quiet"), Command::Version { format: Some("--quiet".into()) });
    assert_eq!(command("tag -- -a -b"), Command::Tag { source: "-a".into(), target: "-b".into() });
}

#[test]
fn global_flags_stand_before_or_after_the_command() {
    for line in [
        "--data-root /d -D images",
        "images --data-root /d --debug",
        "--data-root=/x images -D --data-root /d",
    ] {
        let invocation = parse(words(line), 80).unwrap();
        assert_eq!(invocation.global.data_root, Some("/d".into()), "{line}");
        assert!(invocation.global.debug, "{line}");
    }
    refused("--log-level loud images", 1, "unable to parse logging level: loud");
    let text = "invalid argument \"\" for \"--data-root\" flag: it names no directory";
    refused("--data-root= images", 125, text);
    refused("images --data-root=", 125, text);
}

#[test]
fn mistakes_have_docker_s_words() {
    // Texts recorded from the docker CLI 28.2 with its name replaced; tests/it compares more of them with the program.
    refused(
        "images --frob",
        125,
        "unknown flag: --frob\n\nUsage:  shale images [OPTIONS] [REPOSITORY[:TAG]]\n\nRun 'shale images --help' for more information",
    );
    refused(
        "rmi -v",
        125,
        "unknown shorthand flag: 'v' in -v\n\nUsage:  shale rmi [OPTIONS] IMAGE [IMAGE...]\n\nRun 'shale rmi --help' for more information",
    );
    refused(
        "pull",
        1,
        "shale: 'shale pull' requires 1 argument\n\nUsage:  shale pull [OPTIONS] NAME[:TAG|@DIGEST]\n\nRun 'shale pull --help' for more information",
    );
    refused("frob", 1, "shale: unknown command: shale frob\n\nRun 'shale --help' for more information");
}

#[test]
fn a_typo_gets_a_suggestion() {
    refused(
        "pul",
        1,
        "shale: unknown command: shale pul\n\nDid you mean 'shale pull'?\n\nRun 'shale --help' for more information",
    );
    refused(
        "prune",
        1,
        "shale: unknown command: shale prune\n\nDid you mean 'shale container prune'?\n\nRun 'shale --help' for more information",
    );
    refused(
        "image imags",
        1,
        "shale: unknown command: shale image imags\n\nUsage:  shale image COMMAND\n\nRun 'shale image --help' for more information",
    );
    let error = parse(words("images --digest"), 80).unwrap_err();
    assert!(error.text.contains("Did you mean '--digests'?"), "{error}");
}

#[test]
fn help_is_found_everywhere() {
    let help = |line: &str| match parse(words(line), 80).unwrap().action {
        Action::Help { text, to_stderr } => (text, to_stderr),
        other => panic!("{line:?} gives {other:?}"),
    };
    assert_eq!(help("pull --help"), help("help pull"));
    assert_eq!(help("pull alpine -h"), help("pull --help"));
    assert_eq!(help("--help images").0, help("help").0);
    assert_eq!(help("").0, help("--help").0);
    assert!(help("").1, "docker alone writes its help to standard error");
    assert!(help("image ls --help").0.starts_with("Usage:  shale image ls [OPTIONS] [REPOSITORY[:TAG]]\n"));
    assert!(help("registry user").0.contains("\nCommands:\n  add         Add a user"));
    refused("help pul", 1, "unknown help topic: pul");
}

#[test]
fn a_password_stays_out_of_debug_output() {
    let login = command("login -u bob -p s3cret localhost:5000");
    assert!(!format!("{login:?}").contains("s3cret"));
}

#[test]
fn every_command_of_the_tree_is_sound() {
    fn check(spec: &'static spec::Spec, path: &str) {
        assert!(!spec.about.is_empty(), "{path}");
        assert_eq!(spec.make.is_none(), !spec.commands.is_empty(), "{path} is a group or a command");
        let mut longs: Vec<_> = spec.flags.iter().map(|flag| flag.long).collect();
        longs.sort_unstable();
        longs.dedup();
        assert_eq!(longs.len(), spec.flags.len(), "{path} has a flag twice");
        for alias in spec.paths {
            let topic: Vec<String> = alias.split(' ').map(str::to_owned).collect();
            assert!(help_topic(&topic, 80).is_ok(), "{path} is said to be {alias}");
        }
        spec.commands.iter().for_each(|command| check(command, &format!("{path} {}", command.name)));
    }
    check(tree::root(), "shale");
}

mod completion {
    use super::*;

    fn answer(line: &[&str]) -> String {
        let words: Vec<String> = line.iter().map(|&word| word.to_owned()).collect();
        let names =
            || vec!["alpine:3.10".to_owned(), "alpine:latest".to_owned(), "busybox:latest".to_owned()];
        complete::Request::of(&words).answer(names).text()
    }

    #[test]
    fn commands_have_descriptions() {
        assert_eq!(
            answer(&["pu"]),
            "pull\tDownload an image from a registry\npush\tUpload an image to a registry\n:4\n"
        );
        assert_eq!(
            answer(&["registry", "user", ""]),
            "add\tAdd a user, or set a user's password\nrm\tRemove a user\n:4\n"
        );
        assert!(answer(&[""]).lines().count() > 20);
    }

    #[test]
    fn image_names_come_from_the_store() {
        assert_eq!(answer(&["rmi", "al"]), "alpine:3.10\nalpine:latest\n:4\n");
        assert_eq!(
            answer(&["--data-root", "/x", "image", "rm", "-f", "alpine:latest", "al"]),
            "alpine:3.10\n:4\n"
        );
        assert_eq!(answer(&["history", "busybox:latest", ""]), ":4\n", "history takes one image");
    }

    #[test]
    fn flags_and_their_values() {
        assert_eq!(answer(&["pull", "--q"]), "--quiet\tSuppress verbose output\n:4\n");
        assert_eq!(answer(&["pull", "--platform", "linux/arm6"]), "linux/arm64\n:4\n");
        assert_eq!(answer(&["pull", "--platform=linux/arm6"]), "--platform=linux/arm64\n:4\n");
        assert_eq!(answer(&["load", "-i", ""]), ":0\n");
        assert_eq!(answer(&["import", ""]), ":0\n");
        assert_eq!(answer(&["images", "--format", "js"]), "json\n:4\n");
    }
}
