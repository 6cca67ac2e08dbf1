//! COPY and ADD: sources are found and hashed where they lie; only a step that is not cached copies them.

mod directory;
pub(crate) mod place;
pub(crate) mod source;

use shale_dockerfile::{Command, InlineFile, Origin, Step};

use crate::archive::is_archive;
use crate::build::Builder;
use crate::commit::StepResult;
use crate::error::{BuildError, CopyFault};
use crate::owner::{self, Owner};
use crate::remote::{self, is_remote};
use crate::stage::StageState;
use place::{Destination, ModeChange, Placer, fault};
use source::{Source, SourceContent};

/// What COPY and ADD have in common.
struct Request<'a> {
    keyword: &'static str,
    sources: &'a [String],
    inline_files: &'a [InlineFile],
    destination: &'a str,
    chown: Option<&'a str>,
    chmod: Option<&'a str>,
    excludes: &'a [String],
    parents: bool,
    /// `--link`: made upon nothing, so that no link of the image is followed and the image does not matter.
    link: bool,
    /// `--unpack`
    unpack: Option<bool>,
    /// Whether archives are unpacked at all.
    unpacks: bool,
    /// Files keep their owners: those of other stages and images.
    keeps_owners: bool,
}

/// Where a step's files go.
struct Place<'a> {
    /// The image's tree.
    root: &'a std::path::Path,
    /// The directory that takes what is changed in it.
    upper: &'a std::path::Path,
}

