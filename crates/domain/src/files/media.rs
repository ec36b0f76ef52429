//! Determines the media type of a file from its first bytes or, if they do not reveal it, from the type that the client declares. Also
//! sanitizes file names.

use parley_storage::entity::kind::AttachmentType;

/// The media type for files whose actual type is unknown.
pub const UNKNOWN: &str = "application/octet-stream";

/// The number of bytes at the beginning of a file that are used to detect its type.
pub const HEAD: usize = 8192;

/// Maximum length of a file name in bytes.
const NAME: usize = 255;

/// Returns the media type of content that begins with `head`, given the type that the client declared.
pub fn sniff(head: &[u8], declared: &str) -> String {
    let declared = declared.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let seen = infer::get(head).map(|kind| kind.mime_type());
    match seen {
        // Audio and video use the same container formats, which the first bytes do not distinguish, so trust the declared audio type.
        Some(seen) if seen.starts_with("video/") && declared.starts_with("audio/") => declared,
        Some(seen) => seen.to_owned(),
        // Image, audio and video formats have recognizable signatures. If the declared type is one of these and the content has no such
        // signature, the declared type is wrong.
        None if ["image/", "audio/", "video/"].iter().any(|kind| declared.starts_with(kind)) && declared != "image/svg+xml" => {
            UNKNOWN.to_owned()
        }
        None if is_media_type(&declared) => declared,
        None => UNKNOWN.to_owned(),
    }
}

fn is_media_type(text: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&byte))
    };
    text.len() <= 127 && text.split_once('/').is_some_and(|(kind, rest)| part(kind) && part(rest))
}

/// Returns the kind of attachment for a media type, as in Chatwoot.
pub fn attachment_type(content_type: &str) -> AttachmentType {
    match content_type {
        "image/jpeg" | "image/png" | "image/gif" | "image/bmp" | "image/webp" => AttachmentType::Image,
        "video/ogg" | "video/mp4" | "video/webm" | "video/quicktime" => AttachmentType::Video,
        kind if kind.starts_with("audio/") => AttachmentType::Audio,
        _ => AttachmentType::File,
    }
}

/// Sanitizes a file name so that it can be displayed and stored anywhere: removes folders, control characters, and characters that change
/// the direction of text.
pub fn safe_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let hidden = |letter: char| {
        letter.is_control() || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    let shown: String = last.chars().filter(|letter| !hidden(*letter)).collect();
    let shown = shown.trim().trim_start_matches('.').trim_end_matches(['.', ' ']);
    let (stem, extension) = match shown.rsplit_once('.') {
        Some((stem, extension)) if extension.len() <= 16 => (stem, format!(".{extension}")),
        _ => (shown, String::new()),
    };
    let stem = &stem[..stem.floor_char_boundary(NAME - extension.len())];
    if stem.is_empty() {
        format!("file{extension}")
    } else {
        format!("{stem}{extension}")
    }
}

/// Returns the extension of a file name in lower case, without the dot. Returns `None` if the name has no extension, or if the extension is
/// longer than 16 bytes or not alphanumeric.
pub fn extension(name: &str) -> Option<String> {
    let (_, extension) = name.rsplit_once('.')?;
    let plain = !extension.is_empty() && extension.len() <= 16 && extension.bytes().all(|byte| byte.is_ascii_alphanumeric());
    plain.then(|| extension.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn detected_content_type_overrides_the_declared_one() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
        assert_eq!(sniff(png, "text/html"), "image/png");
        assert_eq!(sniff(b"hello", "text/plain; charset=utf-8"), "text/plain");
        assert_eq!(sniff(b"hello", "image/png"), UNKNOWN);
        assert_eq!(sniff(b"<svg/>", "image/svg+xml"), "image/svg+xml");
        assert_eq!(sniff(b"hello", "no type"), UNKNOWN);
        assert_eq!(sniff(b"", ""), UNKNOWN);
    }

    #[test]
    fn attachment_types_match_chatwoot() {
        assert_eq!(attachment_type("image/webp"), AttachmentType::Image);
        assert_eq!(attachment_type("image/svg+xml"), AttachmentType::File);
        assert_eq!(attachment_type("audio/anything"), AttachmentType::Audio);
        assert_eq!(attachment_type("video/quicktime"), AttachmentType::Video);
        assert_eq!(attachment_type("application/pdf"), AttachmentType::File);
    }

    #[test]
    fn unsafe_parts_of_file_names_are_removed() {
        assert_eq!(safe_name("../../etc/passwd"), "passwd");
        assert_eq!(safe_name("C:\\temp\\a b.PNG"), "a b.PNG");
        assert_eq!(safe_name("rech\u{202e}gnp.exe"), "rechgnp.exe");
        assert_eq!(safe_name(".."), "file");
        assert_eq!(safe_name(".htaccess"), "htaccess");
        assert_eq!(safe_name(""), "file");
        assert_eq!(extension("a.tar.GZ").as_deref(), Some("gz"));
        assert_eq!(extension("a"), None);
    }

    proptest! {
        #[test]
        fn file_names_are_short_and_never_empty(name in ".{0,400}") {
            let safe = safe_name(&name);
            prop_assert!(!safe.is_empty() && safe.len() <= NAME && !safe.contains(['/', '\\', '\0', '\n']));
        }
    }
}
