//! Docker's structs of containers and images: their fields, in their order.
//!
//! Source: docker CLI 28.2, `api/types/container` and `api/types/image` at v28.2.2, taken by reflection.

use crate::terminal::template::shape::{
    Field,
    Shape::{self, Bool, Duration, List, Map, NamedMap, Number, Pointer, Struct, Text, Time},
    embedded, field, keyed, older,
};

/// What `container inspect` decodes a document into.
pub const CONTAINER: Shape = Struct(CONTAINER_FIELDS);

/// What `image inspect` decodes a document into.
pub const IMAGE: Shape = Struct(IMAGE_FIELDS);

/// Go's `container.HealthcheckResult`.
const HEALTHCHECK_RESULT: &[Field] =
    &[field("Start", Time), field("End", Time), field("ExitCode", Number), field("Output", Text)];

/// Go's `container.Health`.
const HEALTH: &[Field] = &[
    field("Status", Text),
    field("FailingStreak", Number),
    field("Log", List(&Pointer(&Struct(HEALTHCHECK_RESULT)))),
];

/// Go's `container.State`.
const STATE: &[Field] = &[
    field("Status", Text),
    field("Running", Bool),
    field("Paused", Bool),
    field("Restarting", Bool),
    field("OOMKilled", Bool),
    field("Dead", Bool),
    field("Pid", Number),
    field("ExitCode", Number),
    field("Error", Text),
    field("StartedAt", Text),
    field("FinishedAt", Text),
    field("Health", Pointer(&Struct(HEALTH))),
];

/// Go's `container.LogConfig`.
const LOG_CONFIG: &[Field] = &[field("Type", Text), field("Config", Map(&Text))];

/// Go's `nat.PortBinding`.
const PORT_BINDING: &[Field] = &[keyed("HostIP", "HostIp", Text), field("HostPort", Text)];

/// Go's `container.RestartPolicy`.
const RESTART_POLICY: &[Field] = &[field("Name", Text), field("MaximumRetryCount", Number)];

/// Go's `blkiodev.WeightDevice`.
const WEIGHT_DEVICE: &[Field] = &[field("Path", Text), field("Weight", Number)];

/// Go's `blkiodev.ThrottleDevice`.
const THROTTLE_DEVICE: &[Field] = &[field("Path", Text), field("Rate", Number)];

/// Go's `container.DeviceMapping`.
const DEVICE_MAPPING: &[Field] =
    &[field("PathOnHost", Text), field("PathInContainer", Text), field("CgroupPermissions", Text)];

/// Go's `container.DeviceRequest`.
const DEVICE_REQUEST: &[Field] = &[
    field("Driver", Text),
    field("Count", Number),
    field("DeviceIDs", List(&Text)),
    field("Capabilities", List(&List(&Text))),
    field("Options", Map(&Text)),
];

/// Go's `units.Ulimit`.
const ULIMIT: &[Field] = &[field("Name", Text), field("Hard", Number), field("Soft", Number)];

