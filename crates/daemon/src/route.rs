//! From a method and a path to what is asked for. Names of images hold slashes, so the last segment decides.

use http::Method;

/// What is asked for. Names are as the client wrote them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    Ping,
    OpenApi,
    Metrics,
    Version,
    Info,
    DiskUsage,
    Events,
    Auth,
    Images,
    ImageCreate,
    ImageInspect(String),
    ImageHistory(String),
    ImagePush(String),
    ImageTag(String),
    ImageRemove(String),
    ImagesGet,
    ImageGet(String),
    ImagesLoad,
    ImagesSearch,
    ImagesPrune,
    Distribution(String),
    Build,
    BuildPrune,
    Containers,
    ContainerCreate,
    ContainersPrune,
    /// Something about one container.
    Container(OfContainer, String),
    /// Something about one exec.
    Exec(OfExec, String),
    Networks,
    NetworksPrune,
    Network(String),
    NetworkConnect(String),
    NetworkCreate,
    NetworkDisconnect(String),
    NetworkRemove(String),
    Volumes,
    VolumeCreate,
    VolumesPrune,
    Volume(String),
    VolumeRemove(String),
    Plugins,
    Plugin(String),
    Commit,
    /// Swarm: nodes, services, secrets and the like.
    Swarm,
    /// Docker has it, Shale does not yet.
    NotServed(&'static str),
}

/// What is asked of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OfContainer {
    Attach,
    Changes,
    Exec,
    Export,
    GetArchive,
    Inspect,
    Kill,
    Logs,
    Pause,
    PutArchive,
    Remove,
    Rename,
    Resize,
    Restart,
    Start,
    StatArchive,
    Stats,
    Stop,
    Top,
    Unpause,
    Update,
    Wait,
}

/// What is asked of an exec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OfExec {
    Inspect,
    Resize,
    Start,
}

impl Route {
    /// Finds the route; `None` is "page not found", for a wrong method too, as in dockerd.
    pub(crate) fn find(method: &Method, path: &str) -> Option<Route> {
        let (area, rest) = path.strip_prefix('/')?.split_once('/').unwrap_or((&path[1..], ""));
        let (is_get, is_post) = (matches!(*method, Method::GET | Method::HEAD), *method == Method::POST);
        let is_delete = *method == Method::DELETE;
        match (area, rest) {
            ("_ping", "") if is_get => Some(Route::Ping),
            ("openapi.json", "") if is_get => Some(Route::OpenApi),
            ("metrics", "") if is_get => Some(Route::Metrics),
            ("version", "") if is_get => Some(Route::Version),
            ("info", "") if is_get => Some(Route::Info),
            ("system", "df") if is_get => Some(Route::DiskUsage),
            ("events", "") if is_get => Some(Route::Events),
            ("auth", "") if is_post => Some(Route::Auth),
            ("images", rest) => image(method, rest),
            ("distribution", rest) if is_get => named(rest, "/json").map(Route::Distribution),
            ("build", "") if is_post => Some(Route::Build),
            ("build", "prune") if is_post => Some(Route::BuildPrune),
            ("commit", "") if is_post => Some(Route::Commit),
            ("session" | "grpc", "") if is_post => Some(Route::NotServed("BuildKit")),
            ("containers", rest) => container(method, rest),
            ("exec", rest) => exec(method, rest),
            ("networks", "") if is_get => Some(Route::Networks),
            ("networks", "prune") if is_post => Some(Route::NetworksPrune),
            ("networks", "create") if is_post => Some(Route::NetworkCreate),
            ("networks", rest) if is_post => {
                let connect = named(rest, "/connect").map(Route::NetworkConnect);
                connect.or_else(|| named(rest, "/disconnect").map(Route::NetworkDisconnect))
            }
            ("networks", rest) if is_get => first(rest).map(Route::Network),
            ("networks", rest) if is_delete => first(rest).map(Route::NetworkRemove),
            ("volumes", "") if is_get => Some(Route::Volumes),
            ("volumes", "prune") if is_post => Some(Route::VolumesPrune),
            ("volumes", "create") if is_post => Some(Route::VolumeCreate),
            ("volumes", rest) if is_get => first(rest).map(Route::Volume),
            ("volumes", rest) if is_delete => first(rest).map(Route::VolumeRemove),
            ("plugins", "") if is_get => Some(Route::Plugins),
            ("plugins", rest) => named(rest, "/json").or_else(|| first(rest)).map(Route::Plugin),
            ("swarm" | "nodes" | "services" | "tasks" | "secrets" | "configs", _) => Some(Route::Swarm),
            _ => None,
        }
    }
}

