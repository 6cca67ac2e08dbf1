//! The client against registries: good ones, bad ones, and docker-registry.

mod auth;
mod blobs;
mod credentials;
mod lists;
mod manifests;
mod peers;
mod proxies;
mod pushes;
mod support;