/// Go's `container.Resources`.
const RESOURCES: &[Field] = &[
    keyed("CPUShares", "CpuShares", Number),
    field("Memory", Number),
    keyed("NanoCPUs", "NanoCpus", Number),
    field("CgroupParent", Text),
    field("BlkioWeight", Number),
    field("BlkioWeightDevice", List(&Pointer(&Struct(WEIGHT_DEVICE)))),
    field("BlkioDeviceReadBps", List(&Pointer(&Struct(THROTTLE_DEVICE)))),
    field("BlkioDeviceWriteBps", List(&Pointer(&Struct(THROTTLE_DEVICE)))),
    field("BlkioDeviceReadIOps", List(&Pointer(&Struct(THROTTLE_DEVICE)))),
    field("BlkioDeviceWriteIOps", List(&Pointer(&Struct(THROTTLE_DEVICE)))),
    keyed("CPUPeriod", "CpuPeriod", Number),
    keyed("CPUQuota", "CpuQuota", Number),
    keyed("CPURealtimePeriod", "CpuRealtimePeriod", Number),
    keyed("CPURealtimeRuntime", "CpuRealtimeRuntime", Number),
    field("CpusetCpus", Text),
    field("CpusetMems", Text),
    field("Devices", List(&Struct(DEVICE_MAPPING))),
    field("DeviceCgroupRules", List(&Text)),
    field("DeviceRequests", List(&Struct(DEVICE_REQUEST))),
    field("KernelMemory", Number),
    field("KernelMemoryTCP", Number),
    field("MemoryReservation", Number),
    field("MemorySwap", Number),
    field("MemorySwappiness", Pointer(&Number)),
    field("OomKillDisable", Pointer(&Bool)),
    field("PidsLimit", Pointer(&Number)),
    field("Ulimits", List(&Pointer(&Struct(ULIMIT)))),
    keyed("CPUCount", "CpuCount", Number),
    keyed("CPUPercent", "CpuPercent", Number),
    field("IOMaximumIOps", Number),
    field("IOMaximumBandwidth", Number),
];

/// Go's `mount.BindOptions`.
const BIND_OPTIONS: &[Field] = &[
    field("Propagation", Text),
    field("NonRecursive", Bool),
    field("CreateMountpoint", Bool),
    field("ReadOnlyNonRecursive", Bool),
    field("ReadOnlyForceRecursive", Bool),
];

/// Go's `mount.Driver`.
const DRIVER: &[Field] = &[field("Name", Text), field("Options", Map(&Text))];

/// Go's `mount.VolumeOptions`.
const VOLUME_OPTIONS: &[Field] = &[
    field("NoCopy", Bool),
    field("Labels", Map(&Text)),
    field("Subpath", Text),
    field("DriverConfig", Pointer(&Struct(DRIVER))),
];

/// Go's `mount.ImageOptions`.
const IMAGE_OPTIONS: &[Field] = &[field("Subpath", Text)];

/// Go's `mount.TmpfsOptions`.
const TMPFS_OPTIONS: &[Field] =
    &[field("SizeBytes", Number), field("Mode", Number), field("Options", List(&List(&Text)))];

/// Go's `mount.Mount`.
const MOUNT: &[Field] = &[
    field("Type", Text),
    field("Source", Text),
    field("Target", Text),
    field("ReadOnly", Bool),
    field("Consistency", Text),
    field("BindOptions", Pointer(&Struct(BIND_OPTIONS))),
    field("VolumeOptions", Pointer(&Struct(VOLUME_OPTIONS))),
    field("ImageOptions", Pointer(&Struct(IMAGE_OPTIONS))),
    field("TmpfsOptions", Pointer(&Struct(TMPFS_OPTIONS))),
    field("ClusterOptions", Pointer(&Struct(&[]))),
];

/// Go's `container.HostConfig`.
const HOST_CONFIG: &[Field] = &[
    field("Binds", List(&Text)),
    field("ContainerIDFile", Text),
    field("LogConfig", Struct(LOG_CONFIG)),
    field("NetworkMode", Text),
    field("PortBindings", NamedMap(&List(&Struct(PORT_BINDING)))),
    field("RestartPolicy", Struct(RESTART_POLICY)),
    field("AutoRemove", Bool),
    field("VolumeDriver", Text),
    field("VolumesFrom", List(&Text)),
    field("ConsoleSize", List(&Number)),
    field("Annotations", Map(&Text)),
    field("CapAdd", List(&Text)),
    field("CapDrop", List(&Text)),
    field("CgroupnsMode", Text),
    keyed("DNS", "Dns", List(&Text)),
    keyed("DNSOptions", "DnsOptions", List(&Text)),
    keyed("DNSSearch", "DnsSearch", List(&Text)),
    field("ExtraHosts", List(&Text)),
    field("GroupAdd", List(&Text)),
    field("IpcMode", Text),
    field("Cgroup", Text),
    field("Links", List(&Text)),
    field("OomScoreAdj", Number),
    field("PidMode", Text),
    field("Privileged", Bool),
    field("PublishAllPorts", Bool),
    field("ReadonlyRootfs", Bool),
    field("SecurityOpt", List(&Text)),
    field("StorageOpt", Map(&Text)),
    field("Tmpfs", Map(&Text)),
    field("UTSMode", Text),
    field("UsernsMode", Text),
    field("ShmSize", Number),
    field("Sysctls", Map(&Text)),
    field("Runtime", Text),
    field("Isolation", Text),
    embedded("Resources", Struct(RESOURCES)),
    field("Mounts", List(&Struct(MOUNT))),
    field("MaskedPaths", List(&Text)),
    field("ReadonlyPaths", List(&Text)),
    field("Init", Pointer(&Bool)),
];

