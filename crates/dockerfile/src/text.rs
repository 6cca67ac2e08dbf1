//! From bytes to nodes: lines, directives, continuations, comments, heredocs, words; nothing is expanded here.

mod directives;
mod heredoc;
mod json;
mod lines;
mod nodes;
mod words;

pub use directives::Directives;
pub use heredoc::Heredoc;
pub use nodes::{Node, Word};

pub(crate) use directives::read_check_comment;
pub(crate) use heredoc::{find_in_word, strip_leading_tabs};
pub(crate) use lines::LINE_SIZE_MAX;
pub(crate) use nodes::{Nodes, parse_nodes, parse_trigger_node};
