//! Compiles `proto/` into the descriptors that the build script of `parley-proto` reads, so that building the crate does not require
//! compiling a Protobuf parser.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use prost_reflect::{DescriptorPool, DynamicMessage, prost::Message as _};

#[path = "../../crates/proto/build/sources.rs"]
mod sources;

/// The crate that holds the descriptors, from the root of the repository.
const CRATE: &str = "crates/proto";

/// A file that no other file imports, because error details are sent as `google.protobuf.Any`.
const ERROR_DETAILS: &str = "google/rpc/error_details.proto";

/// Writes the descriptors of `proto/` and the checksum of its files.
///
/// # Errors
/// Returns an error if there are arguments, or if a file does not compile or cannot be written.
pub fn write(arguments: &[String]) -> Result<()> {
    ensure!(arguments.is_empty(), "descriptors takes no arguments");
    let root = root();
    for (file, content) in compiled(&root)? {
        let path = root.join(CRATE).join(file);
        fs::write(&path, content).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Returns the files that belong in the crate: the path and the content of each.
fn compiled(root: &Path) -> Result<[(&'static str, Vec<u8>); 2]> {
    let proto = root.join("proto");
    let mut compiler = protox::Compiler::new([&proto])?;
    compiler.include_imports(true).include_source_info(true);
    for file in sources::files(&proto.join("parley"))? {
        compiler.open_file(file)?;
    }
    compiler.open_file(proto.join(ERROR_DETAILS))?;
    let descriptors = without_spans(&compiler.encode_file_descriptor_set())?;
    Ok([
        (sources::DESCRIPTORS, descriptors),
        (sources::CHECKSUM, sources::checksum(&proto)?.into_bytes()),
    ])
}

/// Returns the descriptors without lines and columns. Nothing reads these, and an inserted line changes them for the rest of its file. The
/// descriptors are decoded as dynamic messages, because generated types drop the policies of methods, which are extensions.
fn without_spans(descriptors: &[u8]) -> Result<Vec<u8>> {
    let descriptor = DescriptorPool::global()
        .get_message_by_name("google.protobuf.FileDescriptorSet")
        .context("the descriptors describe themselves")?;
    let mut set = DynamicMessage::decode(descriptor, descriptors)?;
    for file in messages(&mut set, "file") {
        let Some(info) = file
            .get_field_by_name_mut("source_code_info")
            .and_then(|info| info.as_message_mut())
        else {
            continue;
        };
        for location in messages(info, "location") {
            location.clear_field_by_name("span");
        }
    }
    Ok(set.encode_to_vec())
}

/// Returns the messages in a repeated field.
fn messages<'a>(message: &'a mut DynamicMessage, field: &str) -> impl Iterator<Item = &'a mut DynamicMessage> {
    let list = message.get_field_by_name_mut(field).and_then(|value| value.as_list_mut());
    list.into_iter().flatten().filter_map(|value| value.as_message_mut())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committed_descriptors_equal_the_contract() -> Result<()> {
        let root = root();
        for (file, content) in compiled(&root)? {
            let path = root.join(CRATE).join(file);
            let committed = fs::read(&path).with_context(|| path.display().to_string())?;
            assert!(
                committed == content,
                "{CRATE}/{file} is not what proto/ compiles to: run `cargo xtask descriptors`"
            );
        }
        Ok(())
    }
}