/// Go's `storage.DriverData`.
const DRIVER_DATA: &[Field] = &[field("Data", Map(&Text)), field("Name", Text)];

/// Go's `container.ContainerJSONBase`.
const CONTAINER_BASE: &[Field] = &[
    keyed("ID", "Id", Text),
    field("Created", Text),
    field("Path", Text),
    field("Args", List(&Text)),
    field("State", Pointer(&Struct(STATE))),
    field("Image", Text),
    field("ResolvConfPath", Text),
    field("HostnamePath", Text),
    field("HostsPath", Text),
    field("LogPath", Text),
    field("Name", Text),
    field("RestartCount", Number),
    field("Driver", Text),
    field("Platform", Text),
    field("MountLabel", Text),
    field("ProcessLabel", Text),
    field("AppArmorProfile", Text),
    field("ExecIDs", List(&Text)),
    field("HostConfig", Pointer(&Struct(HOST_CONFIG))),
    field("GraphDriver", Struct(DRIVER_DATA)),
    field("SizeRw", Pointer(&Number)),
    field("SizeRootFs", Pointer(&Number)),
];

/// Go's `container.MountPoint`.
const MOUNT_POINT: &[Field] = &[
    field("Type", Text),
    field("Name", Text),
    field("Source", Text),
    field("Destination", Text),
    field("Driver", Text),
    field("Mode", Text),
    field("RW", Bool),
    field("Propagation", Text),
];

/// Go's `v1.HealthcheckConfig`.
const HEALTHCHECK_CONFIG: &[Field] = &[
    field("Test", List(&Text)),
    field("Interval", Duration),
    field("Timeout", Duration),
    field("StartPeriod", Duration),
    field("StartInterval", Duration),
    field("Retries", Number),
];

/// Go's `container.Config`.
const CONFIG: &[Field] = &[
    field("Hostname", Text),
    field("Domainname", Text),
    field("User", Text),
    field("AttachStdin", Bool),
    field("AttachStdout", Bool),
    field("AttachStderr", Bool),
    field("ExposedPorts", NamedMap(&Struct(&[]))),
    field("Tty", Bool),
    field("OpenStdin", Bool),
    field("StdinOnce", Bool),
    field("Env", List(&Text)),
    field("Cmd", List(&Text)),
    field("Healthcheck", Pointer(&Struct(HEALTHCHECK_CONFIG))),
    field("ArgsEscaped", Bool),
    field("Image", Text),
    field("Volumes", Map(&Struct(&[]))),
    field("WorkingDir", Text),
    field("Entrypoint", List(&Text)),
    field("NetworkDisabled", Bool),
    field("MacAddress", Text),
    field("OnBuild", List(&Text)),
    field("Labels", Map(&Text)),
    field("StopSignal", Text),
    field("StopTimeout", Pointer(&Number)),
    field("Shell", List(&Text)),
];

/// Go's `network.Address`.
const ADDRESS: &[Field] = &[field("Addr", Text), field("PrefixLen", Number)];

