//! Any bytes, deflated: they inflate to themselves. The first byte says how often the rest is repeated.
#![no_main]

use std::cell::RefCell;
use std::io::Read;

use flate2::read::DeflateDecoder;
use libfuzzer_sys::fuzz_target;
use shale_deflate::{Deflater, room};

thread_local! {
    /// Kept, so that what one stream leaves behind would be seen in the next.
    static DEFLATER: RefCell<Deflater> = RefCell::default();
}

fuzz_target!(|input: &[u8]| {
    let Some((times, bytes)) = input.split_first() else { return };
    let bytes = bytes.repeat(usize::from(*times) + 1);
    let mut stream = vec![0xa5; room(bytes.len())];
    let length = DEFLATER.with_borrow_mut(|deflater| deflater.deflate(&bytes, &mut stream));
    let stream = &stream[..length];
    let mut back = Vec::new();
    DeflateDecoder::new(stream).read_to_end(&mut back).expect("it inflates");
    assert!(back == bytes);
});
