use serde_json::{Map, Value, json};

/// A figure that an experiment found.
#[derive(Clone, Debug, PartialEq)]
pub enum Figure {
    /// A number; one that is not finite is `null` in JSON.
    Number(f64),
    /// A count.
    Count(u64),
    /// Words.
    Text(String),
    /// Yes or no.
    Flag(bool),
}

macro_rules! from {
    ($($type:ty => $variant:ident($value:ident) $convert:expr;)+) => {
        $(impl From<$type> for Figure {
            fn from($value: $type) -> Self {
                Self::$variant($convert)
            }
        })+
    };
}

from! {
    f64 => Number(value) value;
    u64 => Count(value) value;
    usize => Count(value) value as u64;
    String => Text(value) value;
    &str => Text(value) value.to_owned();
    bool => Flag(value) value;
}

impl Figure {
    /// The value for a program.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::Number(value) => json!(value),
            Self::Count(value) => json!(value),
            Self::Text(value) => json!(value),
            Self::Flag(value) => json!(value),
        }
    }

    /// The value for a reader: four digits that count.
    ///
    /// # Examples
    ///
    /// ```
    /// use refrain::lab::Figure;
    ///
    /// let shown = |value: f64| Figure::from(value).shown();
    /// assert_eq!([shown(1.5), shown(-0.30103), shown(12345.6)], ["1.500", "-0.3010", "12346"]);
    /// assert_eq!([shown(0.0), shown(8.7e-19), shown(f64::INFINITY)], ["0", "8.700e-19", "infinite"]);
    /// ```
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::Number(value) => shown(*value),
            Self::Count(value) => value.to_string(),
            Self::Text(value) => value.clone(),
            Self::Flag(value) => if *value { "yes" } else { "no" }.into(),
        }
    }

    /// Whether it stands at the right of its column.
    #[must_use]
    pub fn is_number(&self) -> bool {
        matches!(self, Self::Number(_) | Self::Count(_))
    }
}

/// A number with four digits that count.
pub(super) fn shown(value: f64) -> String {
    match value.abs() {
        _ if value.is_nan() => "none".into(),
        f64::INFINITY => "infinite".into(),
        0.0 => "0".into(),
        size @ 1e-3..1e6 => {
            let digits = 3.0 - libm::floor(libm::log10(size));
            format!("{value:.*}", digits.clamp(0.0, 6.0) as usize)
        }
        _ => format!("{value:.3e}"),
    }
}

/// Figures of one kind for several cases.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// What the columns are.
    pub columns: Vec<String>,
    /// A row for each case, as long as there are columns.
    pub rows: Vec<Vec<Figure>>,
}

impl Table {
    /// A table without rows.
    pub(super) fn new<const N: usize>(name: &str, columns: [&str; N]) -> Self {
        Self {
            name: name.into(),
            columns: columns.map(str::to_owned).to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub(super) fn row<const N: usize>(&mut self, row: [Figure; N]) {
        debug_assert_eq!(row.len(), self.columns.len(), "{}", self.name);
        self.rows.push(row.into());
    }
}

/// All figures of an experiment, in its order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Figures that stand alone.
    pub single: Vec<(String, Figure)>,
    /// Those that belong together.
    pub tables: Vec<Table>,
    /// One for each step of a run, too many to be printed.
    pub series: Vec<(String, Vec<f64>)>,
}

impl Figures {
    /// As an object: a name for each figure that stands alone, for each table an array of objects with the columns' names, and
    /// for each series an array of numbers. Spaces in names are written `_`.
    #[must_use]
    pub fn to_json(&self) -> Map<String, Value> {
        let key = |name: &str| name.replace(' ', "_");
        let single = self.single.iter();
        let mut object: Map<_, _> = single
            .map(|(name, figure)| (key(name), figure.to_json()))
            .collect();
        for table in &self.tables {
            let rows = table.rows.iter().map(|row| {
                let cells = table.columns.iter().zip(row);
                let cells = cells.map(|(name, figure)| (key(name), figure.to_json()));
                Value::Object(cells.collect())
            });
            object.insert(key(&table.name), rows.collect());
        }
        for (name, values) in &self.series {
            object.insert(key(name), json!(values));
        }
        object
    }
}