/// Go's `container.NetworkSettingsBase`.
const NETWORK_SETTINGS_BASE: &[Field] = &[
    field("Bridge", Text),
    field("SandboxID", Text),
    field("SandboxKey", Text),
    field("Ports", NamedMap(&List(&Struct(PORT_BINDING)))),
    field("HairpinMode", Bool),
    field("LinkLocalIPv6Address", Text),
    field("LinkLocalIPv6PrefixLen", Number),
    field("SecondaryIPAddresses", List(&Struct(ADDRESS))),
    field("SecondaryIPv6Addresses", List(&Struct(ADDRESS))),
];

/// Go's `container.DefaultNetworkSettings`.
const DEFAULT_NETWORK_SETTINGS: &[Field] = &[
    field("EndpointID", Text),
    field("Gateway", Text),
    field("GlobalIPv6Address", Text),
    field("GlobalIPv6PrefixLen", Number),
    field("IPAddress", Text),
    field("IPPrefixLen", Number),
    field("IPv6Gateway", Text),
    field("MacAddress", Text),
];

/// Go's `network.EndpointIPAMConfig`.
const ENDPOINT_IPAM_CONFIG: &[Field] =
    &[field("IPv4Address", Text), field("IPv6Address", Text), field("LinkLocalIPs", List(&Text))];

/// Go's `network.EndpointSettings`.
const ENDPOINT_SETTINGS: &[Field] = &[
    field("IPAMConfig", Pointer(&Struct(ENDPOINT_IPAM_CONFIG))),
    field("Links", List(&Text)),
    field("Aliases", List(&Text)),
    field("MacAddress", Text),
    field("DriverOpts", Map(&Text)),
    field("GwPriority", Number),
    field("NetworkID", Text),
    field("EndpointID", Text),
    field("Gateway", Text),
    field("IPAddress", Text),
    field("IPPrefixLen", Number),
    field("IPv6Gateway", Text),
    field("GlobalIPv6Address", Text),
    field("GlobalIPv6PrefixLen", Number),
    field("DNSNames", List(&Text)),
];

/// Go's `container.NetworkSettings`.
const NETWORK_SETTINGS: &[Field] = &[
    embedded("NetworkSettingsBase", Struct(NETWORK_SETTINGS_BASE)),
    embedded("DefaultNetworkSettings", Struct(DEFAULT_NETWORK_SETTINGS)),
    field("Networks", Map(&Pointer(&Struct(ENDPOINT_SETTINGS)))),
];

/// Go's `v1.Platform`.
const PLATFORM: &[Field] = &[
    keyed("Architecture", "architecture", Text),
    keyed("OS", "os", Text),
    keyed("OSVersion", "os.version", Text),
    keyed("OSFeatures", "os.features", List(&Text)),
    keyed("Variant", "variant", Text),
];

/// Go's `v1.Descriptor`.
const DESCRIPTOR: &[Field] = &[
    keyed("MediaType", "mediaType", Text),
    keyed("Digest", "digest", Text),
    keyed("Size", "size", Number),
    keyed("URLs", "urls", List(&Text)),
    keyed("Annotations", "annotations", Map(&Text)),
    keyed("Data", "data", Text),
    keyed("Platform", "platform", Pointer(&Struct(PLATFORM))),
    keyed("ArtifactType", "artifactType", Text),
];

/// Go's `container.InspectResponse`.
const CONTAINER_FIELDS: &[Field] = &[
    embedded("ContainerJSONBase", Pointer(&Struct(CONTAINER_BASE))),
    field("Mounts", List(&Struct(MOUNT_POINT))),
    field("Config", Pointer(&Struct(CONFIG))),
    field("NetworkSettings", Pointer(&Struct(NETWORK_SETTINGS))),
    field("ImageManifestDescriptor", Pointer(&Struct(DESCRIPTOR))),
];

