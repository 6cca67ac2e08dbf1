//! The process of a RUN: its root, its mounts, its streams.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use shale_dockerfile::{Run, Script, Step};
use shale_runtime::spec::{BindMount, EtcFiles, HostsFile, Mount, Network, Propagation, User, resolv_conf};
use shale_runtime::{ContainerSpec, ExitStatus, RunError, Runtime, Signals, Stdio, Stream};
use shale_store::{FinishedLayer, LayerWriter};

use crate::build::Builder;
use crate::commit::{Lineage, StepResult};
use crate::copy::place::Destination;
use crate::error::BuildError;
use crate::options::RunNetwork;
use crate::owner::Owner;
use crate::ports::Output;
use crate::stage::StageState;
use crate::step::absolute;

/// Directories and files of Docker's init layer: what a container needs to be there before its image is asked.
const INIT_DIRECTORIES: [&str; 4] = ["dev/pts", "dev/shm", "proc", "sys"];
const INIT_FILES: [&str; 5] = [".dockerenv", "etc/resolv.conf", "etc/hosts", "etc/hostname", "dev/console"];

impl Builder<'_> {
    /// Runs a command upon the stage's image and returns the layer of what it changed.
    pub(crate) fn run_container(
        &mut self,
        stage: &mut StageState,
        step: &Step,
        run: &Run,
        script: &Script,
        words: &[String],
        id: &str,
    ) -> Result<Option<FinishedLayer>, BuildError> {
        let init = self.store.begin_layer()?;
        {
            let mounted = self.store.mount_layer(&init, None, stage.top())?;
            let filled = fill_init(mounted.path());
            mounted.unmount()?;
            filled.map_err(|source| disk("fill", &init.diff_path(), source))?;
        }
        let layer = self.store.begin_layer()?;
        let mounted = self.store.mount_layer(&layer, Some(&init), stage.top())?;
        let ran = self.run_in(stage, step, run, script, words, id, mounted.path(), &init);
        mounted.unmount()?;
        if let Err(error) = ran {
            if matches!(error, BuildError::Run { .. }) && self.options.keep_failed_root {
                self.keep_failed_root(stage, layer, id)?;
            }
            return Err(error);
        }
        self.pack(layer)
    }

    /// Makes an image of what a failed command left, to be looked at: to run it opens the stage's shell, with what the
    /// command saw. No step finds it in the cache.
    fn keep_failed_root(
        &mut self,
        stage: &StageState,
        layer: LayerWriter,
        id: &str,
    ) -> Result<(), BuildError> {
        let layer = self.pack(layer)?;
        let mut failed = stage.clone();
        failed.run.entrypoint = None;
        failed.run.cmd = Some(shell_program(stage));
        failed.run.env = Some(environment(stage));
        let container_config = stage.noted("a failed RUN");
        let result = StepResult { container: id.to_owned(), container_config, layer };
        self.store_image(&mut failed, result, Lineage::None)?;
        // Its name is told, so it has to stay.
        self.sync()?;
        if let Some(image) = failed.image {
            self.output.kept_root(image);
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)] // One call, from right above.
    fn run_in(
        &mut self,
        stage: &mut StageState,
        step: &Step,
        run: &Run,
        script: &Script,
        words: &[String],
        id: &str,
        root: &Path,
        init: &LayerWriter,
    ) -> Result<(), BuildError> {
        let scratch = init.scratch_path()?;
        let network = match (run.network, self.options.network) {
            (shale_dockerfile::Network::None, _) | (shale_dockerfile::Network::Default, RunNetwork::None) => {
                Network::None
            }
            _ => Network::Host,
        };
        let mut spec = ContainerSpec::new(id, root, words.to_vec());
        spec.env = environment(stage);
        let proxies = stage.scope.proxy_environment();
        spec.env.extend(proxies.into_iter().map(|(name, value)| format!("{name}={value}")));
        spec.cwd = absolute(&stage.run.working_dir).to_owned();
        spec.user = User::resolve(root, &stage.run.user, &[])
            .map_err(|error| BuildError::Unsupported(error.to_string()))?;
        spec.etc_files = self.etc_files(&scratch, &network, id)?;
        spec.network = network;
        spec.resources = self.options.resources.clone();
        spec.rlimits = self.options.rlimits.clone();
        spec.privileged = run.security == shale_dockerfile::Security::Insecure;
        if let Some(size) = self.options.shm_size_bytes {
            spec.shm_size_bytes = size;
        }
        let added = self.add_mounts(&mut spec, stage, step, run, script, root, &scratch)?;
        let runtime = self.runtime()?;
        let mut signals = self.cancel.signals();
        let result = run_with_output(self.output, |stdio| runtime.run_to_end(&spec, stdio, &mut signals));
        let failure = match result {
            Err(error) => Some(error),
            Ok(_) if self.cancel.is_over() => Some(BuildError::Cancelled),
            Ok(ExitStatus { code: 0, .. }) => None,
            Ok(ExitStatus { code, .. }) => Some(BuildError::Run { command: words.join(" "), code }),
        };
        if let Some(failure @ (BuildError::Run { .. } | BuildError::Start(_))) = &failure
            && self.options.shell_on_failure
            // One shell for the whole build; the commands of other stages end.
            && self.cancel.is_first_to_end()
        {
            self.output.yield_terminal(&failure.to_string());
            self.open_shell(runtime, spec, stage);
        }
        added.remove(root);
        failure.map_or(Ok(()), Err)
    }

    /// Runs the stage's shell on this process's terminal where a command failed, with all that the command had.
    fn open_shell(&self, runtime: &Runtime, command: ContainerSpec, stage: &StageState) {
        let shell = ContainerSpec { args: shell_program(stage), terminal: true, ..command };
        let stdio = Stdio { stdin: Stream::Inherit, stdout: Stream::Inherit, stderr: Stream::Null };
        let mut signals = Signals::of_process().unwrap_or_else(|_| Signals::none());
        // Its exit code is that of whatever was tried last.
        if let Err(error) = runtime.run_to_end(&shell, stdio, &mut signals) {
            self.output.note(&format!("There is no shell to look with: {error}\n"));
        }
    }

    fn etc_files(&self, scratch: &Path, network: &Network, id: &str) -> Result<EtcFiles, BuildError> {
        let host = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let hosts = HostsFile { extra: self.options.hosts.clone() };
        let write = |name: &str, text: String| {
            let path = scratch.join(name);
            std::fs::write(&path, text).map_err(|source| disk("write", &path, source))?;
            Ok::<_, BuildError>(Some(path))
        };
        Ok(EtcFiles {
            resolv_conf: write("resolv.conf", resolv_conf(&host("/etc/resolv.conf"), network))?,
            hostname: write("hostname", format!("{}\n", &id[..12]))?,
            hosts: write("hosts", hosts.text(network, &host("/etc/hosts")))?,
        })
    }

    /// The anonymous volumes of the classic builder: what is written below a `VOLUME` is thrown away.
    pub(crate) fn add_volumes(
        &self,
        spec: &mut ContainerSpec,
        stage: &StageState,
        root: &Path,
        scratch: &Path,
    ) -> Result<(), BuildError> {
        if !self.dialect.discards_volume_writes() {
            return Ok(());
        }
        for (number, path) in stage.run.volumes.iter().flatten().map(|(path, _)| path).enumerate() {
            let source = scratch.join(format!("volume-{number}"));
            std::fs::create_dir(&source).map_err(|error| disk("make", &source, error))?;
            self.fill_volume(root, path, &source)?;
            let target = PathBuf::from(crate::step::clean(path));
            spec.mounts.push(bind(source, target, false));
        }
        Ok(())
    }

    /// Copies what the image has at a volume's place, as Docker does for a new volume.
    fn fill_volume(&self, root: &Path, path: &str, volume: &Path) -> Result<(), BuildError> {
        use crate::copy::place::Placer;
        let failed = |source| disk("fill", volume, source);
        let tree = crate::tree::Tree::root(root).map_err(failed)?;
        let Some(found) = tree.find(path).map_err(failed)? else { return Ok(()) };
        if !found.is_directory() {
            return Ok(());
        }
        let destination = Destination::open(volume).map_err(failed)?;
        let placer = Placer { dialect: self.dialect, owner: None, mode: None };
        let entries = tree.list(&found.path).map_err(failed)?;
        placer
            .copy_directory(&tree, &found, &entries, &destination, b"")
            .map_err(|fault| BuildError::Copy { keyword: "VOLUME", fault })?;
        let mode = rustix::fs::Mode::from_raw_mode(found.stat.st_mode & 0o7777);
        rustix::fs::chmod(volume, mode).map_err(|errno| failed(errno.into()))?;
        let owner = (found.stat.st_uid, found.stat.st_gid);
        std::os::unix::fs::chown(volume, Some(owner.0), Some(owner.1)).map_err(failed)
    }
}

