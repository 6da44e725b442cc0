use std::sync::Arc;

use resvg::tiny_skia::{Color, Pixmap, Transform};
use resvg::usvg::{Options, Tree, fontdb};

use crate::error::{Error, Result};

/// Pixels of the picture for one of the drawing: sharp on screens of today.
const SCALE: f32 = 2.0;
/// The largest picture that is made: pixels of a side.
const MOST: f32 = 16_384.0;

/// A drawing as a PNG, on white, twice as large. Letters are drawn with the fonts of the system.
///
/// # Errors
/// [`Error::Unusable`] if the drawing is none, or too large for a picture.
pub fn png_of(svg: &str) -> Result<Vec<u8>> {
    let unusable = |problem: String| Error::Unusable {
        problem: format!("no PNG can be made of this drawing: {problem}"),
        hint: "write a file that ends in `.svg`".into(),
    };
    let mut fonts = fontdb::Database::new();
    fonts.load_system_fonts();
    if let Some(family) = plain_family(&fonts) {
        fonts.set_sans_serif_family(&family);
        fonts.set_serif_family(&family);
        fonts.set_monospace_family(&family);
    }
    let options = Options {
        fontdb: Arc::new(fonts),
        ..Options::default()
    };
    let tree = Tree::from_str(svg, &options).map_err(|error| unusable(error.to_string()))?;
    let size = tree.size();
    let scale = SCALE.min(MOST / size.width().max(size.height()));
    let side = |length: f32| (length * scale).ceil() as u32;
    let mut pixels = Pixmap::new(side(size.width()), side(size.height()))
        .ok_or_else(|| unusable("it has no size".into()))?;
    pixels.fill(Color::WHITE);
    let transform = Transform::from_scale(scale, scale);
    resvg::render(&tree, transform, &mut pixels.as_mut());
    pixels
        .encode_png()
        .map_err(|error| unusable(error.to_string()))
}

/// Families without serifs that systems have, the widest in signs first.
const FAMILIES: [&str; 6] = [
    "Noto Sans",
    "DejaVu Sans",
    "Liberation Sans",
    "Arial",
    "Helvetica Neue",
    "Segoe UI",
];

/// What stands for `sans-serif` on this system: one of the usual families, else any.
fn plain_family(fonts: &fontdb::Database) -> Option<String> {
    let names = || {
        fonts
            .faces()
            .flat_map(|face| face.families.iter().map(|(name, _)| name.as_str()))
    };
    let usual = FAMILIES
        .into_iter()
        .find(|&family| names().any(|name| name == family));
    usual.or_else(|| names().next()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawing_becomes_a_picture_of_twice_its_size() {
        let svg = r##"<svg xmlns="http://www.w3.org/2000/svg" width="30" height="20"><rect width="15" height="20" fill="#000"/></svg>"##;
        let png = png_of(svg).unwrap();
        let picture = image::load_from_memory(&png).unwrap().to_luma8();
        assert_eq!(picture.dimensions(), (60, 40));
        assert_eq!(
            (picture.get_pixel(5, 5).0, picture.get_pixel(50, 5).0),
            ([0], [255])
        );
        assert!(png_of("no drawing").is_err());
    }
}
