//! Model files that are damaged or lie.

use std::path::Path;

use serde_json::{Value, json};

/// A few numbers that look random.
pub(crate) struct Numbers(u32);

impl Numbers {
    pub(crate) fn new() -> Self {
        Self(1)
    }

    pub(crate) fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 12) as usize % count
    }
}

/// A model file as its metadata and the rest.
#[derive(Clone)]
pub(crate) struct ModelParts {
    pub(crate) header: Value,
    /// What `__metadata__` holds, read.
    pub(crate) metadata: Value,
    pub(crate) data: Vec<u8>,
}

impl ModelParts {
    pub(crate) fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let size = header_size(&bytes);
        let header: Value = serde_json::from_slice(&bytes[8..8 + size]).unwrap();
        let metadata = header["__metadata__"]["refrain"].as_str().unwrap();
        Self {
            metadata: serde_json::from_str(metadata).unwrap(),
            header,
            data: bytes[8 + size..].to_vec(),
        }
    }

    /// The same with another value somewhere in the metadata, where there must be one.
    #[track_caller]
    pub(crate) fn with(&self, pointer: &str, value: &Value) -> Self {
        let mut parts = self.clone();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = parts.metadata.pointer_mut(parent).unwrap();
        assert!(!parent[key].is_null(), "the model has no {pointer}");
        parent[key] = value.clone();
        parts
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut header = self.header.clone();
        header["__metadata__"]["refrain"] = json!(self.metadata.to_string());
        let header = header.to_string().into_bytes();
        [
            &(header.len() as u64).to_le_bytes()[..],
            &header,
            &self.data,
        ]
        .concat()
    }
}

fn header_size(bytes: &[u8]) -> usize {
    u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize
}

/// Changes some bytes of a model file, or takes its end away, again and again; how often `is_refused` says that it is.
pub(crate) fn refusals(bytes: &[u8], mut is_refused: impl FnMut(&[u8]) -> bool) -> u32 {
    let mut numbers = Numbers::new();
    let mut count = 0;
    for round in 0..300 {
        let mut damaged = bytes.to_vec();
        // The header is the part that is worth attacking.
        let end = match round % 3 {
            0 => bytes.len(),
            _ => 8 + header_size(bytes),
        };
        for _ in 0..numbers.below(3) + 1 {
            let at = numbers.below(end);
            damaged[at] = numbers.below(256) as u8;
        }
        if round % 10 == 0 {
            damaged.truncate(numbers.below(bytes.len()));
        }
        count += u32::from(is_refused(&damaged));
    }
    count
}
