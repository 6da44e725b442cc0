//! Shared data sets, turned into the formats that Refrain reads.

mod convert;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use crate::stages::{root, target};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Which data set; they lie in shared/data beside the repository, or where REFRAIN_DATA says
    #[arg(required_unless_present = "list")]
    name: Option<String>,
    /// Where to write; target/data/NAME unless given
    #[arg(short, long, value_name = "FOLDER")]
    output: Option<PathBuf>,
    /// List the data sets, and whether they need to be turned into anything
    #[arg(long, conflicts_with_all = ["name", "output"])]
    list: bool,
}

/// Reads a data set's folder, writes into another and gives the files written.
type Convert = fn(&Path, &Path) -> Result<Vec<PathBuf>>;

struct Set {
    name: &'static str,
    what: &'static str,
    need: Need,
}

enum Need {
    /// To be turned into these files; how they are read.
    Conversion(&'static str, Convert, &'static str),
    /// Refrain reads its files as they are; how.
    Nothing(&'static str),
}

const SETS: [Set; 11] = [
    Set {
        name: "emoji",
        what: "3,786 emoji in two drawings with their names in English and Korean",
        need: Need::Conversion(
            "DRAWING.npz and captions.PART.LANGUAGE.tsv",
            convert::emoji,
            "refrain train caption captions.train.en.tsv --images noto.npz --validation captions.val.en.tsv --test captions.test.en.tsv -o RUN",
        ),
    },
    Set {
        name: "ett",
        what: "oil temperature and load of two transformers by the hour",
        need: Need::Conversion(
            "ETTh1.csv and ETTh2.csv, their first 20 months",
            convert::ett,
            "refrain train forecast ETTh1.csv --validation 0.2 --test 0.2 --horizon 24 -o RUN",
        ),
    },
    Set {
        name: "grid_video",
        what: "995 clips of a mouth that speaks, a slot and a word at each frame",
        need: Need::Conversion(
            "slots.PART.npz and words.PART.npz",
            convert::grid_video,
            "refrain train tag slots.train.npz --validation slots.val.npz --test slots.test.npz -o RUN",
        ),
    },
    Set {
        name: "linux_kernel",
        what: "6.2 million characters of C",
        need: Need::Nothing("refrain train lm linux_input.txt.zst -o RUN"),
    },
    Set {
        name: "mnist",
        what: "70,000 handwritten digits",
        need: Need::Nothing(
            "refrain train classify train-images-idx3-ubyte.gz --test t10k-images-idx3-ubyte.gz -o RUN",
        ),
    },
    Set {
        name: "multi30k",
        what: "29,000 captions of pictures in German, English and French",
        need: Need::Nothing(
            "refrain train translate train.de.zst train.en.zst --validation val --test test_2016_flickr -o RUN",
        ),
    },
    Set {
        name: "nsmc",
        what: "Korean reviews of films, positive or negative",
        need: Need::Nothing(
            "refrain train classify train.tsv.zst --label-column 2 --text-column 3 --validation val.tsv.zst --test test.tsv.zst -o RUN",
        ),
    },
    Set {
        name: "polymusic",
        what: "piano rolls of four collections",
        need: Need::Conversion(
            "COLLECTION.PART.npz",
            convert::polymusic,
            "refrain train forecast JSB_Chorales.train.npz --validation JSB_Chorales.val.npz --test JSB_Chorales.test.npz -o RUN",
        ),
    },
    Set {
        name: "shakespeare",
        what: "1.1 million characters of plays",
        need: Need::Nothing("refrain train lm input.txt.zst -o RUN"),
    },
    Set {
        name: "sst2",
        what: "English sentences about films, positive or negative",
        need: Need::Nothing(
            "refrain train classify stsa.binary.train.zst --format label-first --validation stsa.binary.dev.zst --test stsa.binary.test.zst -o RUN",
        ),
    },
    Set {
        name: "ud_ewt",
        what: "English sentences with the part of speech of every word",
        need: Need::Nothing(
            "refrain train tag train.tsv.zst --validation dev.tsv.zst --test test.tsv.zst -o RUN",
        ),
    },
];

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let Some(name) = &arguments.name else {
        list();
        return Ok(());
    };
    let set = SETS.iter().find(|set| set.name == name).with_context(|| {
        let names: Vec<_> = SETS.iter().map(|set| set.name).collect();
        format!(
            "there is no data set `{name}`; there are {}",
            names.join(", ")
        )
    })?;
    let source = source_folder(env::var_os("REFRAIN_DATA").map(PathBuf::from), name)?;
    let (convert, how) = match set.need {
        Need::Conversion(_, convert, how) => (convert, how),
        Need::Nothing(how) => {
            ensure!(
                arguments.output.is_none(),
                "`{name}` needs no conversion, so nothing is written"
            );
            println!(
                "`{name}` is read as it is; in `{}`:\n  {how}",
                source.display()
            );
            return Ok(());
        }
    };
    let output = arguments
        .output
        .clone()
        .unwrap_or_else(|| target().join("data").join(name));
    fs::create_dir_all(&output).with_context(|| format!("cannot create `{}`", output.display()))?;
    for path in convert(&source, &output)? {
        let bytes = fs::metadata(&path).map_or(0, |found| found.len());
        println!("wrote `{}`, {:.1} MB", path.display(), bytes as f64 / 1e6);
    }
    println!("in that folder:\n  {how}");
    Ok(())
}