fn image(method: &Method, rest: &str) -> Option<Route> {
    match *method {
        Method::GET | Method::HEAD => match rest {
            "json" => Some(Route::Images),
            "get" => Some(Route::ImagesGet),
            "search" => Some(Route::ImagesSearch),
            rest => named(rest, "/json")
                .map(Route::ImageInspect)
                .or_else(|| named(rest, "/history").map(Route::ImageHistory))
                .or_else(|| named(rest, "/get").map(Route::ImageGet)),
        },
        Method::POST => match rest {
            "create" => Some(Route::ImageCreate),
            "load" => Some(Route::ImagesLoad),
            "prune" => Some(Route::ImagesPrune),
            rest => named(rest, "/push")
                .map(Route::ImagePush)
                .or_else(|| named(rest, "/tag").map(Route::ImageTag)),
        },
        Method::DELETE if !rest.is_empty() => Some(Route::ImageRemove(rest.to_owned())),
        _ => None,
    }
}

fn container(method: &Method, rest: &str) -> Option<Route> {
    use OfContainer as Of;
    let verbs: &[(&str, Of)] = match *method {
        Method::GET | Method::HEAD if rest == "json" => return Some(Route::Containers),
        Method::HEAD => &[("/archive", Of::StatArchive)],
        Method::GET => &[
            ("/json", Of::Inspect),
            ("/logs", Of::Logs),
            ("/top", Of::Top),
            ("/stats", Of::Stats),
            ("/changes", Of::Changes),
            ("/export", Of::Export),
            ("/archive", Of::GetArchive),
        ],
        Method::PUT => &[("/archive", Of::PutArchive)],
        Method::POST if rest == "create" => return Some(Route::ContainerCreate),
        Method::POST if rest == "prune" => return Some(Route::ContainersPrune),
        Method::POST => &[
            ("/start", Of::Start),
            ("/stop", Of::Stop),
            ("/restart", Of::Restart),
            ("/kill", Of::Kill),
            ("/pause", Of::Pause),
            ("/unpause", Of::Unpause),
            ("/wait", Of::Wait),
            ("/attach", Of::Attach),
            ("/resize", Of::Resize),
            ("/rename", Of::Rename),
            ("/update", Of::Update),
            ("/exec", Of::Exec),
        ],
        Method::DELETE => {
            return (!rest.is_empty()).then(|| Route::Container(Of::Remove, bare(rest)));
        }
        _ => return None,
    };
    verbs.iter().find_map(|(verb, of)| Some(Route::Container(*of, bare(&named(rest, verb)?))))
}

/// Names of containers may come with the slash that documents show before them.
fn bare(name: &str) -> String {
    name.strip_prefix('/').unwrap_or(name).to_owned()
}

fn exec(method: &Method, rest: &str) -> Option<Route> {
    let (verb, of) = match *method {
        Method::GET => ("/json", OfExec::Inspect),
        Method::POST if rest.ends_with("/resize") => ("/resize", OfExec::Resize),
        Method::POST => ("/start", OfExec::Start),
        _ => return None,
    };
    named(rest, verb).map(|id| Route::Exec(of, id))
}

/// Returns what stands before `verb`, if it is anything.
fn named(rest: &str, verb: &str) -> Option<String> {
    rest.strip_suffix(verb).filter(|name| !name.is_empty()).map(str::to_owned)
}

