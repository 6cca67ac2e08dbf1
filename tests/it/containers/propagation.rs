//! Mounts of the host below a bind mount: they reach a container that asks for them, or it is told why not.

use shale_tests::program::shell;

use super::pair::Pair;

#[test]
fn mounts_of_the_host_reach_a_container_where_the_source_allows_it() {
    let pair = Pair::new("c-propagation");
    let (own, shared) = (pair.scratch.folder("own"), pair.scratch.folder("sha red"));
    let (own, shared) = (own.display(), shared.display());
    let root = pair.scratch.path().to_owned();
    shell(&root, &format!("mount -t tmpfs x '{own}'; mount --make-private '{own}'; mkdir '{own}/in'"));
    shell(
        &root,
        &format!("mount -t tmpfs x '{shared}'; mount --make-shared '{shared}'; mkdir '{shared}/late'"),
    );
    pair.check(&format!(
        "
        run --rm --network none -v {own}:/x:rslave busybox true
        run --rm --network none -v {own}/in:/x:slave busybox true
        run --rm --network none -v {own}/in:/x:shared busybox true
        run --rm --network none --mount type=bind,src={own},dst=/x,bind-propagation=rshared busybox true
        run --rm --network none --mount type=bind,src={own},dst=/x,bind-propagation=rslave,readonly busybox true
        run --rm --network none --mount type=bind,src={own},dst=/x,bind-propagation=rprivate busybox ls /x
        create --name zf --network none -v {own}:/x:rslave busybox true
        start zf
        inspect -f '{{{{.State.Status}}}} {{{{.State.ExitCode}}}} {{{{.State.Error}}}}' zf
        rm zf
        "
    ));
    for (name, propagation) in [("za", "rslave"), ("zb", "rprivate")] {
        let source = format!("{shared}:/x:{propagation}");
        let words =
            ["run", "-d", "--name", name, "--network", "none", "-v", &source, "busybox", "sleep", "1000"];
        for mut command in pair.commands(&words) {
            shale_tests::program::run(&mut command).success();
        }
    }
    shell(&root, &format!("mount -t tmpfs x '{shared}/late'; touch '{shared}/late/seen'"));
    pair.check("exec za ls /x/late\nexec zb ls /x/late\n");
    let seen = pair.shale.shale(&["exec", "za", "ls", "/x/late"]);
    assert_eq!(seen, "seen\n");
    // Docker does this: mounts that the container makes reach the host.
    let refused = pair.shale.run(&[
        "run",
        "--rm",
        "--network",
        "none",
        "-v",
        &format!("{shared}:/x:rshared"),
        "busybox",
        "true",
    ]);
    assert_eq!(refused.code(), 125, "{}", refused.describe());
    assert!(refused.stderr.contains("bind-propagation=rshared is not supported"), "{}", refused.describe());
    pair.check("rm -f za zb\n");
}
