//! Statuses of what containers and volumes refuse.

use http::StatusCode;
use shale_engine::containers::archive::ArchiveError;
use shale_engine::containers::commit::CommitError;
use shale_engine::containers::copy::CopyError;
use shale_engine::containers::create::{CreateError, SettingsError, VolumeError};
use shale_engine::containers::endpoints::ConnectError;
use shale_engine::containers::exec::ExecError;
use shale_engine::containers::find::FindContainerError;
use shale_engine::containers::links::LinkError;
use shale_engine::containers::list::ListContainersError;
use shale_engine::containers::logs::LogsError;
use shale_engine::containers::remove::RemoveContainerError;
use shale_engine::containers::rename::RenameContainerError;
use shale_engine::containers::start::{SignalContainerError, StartContainerError};
use shale_engine::containers::update::UpdateContainerError;
use shale_engine::networks::NetworksError;
use shale_engine::volumes::VolumesError;
use shale_runtime::ControlError;

use super::Failure;

impl From<FindContainerError> for Failure {
    fn from(error: FindContainerError) -> Failure {
        let status = match &error {
            FindContainerError::NoSuchContainer(_) => StatusCode::NOT_FOUND,
            FindContainerError::Ambiguous(_) => StatusCode::BAD_REQUEST,
            FindContainerError::Disk(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Failure::of(status, &error)
    }
}

impl From<CreateError> for Failure {
    fn from(error: CreateError) -> Failure {
        match error {
            CreateError::Image(error) => error.into(),
            // Not 404: clients take that for a missing image, and pull it.
            CreateError::NoSuchNetwork(name) => Failure::invalid(format!("network {name} not found")),
            CreateError::Endpoint(error) => error.into(),
            CreateError::NameTaken { .. } => Failure::of(StatusCode::CONFLICT, &error),
            CreateError::Volume(VolumeError::Io { .. }) => Failure::internal(&error),
            CreateError::Volume(VolumeError::Driver { .. }) => Failure::of(StatusCode::NOT_FOUND, &error),
            CreateError::Settings(SettingsError::Link(error)) => error.into(),
            CreateError::Name(_)
            | CreateError::NoCommand
            | CreateError::RelativeWorkingDirectory(_)
            | CreateError::Settings(_)
            | CreateError::Volume(_) => Failure::of(StatusCode::BAD_REQUEST, &error),
            error => Failure::internal(&error),
        }
    }
}

impl From<LinkError> for Failure {
    fn from(error: LinkError) -> Failure {
        match error {
            LinkError::Format(_) | LinkError::OwnName | LinkError::NotRunning { .. } => {
                Failure::internal_text(error.to_string())
            }
            LinkError::NoSuchLink(_) => Failure::of(StatusCode::NOT_FOUND, &error),
            LinkError::Other { .. }
            | LinkError::HostNetwork
            | LinkError::ContainerNetwork
            | LinkError::Network(_) => Failure::of(StatusCode::BAD_REQUEST, &error),
            error => Failure::internal(&error),
        }
    }
}

impl From<StartContainerError> for Failure {
    fn from(error: StartContainerError) -> Failure {
        match error {
            StartContainerError::Find(error) => error.into(),
            StartContainerError::NoSuchNetwork(name) => Failure::missing(format!("network {name} not found")),
            StartContainerError::Gone | StartContainerError::Paused => {
                Failure::of(StatusCode::CONFLICT, &error)
            }
            // As dockerd: the command is the client's, everything else is not.
            StartContainerError::Start(ref start) if matches!(start.exit_code(), 126 | 127) => {
                Failure::new(StatusCode::BAD_REQUEST, error.to_string())
            }
            StartContainerError::Start(_) => Failure::internal_text(error.to_string()),
            StartContainerError::Settings(SettingsError::Link(error)) => error.into(),
            StartContainerError::Settings(_) => Failure::of(StatusCode::BAD_REQUEST, &error),
            error => Failure::internal(&error),
        }
    }
}

impl From<LogsError> for Failure {
    fn from(error: LogsError) -> Failure {
        match error {
            LogsError::Unreadable => Failure::of(StatusCode::NOT_IMPLEMENTED, &error),
            error => Failure::internal(&error),
        }
    }
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Failure {
        match error {
            ControlError::NotRunning { .. } => Failure::of(StatusCode::CONFLICT, &error),
            error => Failure::internal(&error),
        }
    }
}

impl From<SignalContainerError> for Failure {
    fn from(error: SignalContainerError) -> Failure {
        match error {
            SignalContainerError::Find(error) => error.into(),
            SignalContainerError::Control(error) => error.into(),
            SignalContainerError::NotRunning { .. } | SignalContainerError::CannotKill { .. } => {
                Failure::of(StatusCode::CONFLICT, &error)
            }
            error => Failure::internal(&error),
        }
    }
}

impl From<ExecError> for Failure {
    fn from(error: ExecError) -> Failure {
        match error {
            ExecError::Container(error) => error.into(),
            ExecError::Paused(_) => Failure::of(StatusCode::CONFLICT, &error),
            // dockerd leaves this to its runtime, whose words these are.
            ExecError::RelativeWorkingDirectory(_) => Failure::invalid(
                "OCI runtime exec failed: exec failed: Cwd must be an absolute path: unknown",
            ),
            ExecError::NoCommand | ExecError::User(_) => Failure::of(StatusCode::BAD_REQUEST, &error),
            error => Failure::internal(&error),
        }
    }
}

impl From<ListContainersError> for Failure {
    fn from(error: ListContainersError) -> Failure {
        match error {
            ListContainersError::Find(error) => error.into(),
            ListContainersError::Image(error) => error.into(),
            ListContainersError::Filter(_) => Failure::of(StatusCode::BAD_REQUEST, &error),
            error => Failure::internal(&error),
        }
    }
}

impl From<RemoveContainerError> for Failure {
    fn from(error: RemoveContainerError) -> Failure {
        match error {
            RemoveContainerError::Find(error) => error.into(),
            RemoveContainerError::Running(_) | RemoveContainerError::Paused(_) => {
                Failure::of(StatusCode::CONFLICT, &error)
            }
            error => Failure::internal(&error),
        }
    }
}

impl From<RenameContainerError> for Failure {
    fn from(error: RenameContainerError) -> Failure {
        match error {
            RenameContainerError::Find(error) => error.into(),
            RenameContainerError::Taken(_) => Failure::of(StatusCode::CONFLICT, &error),
            RenameContainerError::Name(_) | RenameContainerError::Same(_) => {
                Failure::of(StatusCode::BAD_REQUEST, &error)
            }
            error => Failure::internal(&error),
        }
    }
}

impl From<UpdateContainerError> for Failure {
    fn from(error: UpdateContainerError) -> Failure {
        match error {
            UpdateContainerError::Find(error) => error.into(),
            UpdateContainerError::Settings(_) | UpdateContainerError::AutoRemove => {
                Failure::of(StatusCode::BAD_REQUEST, &error)
            }
            error => Failure::internal(&error),
        }
    }
}

impl From<ArchiveError> for Failure {
    fn from(error: ArchiveError) -> Failure {
        match error {
            ArchiveError::Find(error) => error.into(),
            ArchiveError::NoFile { .. } => Failure::of(StatusCode::NOT_FOUND, &error),
            error => Failure::internal(&error),
        }
    }
}

impl From<CopyError> for Failure {
    fn from(error: CopyError) -> Failure {
        match error {
            CopyError::Archive(error) => error.into(),
            CopyError::NotADirectory => Failure::of(StatusCode::BAD_REQUEST, &error),
            CopyError::ReadOnlyRoot | CopyError::ReadOnlyVolume => Failure::of(StatusCode::FORBIDDEN, &error),
            CopyError::Unpack(_) | CopyError::User(_) => Failure::of(StatusCode::BAD_REQUEST, &error),
            error => Failure::internal(&error),
        }
    }
}

impl From<CommitError> for Failure {
    fn from(error: CommitError) -> Failure {
        match error {
            CommitError::Find(error) => error.into(),
            CommitError::Image(error) => error.into(),
            CommitError::Change(_) => Failure::of(StatusCode::BAD_REQUEST, &error),
            error => Failure::internal(&error),
        }
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Failure {
        let status = match error {
            ConnectError::Find(error) => return error.into(),
            ConnectError::Network(error) => return error.into(),
            ConnectError::Host | ConnectError::Shared | ConnectError::None => StatusCode::BAD_REQUEST,
            ConnectError::Exists { .. } => StatusCode::FORBIDDEN,
            ConnectError::RunningNotConnected { .. } => StatusCode::FORBIDDEN,
            ConnectError::NotConnected { .. } | ConnectError::Record(_) | ConnectError::Disk(_) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        Failure::of(status, &error)
    }
}

impl From<NetworksError> for Failure {
    fn from(error: NetworksError) -> Failure {
        let status = match &error {
            NetworksError::NoSuchNetwork(_) | NetworksError::Driver(_) => StatusCode::NOT_FOUND,
            NetworksError::Ambiguous(_) => StatusCode::BAD_REQUEST,
            NetworksError::Predefined(_)
            | NetworksError::NotRemoved(_)
            | NetworksError::OnlyOne(_)
            | NetworksError::InUse { .. } => StatusCode::FORBIDDEN,
            NetworksError::Taken(_) => StatusCode::CONFLICT,
            // As dockerd, though the request makes no sense.
            NetworksError::Name(_)
            | NetworksError::Swarm
            | NetworksError::Subnet(_)
            | NetworksError::Gateway(_)
            | NetworksError::Damaged(_)
            | NetworksError::Record(_)
            | NetworksError::Disk(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Failure::of(status, &error)
    }
}

impl From<VolumesError> for Failure {
    fn from(error: VolumesError) -> Failure {
        let status = match &error {
            VolumesError::NoSuchVolume(_) | VolumesError::Driver { .. } => StatusCode::NOT_FOUND,
            VolumesError::InUse { .. } => StatusCode::CONFLICT,
            VolumesError::Name(_) | VolumesError::Options { .. } => StatusCode::BAD_REQUEST,
            VolumesError::Io { .. } | VolumesError::Disk(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Failure::of(status, &error)
    }
}
