//! Files to read from: what is packed is unpacked, folders are walked.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

const GZIP_MAGIC: &[u8] = &[0x1F, 0x8B];
const ZSTD_MAGIC: &[u8] = &[0x28, 0xB5, 0x2F, 0xFD];
const BUFFER_BYTES: usize = 1 << 16;

/// How a file is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Gzip, `.gz`.
    Gzip,
    /// Zstandard, `.zst`.
    Zstd,
}

impl Packing {
    /// What the ending of a name says.
    #[must_use]
    pub fn from_ending(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        match ending.as_str() {
            "gz" => Some(Self::Gzip),
            "zst" => Some(Self::Zstd),
            _ => None,
        }
    }

    /// What the first bytes of a file say.
    #[must_use]
    pub fn from_magic(start: &[u8]) -> Option<Self> {
        if start.starts_with(GZIP_MAGIC) {
            Some(Self::Gzip)
        } else if start.starts_with(ZSTD_MAGIC) {
            Some(Self::Zstd)
        } else {
            None
        }
    }

    /// The name of the format.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// The ending of its files.
    #[must_use]
    pub fn ending(self) -> &'static str {
        match self {
            Self::Gzip => ".gz",
            Self::Zstd => ".zst",
        }
    }
}

/// Opens a file for reading from the start; `.gz` and `.zst` are unpacked on the way.
///
/// # Errors
///
/// [`Error::Io`] where the file cannot be read, [`Error::Unusable`] where it is empty though its
/// ending says that it is packed, or is not packed as its ending says.
pub fn open(path: &Path) -> Result<Box<dyn BufRead + Send>> {
    let io = |source| io_error("read", path, source);
    let file = File::open(path).map_err(io)?;
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, file);
    let Some(packing) = Packing::from_ending(path) else {
        return Ok(Box::new(reader));
    };
    let start = reader.fill_buf().map_err(io)?;
    if Packing::from_magic(start) != Some(packing) {
        return Err(lying_ending(path, packing, start));
    }
    Ok(match packing {
        Packing::Gzip => {
            let unpacked = flate2::bufread::MultiGzDecoder::new(reader);
            Box::new(BufReader::with_capacity(BUFFER_BYTES, unpacked))
        }
        Packing::Zstd => {
            let unpacked = zstd::Decoder::with_buffer(reader).map_err(io)?;
            Box::new(BufReader::with_capacity(BUFFER_BYTES, unpacked))
        }
    })
}

fn lying_ending(path: &Path, packing: Packing, start: &[u8]) -> Error {
    let path = path.display();
    let (name, ending) = (packing.name(), packing.ending());
    let (problem, hint) = match Packing::from_magic(start) {
        _ if start.is_empty() => (
            format!("`{path}` is empty"),
            "give a text of two symbols or more".to_owned(),
        ),
        Some(other) => (
            format!(
                "`{path}` ends in `{ending}` but was packed by {}",
                other.name()
            ),
            format!("rename it to end in `{}`", other.ending()),
        ),
        None => (
            format!(
                "`{path}` ends in `{ending}` but is not packed by {name}: it begins with {}",
                hex(&start[..start.len().min(4)])
            ),
            format!("rename it without `{ending}`, or pack it again with {name}"),
        ),
    };
    Error::Unusable { problem, hint }
}

/// The files that the given paths stand for: a folder stands for every file below it, in the order
/// of their paths. Names that begin with a dot and links to folders are passed over.
///
/// # Errors
///
/// [`Error::Io`] where a folder cannot be listed, [`Error::Unusable`] where it holds no file.
pub fn expand(paths: &[impl AsRef<Path>]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        let path = path.as_ref();
        if path.as_os_str() == "-" || !path.is_dir() {
            files.push(path.to_owned());
            continue;
        }
        let before = files.len();
        walk(path, &mut files)?;
        if files.len() == before {
            return Err(Error::Unusable {
                problem: format!("the folder `{}` holds no file", path.display()),
                hint: "files whose names begin with a dot are passed over".into(),
            });
        }
    }
    Ok(files)
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let io = |source| io_error("list", folder, source);
    let mut entries = fs::read_dir(folder)
        .map_err(io)?
        .collect::<io::Result<Vec<_>>>()
        .map_err(io)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let kind = entry.file_type().map_err(io)?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if kind.is_dir() {
            walk(&path, files)?;
        } else if path.is_file() {
            files.push(path);
        }
    }
    Ok(())
}

/// `1F 8B`.
pub(super) fn hex(bytes: &[u8]) -> String {
    let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    bytes.join(" ")
}

pub(super) fn io_error(action: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::{Read, Write};

    use super::*;

    pub(crate) fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn read(path: &Path) -> Result<String> {
        let mut text = String::new();
        open(path)?
            .read_to_string(&mut text)
            .map_err(|e| io_error("read", path, e))?;
        Ok(text)
    }

    #[test]
    fn packed_files_are_unpacked_by_their_ending() {
        let dir = tempfile::tempdir().unwrap();
        let mut two_members = gzip(b"hel");
        two_members.extend(gzip(b"lo"));
        let files: [(&str, Vec<u8>); 5] = [
            ("a.txt", b"hello".to_vec()),
            ("noending", b"hello".to_vec()),
            ("a.txt.gz", two_members),
            ("a.GZ", gzip(b"hello")),
            ("a.tsv.zst", zstd::encode_all(&b"hello"[..], 3).unwrap()),
        ];
        for (name, content) in files {
            let path = dir.path().join(name);
            fs::write(&path, content).unwrap();
            assert_eq!(read(&path).unwrap(), "hello", "{name}");
        }
    }

    #[test]
    fn a_lying_ending_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let zst = zstd::encode_all(&b"hello"[..], 3).unwrap();
        for (name, content, expected) in [
            (
                "a.gz",
                b"hello".to_vec(),
                "is not packed by gzip: it begins with 68 65 6C 6C",
            ),
            ("b.gz", zst, "but was packed by zstd"),
            ("c.zst", gzip(b"hello"), "but was packed by gzip"),
            ("d.zst", Vec::new(), "is empty"),
        ] {
            let path = dir.path().join(name);
            fs::write(&path, content).unwrap();
            let error = open(&path).err().unwrap().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_cut_packed_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..10_000u32).flat_map(u32::to_le_bytes).collect();
        for (name, packed) in [
            ("a.gz", gzip(&content)),
            ("a.zst", zstd::encode_all(&content[..], 3).unwrap()),
        ] {
            let path = dir.path().join(name);
            fs::write(&path, &packed[..packed.len() / 2]).unwrap();
            let result = open(&path).unwrap().read_to_end(&mut Vec::new());
            assert!(result.is_err(), "{name}");
        }
        assert!(matches!(
            open(&dir.path().join("none")),
            Err(Error::Io { .. })
        ));
    }

    #[test]
    fn folders_are_walked_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir(root.join("b")).unwrap();
        fs::create_dir(root.join("empty")).unwrap();
        for name in ["c.txt", "a.txt", "b/2", "b/1", ".hidden"] {
            fs::write(root.join(name), "x").unwrap();
        }
        let files = expand(&[root.to_owned(), "-".into(), root.join("missing")]).unwrap();
        let expected = ["a.txt", "b/1", "b/2", "c.txt"].map(|name| root.join(name));
        assert_eq!(files[..4], expected);
        assert_eq!(files[4..], [PathBuf::from("-"), root.join("missing")]);
        assert!(expand(&[root.join("empty")]).is_err());
    }
}
