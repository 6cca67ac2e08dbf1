//! `shale images`.

use jiff::Timestamp;
use serde_json::Value;

use super::{Clock, cell, short_id};
use crate::terminal::{
    age,
    table::{Listing, row},
    template::TemplateError,
    units::{human_size, table_size},
};

const NONE: &str = "<none>";

/// Go's zero time, the begin of year 1, which has no age.
const GO_ZERO_TIME: i64 = -62_135_596_800;

const TABLE: &str = "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{if .CreatedSince}}{{.CreatedSince}}{{else}}N/A{{end}}\t{{.Size}}";
const TABLE_WITH_DIGESTS: &str = "table {{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{if .CreatedSince}}{{.CreatedSince}}{{else}}N/A{{end}}\t{{.Size}}";

const LISTING: Listing = Listing {
    type_name: "*formatter.imageContext",
    headings: &[
        ("Containers", "CONTAINERS"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedSince", "CREATED"),
        ("Digest", "DIGEST"),
        ("ID", "IMAGE ID"),
        ("Repository", "REPOSITORY"),
        ("SharedSize", "SHARED SIZE"),
        ("Size", "SIZE"),
        ("Tag", "TAG"),
        ("UniqueSize", "UNIQUE SIZE"),
        ("VirtualSize", "SIZE"),
    ],
};

/// An image and every name that it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// `sha256:` and 64 hexadecimal digits.
    pub id: String,
    /// Familiar repository and tag, in the order to show them.
    pub tags: Vec<(String, String)>,
    /// Familiar repository and digest.
    pub digests: Vec<(String, String)>,
    /// Seconds since 1970; 0 when the image does not say.
    pub created_seconds: i64,
    /// Bytes of all layers, unpacked.
    pub size_bytes: u64,
    /// Bytes of layers that other images have too; `None` when nobody counted.
    pub shared_size_bytes: Option<u64>,
    /// Containers made from it; `None` when nobody counted.
    pub containers: Option<u64>,
}

/// How to list images: the flags of the command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// `--format`; empty means `table`.
    pub format: String,
    /// `--quiet`.
    pub quiet: bool,
    /// `--digests`.
    pub digests: bool,
    /// `--no-trunc`.
    pub no_trunc: bool,
}

/// Renders `images`, one row for every name.
///
/// # Errors
/// When `--format` does not fit.
///
/// Source: docker CLI 28.2 `formatter.ImageWrite`; docker-data-root.md 7.1.
pub fn render(images: &[Image], options: &Options, clock: &Clock) -> Result<String, TemplateError> {
    let format = match options.format.as_str() {
        "" | "table" if options.quiet => "{{.ID}}".to_owned(),
        "" | "table" if options.digests => TABLE_WITH_DIGESTS.to_owned(),
        "" | "table" => TABLE.to_owned(),
        "raw" if options.quiet => "image_id: {{.ID}}".to_owned(),
        "raw" if options.digests => RAW.replace("image_id", "digest: {{.Digest}}\nimage_id"),
        "raw" => RAW.to_owned(),
        own if own.starts_with("table") && options.digests && !own.contains("{{.Digest}}") => {
            format!("{own}\t{{{{.Digest}}}}")
        }
        own => own.to_owned(),
    };
    let shows_digests = options.digests || format.contains("{{.Digest}}");
    let rows: Vec<Value> = images
        .iter()
        .flat_map(|image| {
            names(image, shows_digests, options.digests)
                .into_iter()
                .map(|name| image_row(image, name, !options.no_trunc, clock))
        })
        .collect();
    LISTING.render(&format, &rows)
}

/// The format of old scripts, a paragraph for each name.
const RAW: &str = "repository: {{.Repository}}\ntag: {{.Tag}}\nimage_id: {{.ID}}\ncreated_at: {{.CreatedAt}}\nvirtual_size: {{.Size}}\n";

/// A row's repository, tag and digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Name<'i> {
    repository: &'i str,
    tag: &'i str,
    digest: &'i str,
}

/// Returns the rows of an image: one for each tag, times the digests of the same repository where they are shown; one for
/// a repository that has digests only; one of `<none>` for an image without names.
fn names(image: &Image, shows_digests: bool, row_per_digest: bool) -> Vec<Name<'_>> {
    if image.tags.is_empty() && image.digests.is_empty() {
        return vec![Name { repository: NONE, tag: NONE, digest: NONE }];
    }
    let mut names = Vec::new();
    for (repository, tag) in &image.tags {
        let digests = image.digests.iter().filter(|(other, _)| shows_digests && other == repository);
        let before = names.len();
        names.extend(digests.map(|(_, digest)| Name { repository, tag, digest }));
        if names.len() == before {
            names.push(Name { repository, tag, digest: NONE });
        }
    }
    let tagged = |repository: &str| image.tags.iter().any(|(other, _)| other == repository);
    for (at, (repository, digest)) in
        image.digests.iter().enumerate().filter(|(_, (repository, _))| !tagged(repository))
    {
        if row_per_digest {
            names.push(Name { repository, tag: NONE, digest });
        } else if image.digests[..at].iter().all(|(other, _)| other != repository) {
            names.push(Name { repository, tag: NONE, digest: "" });
        }
    }
    names
}

