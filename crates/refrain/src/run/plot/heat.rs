//! Heat maps: a square for each pair of a row and a column, the stronger the darker.

use plotters::style::text_anchor::HPos;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::{Canvas, FONT_SIZE, Ink, LETTER_WIDTH, LINE_HEIGHT, Writing, svg, visible};
use crate::Result;

/// Columns of a terminal that a label may take; a longer one is shortened.
const LABEL_COLUMNS: usize = 18;
/// Size of the letters of labels, in pixels.
const SMALL_FONT: f64 = 11.0;
/// Sizes of the letters in cells: the first in which every text has room.
const CELL_FONTS: [f64; 3] = [11.0, 10.0, 9.0];
/// Between the letters in a cell and its edges, in pixels.
const CELL_MARGIN: f64 = 2.5;
/// From this opacity on, dark letters on a cell are harder to read than light ones.
const LIGHT_TEXT_FROM: f64 = 0.85;
/// A sample of the key.
const KEY_WIDTH: f64 = 22.0;
const KEY_HEIGHT: f64 = 12.0;

/// One square of a heat map.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// The row, from 0.
    pub row: usize,
    /// The column, from 0.
    pub column: usize,
    /// How strong the colour is, from 0 (the ground) to 1.
    pub strength: f64,
    /// What is written in it, if the texts of all cells have room.
    pub text: String,
}

/// A heat map of rows and columns with names.
///
/// The colour is one blue, from nothing to full, so that it is read alike by all eyes and in print. Opacity is the square root of
/// the strength: what is rare but there should be seen. Cells are smaller the more columns there are, and the size of the picture
/// follows from them.
#[derive(Clone, Debug, Default)]
pub struct HeatMap {
    /// What the picture shows, for those who cannot see it.
    pub title: String,
    /// What there is to see, in a sentence or two.
    pub description: String,
    /// What rows are.
    pub row_label: String,
    /// What columns are.
    pub column_label: String,
    /// The name of each row, from above.
    pub rows: Vec<String>,
    /// The name of each column, from the left.
    pub columns: Vec<String>,
    /// Whether cells are as wide as the longest of their texts.
    pub wide_cells: bool,
    /// The cells that are not empty.
    pub cells: Vec<Cell>,
    /// Samples of strengths and what they mean.
    pub key: Vec<(f64, String)>,
}

/// Where things are, in pixels.
struct Layout {
    rows: Vec<String>,
    columns: Vec<String>,
    /// Width and height of a cell.
    cell: (f64, f64),
    /// Size of the letters in cells; without, they stay empty.
    cell_font: Option<f64>,
    /// Whether the names of columns go upwards.
    upwards: bool,
    left: f64,
    top: f64,
    width: f64,
    height: f64,
}

impl HeatMap {
    /// Draws the map as one `<svg>` element, which is also a whole file.
    ///
    /// Long names are shortened; characters that would not be seen are shown as signs.
    ///
    /// # Errors
    ///
    /// [`Error::Unusable`](crate::Error::Unusable) if the backend refuses, which it has no cause to.
    ///
    /// # Panics
    ///
    /// If a cell lies outside of the rows or columns.
    ///
    /// # Examples
    ///
    /// ```
    /// use refrain::run::plot::{Cell, HeatMap};
    ///
    /// let names = ["cat".to_owned(), "dog".to_owned()];
    /// let map = HeatMap {
    ///     rows: names.to_vec(),
    ///     columns: names.to_vec(),
    ///     cells: vec![Cell { row: 0, column: 1, strength: 0.25, text: "3".into() }],
    ///     ..HeatMap::default()
    /// };
    /// let svg = map.to_svg()?;
    /// assert!(svg.contains("opacity=\"0.5\"") && svg.contains(">\n3\n<"));
    /// # Ok::<(), refrain::Error>(())
    /// ```
    pub fn to_svg(&self) -> Result<String> {
        for cell in &self.cells {
            let (rows, columns) = (self.rows.len(), self.columns.len());
            let inside = cell.row < rows && cell.column < columns;
            assert!(inside, "{cell:?} in {rows} × {columns}");
        }
        let layout = self.layout();
        let size = (layout.width.ceil() as u32, layout.height.ceil() as u32);
        svg(&self.title, &self.description, size, |canvas| {
            canvas.rectangle((0.0, 0.0), (layout.width, layout.height), Ink::Ground)?;
            self.draw_key(canvas)?;
            self.draw_labels(canvas, &layout)?;
            for cell in &self.cells {
                layout.cell(canvas, cell)?;
            }
            layout.lines(canvas)
        })
    }

