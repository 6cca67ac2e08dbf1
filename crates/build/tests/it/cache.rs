//! What is found in the cache and what is not.

use shale_build::BuildOptions;
use shale_dockerfile::Dialect;

use crate::machine::Machine;

fn hits(text: &str) -> usize {
    text.matches("Using cache").count()
}

#[test]
fn a_second_build_is_the_first_ones_image() {
    let Some(machine) = Machine::new() else { return };
    machine.file("a.txt", "a\n");
    let dockerfile = "FROM base\nENV a=b\nCOPY a.txt /\nRUN echo x > /x\n";
    let first = machine.build(dockerfile, Dialect::Shale);
    let second = machine.build(dockerfile, Dialect::Shale);
    assert_eq!(first.image(), second.image());
    assert_eq!((hits(&first.text), hits(&second.text)), (0, 3));
    let options = BuildOptions { no_cache: true, ..BuildOptions::default() };
    assert_eq!(hits(&machine.build_with(dockerfile, Dialect::Shale, &options).text), 0);
}

// Else `image prune` of another process takes the image before it has a name.
#[test]
fn the_layers_are_held_until_the_image_can_have_its_name() {
    let Some(machine) = Machine::new() else { return };
    let dockerfile = "FROM base\nRUN echo x > /x\n";
    for hits_expected in [0, 1] {
        let built = machine.build(dockerfile, Dialect::Shale);
        let top = machine.store.image(built.image()).unwrap().unwrap().top().unwrap();
        assert_eq!(hits(&built.text), hits_expected);
        assert!(machine.store.held_layers().unwrap().contains(&top));
        drop(built);
        assert!(machine.store.held_layers().unwrap().is_empty());
    }
}

// Builder reference 6 and 19: content, mode and names count, times do not.
#[test]
fn content_counts_and_time_does_not() {
    let Some(machine) = Machine::new() else { return };
    machine.file("d/a.txt", "a\n");
    let dockerfile = "FROM base\nCOPY d /d\nRUN true\n";
    machine.build(dockerfile, Dialect::Shale).image();
    let path = machine.context().join("d/a.txt");
    let file = std::fs::File::options().append(true).open(&path).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(hits(&machine.build(dockerfile, Dialect::Shale).text), 2);
    machine.file("d/a.txt", "b\n");
    assert_eq!(hits(&machine.build(dockerfile, Dialect::Shale).text), 0);
    std::os::unix::fs::symlink("x", machine.context().join("d/l")).unwrap();
    assert_eq!(hits(&machine.build(dockerfile, Dialect::Shale).text), 0);
    std::fs::remove_file(machine.context().join("d/l")).unwrap();
    std::os::unix::fs::symlink("y", machine.context().join("d/l")).unwrap();
    assert_eq!(hits(&machine.build(dockerfile, Dialect::Shale).text), 0);
}

// Observed with Docker: the line of an ARG still hits, the first RUN behind it does not.
#[test]
fn a_build_argument_counts_from_the_first_run() {
    let Some(machine) = Machine::new() else { return };
    let dockerfile = "FROM base\nARG V=1\nENV a=b\nRUN echo $V\n";
    let with = |value: &str| BuildOptions {
        build_arguments: [("V".to_owned(), value.to_owned())].into(),
        ..BuildOptions::default()
    };
    machine.build_with(dockerfile, Dialect::Shale, &with("2")).image();
    let other = machine.build_with(dockerfile, Dialect::Shale, &with("3"));
    assert_eq!(hits(&other.text), 2);
    assert!(other.text.contains("\n3\n"), "{}", other.text);
}

#[test]
fn one_time_for_everything_gives_one_image_on_two_roots() {
    let (Some(one), Some(two)) = (Machine::new(), Machine::new()) else { return };
    let options = BuildOptions { source_date_epoch: Some(1_700_000_000), ..BuildOptions::default() };
    let dockerfile = "FROM scratch\nWORKDIR /w\nCOPY a /new/dir/\n";
    let build = |machine: &Machine| {
        machine.file("a", "a\n");
        machine.build_with(dockerfile, Dialect::Shale, &options).image()
    };
    assert_eq!(build(&one), build(&two));
}

#[test]
fn an_image_that_only_claims_to_be_a_step_is_not_used() {
    let Some(machine) = Machine::new() else { return };
    let dockerfile = "FROM scratch\nLABEL a=b\n";
    let image = machine.build(dockerfile, Dialect::Shale).image();
    let Some(other) = Machine::new() else { return };
    // The same config, as a pull or a load would bring it.
    let config = machine.store.image(image).unwrap().unwrap().config;
    other.store.put_image(&config, shale_store::PutImage::default()).unwrap();
    assert_eq!(hits(&other.build(dockerfile, Dialect::Shale).text), 0);
}

/// Stages that begin alike make those steps once, also when they run at the same time; else only one of them would find
/// what it built the next time.
#[test]
fn stages_that_begin_alike_share_their_steps() {
    let Some(machine) = Machine::new() else { return };
    let begin = "FROM base AS";
    let same = "RUN busybox sleep 0.2; echo made\nRUN busybox sleep 0.2; touch /same\n";
    let dockerfile = format!(
        "{begin} a\n{same}RUN touch /a\n{begin} b\n{same}RUN touch /b\nFROM base\nCOPY --from=a /a /\nCOPY --from=b /b /\n"
    );
    let first = machine.build(&dockerfile, Dialect::Shale);
    let image = first.image();
    assert_eq!(first.text.matches("\nmade\n").count(), 1, "{}", first.text);
    let again = machine.build(&dockerfile, Dialect::Shale);
    assert_eq!(again.image(), image);
    assert!(!again.text.contains("Running in"), "{}", again.text);
}

/// An image that was made without a fixed time is no step of a build that has one.
#[test]
fn a_fixed_time_finds_only_images_of_that_time() {
    let Some(machine) = Machine::new() else { return };
    let dockerfile = "FROM base\nRUN mkdir /made\n";
    let before = machine.build(dockerfile, Dialect::Shale).image();
    let options = BuildOptions { source_date_epoch: Some(1_700_000_000), ..BuildOptions::default() };
    let fixed = machine.build_with(dockerfile, Dialect::Shale, &options);
    assert_ne!(fixed.image(), before);
    let again = machine.build_with(dockerfile, Dialect::Shale, &options);
    assert!(again.text.contains("Using cache"), "{}", again.text);
    let other = BuildOptions { source_date_epoch: Some(1_700_000_001), ..BuildOptions::default() };
    assert_ne!(machine.build_with(dockerfile, Dialect::Shale, &other).image(), fixed.image());
}
