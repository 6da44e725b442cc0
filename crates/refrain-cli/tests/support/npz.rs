//! Arrays of an `.npz` that is not compressed, as `inspect states` writes it.

#![expect(clippy::unwrap_used, reason = "the helpers of these tests")]

/// An array's shape, and the file from its content on.
fn content<'a>(npz: &'a [u8], name: &str) -> (Vec<usize>, &'a [u8]) {
    let find = |from: usize, part: &[u8]| {
        let found = npz[from..].windows(part.len()).position(|at| at == part);
        from + found.unwrap_or_else(|| panic!("no {name}"))
    };
    let start = find(find(0, format!("{name}.npy").as_bytes()), b"\x93NUMPY");
    let header = usize::from(u16::from_le_bytes([npz[start + 8], npz[start + 9]]));
    let text = String::from_utf8(npz[start + 10..start + 10 + header].to_vec()).unwrap();
    let shape = &text[text.find("'shape': (").unwrap() + 10..];
    let shape = shape[..shape.find(')').unwrap()].split(',');
    let shape = shape.filter_map(|axis| axis.trim().parse().ok()).collect();
    (shape, &npz[start + 10 + header..])
}

/// The shape of an array of f32, and its numbers.
pub(crate) fn array(npz: &[u8], name: &str) -> (Vec<usize>, Vec<f32>) {
    let (shape, content) = content(npz, name);
    let values = content.as_chunks::<4>().0.iter().copied();
    let count = shape.iter().product();
    (shape, values.map(f32::from_le_bytes).take(count).collect())
}

/// The lengths of sequences: an array (N) of i64.
pub(crate) fn lengths(npz: &[u8], name: &str) -> Vec<usize> {
    let (shape, content) = content(npz, name);
    let values = content.as_chunks::<8>().0.iter().take(shape[0]);
    values
        .map(|&bytes| i64::from_le_bytes(bytes) as usize)
        .collect()
}