    fn layout(&self) -> Layout {
        let shorten = |names: &[String]| names.iter().map(|name| shortened(name)).collect();
        let (rows, columns): (Vec<String>, Vec<String>) =
            (shorten(&self.rows), shorten(&self.columns));
        let cell: f64 = match rows.len().max(columns.len()) {
            0..4 => 76.0,
            4..7 => 56.0,
            7..13 => 42.0,
            13..21 => 34.0,
            21..33 => 27.0,
            _ => 15.0,
        };
        let widest = |names: &[String]| {
            let widths = names.iter().map(|name| width_of(name, SMALL_FONT));
            widths.fold(0.0, f64::max)
        };
        let text = |font: f64| {
            let widths = self.cells.iter().map(|of| width_of(&of.text, font));
            widths.fold(0.0, f64::max) + 2.0 * CELL_MARGIN
        };
        let cell = if self.wide_cells {
            (cell.max(text(CELL_FONTS[0])), cell)
        } else {
            (cell, cell)
        };
        let cell_font = CELL_FONTS.into_iter().find(|&font| text(font) <= cell.0);
        let column_width = widest(&columns);
        let upwards = column_width + 6.0 > cell.0;
        let names_height = if upwards {
            column_width + 6.0
        } else {
            LINE_HEIGHT
        };
        let row_label = width_of(&self.row_label, FONT_SIZE);
        let left = widest(&rows).max(row_label) + 14.0;
        let key = if self.key.is_empty() {
            0.0
        } else {
            LINE_HEIGHT + 8.0
        };
        let top = key + LINE_HEIGHT + names_height;
        let below_labels = left + width_of(&self.column_label, FONT_SIZE) + 4.0;
        let width = (left + cell.0 * columns.len() as f64 + 4.0)
            .max(self.key_width())
            .max(below_labels);
        Layout {
            height: top + cell.1 * rows.len() as f64 + 4.0,
            rows,
            columns,
            cell,
            cell_font,
            upwards,
            left,
            top,
            width,
        }
    }

    fn key_width(&self) -> f64 {
        let item = |(_, text): &(f64, String)| KEY_WIDTH + 6.0 + width_of(text, SMALL_FONT) + 14.0;
        4.0 + self.key.iter().map(item).sum::<f64>()
    }

    fn draw_key(&self, canvas: &mut Canvas<'_>) -> Result<()> {
        let (mut x, y) = (4.0, 12.0);
        for (strength, text) in &self.key {
            let (from, to) = (
                (x, y - KEY_HEIGHT / 2.0),
                (x + KEY_WIDTH, y + KEY_HEIGHT / 2.0),
            );
            canvas.pale_rectangle(from, to, Ink::Heat, opacity(*strength))?;
            let at = (x + KEY_WIDTH + 6.0, y);
            canvas.write(text, at, small(HPos::Left, Ink::Muted))?;
            x += KEY_WIDTH + 6.0 + width_of(text, SMALL_FONT) + 14.0;
        }
        Ok(())
    }