impl Builder<'_> {
    pub(crate) fn run_copy(
        &mut self,
        stage: &mut StageState,
        step: &Step,
        command: &Command,
    ) -> Result<(), BuildError> {
        let origin = step.origin.clone().unwrap_or(Origin::Context);
        let request = match command {
            Command::Copy(copy) => Request {
                keyword: "COPY",
                sources: &copy.sources,
                inline_files: &copy.inline_files,
                destination: &copy.destination,
                chown: copy.chown.as_deref(),
                chmod: copy.chmod.as_deref(),
                excludes: &copy.excludes,
                parents: copy.parents,
                link: copy.link,
                unpack: None,
                unpacks: false,
                keeps_owners: origin != Origin::Context,
            },
            Command::Add(add) => Request {
                keyword: "ADD",
                sources: &add.sources,
                inline_files: &add.inline_files,
                destination: &add.destination,
                chown: add.chown.as_deref(),
                chmod: add.chmod.as_deref(),
                excludes: &add.excludes,
                parents: false,
                link: add.link,
                unpack: add.unpack,
                unpacks: true,
                keeps_owners: false,
            },
            _ => unreachable!("only COPY and ADD copy"),
        };
        let failed = |fault| BuildError::Copy { keyword: request.keyword, fault };
        let root = match &origin {
            Origin::Context => None,
            other => Some(self.source_of(other)?),
        };
        let tree = match &root {
            Some(root) => root.tree(),
            None => self.context.tree.as_ref(),
        };
        let is_fetched = |source: &&String| request.keyword == "ADD" && is_remote(source);
        let local: Vec<String> =
            request.sources.iter().filter(|source| !is_fetched(source)).cloned().collect();
        let mut sources =
            source::find(tree, &local, request.excludes, request.parents, self.dialect).map_err(failed)?;
        // What is fetched stays until the step is done.
        let mut places = Vec::new();
        if let Command::Add(add) = command {
            let wanted = remote::Request {
                checksum: add.checksum.as_deref(),
                keeps_git: add.keep_git_dir.unwrap_or(false),
                needs_name: names_directory(request.destination) || request.sources.len() > 1,
            };
            if let (Some(checksum), false) = (wanted.checksum, local.is_empty()) {
                return Err(BuildError::Unsupported(format!(
                    "--checksum={checksum} is for what is fetched, and {} is not",
                    local[0]
                )));
            }
            for url in request.sources.iter().filter(is_fetched) {
                let (source, place) = self.fetch(url, wanted)?;
                sources.push(source);
                places.push(place);
            }
        }
        sources.extend(request.inline_files.iter().map(Source::inline));
        if sources.is_empty() && self.dialect.refuses_empty_wildcards() {
            return Err(failed(CopyFault::NothingMatched));
        }
        if sources.len() > 1
            && !names_directory(request.destination)
            && self.dialect.requires_directory_for_several_sources()
        {
            return Err(failed(CopyFault::DestinationNotDirectory(request.keyword)));
        }
        let hash = source::hash(tree, &sources, self.dialect, &self.known).map_err(failed)?;
        let chown = request.chown.map(|chown| format!("--chown={chown}")).unwrap_or_default();
        let chmod = request.chmod.map(|chmod| format!("--chmod={chmod} ")).unwrap_or_default();
        let parents = if request.parents { "--parents " } else { "" };
        // The classic builder forgot the blank behind --chown; without it a dockerd 20.10 finds no cache.
        let link = if request.link { "--link " } else { "" };
        let kept = if self.keeps_empty_layers() { "--keep-empty-layer " } else { "" };
        let (keyword, destination) = (request.keyword, request.destination);
        let comment = format!("{keyword} {kept}{link}{parents}{chmod}{chown}{hash} in {destination} ");
        let config = stage.noted_in_one_word(&comment);
        if self.hit(stage, &config)? {
            return Ok(());
        }
        let layer = self.store.begin_layer()?;
        let below = stage.top().filter(|_| !request.link);
        let mounted = self.store.mount_layer(&layer, None, below)?;
        let place = Place { root: mounted.path(), upper: &layer.diff_path() };
        let copied = self.copy_into(stage, &request, tree, &sources, place);
        mounted.unmount()?;
        copied?;
        let layer = self.pack(layer)?;
        self.commit(stage, StepResult { container: String::new(), container_config: config, layer })
    }

    fn copy_into(
        &self,
        stage: &StageState,
        request: &Request<'_>,
        tree: Option<&crate::tree::Tree>,
        sources: &[Source],
        place: Place<'_>,
    ) -> Result<(), BuildError> {
        let failed = |fault| BuildError::Copy { keyword: request.keyword, fault };
        let disk = |name: &str, source| failed(fault("open", name, source));
        let mut root = Destination::open(place.root).map_err(|source| disk("/", source))?;
        if sources.len() == 1 {
            // Nothing of this step is looked up through the mount after its only source was copied.
            root.write_new_directories_to(place.upper).map_err(|source| disk("/", source))?;
        }
        let chown =
            request.chown.map(|chown| owner::resolve(root.descriptor(), chown, self.dialect)).transpose()?;
        let mode = request.chmod.map(ModeChange::parse).transpose().map_err(failed)?;
        let owner = if request.keeps_owners { chown } else { Some(chown.unwrap_or_default()) };
        let placer = Placer { dialect: self.dialect, owner, mode };
        let destination = self.destination(stage, request.destination);
        let is_directory = names_directory(request.destination);
        for source in sources {
            let tree = source.tree.as_deref().or(tree);
            let place = match &source.kept_path {
                // --parents: the path in front of the source's last name stays.
                Some(kept) => format!("{destination}/{kept}/"),
                None => destination.clone(),
            };
            let is_directory = is_directory || source.kept_path.is_some();
            let path = crate::tree::follow(root.descriptor(), place.as_bytes())
                .map_err(|source| disk(&place, source))?;
            match (&source.content, tree) {
                (SourceContent::Inline(content), _) => {
                    let path = file_place(&root, path, is_directory, &source.name);
                    placer.write_inline(&root, &path, content).map_err(failed)?;
                }
                (SourceContent::Directory { found, entries, .. }, Some(tree)) => {
                    placer.copy_directory(tree, found, entries, &root, &path).map_err(failed)?;
                }
                (SourceContent::File(found), Some(tree)) => {
                    // What comes from a web server is unpacked only when that is asked for.
                    let unpacks = request.unpacks && request.unpack.unwrap_or(source.tree.is_none());
                    let archive = if unpacks { is_archive(tree, found, self.dialect) } else { None };
                    if let Some(archive) = archive {
                        let own = chown.filter(|_| self.dialect.has_buildkit_flags()).unwrap_or_default();
                        self.unpack(archive, &root, &path, own, &source.name).map_err(failed)?;
                        continue;
                    }
                    let path = file_place(&root, path, is_directory, &source.name);
                    placer.copy_file(tree, found, &root, &path).map_err(failed)?;
                }
                (_, None) => unreachable!("without a tree there are only inline files"),
            }
        }
        Ok(())
    }

    fn unpack(
        &self,
        mut archive: Box<dyn std::io::Read + Send + '_>,
        root: &Destination,
        path: &[u8],
        owner: Owner,
        name: &str,
    ) -> Result<(), CopyFault> {
        let (directory, _) =
            root.make_directories(path, owner).map_err(|source| fault("mkdir", name, source))?;
        let options = shale_rootfs::Unpack {
            whiteouts: shale_rootfs::Whiteouts::Literal,
            ..shale_rootfs::Unpack::default()
        };
        let directory = shale_rootfs::Rootfs::from_fd(directory);
        shale_rootfs::unpack(&directory, &mut archive, &mut std::io::sink(), &options)
            .map(drop)
            .map_err(|source| CopyFault::Unpack { name: name.to_owned(), source: Box::new(source) })
    }

    fn destination(&self, stage: &StageState, written: &str) -> String {
        if written.starts_with('/') {
            written.to_owned()
        } else {
            format!("{}/{written}", stage.run.working_dir)
        }
    }
}

/// Whether a destination can only be a directory.
fn names_directory(destination: &str) -> bool {
    destination.ends_with('/') || matches!(destination, "." | "..") || destination.ends_with("/.")
}

/// Returns where a file goes: below the destination if that is a directory, else it becomes the destination.
fn file_place(root: &Destination, path: Vec<u8>, is_directory: bool, name: &str) -> Vec<u8> {
    if is_directory || root.is_directory(&path) {
        return crate::tree::join(&path, name.as_bytes());
    }
    path
}
