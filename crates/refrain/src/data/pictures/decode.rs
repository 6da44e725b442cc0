//! One file to the pixels of one picture.

use std::fs::{self, File};
use std::io::{Cursor, Read};
use std::path::Path;

use image::imageops::{self, FilterType};
use image::metadata::Orientation;
use image::{
    DynamicImage, GrayImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, RgbImage,
};

use crate::data::source::{hex, io_error};
use crate::{Error, Result};

/// A file of more bytes is not opened.
const MAX_FILE_BYTES: u64 = 1 << 28;
/// The most pixels: a photograph of a good camera.
const MAX_PIXELS: u64 = 1 << 25;
/// What decoding may take: so many pixels of eight bytes.
const MAX_ALLOCATED: u64 = MAX_PIXELS * 8;

/// What the head of a file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) coloured: bool,
}

/// Reads the head of a file; its pixels may still be damaged.
pub(super) fn head(path: &Path) -> Result<Head> {
    let bytes = read_file(path)?;
    let (decoder, orientation) = open(path, &bytes)?;
    let (mut width, mut height) = decoder.dimensions();
    if turned(orientation) {
        (width, height) = (height, width);
    }
    Ok(Head {
        height: height as usize,
        width: width as usize,
        coloured: decoder.color_type().has_color(),
    })
}

/// Reads a file and brings its picture to (height, width, channels).
pub(super) fn decode(path: &Path, height: usize, width: usize, channels: usize) -> Result<Vec<u8>> {
    let bytes = read_file(path)?;
    let (decoder, orientation) = open(path, &bytes)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(|error| damaged(path, &error))?;
    if bytes.starts_with(&[0xFF, 0xD8]) && !jpeg_has_end(&bytes) {
        return Err(unusable(
            path,
            "is a JPEG picture that is cut short: it has no end",
            DAMAGED,
        ));
    }
    picture.apply_orientation(orientation);
    let (height, width) = (height as u32, width as u32);
    let same = (picture.height(), picture.width()) == (height, width);
    Ok(if channels == 1 {
        let grey = on_white_grey(&picture);
        if same {
            grey
        } else {
            imageops::resize(&grey, width, height, FilterType::Triangle)
        }
        .into_raw()
    } else {
        let rgb = on_white_rgb(&picture);
        if same {
            rgb
        } else {
            imageops::resize(&rgb, width, height, FilterType::Triangle)
        }
        .into_raw()
    })
}

const DAMAGED: &str = "take another copy of it, or leave such files out by `--on-bad-row skip`";

fn unusable(path: &Path, problem: impl AsRef<str>, hint: &str) -> Error {
    Error::Unusable {
        problem: format!("`{}` {}", path.display(), problem.as_ref()),
        hint: hint.into(),
    }
}

fn damaged(path: &Path, error: &ImageError) -> Error {
    let what: String = error
        .to_string()
        .chars()
        .take(200)
        .flat_map(char::escape_debug)
        .collect();
    unusable(
        path,
        format!("is a damaged picture, or was cut short: {what}"),
        DAMAGED,
    )
}

fn read_file(path: &Path) -> Result<Vec<u8>> {
    let io = |source| io_error("read", path, source);
    // Before opening: to open a pipe would wait.
    let found = fs::metadata(path).map_err(io)?;
    if !found.is_file() {
        return Err(unusable(
            path,
            "is not a regular file",
            "name a PNG or JPEG file",
        ));
    }
    if found.len() > MAX_FILE_BYTES {
        let problem = format!(
            "has {} bytes, a picture at most {MAX_FILE_BYTES}",
            found.len()
        );
        return Err(unusable(path, problem, "make it smaller"));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(io)?;
    file.take(MAX_FILE_BYTES)
        .read_to_end(&mut bytes)
        .map_err(io)?;
    Ok(bytes)
}

/// A decoder of the format that the content has, whatever the name says, with the size of the picture checked.
fn open<'a>(path: &Path, bytes: &'a [u8]) -> Result<(impl ImageDecoder + use<'a>, Orientation)> {
    let format = match image::guess_format(bytes) {
        Ok(format @ (ImageFormat::Png | ImageFormat::Jpeg)) => format,
        Ok(other) => {
            let problem = format!("is a {other:?} picture, expected PNG or JPEG");
            return Err(unusable(path, problem, "convert it to PNG"));
        }
        Err(_) if bytes.is_empty() => return Err(unusable(path, "is empty", DAMAGED)),
        Err(_) => {
            let start = hex(&bytes[..bytes.len().min(4)]);
            let problem = format!("is no picture, whatever its name: it begins with {start}");
            return Err(unusable(path, problem, DAMAGED));
        }
    };
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_ALLOCATED);
    reader.limits(limits);
    let mut decoder = reader
        .into_decoder()
        .map_err(|error| damaged(path, &error))?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        let problem = format!("has {width} x {height} pixels, more than {MAX_PIXELS} in all");
        return Err(unusable(path, problem, "make it smaller"));
    }
    if width == 0 || height == 0 {
        return Err(unusable(path, "has no pixels", DAMAGED));
    }
    // Damaged EXIF data turn nothing.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    Ok((decoder, orientation))
}

fn turned(orientation: Orientation) -> bool {
    matches!(
        orientation,
        Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    )
}

/// Whether the marker of the end follows that of the last scan; the decoder fills what is missing with grey.
fn jpeg_has_end(bytes: &[u8]) -> bool {
    let pairs = || bytes.windows(2).rev();
    let from_end = |marker: u8| pairs().position(|pair| pair == [0xFF, marker]);
    // Pixels cannot look like a marker: after FF they have 00.
    match (from_end(0xD9), from_end(0xDA)) {
        (Some(end), Some(scan)) => end < scan,
        _ => false,
    }
}

/// `colour` seen through `alpha` on white, rounded to the nearest.
fn on_white(colour: u8, alpha: u8) -> u8 {
    let (colour, alpha) = (u32::from(colour), u32::from(alpha));
    // At most 255 * 255 + 127, so the quotient is a byte.
    ((colour * alpha + 255 * (255 - alpha) + 127) / 255) as u8
}

fn on_white_grey(picture: &DynamicImage) -> GrayImage {
    if !picture.color().has_alpha() {
        return picture.to_luma8();
    }
    let seen = picture.to_luma_alpha8();
    let pixels = seen.pixels().map(|pixel| on_white(pixel.0[0], pixel.0[1]));
    GrayImage::from_raw(seen.width(), seen.height(), pixels.collect())
        .unwrap_or_else(|| panic!("{} x {} pixels", seen.width(), seen.height()))
}

fn on_white_rgb(picture: &DynamicImage) -> RgbImage {
    if !picture.color().has_alpha() {
        return picture.to_rgb8();
    }
    let seen = picture.to_rgba8();
    let pixels = seen.pixels().flat_map(|pixel| {
        let [r, g, b, alpha] = pixel.0;
        [r, g, b].map(|colour| on_white(colour, alpha))
    });
    RgbImage::from_raw(seen.width(), seen.height(), pixels.collect())
        .unwrap_or_else(|| panic!("{} x {} pixels", seen.width(), seen.height()))
}
