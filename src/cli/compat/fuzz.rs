//! The readers of log formats, exposed for the fuzz targets. Not part of the crate's API.

use std::io;

use clap::ValueEnum as _;

use super::{Format, Input, Judge, read};

thread_local! {
    static JUDGE: Judge = Judge::new("", None);
}

/// Detects the format of a file, then reads it in every format and judges the calls in it.
pub fn file(bytes: &[u8]) {
    let open = || Input::of(io::Cursor::new(bytes.to_vec()));
    if let Ok(input) = open() {
        let _ = Format::detect(&input.head);
    }
    for format in Format::value_variants() {
        let Ok(input) = open() else { continue };
        JUDGE.with(|judge| {
            read(input, *format, &mut |_, call| {
                let _ = judge.judge(call);
            })
        });
    }
}
