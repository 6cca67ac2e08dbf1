//! Local volumes: `volumes/<name>/_data`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use shale_oci::RunConfig;
use shale_rootfs::{Owners, Pack, Rootfs, Unpack, Whiteouts, pack, unpack};
use shale_store::DiskError;

use super::Record;
use super::find::FindContainerError;
use super::settings::{Settings, VolumeOptions};
use crate::Engine;

/// Why a volume or bind was refused. The messages are Docker's.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// Neither a path nor a name.
    #[error("invalid volume specification: '{0}'")]
    Specification(String),
    /// The mode after the second colon is none.
    #[error("invalid mode: {0}")]
    Mode(String),
    /// A relative target.
    #[error("invalid mount path: '{0}' mount path must be absolute")]
    Relative(String),
    /// The target is the root.
    #[error("invalid specification: destination can't be '/'")]
    Root,
    /// The target of a `-v` is the root.
    #[error(
        "invalid volume specification: '{bind}': invalid mount config for type \"{kind}\": invalid specification: destination can't be '/'"
    )]
    BindRoot {
        /// As typed.
        bind: String,
        /// `bind` or `volume`.
        kind: &'static str,
    },
    /// Two mounts at one place.
    #[error("Duplicate mount point: {0}")]
    Duplicate(String),
    /// A name with other characters.
    #[error(
        "create {0}: \"{0}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
    )]
    Name(String),
    /// `--mount type=bind` with a source that is not there.
    #[error("invalid mount config for type \"bind\": bind source path does not exist: {0}")]
    NoSource(String),
    /// A `--mount` with a word that there is none of.
    #[error("invalid mount config for type \"{kind}\": {reason}")]
    Mount {
        /// Its type.
        kind: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// An unknown `--mount type`.
    #[error("invalid mount config for type \"{0}\": mount type unknown")]
    Kind(String),
    /// A volume of a program that is not there.
    #[error("create {name}: error looking up volume plugin {driver}: plugin {driver:?} not found")]
    Driver {
        /// The volume.
        name: String,
        /// The program.
        driver: String,
    },
    /// An option of volumes that nothing here keeps.
    #[error("{0} is not supported: volumes are plain directories below the data root")]
    Option(&'static str),
    /// Binds are made read-only at their top alone.
    #[error("bind-recursive=readonly is not supported: what is mounted below the source stays writable")]
    RecursiveReadOnly,
    /// Whose volumes were asked for is not there.
    #[error(transparent)]
    From(#[from] FindContainerError),
    /// The directory could not be made or filled.
    #[error("could not prepare the volume {name}")]
    Io {
        /// The volume.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A volume of a new container.
struct Wanted<'a> {
    name: &'a str,
    /// Empty is `local`.
    driver: &'a str,
    /// For one that is not there yet.
    labels: Option<&'a BTreeMap<String, String>>,
    /// What the user said of it, as the record keeps it; empty for one of the image's.
    spec: Value,
}

impl VolumeOptions {
    /// The request as the record keeps it.
    ///
    /// Source: `MountPoints` in `config.v2.json` of dockerd 20.10.24, observed 2026-11-22.
    fn spec(&self, source: &str, target: &str) -> Value {
        let mut kept = Map::new();
        if self.no_copy {
            kept.insert("NoCopy".to_owned(), true.into());
        }
        if let Some(labels) = self.labels.as_ref().filter(|labels| !labels.is_empty()) {
            kept.insert("Labels".to_owned(), json!(labels));
        }
        if let Some(driver) = &self.driver_config {
            let name = &driver.name;
            kept.insert(
                "DriverConfig".to_owned(),
                if name.is_empty() { json!({}) } else { json!({ "Name": name }) },
            );
        }
        let mut spec = json!({ "Type": "volume" });
        if !source.is_empty() {
            spec["Source"] = source.into();
        }
        spec["Target"] = target.into();
        if !kept.is_empty() {
            spec["VolumeOptions"] = Value::Object(kept);
        }
        spec
    }
}

impl Engine {
    /// Works out `MountPoints` from `-v`, `--mount` and the image's volumes, and makes volumes that are not there.
    pub(super) fn plan_mount_points(
        &self,
        config: &RunConfig,
        settings: &Settings,
    ) -> Result<Value, VolumeError> {
        let inherited = self.points_of_others(settings)?;
        let mut points = Map::new();
        let mut add = |target: String, point: Value| match points.insert(target.clone(), point) {
            Some(_) => Err(VolumeError::Duplicate(target)),
            None => Ok(()),
        };
        for bind in settings.binds.iter().flatten() {
            let parts: Vec<&str> = bind.split(':').collect();
            let (source, target, mode) = match parts.as_slice() {
                [source, target] => (*source, *target, ""),
                [source, target, mode] => (*source, *target, *mode),
                _ => return Err(VolumeError::Specification(bind.clone())),
            };
            if source.is_empty() || target.is_empty() {
                return Err(VolumeError::Specification(bind.clone()));
            }
            let known = |word: &str| {
                [
                    "ro", "rw", "z", "Z", "nocopy", "private", "rprivate", "shared", "rshared", "slave",
                    "rslave",
                ]
                .contains(&word)
            };
            if !mode.is_empty() && !mode.split(',').all(known) {
                return Err(VolumeError::Mode(mode.to_owned()));
            }
            let kind = if source.starts_with('/') { "bind" } else { "volume" };
            let target = check_target(target).map_err(|error| match error {
                VolumeError::Root => VolumeError::BindRoot { bind: bind.clone(), kind },
                error => error,
            })?;
            let writable = !mode.split(',').any(|word| word == "ro");
            let point = match source.starts_with('/') {
                true => {
                    // Docker makes the directory where there is nothing.
                    if !Path::new(source).exists() {
                        let made = fs::create_dir_all(source);
                        made.map_err(|error| VolumeError::Io { name: source.to_owned(), source: error })?;
                    }
                    let propagation = mode.split(',').find(|word| {
                        word.ends_with("private") || word.ends_with("shared") || word.ends_with("slave")
                    });
                    bind_point(source, &target, writable, propagation.unwrap_or("rprivate"))
                }
                false => {
                    let mut spec = json!({ "Type": "volume", "Source": source, "Target": target });
                    if mode.split(',').any(|word| word == "nocopy") {
                        spec["VolumeOptions"] = json!({ "NoCopy": true });
                    }
                    let driver = &settings.volume_driver;
                    self.volume_point(
                        &Wanted { name: source, driver, labels: None, spec },
                        &target,
                        writable,
                    )?
                }
            };
            add(target, point)?;
        }
        for request in settings.mounts.iter().flatten() {
            let target = check_target(&request.target)?;
            match request.kind.as_str() {
                "bind" => {
                    if !Path::new(&request.source).exists() {
                        return Err(VolumeError::NoSource(request.source.clone()));
                    }
                    let options = request.bind_options.clone().unwrap_or_default();
                    if options.read_only_force_recursive {
                        return Err(VolumeError::RecursiveReadOnly);
                    }
                    let propagation = match options.propagation.as_str() {
                        "" => "rprivate",
                        word if PROPAGATIONS.contains(&word) => word,
                        word => {
                            let reason = format!("invalid propagation mode: {word}");
                            return Err(VolumeError::Mount { kind: "bind", reason });
                        }
                    };
                    let mut point = bind_point(&request.source, &target, !request.read_only, propagation);
                    if options.non_recursive {
                        point["Spec"]["BindOptions"] = json!({ "NonRecursive": true });
                    }
                    add(target.clone(), point)?;
                }
                "volume" => {
                    let options = request.volume_options.clone().unwrap_or_default();
                    check_options(&options)?;
                    let is_named = !request.source.is_empty();
                    let name = if is_named { request.source.clone() } else { random_id() };
                    let driver = options.driver_config.as_ref().map_or("", |config| config.name.as_str());
                    let labels = options.labels.as_ref();
                    let spec = options.spec(&request.source, &target);
                    let wanted = Wanted { name: &name, driver, labels, spec };
                    add(target.clone(), self.volume_point(&wanted, &target, !request.read_only)?)?;
                }
                // Not among the mount points: the settings themselves say it.
                "tmpfs" => {}
                other => return Err(VolumeError::Kind(other.to_owned())),
            }
        }
        for target in config.volumes.iter().flatten().map(|(target, _)| target) {
            // As docker, which takes a relative path of an image for one below its root.
            let target = check_target(&format!("/{}", target.trim_start_matches('/')))?;
            let is_tmpfs = settings.tmpfs.as_ref().is_some_and(|tmpfs| tmpfs.contains_key(&target));
            let is_there = points.contains_key(&target) || inherited.contains_key(&target);
            if !is_there && !is_tmpfs {
                let name = random_id();
                let driver = &settings.volume_driver;
                let wanted = Wanted { name: &name, driver, labels: None, spec: json!({}) };
                points.insert(target.clone(), self.volume_point(&wanted, &target, true)?);
            }
        }
        for (target, point) in inherited {
            points.entry(target).or_insert(point);
        }
        Ok(Value::Object(points))
    }

    /// `--volumes-from`: what others mount, as they mount it; with `:ro` read-only.
    ///
    /// Source: moby `daemon/volumes.go` `registerMountPoints` at v20.10.24.
    fn points_of_others(&self, settings: &Settings) -> Result<Map<String, Value>, VolumeError> {
        let mut points = Map::new();
        for from in settings.volumes_from.iter().flatten() {
            let (container, mode) = from.split_once(':').unwrap_or((from, ""));
            if container.is_empty() {
                return Err(VolumeError::Specification(from.clone()));
            }
            if !["", "rw", "ro", "z", "Z"].contains(&mode) {
                return Err(VolumeError::Mode(mode.to_owned()));
            }
            let other = self.find_container(container)?;
            for point in other.mount_points() {
                let mut point = point.clone();
                if mode == "ro" {
                    point["RW"] = false.into();
                }
                // Filled when it was made, if at all.
                if point["Type"] == "volume" && point["Spec"].is_object() {
                    point["Spec"]["VolumeOptions"] = json!({ "NoCopy": true });
                }
                let target = point["Destination"].as_str().unwrap_or_default().to_owned();
                points.insert(target, point);
            }
        }
        Ok(points)
    }

    /// Makes the volume, unless it is there, and says how a container has it.
    fn volume_point(&self, wanted: &Wanted<'_>, target: &str, writable: bool) -> Result<Value, VolumeError> {
        let name = wanted.name;
        if !matches!(wanted.driver, "" | "local") {
            return Err(VolumeError::Driver { name: name.to_owned(), driver: wanted.driver.to_owned() });
        }
        if super::names::check_name(name).is_err() || name.starts_with('/') {
            return Err(VolumeError::Name(name.to_owned()));
        }
        let path = self
            .make_volume(name, wanted.labels.unwrap_or(&BTreeMap::new()))
            .map_err(|source| VolumeError::Io { name: name.to_owned(), source })?;
        let is_asked = wanted.spec["Type"].is_string();
        Ok(json!({
            "Source": path, "Destination": target, "RW": writable, "Name": name, "Driver": "local",
            "Type": "volume", "Relabel": if is_asked { "z" } else { "" }, "Spec": wanted.spec,
            "SkipMountpointCreation": false,
        }))
    }

    /// Makes the directory of a volume; one that is there keeps the labels that it has.
    pub(crate) fn make_volume(&self, name: &str, labels: &BTreeMap<String, String>) -> io::Result<PathBuf> {
        let directory = |path: &Path, mode: u32| match fs::DirBuilder::new().mode(mode).create(path) {
            Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(mode)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        };
        let volumes = self.store.volumes_directory();
        directory(&volumes, 0o701)?;
        let volume = volumes.join(name);
        directory(&volume, 0o701)?;
        let path = volume.join("_data");
        // It is a volume once `_data` is there: one that was cut off before gets its labels now.
        if !labels.is_empty() && !path.exists() {
            fs::write(volume.join(crate::volumes::LABELS), serde_json::to_vec(labels)?)?;
        }
        directory(&path, 0o755)?;
        Ok(path)
    }

    /// Fills empty volumes with what the image has at their places; `root` is the mounted container.
    pub(super) fn fill_volumes(&self, points: &Value, root: &Path) -> Result<(), VolumeError> {
        for point in points.as_object().into_iter().flat_map(|points| points.values()) {
            let (Some(name), Some(source), Some(target)) =
                (point["Name"].as_str(), point["Source"].as_str(), point["Destination"].as_str())
            else {
                continue;
            };
            if point["Spec"]["VolumeOptions"]["NoCopy"] == true {
                continue;
            }
            let fill = || -> io::Result<()> {
                let source = Path::new(source);
                let Some(image) = super::archive::open_beneath(root, Path::new(target))? else {
                    return Ok(());
                };
                let is_empty = fs::read_dir(source)?.next().is_none();
                if !is_empty {
                    return Ok(());
                }
                let metadata = fs::File::from(image.try_clone()?).metadata()?;
                if !metadata.is_dir() {
                    return Ok(());
                }
                copy_tree(&Rootfs::from_fd(image), &Rootfs::open(source)?)?;
                std::os::unix::fs::chown(source, Some(metadata.uid()), Some(metadata.gid()))?;
                fs::set_permissions(source, fs::Permissions::from_mode(metadata.mode() & 0o7777))
            };
            fill().map_err(|source| VolumeError::Io { name: name.to_owned(), source })?;
        }
        Ok(())
    }

    /// Returns the volumes of a container that were made for it alone.
    pub(super) fn anonymous_volumes(&self, record: &Record) -> Vec<String> {
        let is_random = |name: &&str| name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        let points = record.mount_points().filter(|point| point["Spec"]["Source"].as_str().is_none());
        points.filter_map(|point| point["Name"].as_str()).filter(is_random).map(str::to_owned).collect()
    }

    /// Removes a volume unless another container mounts it.
    pub(super) fn remove_unused_volume(&self, name: &str) -> Result<(), DiskError> {
        let is_used = self
            .container_records()?
            .iter()
            .any(|record| record.mount_points().any(|point| point["Name"] == name));
        if !is_used {
            let _ = fs::remove_dir_all(self.store.volumes_directory().join(name));
        }
        Ok(())
    }
}

fn bind_point(source: &str, target: &str, writable: bool, propagation: &str) -> Value {
    json!({
        "Source": source, "Destination": target, "RW": writable, "Name": "", "Driver": "", "Type": "bind",
        "Propagation": propagation,
        "Spec": { "Type": "bind", "Source": source, "Target": target }, "SkipMountpointCreation": false,
    })
}

const PROPAGATIONS: [&str; 6] = ["private", "rprivate", "shared", "rshared", "slave", "rslave"];

fn check_options(options: &VolumeOptions) -> Result<(), VolumeError> {
    if !options.subpath.is_empty() {
        return Err(VolumeError::Option("volume-subpath"));
    }
    let told = options.driver_config.as_ref().and_then(|driver| driver.options.as_ref());
    if told.is_some_and(|options| !options.is_empty()) {
        return Err(VolumeError::Option("volume-opt"));
    }
    Ok(())
}

fn check_target(target: &str) -> Result<String, VolumeError> {
    if !target.starts_with('/') || target.split('/').any(|part| part == "..") {
        return Err(VolumeError::Relative(target.to_owned()));
    }
    let parts: Vec<&str> = target.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.is_empty() { Err(VolumeError::Root) } else { Ok(format!("/{}", parts.join("/"))) }
}

pub(crate) fn random_id() -> String {
    let mut random = [0; 32];
    getrandom::fill(&mut random).expect("Linux gives random bytes to every process once it has booted");
    hex::encode(random)
}

/// Copies a tree as a tar would carry it, without one on the disk.
pub(super) fn copy_tree(from: &Rootfs, to: &Rootfs) -> io::Result<()> {
    let (mut reader, mut writer) = io::pipe()?;
    std::thread::scope(|scope| {
        let packed = scope.spawn(move || {
            let options = Pack { whiteouts: Whiteouts::Literal, ..Pack::default() };
            pack(from, &mut writer, &options).map(drop)
        });
        let options = Unpack { whiteouts: Whiteouts::Literal, owners: Owners::Keep, ..Unpack::default() };
        let unpacked = unpack(to, &mut reader, &mut io::sink(), &options);
        // A packer that still writes must not wait for a reader that gave up.
        drop(reader);
        let packed = packed.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        unpacked.map_err(io::Error::other)?;
        packed.map_err(io::Error::other)
    })
}
