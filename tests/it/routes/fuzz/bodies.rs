//! Request bodies for generated values: JSON, valid and broken, forms, and multipart with files.

use rand::{Rng as _, rngs::StdRng, seq::IndexedRandom as _};
use serde_json::Value as Json;

/// Names of fields that take files, and other names.
const FIELDS: [&str; 10] = [
    "attachments[]",
    "attachments[]",
    "attachments",
    "message[attachments][]",
    "avatar",
    "avatar",
    "attachments[0]",
    "attachments[a][b]",
    "content",
    "",
];

const NAMES: [&str; 16] = [
    "a.png",
    "a.txt",
    "noextension",
    "",
    " ",
    ".",
    "..",
    "../../../../etc/passwd",
    "C:\\a\\b.exe",
    "a/b/c.jpg",
    "gnp.\u{202e}exe",
    "\u{1f4ce}\u{10ffff}.pdf",
    "a%00b.png",
    "a%22b.png",
    "a\u{0}b.gif",
    "<img src=x onerror=alert(1)>.svg",
];

const TYPES: [&str; 12] = [
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/svg+xml",
    "text/html",
    "text/plain; charset=utf-16",
    "application/octet-stream",
    "video/mp4",
    "multipart/form-data; boundary=x",
    "IMAGE/PNG",
    "*/*",
    "no type",
];

/// Adds the body to the request as JSON, as broken JSON, as a form or as multipart; mostly as multipart if the route takes files.
pub fn dressed(rng: &mut StdRng, request: reqwest::RequestBuilder, body: &Json, file_field: Option<&str>) -> reqwest::RequestBuilder {
    let text = body.to_string();
    let kind = if file_field.is_some() && rng.random_bool(0.6) {
        2
    } else {
        rng.random_range(0..10)
    };
    match kind {
        0 => request
            .header("content-type", "application/json")
            .body(text.chars().take(text.len() / 2).collect::<String>()),
        1 => request
            .header("content-type", "application/x-www-form-urlencoded")
            .body("a[b][]=1&a[b][][c]=2&content=hi&label[title]=form&%FF=%FE"),
        2 => {
            let boundary = if rng.random_bool(0.03) { "y" } else { "x" };
            request
                .header("content-type", format!("multipart/form-data; boundary={boundary}"))
                .body(match file_field {
                    Some(field) if rng.random_bool(0.4) => well_made(rng, field),
                    _ => parts(rng, body),
                })
        }
        _ => request.header("content-type", "application/json").body(text),
    }
}

/// A well-formed form, which succeeds if the service accepts the file with its random name, type and content.
fn well_made(rng: &mut StdRng, field: &str) -> Vec<u8> {
    let text = if field == "avatar" { "name" } else { "content" };
    let mut whole = format!("--x\r\nContent-Disposition: form-data; name=\"{text}\"\r\n\r\nwith a file\r\n").into_bytes();
    let (name, kind) = (NAMES.choose(rng), TYPES.choose(rng));
    let (name, kind) = (name.expect("there are some"), kind.expect("there are some"));
    whole.extend(
        format!("--x\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"{name}\"\r\nContent-Type: {kind}\r\n\r\n").bytes(),
    );
    whole.extend(content(rng));
    whole.extend(b"\r\n--x--\r\n");
    whole
}

/// The fields of a body as multipart, with files among them, and sometimes truncated.
fn parts(rng: &mut StdRng, body: &Json) -> Vec<u8> {
    let mut whole = Vec::new();
    for (name, value) in body.as_object().into_iter().flatten() {
        // A file replaces a text field of the same name.
        if ["attachments", "avatar"].contains(&name.as_str()) && rng.random_bool(0.8) {
            continue;
        }
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        whole.extend(format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").bytes());
    }
    for _ in 0..*[0, 1, 1, 1, 2, 3, 17].choose(rng).expect("there are some") {
        whole.extend(file(rng));
    }
    whole.extend(b"--x--\r\n");
    match rng.random_range(0..10) {
        0 => whole.truncate(rng.random_range(0..whole.len())),
        1 => whole.truncate(whole.len() - "--x--\r\n".len()),
        _ => {}
    }
    whole
}

/// A part with a file.
fn file(rng: &mut StdRng) -> Vec<u8> {
    let mut field = (*FIELDS.choose(rng).expect("there are some")).to_owned();
    // Half of the files use the field in which messages expect them.
    if rng.random_bool(0.5) {
        "attachments[]".clone_into(&mut field);
    }
    let name = match rng.random_range(0..20) {
        0 => "x".repeat(rng.random_range(200..3000)),
        _ => (*NAMES.choose(rng).expect("there are some")).to_owned(),
    };
    let mut part = match rng.random_range(0..20) {
        0 => format!("--x\r\nContent-Disposition: form-data; filename=\"{name}\"\r\n"),
        1 => format!("--x\r\nContent-Disposition: attachment; name={field}; filename*=UTF-8''{name}\r\n"),
        2 => "--x\r\nX-Nothing: said\r\n".to_owned(),
        _ => format!("--x\r\nContent-Disposition: form-data; name=\"{field}\"; filename=\"{name}\"\r\n"),
    };
    if rng.random_bool(0.8) {
        part.push_str("Content-Type: ");
        part.push_str(TYPES.choose(rng).expect("there are some"));
        part.push_str("\r\n");
    }
    part.push_str("\r\n");
    let mut part = part.into_bytes();
    part.extend(content(rng));
    part.extend(b"\r\n");
    part
}

/// Random file content: an image, a truncated image, a file that only claims to be an image, or arbitrary bytes.
fn content(rng: &mut StdRng) -> Vec<u8> {
    match rng.random_range(0..8) {
        0 => Vec::new(),
        1 => picture(rng),
        2 => {
            let mut half = picture(rng);
            half.truncate(rng.random_range(0..half.len()));
            half
        }
        // A PNG header that declares an image larger than any real one.
        3 => b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\xff\xff\xff\xff\xff\xff\xff\xff\x08\x06\0\0\0".to_vec(),
        4 => b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>".to_vec(),
        // Almost the boundary.
        5 => b"--x\r\n\r\n--y--\r\n-\r\n--".to_vec(),
        6 => (0..rng.random_range(0..20_000)).map(|_| rng.random::<u8>()).collect(),
        _ => b"GIF89a and no more".to_vec(),
    }
}

fn picture(rng: &mut StdRng) -> Vec<u8> {
    let format = *[image::ImageFormat::Png, image::ImageFormat::Gif, image::ImageFormat::Jpeg]
        .choose(rng)
        .expect("there are some");
    let mut out = std::io::Cursor::new(Vec::new());
    let (width, height) = (rng.random_range(1..300), rng.random_range(1..300));
    image::DynamicImage::new_rgb8(width, height)
        .write_to(&mut out, format)
        .expect("a picture can be written");
    out.into_inner()
}
