//! The keys by which a user leaves a container alone: `ctrl-p,ctrl-q`, or others that the client asks for.

use crate::failure::Failure;

/// A sequence of bytes that is watched for in what a client types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DetachKeys {
    wanted: Vec<u8>,
    /// How many of them were typed just now and are held back.
    held: usize,
}

impl DetachKeys {
    /// Reads `ctrl-p,ctrl-q`, `a,b` and so on; empty is Docker's default.
    ///
    /// Source: moby pkg/term `ToBytes` at v20.10.24.
    pub(crate) fn parse(text: &str) -> Result<DetachKeys, Failure> {
        let text = if text.is_empty() { "ctrl-p,ctrl-q" } else { text };
        let wanted = text.split(',').map(key).collect::<Option<Vec<u8>>>();
        wanted.map(|wanted| DetachKeys { wanted, held: 0 }).ok_or_else(|| {
            let word = text.split(',').find(|word| key(word).is_none()).unwrap_or_default();
            Failure::invalid(format!(
                "Invalid detach keys ({text}) provided: Unknown character: '{}'",
                word.to_ascii_lowercase()
            ))
        })
    }

    /// Returns what is passed on of `typed`; `None` when the sequence is complete.
    pub(crate) fn pass(&mut self, typed: &[u8]) -> Option<Vec<u8>> {
        let mut passed = Vec::with_capacity(typed.len() + self.held);
        for &byte in typed {
            if byte == self.wanted[self.held] {
                self.held += 1;
                if self.held == self.wanted.len() {
                    return None;
                }
                continue;
            }
            passed.extend_from_slice(&self.wanted[..self.held]);
            self.held = usize::from(byte == self.wanted[0]);
            if self.held == 0 {
                passed.push(byte);
            }
        }
        Some(passed)
    }
}

fn key(word: &str) -> Option<u8> {
    let single = |word: &str| (word.len() == 1).then(|| word.as_bytes()[0]);
    match word.to_ascii_lowercase().strip_prefix("ctrl-") {
        None => single(word),
        Some(letter) => match single(letter)? {
            letter @ b'a'..=b'z' => Some(letter - b'a' + 1),
            b'@' => Some(0),
            b'[' => Some(27),
            b'\\' => Some(28),
            b']' => Some(29),
            b'^' => Some(30),
            b'_' => Some(31),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_sequence_leaves() {
        let mut keys = DetachKeys::parse("").unwrap();
        assert_eq!(keys.pass(b"ls\x10").as_deref(), Some(&b"ls"[..]));
        assert_eq!(keys.pass(b"x\x10\x10").as_deref(), Some(&b"\x10x\x10"[..]));
        assert_eq!(keys.pass(b"\x11"), None);
    }

    #[test]
    fn other_keys_are_read_in_dockers_words() {
        assert_eq!(DetachKeys::parse("ctrl-@,a,ctrl-_").unwrap().wanted, [0, b'a', 31]);
        assert!(DetachKeys::parse("ctrl-1").is_err());
        assert!(DetachKeys::parse("a,,b").is_err());
    }
}
