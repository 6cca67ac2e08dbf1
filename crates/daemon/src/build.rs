//! `POST /build`: the classic builder, its context a tar in the body, its words a stream.

pub(crate) mod options;

use std::error::Error;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Zoned;
use serde_json::json;
use shale_build::{BuildOptions, Built, Cancel, Context, Failed, Images, Output, UnpackedContext};
use shale_dockerfile::{Dialect, Dockerfile, ParseFault};
use shale_engine::Engine;
use shale_engine::progress::Progress;
use shale_engine_api::ApiVersion;
use shale_oci::{ImageConfig, ImageId, Platform, Reference};
use shale_registry_client::Client;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use crate::answer::Answer;
use crate::body::RequestBody;
use crate::daemon::Daemon;
use crate::events::Action;
use crate::failure::{Failure, access_denied};
use crate::progress::{self, Reporter};
use crate::registry_auth;
use crate::request::Call;
use crate::transfer::Received;

/// Builds an image; the stream of messages is the classic builder's.
pub(crate) async fn answer(daemon: &Daemon, call: &Call, body: RequestBody) -> Result<Answer, Failure> {
    let mut wanted = options::read(&call.query, daemon.supervisor.clone(), daemon.experiments)?;
    let cache_from = std::mem::take(&mut wanted.cache_from);
    if !cache_from.is_empty() {
        // Docker's builder passes over those that are not here, and asks no registry for them.
        let find = move |engine: &Engine| {
            let found = cache_from.iter().filter_map(|name| engine.find_image(name).ok());
            Ok::<_, Failure>(found.map(|found| found.id).collect::<Vec<_>>())
        };
        wanted.options.cache_from = daemon.blocking(find).await?;
        // Without sources the whole store would be one.
        wanted.options.no_cache |= wanted.options.cache_from.is_empty();
    }
    let client = registry_auth::client_of_build(call, &daemon.registries)?;
    let archive = Received::of(body);
    let daemon = daemon.clone_for_long();
    let has_aux = call.version >= ApiVersion::one(30);
    let (left, has_left) = watch::channel(());
    let ended = EndWhenDropped { cancel: Arc::clone(&wanted.options.cancel), _left: left };
    progress::answer(true, move |reporter| async move {
        let _ended = ended;
        let said = Said {
            reporter: Arc::clone(&reporter),
            kept: Mutex::default(),
            is_quiet: wanted.is_quiet,
            has_aux,
            removes_containers: wanted.removes_containers,
        };
        let bases = Bases {
            engine: daemon.engine.clone(),
            client,
            handle: Handle::current(),
            said: Arc::new(said),
            has_left,
        };
        let (done, outcome) = oneshot::channel();
        let (engine, tags, is_quiet) = (daemon.engine.clone(), wanted.tags.clone(), wanted.is_quiet);
        let tells_squashed = wanted.options.squash && has_aux && !is_quiet;
        let said = Arc::clone(&bases.said);
        // A thread of its own, because its mounts are: those of a build are nobody else's business.
        let thread = std::thread::Builder::new().name("build".to_owned());
        let spawned = thread.spawn(move || {
            if let Err(error) = shale_build::enter_mount_namespace() {
                tracing::debug!(%error, "no mount namespace of the build's own");
            }
            let _ = done.send(build(&engine, Box::new(archive), &wanted.file, &wanted.options, &bases));
        });
        spawned.map_err(|error| Failure::internal(&error))?;
        let built = match outcome.await.map_err(|error| Failure::internal(&error))? {
            Ok(built) => built,
            Err(refused) => {
                said.release();
                return refused.tell(&reporter);
            }
        };
        let id = built.image.to_string();
        if tells_squashed {
            // The stage's own image was told before; this one has a name for it.
            reporter.send(&json!({ "id": "moby.image.id", "aux": { "ID": id } }));
        }
        said.text(&format!("Successfully built {}\n", built.image.short()));
        for tag in tags {
            let (image, named) = (built.image, tag.clone());
            daemon.blocking(move |engine| engine.tag_image(image, &named, &Zoned::now())).await?;
            daemon.image_event(Action::Tag, &id, &tag.familiar()).await;
            said.text(&format!("Successfully tagged {}\n", tag.familiar()));
        }
        if is_quiet {
            reporter.send(&json!({ "stream": format!("{id}\n") }));
        }
        Ok(())
    })
    .await
}

/// Ends the build when the client's request ends, which is before its time if the client goes away.
struct EndWhenDropped {
    cancel: Arc<Cancel>,
    /// Dropped with the rest; downloads of base images wait for that.
    _left: watch::Sender<()>,
}

impl Drop for EndWhenDropped {
    fn drop(&mut self) {
        self.cancel.end();
    }
}

/// Why there is no image.
enum Refused {
    /// Told by its status, if nothing was said yet.
    Request(Failure),
    /// Told in the stream, as dockerd tells what happens while it builds.
    Build { message: String, code: Option<i32> },
}

