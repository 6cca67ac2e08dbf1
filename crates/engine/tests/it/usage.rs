//! Disk usage, held against what the daemon answered and its CLI printed on the same root.

use crate::golden::{Golden, json};

#[test]
fn disk_usage_is_docker_28_s() {
    let golden = Golden::of("28.5.2");
    let usage = golden.engine.disk_usage().unwrap();
    let expected = json("28.5.2/api/images_json_shared-size_1.json");
    let expected: Vec<_> = expected
        .as_array()
        .unwrap()
        .iter()
        .map(|image| {
            let number = |field: &str| image[field].as_i64().unwrap();
            (
                image["Id"].as_str().unwrap().to_owned(),
                number("Size"),
                number("SharedSize"),
                number("Containers"),
            )
        })
        .collect();
    let images: Vec<_> = usage
        .images
        .iter()
        .map(|image| {
            (image.id.to_string(), image.size_bytes as i64, image.shared_size_bytes, image.containers)
        })
        .collect();
    assert_eq!(images, expected);
    // 1982601 of the app with its base, 6 of the pulled image.
    assert_eq!(usage.layers_size_bytes, 1_982_607);
    assert_eq!(usage.reclaimable_images_bytes(), 1_982_607, "all of the used image is shared");
    // From cli-28.2/system-df-v.txt.
    let [container] = &usage.containers[..] else { panic!("{:?}", usage.containers) };
    assert_eq!((container.id[..12].to_owned(), container.name.as_str()), ("a8aeb04e6386".to_owned(), "fxc"));
    assert_eq!((container.image.as_str(), container.size_bytes, container.volumes), ("fx/app:1", 0, 0));
    assert_eq!(container.command, "/bin/sh -c 'cat /app/copied.txt'");
    assert!(usage.volumes.is_empty());
}

#[test]
fn a_container_whose_image_lost_its_name_shows_the_id() {
    let golden = Golden::of("20.10.24");
    let records = golden.root.join("containers");
    let id = std::fs::read_dir(&records).unwrap().next().unwrap().unwrap().file_name();
    let record = records.join(id).join("config.v2.json");
    let text = std::fs::read_to_string(&record)
        .unwrap()
        .replace("\"Image\":\"fx/app:1\"", "\"Image\":\"fx/base:1\"");
    std::fs::write(&record, text).unwrap();
    assert_eq!(golden.engine.disk_usage().unwrap().containers[0].image, "15844857f18f");
}