/// Returns the first segment, if it is anything.
fn first(rest: &str) -> Option<String> {
    rest.split('/').next().filter(|name| !name.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: Method, path: &str, route: Option<Route>) {
        assert_eq!(Route::find(&method, path), route, "{method} {path}");
    }

    #[test]
    fn names_may_hold_slashes_and_verbs() {
        let name = |name: &str| name.to_owned();
        check(Method::GET, "/images/a:5000/b/c:1/json", Some(Route::ImageInspect(name("a:5000/b/c:1"))));
        check(Method::GET, "/images/json/json", Some(Route::ImageInspect(name("json"))));
        check(Method::GET, "/images/x/get/history", Some(Route::ImageHistory(name("x/get"))));
        check(Method::POST, "/images/r/x/push", Some(Route::ImagePush(name("r/x"))));
        check(Method::DELETE, "/images/r/x@sha256:00", Some(Route::ImageRemove(name("r/x@sha256:00"))));
        check(Method::GET, "/distribution/r/x:1/json", Some(Route::Distribution(name("r/x:1"))));
        check(Method::GET, "/containers/json", Some(Route::Containers));
        check(
            Method::GET,
            "/containers/json/json",
            Some(Route::Container(OfContainer::Inspect, name("json"))),
        );
        check(
            Method::HEAD,
            "/containers/c/archive",
            Some(Route::Container(OfContainer::StatArchive, name("c"))),
        );
        check(Method::DELETE, "/containers//c", Some(Route::Container(OfContainer::Remove, name("c"))));
        check(Method::POST, "/exec/1/start", Some(Route::Exec(OfExec::Start, name("1"))));
    }

    #[test]
    fn the_document_tells_of_routes_that_are_served() {
        let document: serde_json::Value = serde_json::from_str(crate::daemon::OPEN_API).unwrap();
        let paths = document["paths"].as_object().unwrap();
        for (path, methods) in paths {
            for method in methods.as_object().unwrap().keys() {
                let method: Method = method.to_uppercase().parse().unwrap();
                let path = path.replace("{name}", "x").replace("{id}", "x");
                let route = Route::find(&method, &path);
                assert!(
                    !matches!(route, None | Some(Route::NotServed(_) | Route::Swarm)),
                    "{method} {path}: {route:?}"
                );
            }
        }
        assert!(paths.len() > 50, "{} paths", paths.len());
    }

    /// The other way round: whatever of Docker's API is served stands in the document. The list is that of Docker's own
    /// document of 1.51, swarm and `GET …/attach/ws` among it.
    #[test]
    fn every_route_that_is_served_is_in_the_document() {
        let document: serde_json::Value = serde_json::from_str(crate::daemon::OPEN_API).unwrap();
        let endpoints = "/_ping /auth /build /build/prune /commit /containers/create /containers/json
            /containers/prune /containers/{id} /containers/{id}/archive /containers/{id}/attach
            /containers/{id}/attach/ws /containers/{id}/changes /containers/{id}/exec /containers/{id}/export
            /containers/{id}/json /containers/{id}/kill /containers/{id}/logs /containers/{id}/pause
            /containers/{id}/rename /containers/{id}/resize /containers/{id}/restart /containers/{id}/start
            /containers/{id}/stats /containers/{id}/stop /containers/{id}/top /containers/{id}/unpause
            /containers/{id}/update /containers/{id}/wait /configs /configs/create /distribution/{name}/json
            /events /exec/{id}/json /exec/{id}/resize /exec/{id}/start /images/create /images/get /images/json
            /images/load /images/prune /images/search /images/{name} /images/{name}/get /images/{name}/history
            /images/{name}/json /images/{name}/push /images/{name}/tag /info /networks /networks/create
            /networks/prune /networks/{name} /networks/{name}/connect /networks/{name}/disconnect /nodes
            /plugins /plugins/{name}/json /secrets /services /session /swarm /swarm/init /system/df /tasks
            /version /volumes /volumes/create /volumes/prune /volumes/{name} /metrics /openapi.json";
        for path in endpoints.split_whitespace() {
            for method in ["get", "post", "put", "delete"] {
                let found = Route::find(
                    &method.to_uppercase().parse().unwrap(),
                    &path.replace("{name}", "x").replace("{id}", "x"),
                );
                // `DELETE /images/json` is about an image of that name.
                let is_name = !path.ends_with('}')
                    && matches!(
                        found,
                        Some(
                            Route::Container(OfContainer::Remove, _)
                                | Route::ImageRemove(_)
                                | Route::Network(_)
                                | Route::NetworkRemove(_)
                                | Route::Plugin(_)
                                | Route::Volume(_)
                                | Route::VolumeRemove(_)
                        )
                    );
                if !matches!(found, None | Some(Route::NotServed(_) | Route::Swarm)) && !is_name {
                    assert!(document["paths"][path][method].is_object(), "{method} {path}: {found:?}");
                }
            }
        }
    }

    /// As text, because a query's parameters are read where they are used.
    #[test]
    fn parameters_that_are_read_are_in_the_document() {
        let document = crate::daemon::OPEN_API;
        for source in [
            include_str!("build/options.rs"),
            include_str!("containers/attach.rs"),
            include_str!("containers/create.rs"),
            include_str!("containers/files.rs"),
            include_str!("containers/inspect.rs"),
            include_str!("containers/lifecycle.rs"),
            include_str!("containers/list.rs"),
            include_str!("containers/logs.rs"),
            include_str!("containers/remove.rs"),
            include_str!("containers/stats.rs"),
            include_str!("containers/wait.rs"),
            include_str!("events.rs"),
            include_str!("images/archive.rs"),
            include_str!("images/inspect.rs"),
            include_str!("images/list.rs"),
            include_str!("images/pull.rs"),
            include_str!("images/push.rs"),
            include_str!("images/remove.rs"),
            include_str!("images/search.rs"),
            include_str!("images/tag.rs"),
            include_str!("system.rs"),
            include_str!("networks.rs"),
            include_str!("volumes.rs"),
        ] {
            for read in source.split("query.").skip(1) {
                let name = read.split_once("(\"").filter(|(method, _)| !method.contains(['(', ';', ' ']));
                let Some((name, _)) = name.and_then(|(_, rest)| rest.split_once('"')) else { continue };
                assert!(document.contains(&format!("\"name\": \"{name}\"")), "{name}");
            }
        }
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        for path in ["/", "/nosuch", "/images", "/images/", "/images//json", "/_ping/x", "x", "", "/info/x"] {
            check(Method::GET, path, None);
        }
        check(Method::PUT, "/images/x/json", None);
        check(Method::POST, "/_ping", None);
    }
}
