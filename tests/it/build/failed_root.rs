//! A `RUN` that fails: its root is kept, and a shell opens in it.

use std::path::Path;

use shale_tests::build::{BASE, base_tar};
use shale_tests::peer::Shale;
use shale_tests::scratch::Scratch;
use shale_tests::terminal::run_on_terminal;

const DOCKERFILE: &str = "FROM base:1
ENTRYPOINT [\"false\"]
ARG COLOUR=green
ENV SIZE=big
WORKDIR /work
RUN --mount=type=cache,target=/cache echo of-the-step > left; echo of-the-cache > /cache/file; exit 7
";

fn text(path: &Path) -> &str {
    path.to_str().expect("scratch paths are text")
}

#[test]
fn a_failed_run_keeps_its_root_and_a_shell_opens_in_it() {
    let scratch = Scratch::new("failed-root");
    let shale = Shale::new(&scratch.folder("shale"));
    shale.shale(&["import", "-c", "ENV PATH=/bin", text(&base_tar(&scratch)), BASE]);
    let context = scratch.folder("context");
    std::fs::write(context.join("Dockerfile"), DOCKERFILE).unwrap();
    let words = ["build", "--network", "none", "--shell-on-failure", text(&context)];

    let refused = shale.run(&words);
    assert_eq!(refused.code(), 1);
    assert_eq!(refused.stderr, "Error: --shell-on-failure needs a terminal on standard input and output\n");

    // Seen: what the step wrote, its mounts, and both kinds of variables; written: to the root that is kept.
    let typed =
        "echo [$COLOUR $SIZE $PWD `cat left /cache/file`]; test -t 0 && echo by-hand > mended; exit 3\n";
    let (printed, code) = run_on_terminal(&shale.command(&words), "the build ends with it", typed);
    assert_eq!(code, 7, "{printed}");
    assert!(printed.contains("[green big /work of-the-step of-the-cache]"), "{printed}");
    let kept = printed.split("shale run -it --rm ").nth(1).unwrap_or_else(|| panic!("{printed}"));
    let kept = kept.split_whitespace().next().unwrap_or_default();
    let files = shale.shale(&["run", "--rm", "--network", "none", kept, "cat", "left", "mended"]);
    assert_eq!(files, "of-the-step\nby-hand\n");

    let typed = "echo [$COLOUR $SIZE $PWD `cat left`]; exit 5\n";
    let words = ["run", "-it", "--rm", "--network", "none", kept];
    let (printed, code) = run_on_terminal(&shale.command(&words), "/work # ", typed);
    assert!(printed.contains("[green big /work of-the-step]"), "{printed}");
    assert_eq!(code, 5, "{printed}");
}
