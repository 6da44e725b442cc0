//! Recurrent networks: train, sample and look inside them on an ordinary CPU.
//!
//! - [`run`] is what the command line does: settings in, a run folder out; it stops and resumes exactly.
//! - [`train`] is the loop alone, [`models`] the models, [`nn`] the layers: each `forward` with its `backward` beside it.
//! - `lab` has the claims that are made of recurrent networks as experiments.
//! - [`data`] makes tokens of files, [`generate`] draws new ones, [`checkpoint`] reads and writes model files.
//! - [`inspect`] looks inside: how far gradients reach, what recurrent matrices do, how gates stand.
//!
//! The library never prints, exits, reads the clock or keeps a random generator: the caller passes them in. The same
//! seed, data and version give the same bytes, whatever the number of threads or the [instruction set](Isa).
//!
//! # Examples
//!
//! Train on a text, open the best model, let it write:
//!
//! ```
//! use std::{path::Path, time::Instant};
//!
//! use refrain::generate::{Generator, Sampler};
//! use refrain::run::{Given, Run, model::LoadedModel, settings::Settings};
//! use refrain::train::{Purpose, Surroundings, keyed_rng};
//! use refrain::{Compute, Isa};
//!
//! fn learn_and_write(text: &Path, folder: &Path) -> refrain::Result<String> {
//!     let settings = Settings { data: Some(vec![text.into()]), epochs: Some(3.0), ..Settings::default() };
//!     let mut run = Run::begin(settings, folder, false, Given::default())?;
//!     let (compute, start) = (Compute::new(Isa::detect(), 2), Instant::now());
//!     let clock = || start.elapsed().as_secs_f64();
//!     let surroundings = Surroundings { clock: &clock, stop: &|| false };
//!     run.train(&compute, &surroundings, &mut |event| println!("{event:?}"))?;
//!
//!     let LoadedModel { mut model, vocabulary, .. } = LoadedModel::open(folder)?;
//!     let mut generator = Generator::new(&mut model, &vocabulary, compute.isa());
//!     generator.start(&vocabulary.try_encode("to be")?);
//!     let (mut sampler, mut rng) = (Sampler::new().temperature(0.8), keyed_rng(1, Purpose::Sample, 0));
//!     let draws = (0..200).map(|_| Ok(generator.next(&mut sampler, &mut rng)?.id));
//!     Ok(vocabulary.decode(&draws.collect::<refrain::Result<Vec<u32>>>()?))
//! }
//! # let folder = tempfile::tempdir().expect("a temporary folder");
//! # let text = folder.path().join("input.txt");
//! # std::fs::write(&text, "to be or not to be, that is the question\n".repeat(40)).expect("a text");
//! # assert_eq!(learn_and_write(&text, &folder.path().join("run"))?.chars().count(), 200);
//! # Ok::<(), refrain::Error>(())
//! ```

pub mod checkpoint;
pub mod data;
mod error;
pub mod generate;
pub mod inspect;
#[cfg(feature = "report")]
pub mod lab;
pub mod metrics;
pub mod models;
mod names;
pub mod nn;
pub mod optim;
pub mod run;
pub mod train;

pub use error::{Error, Result};
pub use refrain_kernels::{Compute, Isa, IsaError, Scalar};
