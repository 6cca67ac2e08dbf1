//! Numbers that look random and come again with the same seed, and counts that the environment sets.

/// A generator good enough to choose moments and operations.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers of `seed`; neighbouring seeds have nothing in common.
    pub fn of_seed(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The numbers of `SHALE_TEST_SEED`, or of a seed of this run, which is printed so that it can be given again.
    pub fn of_this_run() -> Self {
        let seed = number("SHALE_TEST_SEED", u64::from(std::process::id()));
        println!("SHALE_TEST_SEED={seed}");
        Self(seed.wrapping_mul(2).wrapping_add(1))
    }

    /// A number below `limit`, and 0 when that is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit.max(1)
    }

    /// One of `texts`.
    pub fn one_of(&mut self, texts: &[&'static str]) -> &'static str {
        texts[self.below(texts.len() as u64) as usize]
    }
}

/// What the environment variable says, or `default`.
pub fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}
