//! Generates code from the compiled descriptors of `proto/`, so that building needs neither `protoc` nor a protobuf parser, and embeds the
//! descriptors for reflection. `cargo xtask descriptors` compiles the descriptors.
use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
};

use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage};

#[path = "build/optional_strings.rs"]
mod optional_strings;
#[path = "build/policy.rs"]
mod policy;
#[path = "build/rpc.rs"]
mod rpc;
#[path = "build/sources.rs"]
mod sources;

/// The codec with which generated clients and servers encode and decode messages.
const CODEC: &str = "crate::codec::SmallCodec";

/// The codec that sends encoded frames unchanged.
const FRAMES: &str = "crate::frame::FrameCodec";

fn main() -> Result<(), Box<dyn Error>> {
    // `compile_fds` does not print `rerun-if-changed` lines itself.
    for path in ["proto", "build", "descriptors"] {
        println!("cargo:rerun-if-changed={path}");
    }
    if fs::read_to_string(sources::CHECKSUM)? != sources::checksum(Path::new("proto"))? {
        return Err("proto/ has changed since it was compiled: run `cargo xtask descriptors`".into());
    }
    let bytes = fs::read(sources::DESCRIPTORS)?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let set = tonic_prost_build::FileDescriptorSet::decode(bytes.as_slice())?;
    fs::write(out.join("parley_descriptor.bin"), without_comments(&bytes)?)?;
    let pool = DescriptorPool::decode(bytes.as_slice())?;
    let table =
        policy::table(&pool).map_err(|faults| format!("policies of methods (proto/parley/v1/options.proto):\n{}", faults.join("\n")))?;
    fs::write(out.join("policy.rs"), table)?;
    fs::write(out.join("optional_strings.rs"), optional_strings::implementations(&pool)?)?;
    fs::write(
        out.join("rpc.rs"),
        rpc::implementations(&pool, &|method| policy::is_audited(&pool, method)),
    )?;
    let mut config = tonic_prost_build::Config::new();
    // Generate the names of messages, so that the cursor of any response can be looked up by name.
    config.enable_type_names();
    tonic_prost_build::configure()
        // Decode cursors and other byte fields as slices of the received frame instead of copies.
        .bytes(".parley.v1")
        .extern_path(".google.rpc.Status", "::tonic_types::Status")
        .codec_path(CODEC)
        .compile_fds_with_config(set, config)?;
    subscribe_by_frames();
    Ok(())
}

/// Returns the descriptors without their source info, which consists mostly of comments, because reflection keeps the descriptors in
/// memory. The descriptors are decoded as a dynamic message, because the generated types would drop the policies of methods, which are
/// extensions.
fn without_comments(bytes: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let name = "google.protobuf.FileDescriptorSet";
    let descriptor = DescriptorPool::global().get_message_by_name(name).ok_or(name)?;
    let mut set = DynamicMessage::decode(descriptor, bytes)?;
    let files = set
        .get_field_by_name_mut("file")
        .and_then(|files| files.as_list_mut())
        .ok_or(name)?;
    for file in files.iter_mut().filter_map(|file| file.as_message_mut()) {
        file.clear_field_by_name("source_code_info");
    }
    Ok(set.encode_to_vec())
}

/// Generates a second server for `EventsService` whose streams send encoded frames: events are stored in the encoding in which they are
/// sent, but the prost codec of the generated server could only encode them again.
fn subscribe_by_frames() {
    use tonic_build::manual::{Builder, Method, Service};
    let method = |name: &str, route: &str, input: &str, output: &str, codec: &str| {
        Method::builder()
            .name(name)
            .route_name(route)
            .input_type(format!("crate::{input}"))
            .output_type(output)
            .codec_path(codec)
    };
    let service = Service::builder()
        .name("EventsService")
        .package("parley.v1")
        .method(
            method("subscribe", "Subscribe", "SubscribeRequest", "crate::frame::Frame", FRAMES)
                .server_streaming()
                .build(),
        )
        .method(
            method("consume", "Consume", "ConsumeRequest", "crate::frame::Frame", FRAMES)
                .client_streaming()
                .server_streaming()
                .build(),
        )
        .method(
            method(
                "get_log_info",
                "GetLogInfo",
                "GetLogInfoRequest",
                "crate::GetLogInfoResponse",
                CODEC,
            )
            .build(),
        )
        .build();
    Builder::new().build_client(false).compile(&[service]);
}