fn list() {
    for set in &SETS {
        let (need, how) = match set.need {
            Need::Conversion(files, _, how) => (format!("becomes {files}"), how),
            Need::Nothing(how) => ("is read as it is".to_owned(), how),
        };
        println!("{:<14}{}", set.name, set.what);
        for line in [need.as_str(), how] {
            println!("{:14}{line}", "");
        }
    }
}

/// A file of a data set, unpacked.
pub(crate) fn unpacked(set: &str, file: &str) -> Result<Vec<u8>> {
    let source = source_folder(env::var_os("REFRAIN_DATA").map(PathBuf::from), set)?;
    convert::bytes(&source.join(file))
}

/// Writes the files of a data set that needs it into a folder, as the chore does.
pub(crate) fn converted(name: &str, to: &Path) -> Result<()> {
    let set = SETS.iter().find(|set| set.name == name);
    let set = set.with_context(|| format!("there is no data set `{name}`"))?;
    let source = source_folder(env::var_os("REFRAIN_DATA").map(PathBuf::from), name)?;
    match set.need {
        Need::Conversion(_, convert, _) => convert(&source, to).map(|_| ()),
        Need::Nothing(_) => Ok(()),
    }
}

/// Where a data set lies.
fn source_folder(named: Option<PathBuf>, name: &str) -> Result<PathBuf> {
    let folder = named.unwrap_or_else(|| root().join("../shared/data"));
    let source = folder.join(name);
    if !source.is_dir() {
        bail!(
            "there is no `{}`: data sets are not part of the repository; set REFRAIN_DATA to the folder that holds `{name}`",
            source.display()
        );
    }
    Ok(source)
}

#[cfg(test)]
mod tests {
    use refrain::data::captions::{CaptionOptions, read_captions};
    use refrain::data::series::{SeriesOptions, read_series};
    use refrain::data::{ArrayLabels, Arrays};
    use refrain_testing::shared_data;

    use super::*;

    #[test]
    fn data_that_is_absent_is_named() {
        let error = source_folder(Some("/nowhere".into()), "mnist")
            .unwrap_err()
            .to_string();
        assert!(error.contains("there is no `/nowhere/mnist`"), "{error}");
        assert!(error.contains("REFRAIN_DATA"), "{error}");
    }

    #[test]
    fn an_unknown_set_is_answered_with_those_there_are() {
        let arguments = Arguments {
            name: Some("mnits".into()),
            output: None,
            list: false,
        };
        let error = run(&arguments).unwrap_err().to_string();
        assert!(
            error.contains("no data set `mnits`") && error.contains("mnist"),
            "{error}"
        );
    }