impl Refused {
    fn tell(self, reporter: &Reporter) -> Result<(), Failure> {
        match self {
            Refused::Request(failure) => Err(failure),
            Refused::Build { message, code } => {
                let detail = match code {
                    Some(code) => json!({ "code": code, "message": message }),
                    None => json!({ "message": message }),
                };
                reporter.send(&json!({ "errorDetail": detail, "error": message }));
                Ok(())
            }
        }
    }
}

fn build(
    engine: &Engine,
    archive: Box<dyn std::io::Read + Send>,
    file: &str,
    options: &BuildOptions,
    bases: &Bases,
) -> Result<Built, Refused> {
    let invalid = |text: String| Refused::Request(Failure::invalid(text));
    let unpacked =
        UnpackedContext::unpack(engine.store(), archive).map_err(|error| invalid(error.to_string()))?;
    let directory = unpacked.path();
    let inside = Path::new(file.trim_start_matches('/'));
    if inside.components().any(|part| part.as_os_str() == "..") {
        return Err(invalid(format!("Forbidden path outside the build context: {file} ()")));
    }
    let missing = || {
        // dockerd names the file, and says whose fault it is by this status.
        Refused::Request(Failure::internal_text(format!("Cannot locate specified Dockerfile: {file}")))
    };
    let (path, text) =
        Context::read_dockerfile(&directory, Some(&directory.join(inside))).map_err(|_| missing())?;
    let parsed = Dockerfile::parse(&text, file, Dialect::Classic);
    let dockerfile = parsed.map_err(|error| {
        // Docker finds these while it builds.
        let is_late = matches!(error.fault, ParseFault::NeedsBuildKit(_) | ParseFault::DuplicateStageName(_));
        let message = error.docker_message(Dialect::Classic);
        if is_late { Refused::Build { message, code: None } } else { invalid(message) }
    })?;
    let context = Context::open_unpacked(&directory, Some(&path), Dialect::Classic)
        .map_err(|error| invalid(error.to_string()))?;
    let built = shale_build::build(engine.store(), &dockerfile, &context, options, bases, &*bases.said);
    built.map_err(|Failed { error, .. }| {
        let message = error.docker_message(Dialect::Classic);
        let code = match &error {
            shale_build::BuildError::Run { code, .. } => Some(*code),
            _ => None,
        };
        Refused::Build { message, code }
    })
}

/// What the builder says; a quiet client hears it only when the build fails.
struct Said {
    reporter: Arc<Reporter>,
    kept: Mutex<Vec<serde_json::Value>>,
    is_quiet: bool,
    has_aux: bool,
    removes_containers: bool,
}

impl Said {
    fn send(&self, message: serde_json::Value) {
        if self.is_quiet {
            self.kept.lock().unwrap_or_else(PoisonError::into_inner).push(message);
        } else {
            self.reporter.send(&message);
        }
    }

    fn release(&self) {
        let kept = std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner));
        kept.iter().for_each(|message| self.reporter.send(message));
    }
}

impl Output for Said {
    fn text(&self, text: &str) {
        if !self.removes_containers && text.starts_with("Removing intermediate container ") {
            return;
        }
        self.send(json!({ "stream": text }));
    }

    fn stage(&self, image: ImageId) {
        if self.has_aux {
            self.send(json!({ "aux": { "ID": image.to_string() } }));
        }
    }
}

/// Base images: those of the store, and of registries with the credentials of the request.
struct Bases {
    engine: Engine,
    client: Client,
    handle: Handle,
    said: Arc<Said>,
    has_left: watch::Receiver<()>,
}

impl Images for Bases {
    fn resolve(
        &self,
        name: &str,
        platform: Option<&Platform>,
        refresh: bool,
    ) -> Result<ImageId, Box<dyn Error + Send + Sync>> {
        if !refresh
            && let Ok(image) = self.engine.load_image(name)
            && ImageConfig::parse(&image.config).is_ok_and(|config| {
                platform.is_none_or(|wanted| wanted.choose([Some(&config.platform())].into_iter()).is_some())
            })
        {
            return Ok(image.id);
        }
        let reference = Reference::parse(name)?.or_latest();
        let progress: Arc<dyn Progress> = match self.said.is_quiet {
            true => Arc::new(shale_engine::progress::Silent),
            false => Arc::clone(&self.said.reporter) as Arc<dyn Progress>,
        };
        let mut has_left = self.has_left.clone();
        let pulled = self.handle.block_on(async {
            tokio::select! {
                pulled = self.engine.pull(&self.client, &reference, platform, &progress) => Some(pulled),
                _ = has_left.changed() => None,
            }
        });
        match pulled {
            None => Err("the client went away".into()),
            Some(Ok(pulled)) => {
                if let Some(other) = pulled.other_platform {
                    progress.message(&format!("WARNING: {other}"));
                }
                Ok(pulled.image)
            }
            Some(Err(error)) => Err(access_denied(error, reference.repository.familiar()).message.into()),
        }
    }
}