/// Go's `v1.ImageConfig`.
const IMAGE_CONFIG: &[Field] = &[
    field("User", Text),
    field("ExposedPorts", Map(&Struct(&[]))),
    field("Env", List(&Text)),
    field("Entrypoint", List(&Text)),
    field("Cmd", List(&Text)),
    field("Volumes", Map(&Struct(&[]))),
    field("WorkingDir", Text),
    field("Labels", Map(&Text)),
    field("StopSignal", Text),
    field("ArgsEscaped", Bool),
];

/// Go's `v1.DockerOCIImageConfigExt`.
const IMAGE_CONFIG_EXTENSION: &[Field] = &[
    field("Healthcheck", Pointer(&Struct(HEALTHCHECK_CONFIG))),
    field("OnBuild", List(&Text)),
    field("Shell", List(&Text)),
];

/// Go's `v1.DockerOCIImageConfig`.
const DOCKER_IMAGE_CONFIG: &[Field] = &[
    embedded("ImageConfig", Struct(IMAGE_CONFIG)),
    embedded("DockerOCIImageConfigExt", Struct(IMAGE_CONFIG_EXTENSION)),
    // The command line of docker 20.10 has these; that of 28 finds them in what such a daemon sends.
    older("Hostname", Text),
    older("Domainname", Text),
    older("AttachStdin", Bool),
    older("AttachStdout", Bool),
    older("AttachStderr", Bool),
    older("Tty", Bool),
    older("OpenStdin", Bool),
    older("StdinOnce", Bool),
    older("Image", Text),
    older("NetworkDisabled", Bool),
    older("MacAddress", Text),
    older("StopTimeout", Pointer(&Number)),
];

/// Go's `image.RootFS`.
const ROOT_FS: &[Field] = &[field("Type", Text), field("Layers", List(&Text))];

/// Go's `image.Metadata`.
const METADATA: &[Field] = &[field("LastTagTime", Time)];

/// Of a manifest.
const MANIFEST_SIZE: &[Field] = &[field("Content", Number), field("Total", Number)];

/// Of a manifest's image.
const IMAGE_DATA_SIZE: &[Field] = &[field("Unpacked", Number)];

/// Go's `image.ImageProperties`.
const IMAGE_PROPERTIES: &[Field] = &[
    field("Platform", Struct(PLATFORM)),
    field("Size", Struct(IMAGE_DATA_SIZE)),
    field("Containers", List(&Text)),
];

/// Go's `image.AttestationProperties`.
const ATTESTATION_PROPERTIES: &[Field] = &[field("For", Text)];

/// Go's `image.ManifestSummary`.
const MANIFEST_SUMMARY: &[Field] = &[
    field("ID", Text),
    field("Descriptor", Struct(DESCRIPTOR)),
    field("Available", Bool),
    field("Size", Struct(MANIFEST_SIZE)),
    field("Kind", Text),
    field("ImageData", Pointer(&Struct(IMAGE_PROPERTIES))),
    field("AttestationData", Pointer(&Struct(ATTESTATION_PROPERTIES))),
];

/// Go's `image.InspectResponse`.
const IMAGE_FIELDS: &[Field] = &[
    keyed("ID", "Id", Text),
    field("RepoTags", List(&Text)),
    field("RepoDigests", List(&Text)),
    field("Parent", Text),
    field("Comment", Text),
    field("Created", Text),
    field("Container", Text),
    field("ContainerConfig", Pointer(&Struct(CONFIG))),
    field("DockerVersion", Text),
    field("Author", Text),
    field("Config", Pointer(&Struct(DOCKER_IMAGE_CONFIG))),
    field("Architecture", Text),
    field("Variant", Text),
    field("Os", Text),
    field("OsVersion", Text),
    field("Size", Number),
    // The same number, until version 1.44 of the API took it away.
    keyed("VirtualSize", "Size", Number),
    field("GraphDriver", Struct(DRIVER_DATA)),
    field("RootFS", Struct(ROOT_FS)),
    field("Metadata", Struct(METADATA)),
    field("Descriptor", Pointer(&Struct(DESCRIPTOR))),
    field("Manifests", List(&Struct(MANIFEST_SUMMARY))),
];