fn image_row(image: &Image, name: Name<'_>, is_short: bool, clock: &Clock) -> Value {
    let created = Timestamp::from_second(image.created_seconds).unwrap_or(Timestamp::UNIX_EPOCH);
    let is_zero = image.created_seconds == GO_ZERO_TIME;
    let not_counted = || "N/A".to_owned();
    let unique_bytes = image.shared_size_bytes.map(|shared| image.size_bytes.saturating_sub(shared));
    row([
        ("Containers", image.containers.map_or_else(not_counted, |count| count.to_string())),
        ("CreatedAt", age::go_time(created, &clock.zone)),
        ("CreatedSince", if is_zero { String::new() } else { age::ago(created, clock.now) }),
        ("Digest", cell(name.digest)),
        ("ID", if is_short { short_id(&image.id) } else { &image.id }.to_owned()),
        ("Repository", cell(name.repository)),
        ("SharedSize", image.shared_size_bytes.map_or_else(not_counted, human_size)),
        ("Size", table_size(image.size_bytes)),
        ("Tag", cell(name.tag)),
        ("UniqueSize", unique_bytes.map_or_else(not_counted, human_size)),
        ("VirtualSize", human_size(image.size_bytes)),
    ])
}

/// Renders the images part of `system df -v`: the first tag of each image stands for it.
pub(super) fn render_usage(images: &[Image], clock: &Clock) -> Result<String, TemplateError> {
    const TABLE: &str = "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}";
    LISTING.render(TABLE, &usage_rows(images, true, clock))
}

