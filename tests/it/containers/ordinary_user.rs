//! What an ordinary user can do with a container that runs: its mounts are in a user namespace of their own.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use shale_tests::peer::ShaleRegistry;
use shale_tests::program::{require, run_bounded};
use shale_tests::scratch::Scratch;

use super::pair::image_tar;

/// A user that no machine has.
const USER: u32 = 61_234;

/// Copies the program to where any user may run it.
fn program(scratch: &Scratch) -> String {
    let program = scratch.path().join("shale");
    fs::copy(ShaleRegistry::program(), &program).expect("the scratch folder is ours");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("the copy is ours");
    program.to_str().expect("scratch paths are text").to_owned()
}

fn own(path: &Path) {
    chown(path, Some(USER), Some(USER)).expect("the tests run as root");
}

#[test]
fn files_are_copied_into_and_out_of_a_container_that_runs() {
    let scratch = Scratch::new("c-user");
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    let (program, tar, home) = (program(&scratch), image_tar(&scratch), scratch.folder("home"));
    fs::set_permissions(&tar, fs::Permissions::from_mode(0o644)).expect("ours");
    let canary = home.join("canary");
    for folder in ["canary", "bound"] {
        fs::create_dir(home.join(folder)).expect("ours");
        own(&home.join(folder));
    }
    fs::write(canary.join("secret"), "canary\n").expect("ours");
    own(&home);
    let script = format!(
        r#"cd {home}; shale() {{ {program} --data-root {home}/root "$@"; }}
        shale import -c 'CMD ["sh"]' {tar} bb >/dev/null
        shale run -d --name running --network none -v {home}/bound:/bound bb sh -c '
            echo inside > /inside; ln -s {canary} /evil; ln -s {canary}/secret /stolen; mkdir -p {home}/canary; sleep 60' >/dev/null
        for attempt in $(seq 100); do shale exec running test -e /stolen && break; sleep 0.1; done
        echo here > here
        shale cp here running:/copied && shale exec running cat /copied
        shale cp running:/inside out && cat out
        shale cp here running:/bound/via && cat bound/via
        shale cp here running:/evil/put; ls {canary}; shale exec running ls {canary}
        shale cp -L running:/stolen theft; test -e theft && echo STOLEN
        shale cp running:/stolen link; readlink link
        shale cp running:/nosuch x; echo $?
        shale rm -f running
        shale cp out nosuch:/x; echo $?"#,
        home = home.display(),
        tar = tar.display(),
        canary = canary.display(),
    );
    let id = USER.to_string();
    let mut command = Command::new(require("setpriv", "util-linux"));
    command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "sh", "-c", &script]).env("HOME", &home);
    let finished = run_bounded(&mut command, Duration::from_secs(60)).finished;
    let said = finished.stdout.replace(home.to_str().expect("scratch paths are text"), "HOME");
    // A link of the container leads to the container's own file of that name, never to this machine's.
    let expected = "here\ninside\nhere\nsecret\nput\nHOME/canary/secret\n1\nrunning\n1\n";
    assert_eq!(said, expected, "{}", finished.stderr);
    assert!(!finished.stderr.contains("reached by root alone"), "{}", finished.stderr);
}
