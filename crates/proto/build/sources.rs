//! The source files of the contract. This module is shared by the build script and by `cargo xtask descriptors`, which compiles the files.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The path of the compiled contract: its files with their imports, including comments, as a `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTORS: &str = "descriptors/parley.binpb";

/// The path of the checksum of the source files from which [`DESCRIPTORS`] was compiled.
pub const CHECKSUM: &str = "descriptors/sources.crc32";

/// Returns all files below `folder` (`proto/`), sorted.
///
/// # Errors
/// Returns an error if a folder cannot be read.
pub fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Returns the CRC-32 of the names and contents of all files below `folder`, in the format of [`CHECKSUM`].
///
/// # Errors
/// Returns an error if a file cannot be read.
pub fn checksum(folder: &Path) -> io::Result<String> {
    let mut hasher = crc32fast::Hasher::new();
    for path in files(folder)? {
        let name = path.strip_prefix(folder).unwrap_or(&path);
        for part in [name.to_string_lossy().as_bytes(), &fs::read(&path)?] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    }
    Ok(format!("{:08x}\n", hasher.finalize()))
}