/// Returns the rows of the images part of `system df -v`.
pub(super) fn usage_rows(images: &[Image], is_short: bool, clock: &Clock) -> Vec<Value> {
    let name = |image: &Image| -> (String, String) {
        image.tags.first().cloned().unwrap_or_else(|| (NONE.to_owned(), NONE.to_owned()))
    };
    let row = |image: &Image| {
        let (repository, tag) = name(image);
        image_row(image, Name { repository: &repository, tag: &tag, digest: "" }, is_short, clock)
    };
    images.iter().map(row).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/docker");

    pub(in crate::terminal::listing) fn golden(path: &str) -> String {
        std::fs::read_to_string(format!("{GOLDEN}/{path}")).unwrap()
    }

    /// The answer of `GET /images/json` that dockerd gave beside the CLI's output.
    pub(in crate::terminal::listing) fn recorded_images(path: &str) -> Vec<Image> {
        let document: Value = serde_json::from_str(&golden(path)).unwrap();
        let split = |value: &Value, sign: char| -> Vec<(String, String)> {
            let names = value.as_array().into_iter().flatten().map(|name| name.as_str().unwrap());
            names
                .filter(|name| !name.starts_with("<none>"))
                .map(|name| name.rsplit_once(sign).unwrap())
                .map(|(repository, rest)| (repository.to_owned(), rest.to_owned()))
                .collect()
        };
        let image = |value: &Value| Image {
            id: value["Id"].as_str().unwrap().to_owned(),
            tags: split(&value["RepoTags"], ':'),
            digests: split(&value["RepoDigests"], '@'),
            created_seconds: value["Created"].as_i64().unwrap(),
            size_bytes: value["Size"].as_u64().unwrap(),
            shared_size_bytes: value["SharedSize"].as_u64(),
            containers: value["Containers"].as_u64(),
        };
        document.as_array().unwrap().iter().map(image).collect()
    }

    /// A clock at which the newest of `images` has the given age.
    pub(in crate::terminal::listing) fn clock(images: &[Image], newest_age_seconds: i64) -> Clock {
        let newest = images.iter().map(|image| image.created_seconds).max().unwrap();
        Clock { now: Timestamp::from_second(newest + newest_age_seconds).unwrap(), zone: TimeZone::UTC }
    }

    #[track_caller]
    fn check(daemon: &str, api: &str, file: &str, age_seconds: i64, options: &Options) {
        let mut images = recorded_images(&format!("{daemon}/api/{api}"));
        // The answers were asked for in a newer version of the API than the CLI speaks; that one does not count containers.
        images.iter_mut().for_each(|image| image.containers = None);
        let actual = render(&images, options, &clock(&images, age_seconds)).unwrap();
        // Docker walks a map: the order of the names of one image is by chance.
        assert_eq!(sorted(&actual), sorted(&golden(&format!("{daemon}/cli-28.2/{file}"))), "{actual}");
    }

    fn sorted(text: &str) -> Vec<&str> {
        let mut lines: Vec<_> = text.lines().collect();
        lines[1..].sort_unstable();
        lines
    }

    #[test]
    fn the_recorded_tables_come_out() {
        let options = Options::default();
        check("28.5.2", "images_json.json", "images.txt", 5, &options);
        check("28.5.2", "images_json_all_1.json", "images-a.txt", 5, &options);
        check("28.5.2", "images_json.json", "images-q.txt", 5, &Options { quiet: true, ..options.clone() });
        let wide = Options { digests: true, no_trunc: true, ..options.clone() };
        check("28.5.2", "images_json.json", "images-digests-no-trunc.txt", 5, &wide);
        let json = Options { format: "json".to_owned(), ..options };
        check("28.5.2", "images_json.json", "images-json.txt", 6, &json);
    }

    #[test]
    fn digests_only_show_where_asked() {
        let image = Image {
            id: format!("sha256:{}", "ab".repeat(32)),
            tags: vec![("app".into(), "1".into()), ("app".into(), "2".into())],
            digests: vec![
                ("app".into(), "sha256:d1".into()),
                ("mirror/app".into(), "sha256:d2".into()),
                ("mirror/app".into(), "sha256:d3".into()),
            ],
            created_seconds: 0,
            size_bytes: 0,
            shared_size_bytes: None,
            containers: None,
        };
        let shown = |shows_digests, row_per_digest| -> Vec<String> {
            names(&image, shows_digests, row_per_digest)
                .iter()
                .map(|name| format!("{} {} {}", name.repository, name.tag, name.digest))
                .collect()
        };
        assert_eq!(shown(false, false), ["app 1 <none>", "app 2 <none>", "mirror/app <none> "]);
        assert_eq!(
            shown(true, true),
            [
                "app 1 sha256:d1",
                "app 2 sha256:d1",
                "mirror/app <none> sha256:d2",
                "mirror/app <none> sha256:d3"
            ]
        );
    }

    #[test]
    fn the_recorded_table_template_comes_out() {
        // images-08-format-table of the transcripts, first two lines.
        let image = Image {
            id: "sha256:ab6b54a0cc35ceeafd6a068f7cb26f34235b3401e1ccf0465dac30f36ff64044".to_owned(),
            tags: vec![("big".into(), "1".into())],
            digests: vec![],
            created_seconds: 1,
            size_bytes: 77_485_786,
            shared_size_bytes: None,
            containers: None,
        };
        let options =
            Options { format: r"table {{.ID}}\t{{.Repository}}\t{{.Size}}".to_owned(), ..Options::default() };
        let clock = clock(std::slice::from_ref(&image), 0);
        assert_eq!(
            render(&[image], &options, &clock).unwrap(),
            "IMAGE ID       REPOSITORY   SIZE\nab6b54a0cc35   big          77.5MB\n"
        );
    }

    #[test]
    fn an_image_of_year_1_has_no_age() {
        let image = Image {
            id: format!("sha256:{}", "ab".repeat(32)),
            tags: vec![("y1".into(), "1".into())],
            digests: vec![],
            created_seconds: GO_ZERO_TIME,
            size_bytes: 2,
            shared_size_bytes: None,
            containers: None,
        };
        let clock = Clock { now: Timestamp::UNIX_EPOCH, zone: TimeZone::UTC };
        let shown = |format: &str| {
            let options = Options { format: format.to_owned(), ..Options::default() };
            render(std::slice::from_ref(&image), &options, &clock).unwrap()
        };
        // As the CLI 28.2 prints them.
        assert!(shown("").ends_with("y1           1         abababababab   N/A       2B\n"), "{}", shown(""));
        assert_eq!(shown("{{.CreatedSince}}|{{.CreatedAt}}"), "|0001-01-01 00:00:00 +0000 UTC\n");
    }

    #[test]
    fn the_format_of_old_scripts_is_docker_s() {
        let image = Image {
            id: "sha256:dc6af9c5dff33b58607b1dd94c242c86a08280699f107a6959e8ebcca6b7416d".to_owned(),
            tags: vec![("localhost/busybox".into(), "1".into())],
            digests: vec![("localhost/busybox".into(), "sha256:69b79d079e2f".into())],
            created_seconds: 1_795_398_579,
            size_bytes: 1_982_000,
            shared_size_bytes: None,
            containers: None,
        };
        let clock = Clock { now: Timestamp::UNIX_EPOCH, zone: TimeZone::UTC };
        let shown = |quiet, digests| {
            let options = Options { format: "raw".to_owned(), quiet, digests, no_trunc: false };
            render(std::slice::from_ref(&image), &options, &clock).unwrap()
        };
        // As the CLI 28.2 prints them.
        let expected = "repository: localhost/busybox\ntag: 1\ndigest: sha256:69b79d079e2f\nimage_id: dc6af9c5dff3\ncreated_at: 2026-11-23 01:49:39 +0000 UTC\nvirtual_size: 1.98MB\n\n";
        assert_eq!(shown(false, true), expected);
        assert_eq!(shown(false, false), expected.replace("digest: sha256:69b79d079e2f\n", ""));
        assert_eq!(shown(true, false), "image_id: dc6af9c5dff3\n");
    }

    #[test]
    fn no_image_gives_the_header_alone() {
        let clock = Clock { now: Timestamp::UNIX_EPOCH, zone: TimeZone::UTC };
        assert_eq!(
            render(&[], &Options::default(), &clock).unwrap(),
            "REPOSITORY   TAG       IMAGE ID   CREATED   SIZE\n"
        );
        assert_eq!(render(&[], &Options { quiet: true, ..Options::default() }, &clock).unwrap(), "");
    }
}
