//! Which instructions to compute with.

use std::fmt;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use crate::errors;

/// `--isa`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IsaChoice {
    /// The best that the machine has.
    Auto,
    /// This one.
    Only(Isa),
}

/// A set of instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Isa {
    /// Plain code, the definition of every result.
    Scalar,
    /// AVX2 with fused multiply-add.
    Avx2,
}

impl Isa {
    /// The best that this machine has.
    pub(crate) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma")
        {
            return Self::Avx2;
        }
        Self::Scalar
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
        })
    }
}

/// What was asked for, if the machine has it.
pub(crate) fn choose(choice: IsaChoice) -> anyhow::Result<Isa> {
    match (choice, Isa::detect()) {
        (IsaChoice::Auto, best) => Ok(best),
        (IsaChoice::Only(Isa::Avx2), Isa::Scalar) => Err(errors::failure(
            "this machine has no AVX2 with fused multiply-add",
            "leave `--isa` and `REFRAIN_ISA` out; the results are the same, bit for bit",
        )),
        (IsaChoice::Only(isa), _) => Ok(isa),
    }
}

/// Reads `--isa`; what only later versions have is refused by name.
pub(crate) fn parser() -> impl TypedValueParser<Value = IsaChoice> {
    let later = PossibleValue::new("avx512").hide(true);
    let values = ["auto", "scalar", "avx2"].map(PossibleValue::new);
    PossibleValuesParser::new(values.into_iter().chain([later])).try_map(|name| {
        match name.as_str() {
            "auto" => Ok(IsaChoice::Auto),
            "scalar" => Ok(IsaChoice::Only(Isa::Scalar)),
            "avx2" => Ok(IsaChoice::Only(Isa::Avx2)),
            _ => Err(NotInThisVersion),
        }
    })
}

#[derive(Debug)]
struct NotInThisVersion;

impl fmt::Display for NotInThisVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not in this version, which has auto, scalar and avx2")
    }
}

impl std::error::Error for NotInThisVersion {}
