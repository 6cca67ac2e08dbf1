//! One 512-byte header block, field by field.
//!
//! Source: POSIX.1-1988 ustar, the GNU tar manual ("Basic Tar Format"), and the behaviour of Go's `archive/tar`, which
//! Docker reads layers with: a field that it refuses is refused here.

use super::{ArchiveError, Timestamp};

/// Bytes in a block; headers are one block, payloads are padded to whole blocks.
pub(crate) const BLOCK_BYTES: usize = 512;

pub(crate) type Block = [u8; BLOCK_BYTES];

/// The dialect that the magic bytes of a block claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    V7,
    Ustar,
    Gnu,
    Star,
}

/// What a header block says, before any extension header changes it.
#[derive(Debug)]
pub(crate) struct Fields {
    pub dialect: Dialect,
    pub name: Vec<u8>,
    pub link_name: Vec<u8>,
    pub type_byte: u8,
    pub mode: i64,
    pub uid: i64,
    pub gid: i64,
    pub size_bytes: i64,
    pub mtime: Timestamp,
    pub atime: Option<Timestamp>,
    pub device_major: i64,
    pub device_minor: i64,
}

impl Fields {
    /// Reads a block whose checksum is right, or says that it is no header.
    pub fn parse(block: &Block) -> Result<Fields, ArchiveError> {
        let dialect = dialect(block).ok_or(ArchiveError::Header("the checksum is wrong"))?;
        let mut fields = Fields {
            dialect,
            name: text(&block[0..100]).to_vec(),
            link_name: text(&block[157..257]).to_vec(),
            type_byte: block[156],
            mode: number(&block[100..108])?,
            uid: number(&block[108..116])?,
            gid: number(&block[116..124])?,
            size_bytes: number(&block[124..136])?,
            mtime: Timestamp::from_seconds(number(&block[136..148])?),
            atime: None,
            device_major: 0,
            device_minor: 0,
        };
        if dialect == Dialect::V7 {
            return Ok(fields);
        }
        fields.device_major = number(&block[329..337])?;
        fields.device_minor = number(&block[337..345])?;
        let prefix: &[u8] = match dialect {
            Dialect::V7 => b"",
            Dialect::Ustar => text(&block[345..500]),
            Dialect::Star => {
                fields.atime = Some(Timestamp::from_seconds(number(&block[476..488])?));
                number(&block[488..500])?;
                text(&block[345..476])
            }
            Dialect::Gnu => fields.gnu_prefix(block),
        };
        if !prefix.is_empty() {
            let mut name = prefix.to_vec();
            name.push(b'/');
            name.extend_from_slice(&fields.name);
            fields.name = name;
        }
        Ok(fields)
    }

    // GNU headers keep times where ustar keeps a prefix. Writers exist that put a prefix there all the same, so when the
    // bytes are no times and are ASCII, Go takes them as a prefix.
    fn gnu_prefix<'b>(&mut self, block: &'b Block) -> &'b [u8] {
        let time = |field: &[u8]| match field[0] {
            0 => Ok(None),
            _ => number(field).map(|seconds| Some(Timestamp::from_seconds(seconds))),
        };
        match (time(&block[345..357]), time(&block[357..369])) {
            (Ok(atime), Ok(_)) => {
                self.atime = atime;
                b""
            }
            _ => Some(text(&block[345..500])).filter(|prefix| prefix.is_ascii()).unwrap_or(b""),
        }
    }
}

/// Returns the dialect of a block, or `None` when its checksum does not hold.
pub(crate) fn dialect(block: &Block) -> Option<Dialect> {
    let stated = octal(&block[148..156]).ok()?;
    let mut unsigned = 0_i64;
    let mut signed = 0_i64;
    for (index, byte) in block.iter().enumerate() {
        let byte = if (148..156).contains(&index) { b' ' } else { *byte };
        unsigned += i64::from(byte);
        signed += i64::from(byte.cast_signed());
    }
    // Old Sun tars summed signed bytes; Go accepts both sums.
    if stated != unsigned && stated != signed {
        return None;
    }
    Some(match (&block[257..263], &block[263..265]) {
        (b"ustar\0", _) if &block[508..512] == b"tar\0" => Dialect::Star,
        (b"ustar\0", _) => Dialect::Ustar,
        (b"ustar ", b" \0") => Dialect::Gnu,
        _ => Dialect::V7,
    })
}

/// Returns the bytes before the first NUL.
pub(crate) fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Reads a number in octal digits or in GNU's base 256.
pub(crate) fn number(field: &[u8]) -> Result<i64, ArchiveError> {
    let Some(first) = field.first().filter(|first| **first & 0x80 != 0) else {
        return octal(field);
    };
    let negative = first & 0x40 != 0;
    let flip = if negative { 0xff } else { 0 };
    let mut value = 0_u64;
    for (index, byte) in field.iter().enumerate() {
        let byte = if index == 0 { (byte ^ flip) & 0x7f } else { byte ^ flip };
        if value >> 56 != 0 {
            return Err(ArchiveError::Header("a number does not fit into 63 bits"));
        }
        value = value << 8 | u64::from(byte);
    }
    let value =
        i64::try_from(value).map_err(|_| ArchiveError::Header("a number does not fit into 63 bits"))?;
    Ok(if negative { !value } else { value })
}

fn octal(field: &[u8]) -> Result<i64, ArchiveError> {
    const WRONG: ArchiveError = ArchiveError::Header("a numeric field has other bytes than octal digits");
    let is_padding = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field.iter().position(|byte| !is_padding(byte)).unwrap_or(field.len());
    let end = field.iter().rposition(|byte| !is_padding(byte)).map_or(start, |last| last + 1);
    let mut value = 0_u64;
    for digit in text(&field[start..end]) {
        if !matches!(digit, b'0'..=b'7') || value >> 61 != 0 {
            return Err(WRONG);
        }
        value = value << 3 | u64::from(digit - b'0');
    }
    Ok(value.cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256() {
        assert_eq!(number(b"0000644\0").unwrap(), 0o644);
        assert_eq!(number(b"   644 \0").unwrap(), 0o644);
        assert_eq!(number(b"\0\0\0\0\0\0\0\0").unwrap(), 0);
        assert_eq!(number(b"777777777777").unwrap(), 0o777_777_777_777);
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 1, 0]).unwrap(), 256);
        assert_eq!(number(&[0xff; 8]).unwrap(), -1);
        assert!(number(b"08\0").is_err());
        assert!(number(b"-7\0").is_err());
        assert!(number(&[0x80, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).is_err());
    }
}