    fn draw_labels(&self, canvas: &mut Canvas<'_>, layout: &Layout) -> Result<()> {
        let above = if self.key.is_empty() {
            0.0
        } else {
            LINE_HEIGHT + 8.0
        };
        let at = (layout.left, above + 0.5 * LINE_HEIGHT);
        canvas.text(&self.column_label, at, HPos::Left, Ink::Text)?;
        let end = layout.left - 8.0;
        let at = (end, layout.top - 0.5 * LINE_HEIGHT);
        canvas.text(&self.row_label, at, HPos::Right, Ink::Text)?;
        for (index, name) in layout.rows.iter().enumerate() {
            let at = (end, layout.top + layout.cell.1 * (index as f64 + 0.5));
            canvas.write(name, at, small(HPos::Right, Ink::Muted))?;
        }
        for (index, name) in layout.columns.iter().enumerate() {
            let middle = layout.left + layout.cell.0 * (index as f64 + 0.5);
            let (at, side) = if layout.upwards {
                ((middle, layout.top - 5.0), HPos::Left)
            } else {
                ((middle, layout.top - 0.5 * LINE_HEIGHT), HPos::Center)
            };
            let writing = Writing {
                upwards: layout.upwards,
                ..small(side, Ink::Muted)
            };
            canvas.write(name, at, writing)?;
        }
        Ok(())
    }
}

impl Layout {
    fn cell(&self, canvas: &mut Canvas<'_>, cell: &Cell) -> Result<()> {
        let from = (
            self.left + self.cell.0 * cell.column as f64,
            self.top + self.cell.1 * cell.row as f64,
        );
        let to = (from.0 + self.cell.0, from.1 + self.cell.1);
        let opacity = opacity(cell.strength);
        canvas.pale_rectangle(from, to, Ink::Heat, opacity)?;
        let Some(size) = self.cell_font else {
            return Ok(());
        };
        let ink = if opacity >= LIGHT_TEXT_FROM {
            Ink::OnHeat
        } else {
            Ink::Text
        };
        let middle = (from.0 + self.cell.0 / 2.0, from.1 + self.cell.1 / 2.0);
        let writing = Writing {
            size,
            ..small(HPos::Center, ink)
        };
        canvas.write(&cell.text, middle, writing)
    }

    /// The edges of rows and columns, above the cells.
    fn lines(&self, canvas: &mut Canvas<'_>) -> Result<()> {
        let (rows, columns) = (self.rows.len(), self.columns.len());
        let right = self.left + self.cell.0 * columns as f64;
        let bottom = self.top + self.cell.1 * rows as f64;
        for row in 0..=rows {
            let y = self.top + self.cell.1 * row as f64;
            canvas.line((self.left, y), (right, y), Ink::Grid)?;
        }
        for column in 0..=columns {
            let x = self.left + self.cell.0 * column as f64;
            canvas.line((x, self.top), (x, bottom), Ink::Grid)?;
        }
        Ok(())
    }
}

fn small(side: HPos, ink: Ink) -> Writing {
    Writing {
        size: SMALL_FONT,
        side,
        upwards: false,
        ink,
    }
}

/// Two digits, which are more than an eye can tell apart.
fn opacity(strength: f64) -> f64 {
    let strength = if strength.is_finite() { strength } else { 0.0 };
    (100.0 * strength.clamp(0.0, 1.0).sqrt()).round() / 100.0
}

fn width_of(text: &str, font_size: f64) -> f64 {
    LETTER_WIDTH * font_size * text.width() as f64
}

/// A name on one line, its end replaced by `…` where it is long.
fn shortened(name: &str) -> String {
    shortened_to(name, LABEL_COLUMNS)
}

