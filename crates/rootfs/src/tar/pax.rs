//! PAX extended headers: `"<length> <key>=<value>\n"`, strictly.
//!
//! Source: POSIX.1-2001 pax, "pax Extended Header"; strictness and precedence as in Go's `archive/tar`.

use std::collections::HashMap;

use super::{ArchiveError, Timestamp};

pub(crate) type Records = HashMap<Vec<u8>, Vec<u8>>;

pub(crate) const SPARSE_MAP: &[u8] = b"GNU.sparse.map";

/// Reads the records of one extended header; of a key that stands twice the last value holds.
pub(crate) fn parse(mut bytes: &[u8]) -> Result<Records, ArchiveError> {
    let mut records = Records::new();
    // GNU's sparse format 0.0 repeats two keys, once for each region; they become the map of format 0.1.
    let mut sparse: Vec<u8> = Vec::new();
    let mut sparse_values = 0_usize;
    while !bytes.is_empty() {
        let (key, value, rest) = record(bytes).ok_or(ArchiveError::Header("a PAX record is malformed"))?;
        bytes = rest;
        if key == b"GNU.sparse.offset" || key == b"GNU.sparse.numbytes" {
            let expected: &[u8] =
                if sparse_values.is_multiple_of(2) { b"GNU.sparse.offset" } else { b"GNU.sparse.numbytes" };
            if key != expected || value.contains(&b',') {
                return Err(ArchiveError::Header("the PAX sparse map is out of order"));
            }
            if sparse_values > 0 {
                sparse.push(b',');
            }
            sparse.extend_from_slice(value);
            sparse_values += 1;
        } else {
            records.insert(key.to_vec(), value.to_vec());
        }
    }
    if sparse_values > 0 {
        records.insert(SPARSE_MAP.to_vec(), sparse);
    }
    Ok(records)
}

fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().position(|byte| *byte == b' ')?;
    let length = usize::try_from(decimal(&bytes[..space])?).ok()?;
    if length < 5 || length > bytes.len() || length <= space + 1 {
        return None;
    }
    let (record, rest) = bytes.split_at(length);
    let record = record[space + 1..].strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    let (key, value) = (&record[..equals], &record[equals + 1..]);
    let is_text = matches!(key, b"path" | b"linkpath" | b"uname" | b"gname");
    let forbidden = if is_text { value } else { key };
    (!key.is_empty() && !forbidden.contains(&0)).then_some((key, value, rest))
}

/// Reads a decimal number with an optional sign, as Go's `strconv.ParseInt` does.
pub(crate) fn decimal(digits: &[u8]) -> Option<i64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Reads `seconds[.fraction]`.
pub(crate) fn timestamp(value: &[u8]) -> Option<Timestamp> {
    let mut parts = value.splitn(2, |byte| *byte == b'.');
    let seconds_text = parts.next()?;
    let fraction = parts.next().unwrap_or_default();
    let seconds = decimal(seconds_text)?;
    if fraction.iter().any(|digit| !digit.is_ascii_digit()) {
        return None;
    }
    let mut nanoseconds = 0_u32;
    for index in 0..9 {
        nanoseconds = nanoseconds * 10 + u32::from(fraction.get(index).map_or(0, |digit| digit - b'0'));
    }
    // -1.25 is a quarter of a second before -1, not after it.
    if seconds_text.starts_with(b"-") && nanoseconds > 0 {
        return Some(Timestamp {
            seconds: seconds.checked_sub(1)?,
            nanoseconds: 1_000_000_000 - nanoseconds,
        });
    }
    Some(Timestamp { seconds, nanoseconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_records_are_refused() {
        for bytes in [
            &b"6 a=b"[..],
            b"-5 a=b\n",
            b"18446744073709551626 a=b\n",
            b"7 a=bc ",
            b"4 =\n",
            b"5 =b\n",
            b"5 ab\n",
            b"99 a=b\n",
            b" a=b\n",
            b"14 path=a\0bcd\n",
        ] {
            assert!(parse(bytes).is_err(), "{:?}", bytes.escape_ascii().to_string());
        }
        assert_eq!(parse(b"6 a=b\n").unwrap()[&b"a"[..]], b"b");
        assert_eq!(parse(b"6 a=b\n6 a=c\n").unwrap()[&b"a"[..]], b"c");
    }

    #[test]
    fn times_have_nanoseconds_and_signs() {
        let time = |seconds, nanoseconds| Some(Timestamp { seconds, nanoseconds });
        assert_eq!(timestamp(b"1700000000.5"), time(1_700_000_000, 500_000_000));
        assert_eq!(timestamp(b"-1.25"), time(-2, 750_000_000));
        assert_eq!(timestamp(b"1.0123456789999"), time(1, 12_345_678));
        assert_eq!(timestamp(b"nan"), None);
        assert_eq!(timestamp(b"1.x"), None);
    }
}
