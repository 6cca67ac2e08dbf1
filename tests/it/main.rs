//! The black-box suites: each promise of the program, judged by programs that are not ours.

mod peers;