/// Returns the program of the shell forms, without its options: they are for scripts.
fn shell_program(stage: &StageState) -> Vec<String> {
    stage.shell().into_iter().take(1).collect()
}

/// Returns the variables that the process of a `RUN` sees, but for those that must not be kept.
fn environment(stage: &StageState) -> Vec<String> {
    let variables = stage.scope.run_environment().into_iter();
    variables.map(|(name, value)| format!("{name}={value}")).collect()
}

pub(crate) fn bind(source: PathBuf, target: PathBuf, read_only: bool) -> Mount {
    let propagation = Some(Propagation::RecursivePrivate);
    Mount::Bind(BindMount { source, target, read_only, recursive: true, propagation })
}

pub(crate) fn disk(action: &'static str, path: &Path, source: std::io::Error) -> BuildError {
    BuildError::Disk { action, path: path.to_owned(), source }
}

/// Makes what every container finds, and takes away whatever else of the image stands there.
///
/// Source: moby `daemon/initlayer/setup_unix.go` at v20.10.24, as the data-root reference 3.4 describes it.
fn fill_init(root: &Path) -> std::io::Result<()> {
    use rustix::fs::{AtFlags, FileType, Mode, OFlags, openat, statat, symlinkat, unlinkat};
    let destination = Destination::open(root)?;
    let clear = |path: &str| -> std::io::Result<()> {
        for (end, _) in path.match_indices('/').chain([(path.len(), "")]) {
            let prefix = &path[..end];
            let Ok((parent, name)) = destination.parent_of(prefix.as_bytes()) else { return Ok(()) };
            match statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::Directory => {
                    unlinkat(&parent, name, AtFlags::empty())?;
                }
                _ => {}
            }
        }
        Ok(())
    };
    for path in INIT_DIRECTORIES {
        clear(path)?;
        destination.make_directories(path.as_bytes(), Owner::default())?;
    }
    for path in INIT_FILES {
        clear(path)?;
        let above = path.rfind('/').map_or("", |slash| &path[..slash]);
        let (parent, _) = destination.make_directories(above.as_bytes(), Owner::default())?;
        let name = path.rsplit('/').next().unwrap_or(path);
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        match openat(&parent, name, flags, Mode::from_raw_mode(0o755)) {
            Ok(file) => rustix::fs::fchmod(file, Mode::from_raw_mode(0o755))?,
            Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    clear("etc/mtab")?;
    let (etc, _) = destination.make_directories(b"etc", Owner::default())?;
    match symlinkat("/proc/mounts", &etc, "mtab") {
        Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Runs a process whose output goes to `output`: standard error in red, piece by piece, as docker shows it.
fn run_with_output<T>(
    output: &dyn Output,
    run: impl FnOnce(Stdio) -> Result<T, RunError>,
) -> Result<T, BuildError> {
    let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
    let no_pipe = |errno: rustix::io::Errno| disk("make", Path::new("a pipe"), errno.into());
    let (stdout, stdout_end) = pipe().map_err(no_pipe)?;
    let (stderr, stderr_end) = pipe().map_err(no_pipe)?;
    std::thread::scope(|scope| {
        scope.spawn(move || pass_on(stdout, |text| output.text(text)));
        scope.spawn(move || pass_on(stderr, |text| output.text(&format!("\u{1b}[91m{text}\u{1b}[0m"))));
        let stdio = Stdio {
            stdin: Stream::Null,
            stdout: Stream::Descriptor(stdout_end),
            stderr: Stream::Descriptor(stderr_end),
        };
        run(stdio).map_err(|error| BuildError::Start(Box::new(error)))
    })
}

fn pass_on(pipe: OwnedFd, show: impl Fn(&str)) {
    let mut pipe = std::fs::File::from(pipe);
    let mut buffer = vec![0; 32 << 10];
    let mut kept = 0;
    loop {
        let count = match pipe.read(&mut buffer[kept..]) {
            Ok(0) | Err(_) => break,
            Ok(count) => kept + count,
        };
        // A character may be cut in two by the pipe.
        let whole = match std::str::from_utf8(&buffer[..count]) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => count,
        };
        if whole > 0 {
            show(&String::from_utf8_lossy(&buffer[..whole]));
        }
        buffer.copy_within(whole..count, 0);
        kept = count - whole;
    }
    if kept > 0 {
        show(&String::from_utf8_lossy(&buffer[..kept]));
    }
}
