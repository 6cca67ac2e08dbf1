//! What is deflated, inflated by zlib's port and compared.

use std::io::Read;

use flate2::read::DeflateDecoder;
use proptest::prelude::*;
use shale_deflate::{Deflater, room};

/// Deflates, inflates, compares; returns the length of the stream.
#[track_caller]
fn check(deflater: &mut Deflater, bytes: &[u8]) -> usize {
    // What the memory held before is not in the stream.
    let mut stream = vec![0xa5; room(bytes.len())];
    let length = deflater.deflate(bytes, &mut stream);
    let stream = &stream[..length];
    assert!(
        stream.len() <= bytes.len() + 5 * (bytes.len() >> 12) + 20,
        "{} of {}",
        stream.len(),
        bytes.len()
    );
    let mut back = Vec::new();
    let mut reader = DeflateDecoder::new(stream);
    reader.read_to_end(&mut back).expect("it inflates");
    assert!(back == bytes, "other bytes come back of {}", bytes.len());
    assert_eq!(reader.total_in(), stream.len() as u64, "something stands behind the stream");
    stream.len()
}

fn random(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(next).collect()
}

#[test]
fn every_short_length_comes_back() {
    let mut deflater = Deflater::default();
    let text = b"ab".repeat(200);
    for length in 0..300 {
        check(&mut deflater, &text[..length]);
        check(&mut deflater, &vec![0; length]);
        check(&mut deflater, &random(7, length));
    }
}

#[test]
fn edges_of_pieces_and_blocks_come_back() {
    let mut deflater = Deflater::default();
    for edge in [16 << 10, 32 << 10, 64 << 10, 272 << 10, 512 << 10] {
        for length in edge - 17..edge + 18 {
            let text: Vec<u8> =
                (0..length).map(|place| b"layers\n"[place % 7] ^ (place >> 12) as u8).collect();
            check(&mut deflater, &text);
        }
        check(&mut deflater, &random(3, edge));
    }
}

#[test]
fn repetitions_reach_as_far_as_the_window_and_no_farther() {
    let mut deflater = Deflater::default();
    let phrase = random(1, 40);
    for distance in [40, 255, 256, 257, 32_767, 32_768, 32_769, 65_535, 65_536, 65_537, 131_072] {
        let mut bytes = phrase.clone();
        // Between the two is what has no repetition itself.
        bytes.extend(random(2, distance - phrase.len()));
        bytes.extend_from_slice(&phrase);
        bytes.extend(random(4, 64));
        let length = check(&mut deflater, &bytes);
        if distance > 32_768 {
            assert!(length >= bytes.len(), "{distance}");
        }
    }
}

#[test]
fn every_length_of_a_repetition_comes_back() {
    let mut deflater = Deflater::default();
    for length in 3..600 {
        let phrase = random(9, length);
        let bytes = [&phrase[..], b"|", &phrase, b"-", &random(5, 40)].concat();
        check(&mut deflater, &bytes);
    }
}

#[test]
fn what_cannot_be_shortened_is_stored_and_what_repeats_is_short() {
    let mut deflater = Deflater::default();
    assert!(check(&mut deflater, &random(11, 1 << 20)) < (1 << 20) + 400);
    assert!(check(&mut deflater, &vec![0; 1 << 20]) < 2_500);
    // Codes of their own for both halves: nibbles of 16 letters each take half of the bits.
    let half = |offset: u8| random(13, 64 << 10).into_iter().map(move |byte| (byte & 15) + offset);
    let halves: Vec<u8> = half(b'a').chain(half(b'A')).collect();
    assert!(check(&mut deflater, &halves) < 67_000);
}

proptest! {
    #[test]
    fn any_mixture_comes_back(
        parts in prop::collection::vec((0_u8..4, any::<u64>(), 1_usize..5_000, 1_usize..40), 0..40),
    ) {
        let mut bytes = Vec::new();
        for (kind, seed, length, period) in parts {
            match kind {
                0 => bytes.extend(random(seed, length)),
                1 => bytes.extend(random(seed, period).iter().cycle().take(length)),
                2 => bytes.extend(random(seed, length).into_iter().map(|byte| b"etaoin shrdlu\n"[usize::from(byte) % 14])),
                _ => {
                    let start = seed as usize % (bytes.len() + 1);
                    let again = bytes[start..].iter().copied().take(length).collect::<Vec<u8>>();
                    bytes.extend(again);
                }
            }
        }
        check(&mut Deflater::default(), &bytes);
    }
}
