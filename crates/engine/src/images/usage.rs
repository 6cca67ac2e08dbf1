//! How much space images, containers and volumes take.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use shale_engine_api::ImageSummary;
use shale_oci::{ChainId, ImageId};
use shale_rootfs::Rootfs;
use shale_store::{Container, ContainerState};

use super::list::{List, ListError};
use crate::Engine;

/// Everything that takes space in a store, as `docker system df` counts it.
#[derive(Debug, Clone, Default)]
pub struct DiskUsage {
    /// Sizes of all layers that images have, each once.
    pub layers_size_bytes: u64,
    /// The images, newest first, with the number of containers made from each.
    pub images: Vec<ImageSummary>,
    /// The containers, newest first.
    pub containers: Vec<ContainerUsage>,
    /// The local volumes, by name.
    pub volumes: Vec<VolumeUsage>,
}

/// A container and what it wrote.
#[derive(Debug, Clone)]
pub struct ContainerUsage {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The image as it was named when the container was made, or the begin of its ID where that name is another's now.
    pub image: String,
    /// The program with its arguments, as `docker ps` shows them.
    pub command: String,
    /// When it was made.
    pub created: Timestamp,
    /// What it does.
    pub state: ContainerState,
    /// Local volumes that it mounts.
    pub volumes: u64,
    /// Bytes of its own layer.
    pub size_bytes: u64,
}

/// A local volume.
#[derive(Debug, Clone)]
pub struct VolumeUsage {
    /// Its name.
    pub name: String,
    /// Containers that mount it.
    pub links: u64,
    /// Bytes in it.
    pub size_bytes: u64,
}

impl DiskUsage {
    /// Returns the bytes of layers that no image has which a container was made from.
    ///
    /// Source: docker CLI 28.2 `formatter.diskUsageImagesContext.Reclaimable`.
    pub fn reclaimable_images_bytes(&self) -> u64 {
        let used: u64 = self
            .images
            .iter()
            .filter(|image| image.containers > 0)
            .map(|image| image.size_bytes.saturating_sub(u64::try_from(image.shared_size_bytes).unwrap_or(0)))
            .sum();
        self.layers_size_bytes.saturating_sub(used)
    }
}

impl Engine {
    /// Returns how much space everything takes.
    ///
    /// Records of the build cache that BuildKit inside dockerd keeps in its own database are not among it.
    ///
    /// # Errors
    /// [`ListError`].
    ///
    /// Source: moby daemon/disk_usage.go and daemon/images/images.go at v28.5.2.
    pub fn disk_usage(&self) -> Result<DiskUsage, ListError> {
        let containers = self.store.containers()?;
        let mut images = self.list(&List::default())?;
        let mut users: HashMap<ImageId, i64> = HashMap::new();
        for image in containers.iter().filter_map(|container| container.image) {
            *users.entry(image).or_default() += 1;
        }
        for image in &mut images {
            image.containers = users.get(&image.id).copied().unwrap_or(0);
        }
        Ok(DiskUsage {
            layers_size_bytes: self.layers_size_bytes()?,
            images,
            volumes: self.volume_usage(&containers)?,
            containers: self.container_usage(containers)?,
        })
    }

    fn layers_size_bytes(&self) -> Result<u64, ListError> {
        let mut counted: HashSet<ChainId> = HashSet::new();
        let listed = self.all_images()?;
        let layers = listed.iter().flat_map(|listed| &listed.image.layers);
        Ok(layers.filter(|layer| counted.insert(layer.chain_id)).map(|layer| layer.size_bytes).sum())
    }

    fn container_usage(&self, containers: Vec<Container>) -> Result<Vec<ContainerUsage>, ListError> {
        let references = self.store.references()?;
        let mounts = self.store.mounts()?;
        let mut usage: Vec<_> = containers
            .into_iter()
            .map(|container| {
                let mount = mounts.iter().find(|mount| mount.name == container.id);
                let path = mount.and_then(|mount| self.store.writable_path(mount));
                let named = self.find_image_among(&references, &container.image_name).ok();
                let image = match container.image {
                    Some(image) if named.is_none_or(|named| named.id != image) => image.short(),
                    _ => container.image_name,
                };
                ContainerUsage {
                    image,
                    command: command_line(&container.command),
                    created: container.created.unwrap_or(Timestamp::UNIX_EPOCH),
                    state: container.state,
                    volumes: container.volumes.len() as u64,
                    size_bytes: path.map_or(0, |path| tree_size_bytes(&path)),
                    id: container.id,
                    name: container.name,
                }
            })
            .collect();
        usage.sort_by_key(|container| std::cmp::Reverse(container.created));
        Ok(usage)
    }

    fn volume_usage(&self, containers: &[Container]) -> Result<Vec<VolumeUsage>, ListError> {
        let links = |name: &String| {
            containers.iter().filter(|container| container.volumes.contains(name)).count() as u64
        };
        let volumes = self.store.volumes()?.into_iter();
        Ok(volumes
            .map(|volume| VolumeUsage {
                links: links(&volume.name),
                size_bytes: tree_size_bytes(&volume.path),
                name: volume.name,
            })
            .collect())
    }
}

/// Joins a command as `docker ps` shows it: arguments with a blank in quotes.
///
/// Source: moby daemon/list.go at v28.5.2.
fn command_line(command: &[String]) -> String {
    let mut line = String::new();
    for (index, word) in command.iter().enumerate() {
        if index > 0 {
            line.push(' ');
        }
        if index > 0 && word.contains(' ') {
            line.extend(["'", word, "'"]);
        } else {
            line.push_str(word);
        }
    }
    line
}

/// Returns the sizes of the files below `path`; what cannot be read counts nothing, as in Docker.
fn tree_size_bytes(path: &std::path::Path) -> u64 {
    Rootfs::open(path).and_then(|root| root.size_bytes()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shown_as_docker_ps_shows_them() {
        // The second is that of the golden container, as `docker system df -v` printed it.
        let line =
            |words: &[&str]| command_line(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(line(&[]), "");
        assert_eq!(line(&["/bin/sh", "-c", "cat /app/copied.txt"]), "/bin/sh -c 'cat /app/copied.txt'");
        assert_eq!(line(&["/my program", "x"]), "/my program x");
    }
}
