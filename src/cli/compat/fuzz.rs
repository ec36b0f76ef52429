//! The readers of this module, for the fuzz targets. Not part of the API of the crate.

use std::io;

use clap::ValueEnum as _;

use super::{Format, Input, Judge, read};

thread_local! {
    static JUDGE: Judge = Judge::new("", None);
}

/// Reads a file as each format, and as the one that it looks like, and judges the calls in it.
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
