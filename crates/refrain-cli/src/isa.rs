//! Which instructions to compute with.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use refrain::Isa;

/// Reads `--isa`; what only later versions or other machines have is refused by name.
pub(crate) fn parser() -> impl TypedValueParser<Value = Isa> {
    let later = PossibleValue::new("avx512").hide(true);
    let values = ["auto", "scalar", "avx2"].map(PossibleValue::new);
    PossibleValuesParser::new(values.into_iter().chain([later])).try_map(|name| name.parse::<Isa>())
}
