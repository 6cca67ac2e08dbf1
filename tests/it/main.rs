//! The black-box suites: each promise of the program, judged by programs that are not ours.
//!
//! A suite is registered here when the program passes it; `tests/README.md` lists those that wait.

mod peers;
mod removal;