/// The same of at most so many columns of a terminal.
pub(super) fn shortened_to(name: &str, most: usize) -> String {
    let line = name.replace(['\n', '\t'], " ");
    let name = visible(&line);
    if name.width() <= most {
        return name.into_owned();
    }
    let mut short = String::new();
    let mut taken = 0;
    for c in name.chars() {
        taken += c.width().unwrap_or(0);
        if taken >= most {
            break;
        }
        short.push(c);
    }
    short.truncate(short.trim_end().len());
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(classes: usize, name: impl Fn(usize) -> String) -> HeatMap {
        let names: Vec<String> = (0..classes).map(name).collect();
        let cell = |index: usize| Cell {
            row: index / classes,
            column: index % classes,
            strength: 1.0 / (1 + index) as f64,
            text: index.to_string(),
        };
        HeatMap {
            title: "<map>".into(),
            row_label: "truth".into(),
            column_label: "prediction".into(),
            rows: names.clone(),
            columns: names,
            cells: (0..classes * classes).map(cell).collect(),
            key: vec![(0.01, "1%".into()), (1.0, "100%".into())],
            ..HeatMap::default()
        }
    }

    /// Every number of classes that a report shows; widths of letters are estimates on the safe side.
    #[test]
    fn nothing_leaves_the_picture() {
        for classes in [1, 2, 6, 12, 13, 20, 32, 60] {
            let map = map(classes, |class| "m".repeat(class % 40));
            let layout = map.layout();
            assert!(layout.width < 1200.0, "{classes}: {}", layout.width);
            let svg = map.to_svg().unwrap();
            for attribute in [" x=\"", " y=\""] {
                for value in svg.split(attribute).skip(1) {
                    let value: i32 = value.split('"').next().unwrap().parse().unwrap();
                    let most = layout.width.max(layout.height) * 4.0 + 4.0;
                    assert!((0..=most as i32).contains(&value), "{classes}: {value}");
                }
            }
        }
    }

    #[test]
    fn texts_stand_where_there_is_room() {
        let few = map(2, |class| class.to_string()).to_svg().unwrap();
        assert!(few.contains(">\n3\n<") && !few.contains("rotate("));
        let many = map(40, |class| format!("class {class}")).to_svg().unwrap();
        assert!(!many.contains(">\n7\n<"), "all or none");
        assert_eq!(many.matches("rotate(270").count(), 40);
    }

    #[test]
    fn wide_cells_hold_the_longest_text() {
        let words = HeatMap {
            wide_cells: true,
            ..map(40, |class| class.to_string())
        };
        let layout = words.layout();
        assert!(layout.cell.0 > layout.cell.1 && layout.cell_font == Some(CELL_FONTS[0]));
        assert!(words.to_svg().unwrap().contains(">\n1599\n<"));
    }

    #[test]
    fn colours_follow_strength_and_carry_their_class() {
        let svg = map(2, |class| class.to_string()).to_svg().unwrap();
        // The first cell and the key at full strength, the last cell at a quarter.
        assert_eq!(svg.matches("opacity=\"1\" class=\"f-heat\"").count(), 2);
        assert_eq!(svg.matches("opacity=\"0.5\" class=\"f-heat\"").count(), 1);
        assert_eq!(svg.matches("class=\"f-on-heat\"").count(), 1);
        assert_eq!(
            svg.matches("=\"#").count(),
            svg.matches("class=\"f-").count() + svg.matches("class=\"s-").count()
        );
        assert_eq!([f64::NAN, -1.0, 2.0].map(opacity), [0.0, 0.0, 1.0]);
    }

    #[test]
    fn names_are_short_escaped_and_seen() {
        assert_eq!(shortened("a\tb\0"), "a b␀");
        assert_eq!(shortened(&"x".repeat(18)), "x".repeat(18));
        assert_eq!(shortened(&"x".repeat(19)), "x".repeat(17) + "…");
        assert_eq!(shortened(&"가".repeat(12)), "가".repeat(8) + "…");
        let svg = map(1, |_| "</svg><b>&\u{202e}".into()).to_svg().unwrap();
        assert_eq!(svg.matches("</svg>").count(), 1);
        assert!(!svg.contains("<b>") && !svg.contains('\u{202e}'));
    }

    #[test]
    #[should_panic(expected = "in 1 × 1")]
    fn a_cell_outside_is_a_mistake() {
        let mut map = map(1, |_| String::new());
        map.cells[0].column = 1;
        let _ = map.to_svg();
    }
}