    #[test]
    fn every_shared_set_is_listed() {
        let Some(mnist) = shared_data("mnist") else {
            return;
        };
        let entries = fs::read_dir(mnist.parent().unwrap()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        for name in names {
            assert!(
                SETS.iter().any(|set| set.name == name),
                "`{name}` is not listed"
            );
        }
        assert!(SETS.is_sorted_by_key(|set| set.name));
    }

    #[test]
    fn grid_video_becomes_clips_with_labels() {
        let Some(source) = shared_data("grid_video") else {
            return;
        };
        let dir = tempfile::tempdir().unwrap();
        let files = convert::grid_video(&source, dir.path()).unwrap();
        assert_eq!(files.len(), 6);
        let words = Arrays::open(&dir.path().join("words.test.npz"), 1 << 30).unwrap();
        assert_eq!((words.count, &words.shape[..]), (100, &[75, 16, 40, 1][..]));
        assert_eq!(words.label_names.len(), 52);
        let Some(ArrayLabels::PerStep(labels)) = &words.labels else {
            panic!("{:?}", words.labels);
        };
        // The first clip is `bbas2p`, "bin blue at s two please".
        let mut spoken: Vec<&str> = labels[..75]
            .iter()
            .map(|&word| words.label_names[word as usize].as_str())
            .collect();
        spoken.dedup();
        spoken.retain(|&word| word != "sil");
        assert_eq!(spoken, ["bin", "blue", "at", "s", "two", "please"]);
        let slots = Arrays::open(&dir.path().join("slots.val.npz"), 1 << 30).unwrap();
        assert_eq!((slots.count, slots.label_names.len()), (100, 7));
        assert!(slots.notes.is_empty(), "{:?}", slots.notes);
    }

    #[test]
    fn emoji_become_pictures_with_captions() {
        let Some(source) = shared_data("emoji") else {
            return;
        };
        let dir = tempfile::tempdir().unwrap();
        convert::emoji(&source, dir.path()).unwrap();
        for (drawing, language, first) in
            [("noto", "en", "keycap: #"), ("twemoji", "ko", "키 캡: #")]
        {
            let options = CaptionOptions {
                images: Some(dir.path().join(format!("{drawing}.npz"))),
                ..CaptionOptions::default()
            };
            let read = |part: &str| {
                let path = dir.path().join(format!("captions.{part}.{language}.tsv"));
                read_captions(&[path], &options, None).unwrap()
            };
            let train = read("train");
            let pictures = &train.raw.pictures;
            assert_eq!(
                (pictures.count, &pictures.shape[..]),
                (3786, &[1, 32, 32, 3][..])
            );
            assert_eq!(train.raw.captions[0].sentences, [first]);
            let counts = [&train, &read("val"), &read("test")].map(|read| {
                assert_eq!(read.skipped, 0);
                read.raw.captions.len()
            });
            assert_eq!(counts, [3423, 187, 176]);
        }
    }

    #[test]
    fn ett_becomes_twenty_months() {
        let Some(source) = shared_data("ett") else {
            return;
        };
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(convert::ett(&source, dir.path()).unwrap().len(), 2);
        let path = dir.path().join("ETTh1.csv");
        let series = read_series(&path, &SeriesOptions::default(), None).unwrap();
        assert_eq!((series.rows(), series.columns.len()), (14_400, 7));
        assert_eq!(series.time.as_deref(), Some("date"));
    }

    #[test]
    fn polymusic_becomes_rolls_with_lengths() {
        let Some(source) = shared_data("polymusic") else {
            return;
        };
        let dir = tempfile::tempdir().unwrap();
        let files = convert::polymusic(&source, dir.path()).unwrap();
        assert_eq!(files.len(), 12);
        let bach = Arrays::open(&dir.path().join("JSB_Chorales.val.npz"), 1 << 30).unwrap();
        assert_eq!((bach.count, bach.features()), (76, 88));
        assert_eq!(
            bach.lengths.as_ref().unwrap().iter().max(),
            Some(&bach.steps())
        );
    }
}
