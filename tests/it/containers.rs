//! Containers: what the program says and does beside what docker does with the same words.

mod beside_docker;
mod copy;
mod flags;
mod isolation;
mod killed;
mod lifecycle;
mod logs;
mod ordinary_user;
mod pair;
mod propagation;
mod sequences;
mod shared_root;
