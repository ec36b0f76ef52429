//! Compiles `proto/` with protox, so that building needs cargo alone, and keeps the descriptors for reflection.
use std::{error::Error, path::PathBuf};

use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage};

#[path = "build/policy.rs"]
mod policy;

/// What encodes and decodes messages, on both ends.
const CODEC: &str = "crate::codec::SmallCodec";

/// What sends frames as they are.
const FRAMES: &str = "crate::frame::FrameCodec";

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true);
    let mut files: Vec<_> = std::fs::read_dir("proto/parley/v1")?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<Result<_, _>>()?;
    files.sort();
    for file in files {
        compiler.open_file(PathBuf::from("parley/v1").join(file))?;
    }
    // What the details of an error are made of. Nothing imports it, because they travel as Any.
    compiler.open_file("google/rpc/error_details.proto")?;
    let bytes = compiler.encode_file_descriptor_set();
    let set = tonic_prost_build::FileDescriptorSet::decode(bytes.as_slice())?;
    std::fs::write(out.join("parley_descriptor.bin"), without_comments(&bytes)?)?;
    let pool = DescriptorPool::decode(bytes.as_slice())?;
    let table =
        policy::table(&pool).map_err(|faults| format!("policies of methods (proto/parley/v1/options.proto):\n{}", faults.join("\n")))?;
    std::fs::write(out.join("policy.rs"), table)?;
    let mut config = tonic_prost_build::Config::new();
    // Messages know their names, so that any answer can be asked for its cursor.
    config.enable_type_names();
    tonic_prost_build::configure()
        // Cursors and the like are slices of the frame they came in, not copies.
        .bytes(".parley.v1")
        .extern_path(".google.rpc.Status", "::tonic_types::Status")
        .codec_path(CODEC)
        .compile_fds_with_config(set, config)?;
    subscribe_by_frames();
    // `compile_fds` prints nothing of the kind.
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=build");
    Ok(())
}

/// The descriptors without their source info: reflection keeps them in memory, and comments are most of them. As a dynamic message, because the
/// generated types would drop the methods' policies, which are extensions.
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

/// A second server for `EventsService` whose streams send frames: events are stored as the bytes that are sent, and
/// the prost codec of the generated server could only encode them again.
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
