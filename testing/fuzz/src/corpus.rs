//! What the fuzzer left behind, one file per target: inputs, each behind its length (a varint), the smallest first. Packed, because a
//! repository is no place for thousands of files.

use std::{fs, io, path::PathBuf};

use crate::Target;

/// A target's corpus is at most so large, bytes.
pub const LARGEST: usize = 256 * 1024;

/// Where a target's corpus is.
#[must_use]
pub fn file(target: &Target) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "corpus", target.name].iter().collect()
}

/// A target's corpus.
///
/// # Errors
/// The file is not there, or not whole.
pub fn read(target: &Target) -> io::Result<Vec<Vec<u8>>> {
    let (bytes, mut inputs) = (fs::read(file(target))?, Vec::new());
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let length = prost::decode_length_delimiter(&mut rest)?;
        let (input, behind) = rest.split_at_checked(length).ok_or(io::ErrorKind::UnexpectedEof)?;
        inputs.push(input.to_vec());
        rest = behind;
    }
    Ok(inputs)
}

/// Keeps these inputs, as many as there is room for, and gives how many.
///
/// # Errors
/// The file can't be written.
pub fn write(target: &Target, mut inputs: Vec<Vec<u8>>) -> io::Result<usize> {
    inputs.sort_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    inputs.dedup();
    let (mut bytes, mut kept) = (Vec::new(), 0);
    for input in &inputs {
        let mut next = Vec::new();
        prost::encode_length_delimiter(input.len(), &mut next).map_err(io::Error::other)?;
        next.extend_from_slice(input);
        if bytes.len() + next.len() > LARGEST {
            break;
        }
        bytes.extend(next);
        kept += 1;
    }
    fs::create_dir_all(file(target).parent().expect("a folder"))?;
    fs::write(file(target), bytes)?;
    Ok(kept)
}
