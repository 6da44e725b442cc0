use super::heat::{Cell, HeatMap};
use crate::error::Result;

/// Which tokens of a source a decoder looked at for each token that it wrote.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Alignment {
    /// The tokens of the source.
    pub source: Vec<String>,
    /// The tokens that were written, the end last.
    pub target: Vec<String>,
    /// For each of them the weights of the source's tokens, which add up to 1.
    pub weights: Vec<Vec<f32>>,
}

impl Alignment {
    /// Draws it as one `<svg>` element: a row for each token that was written, a column for each token of the source.
    ///
    /// # Errors
    /// [`Error::Unusable`](crate::Error::Unusable) if it cannot be drawn.
    ///
    /// # Panics
    /// If there are more weights than tokens.
    pub fn to_svg(&self) -> Result<String> {
        let mut cells = Vec::new();
        for (row, weights) in self.weights.iter().enumerate() {
            for (column, &weight) in weights.iter().enumerate() {
                if weight >= 0.005 {
                    cells.push(Cell {
                        row,
                        column,
                        strength: f64::from(weight.min(1.0)),
                        text: format!("{:.0}", 100.0 * weight),
                    });
                }
            }
        }
        HeatMap {
            title: "Alignment".into(),
            description: format!(
                "For each of the {} tokens that were written, in per cent, how much each of the {} tokens of the source was looked at.",
                self.target.len(),
                self.source.len()
            ),
            row_label: "written".into(),
            column_label: "source".into(),
            rows: self.target.clone(),
            columns: self.source.clone(),
            wide_cells: false,
            cells,
            key: [0.05, 0.25, 1.0]
                .map(|share| (share, format!("{:.0} %", 100.0 * share)))
                .to_vec(),
        }
        .to_svg()
    }
}
