//! Which instructions to compute with.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use refrain::Isa;

/// Reads `--isa`; what only other machines have is refused by name.
pub(crate) fn parser() -> impl TypedValueParser<Value = Isa> {
    let values = ["auto", "scalar", "avx2", "avx512"].map(PossibleValue::new);
    PossibleValuesParser::new(values).try_map(|name| name.parse::<Isa>())
}
