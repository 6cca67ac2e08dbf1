//! The bench itself: when these fail, no other suite says anything about the program.

use shale_tests::data_root::DataRoot;
use shale_tests::image::{IMAGES, storage};
use shale_tests::peer::{Access, DockerRegistry, Dockerd, Options};
use shale_tests::scratch::Scratch;
use shale_tests::tree::Compare;

#[test]
fn two_roots_that_docker_pulled_are_equal_and_hold_every_image() {
    let scratch = Scratch::new("control");
    let registry = DockerRegistry::on_storage(&scratch.folder("r"), &storage(), Access::ReadOnly);
    let roots = ["1", "2"].map(|name| {
        let docker = Dockerd::start(
            &scratch.folder(name),
            &scratch.folder(&format!("root{name}")),
            &Options::default(),
        );
        for image in IMAGES.iter().filter(|image| image.old_docker_pulls) {
            docker.docker(&["pull", "--quiet", &format!("{}/{}", registry.host(), image.reference())]);
        }
        docker.data_root().to_owned()
    });
    let [left, right] = roots.map(|root| DataRoot::read(&root));
    assert_eq!(left.differences(&right, Compare { times: true }), Vec::<String>::new());
    assert_eq!(left.configs.len(), IMAGES.len() - 1);
}
